"""Start the nodes as processes, without `ros2 launch`, and end them without a trace.

For people who have ROS 2 only from pip, for `foresee run --ros` and `foresee demo`, and for tests.
This module imports no rclpy: talking to the graph is `ros_nodes.client`.

    with sim_graph(run_dir, bundle) as graph:
        graph.wait_ready()
        with GraphClient(graph.domain_id) as client:
            client.arm()
            client.set_goal(image)

Agent and command node are children of `supervisor_node`, as on a robot; the robot and the recorder
are processes beside it, which nothing restarts.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import yaml

from ros_nodes.children import Child, ChildError, how, start_child
from ros_nodes.params import (
    AgentParameters,
    CommandParameters,
    RecorderParameters,
    SimParameters,
    SupervisorParameters,
    as_mapping,
    check,
)
from ros_nodes.transport import (
    free_domain_id,
    remove_orphaned_shared_memory,
    transport_environment,
)


class GraphError(RuntimeError):
    """The graph did not come up or lost a node: one line that names the node and its log."""


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        executable: module in `ros_nodes`, such as ``sim_node``.
        parameters: a dataclass of `ros_nodes.params`.
        remappings: topic or service name to the name to use instead.
        namespace: of all its names.
        children: what it starts itself, with its own remappings and namespace, if it is the
            supervisor; see `supervised`.
    """

    executable: str
    parameters: object
    remappings: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    children: tuple[NodeSpec, ...] = ()

    @property
    def name(self) -> str:
        """What the graph calls it: with its namespace, so that robots can share a graph."""
        return f"{self.namespace.strip('/')}/{self.executable}".lstrip("/")


class Graph:
    """The processes of one graph. Not thread-safe: one thread starts, checks and stops it.

    Use it as a context manager: leaving the block stops every node, whatever happened inside.
    """

    def __init__(
        self,
        nodes: Sequence[NodeSpec],
        run_dir: Path,
        domain_id: int | None = None,
        sim_time: bool = False,
    ) -> None:
        """Describe a graph; nothing is started yet.

        Args:
            nodes: in the order of starting; they are stopped in reverse order.
            run_dir: gets ``params/<node>.yaml`` and ``logs/<node>.log``.
            domain_id: ROS domain; ``None`` for a random free one.
            sim_time: all nodes but the simulation get ``use_sim_time``.

        Raises:
            ValueError: a parameter out of range.
        """
        for node in nodes:
            for one in (node, *node.children):
                check(one.parameters)
        self._nodes = tuple(nodes)
        self._sim_time = sim_time
        self._run_dir = run_dir.resolve()
        self._running: list[Child] = []
        self._started_at = time.time()
        self.domain_id = free_domain_id() if domain_id is None else domain_id

    def __enter__(self) -> Graph:
        """Start the nodes."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the nodes."""
        self.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Node name to process id, of the nodes that run now, those of the supervisor included."""
        pids = {node.name: node.process.pid for node in self._running}
        return pids | {name: pid for name, (pid, _) in self._kept().items()}

    @property
    def restarts(self) -> int:
        """How often supervisors have started nodes again that run now."""
        return sum(restarts for _, restarts in self._kept().values())

    def _kept(self) -> dict[str, tuple[int, int]]:
        """Name to process id and restarts of what supervisors keep, as they note it in files."""
        kept: dict[str, tuple[int, int]] = {}
        if self._running:
            folder = self._run_dir / "pids"
            for file in folder.rglob("*_node"):
                with contextlib.suppress(FileNotFoundError, ValueError):  # just being replaced
                    pid, restarts = map(int, file.read_text().split())
                    kept[str(file.relative_to(folder))] = pid, restarts
        return kept

    def start(self) -> None:
        """Start every node; returns at once, `wait_ready` waits."""
        if self._running:
            raise GraphError("the graph is running already")
        self._started_at = time.time()
        for node in self._nodes:
            self._running.append(self._start(node))

    def wait_ready(self, timeout_s: float = 60.0) -> float:
        """Wait until every node has said that it is ready.

        Returns:
            seconds it took since `start`.

        Raises:
            GraphError: a node failed, died or took too long.
        """
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for node in self._running:
                selector.register(node.report, selectors.EVENT_READ, node)
            while waiting := [key.data for key in selector.get_map().values()]:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    names = ", ".join(node.name for node in waiting)
                    logs = self._run_dir / "logs"
                    raise GraphError(f"not ready after {timeout_s:.0f} s: {names}; see {logs}")
                for key, _ in selector.select(left_s):
                    try:
                        key.data.take_report()
                    except ChildError as error:
                        raise GraphError(f"{key.data.name}: {error}") from error
                    selector.unregister(key.fileobj)
        return time.time() - self._started_at

    def check(self) -> None:
        """Raise GraphError when a node has ended; call it now and then while the graph works."""
        for node in self._running:
            code = node.process.poll()
            if code is not None:
                raise GraphError(f"{node.name} has ended ({how(code)}): {node.last_line()}")

    def stop(self) -> dict[str, int]:
        """End every node, last started first, and remove what killed ones left in shared memory.

        Returns:
            node name to exit status: 0 for a clean end, negative for a signal.
        """
        codes: dict[str, int] = {}
        for node in reversed(self._running):
            codes[node.name] = node.end()
        self._running = []
        if any(codes.values()):
            # Files younger than a second are nobody's to remove, and a killed process may still be
            # letting go of its locks on a busy machine: look twice.
            for pause_s in (1.1, 0.5):
                time.sleep(pause_s)
                remove_orphaned_shared_memory(self._started_at)
        return codes

    def _start(self, node: NodeSpec) -> Child:
        parameters = node.parameters
        files = [self._write_parameters(child) for child in node.children]
        if isinstance(parameters, SupervisorParameters):
            names = tuple(child.executable for child in node.children)
            parameters = replace(parameters, nodes=names, run_dir=str(self._run_dir))
        files.append(self._write_parameters(replace(node, parameters=parameters)))
        arguments = [word for file in files for word in ("--params-file", str(file))]
        arguments += [word for pair in node.remappings.items() for word in ("-r", ":=".join(pair))]
        if node.namespace:
            arguments += ["-r", f"__ns:=/{node.namespace.strip('/')}"]
        log = self._run_dir / "logs" / f"{node.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **transport_environment(self.domain_id)}
        child = start_child(node.executable, arguments, environment, log)
        return replace(child, name=node.name)

    def _write_parameters(self, node: NodeSpec) -> Path:
        path = self._run_dir / "params" / f"{node.name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = dict(as_mapping(node.parameters))
        if self._sim_time and node.executable != "sim_node":
            values["use_sim_time"] = True
        content = {f"/**/{node.executable}": {"ros__parameters": values}}
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return path


def sim_graph(
    run_dir: Path,
    bundle: Path,
    *,
    sim: SimParameters | None = None,
    command: CommandParameters | None = None,
    agent_config: Path | None = None,
    task: Path | None = None,
    provider: str = "auto",
    variant: str = "fp32",
    threads: int = 1,
    record: bool = True,
    domain_id: int | None = None,
    sim_time: bool = False,
) -> Graph:
    """The whole graph in simulation: recorder, simulated robot, agent, command node.

    Args:
        run_dir: gets logs, parameter files and, with ``record``, the bag in ``bag/``.
        bundle: folder of the world model.
        sim: the world; the defaults are Reach.
        command: limits; the defaults fit the simulated Panda.
        agent_config: YAML file of the agent; ``None`` for the defaults.
        task: YAML file of a task to begin with, instead of ``agent_config``.
        provider: where the model runs: "auto", "tensorrt", "cuda" or "cpu".
        variant: precision of the rollouts, "fp32" or one that the bundle has.
        threads: CPU threads of the model.
        record: whether to record a bag, and the plans' inputs in ``plans.mcap``.
        domain_id: ROS domain; ``None`` for a random free one.
        sim_time: the world's time is that of all nodes, by ``/clock``.
    """
    sim = replace(sim or SimParameters(), publish_clock=sim_time)
    agent = AgentParameters(
        bundle=str(bundle.resolve()),
        agent_config="" if agent_config is None else str(agent_config.resolve()),
        task="" if task is None else str(task.resolve()),
        plan_log=str((run_dir / "plans.mcap").resolve()) if record else "",
        provider=provider,
        variant=variant,
        threads=threads,
    )
    nodes = [
        NodeSpec("sim_node", sim),
        supervised(
            NodeSpec("agent_node", agent), NodeSpec("command_node", command or CommandParameters())
        ),
    ]
    if record:
        path = str((run_dir / "bag").resolve())
        nodes.insert(0, NodeSpec("recorder_node", RecorderParameters(path=path)))
    return Graph(nodes, run_dir, domain_id, sim_time)


def supervised(
    *children: NodeSpec,
    parameters: SupervisorParameters | None = None,
    remappings: Mapping[str, str] | None = None,
    namespace: str = "",
) -> NodeSpec:
    """A supervisor that starts these nodes and restarts them.

    Args:
        children: in the order of starting.
        parameters: of the supervisor; `Graph` fills in which nodes and where their logs go.
        remappings: of the supervisor and of all of them.
        namespace: likewise.
    """
    return NodeSpec(
        "supervisor_node",
        parameters or SupervisorParameters(),
        remappings or {},
        namespace,
        tuple(replace(child, namespace=namespace) for child in children),
    )
