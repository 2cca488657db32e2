"""Start the nodes as processes, without `ros2 launch`, and end them without a trace.

For people who have ROS 2 only from pip, for `foresee run --ros` and `foresee demo`, and for tests.
This module imports no rclpy: talking to the graph is `ros_nodes.client`.

    with sim_graph(run_dir, bundle) as graph:
        graph.wait_ready()
        with GraphClient(graph.domain_id) as client:
            client.arm()
            client.set_goal(image)

Each node runs in a session of its own, so that Ctrl-C reaches the starter alone and the nodes end
in order; a pipe on their stdin tells them when the starter has died, however it died.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

import yaml

from ros_nodes.params import (
    AgentParameters,
    CommandParameters,
    RecorderParameters,
    SimParameters,
    as_mapping,
    check,
)
from ros_nodes.transport import (
    READY_FD,
    STDIN_IS_PARENT,
    free_domain_id,
    remove_orphaned_shared_memory,
    transport_environment,
)

# What a node gets to end by itself on SIGINT, then on SIGTERM, before the next harder signal.
_PATIENCE = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class GraphError(RuntimeError):
    """The graph did not come up or lost a node: one line that names the node and its log."""


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        executable: module in `ros_nodes`, such as ``sim_node``.
        parameters: a dataclass of `ros_nodes.params`.
        remappings: topic or service name to the name to use instead.
        threads: CPU threads its numerical libraries may use.
    """

    executable: str
    parameters: object
    remappings: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1


@dataclass
class _Running:
    """A started node: its process, its log, and the pipe it reports on."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    report: IO[bytes]


class Graph:
    """The processes of one graph. Not thread-safe: one thread starts, checks and stops it.

    Use it as a context manager: leaving the block stops every node, whatever happened inside.
    """

    def __init__(
        self, nodes: Sequence[NodeSpec], run_dir: Path, domain_id: int | None = None
    ) -> None:
        """Describe a graph; nothing is started yet.

        Args:
            nodes: in the order of starting; they are stopped in reverse order.
            run_dir: gets ``params/<node>.yaml`` and ``logs/<node>.log``.
            domain_id: ROS domain; ``None`` for a random free one.

        Raises:
            ValueError: a parameter out of range.
        """
        for node in nodes:
            check(node.parameters)
        self._nodes = tuple(nodes)
        self._run_dir = run_dir.resolve()
        self._running: list[_Running] = []
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
        """Node name to process id, of the nodes started."""
        return {node.name: node.process.pid for node in self._running}

    def start(self) -> None:
        """Start every node; returns at once, `wait_ready` waits."""
        if self._running:
            raise GraphError("the graph is running already")
        for folder in ("params", "logs"):
            (self._run_dir / folder).mkdir(parents=True, exist_ok=True)
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
                    self._take_report(key.data)
                    selector.unregister(key.fileobj)
        return time.time() - self._started_at

    def check(self) -> None:
        """Raise GraphError when a node has ended; call it now and then while the graph works."""
        for node in self._running:
            code = node.process.poll()
            if code is not None:
                raise GraphError(f"{node.name} has ended ({_how(code)}): {_last_line(node.log)}")

    def stop(self) -> dict[str, int]:
        """End every node, last started first, and remove what killed ones left in shared memory.

        Returns:
            node name to exit status: 0 for a clean end, negative for a signal.
        """
        codes: dict[str, int] = {}
        for node in reversed(self._running):
            codes[node.name] = _end(node.process)
            node.report.close()
        self._running = []
        if any(codes.values()):
            # Files younger than a second are nobody's to remove, and a killed process may still be
            # letting go of its locks on a busy machine: look twice.
            for pause_s in (1.1, 0.5):
                time.sleep(pause_s)
                remove_orphaned_shared_memory(self._started_at)
        return codes

    def _start(self, node: NodeSpec) -> _Running:
        name = node.executable
        parameter_file = self._run_dir / "params" / f"{name}.yaml"
        content = {"/**": {"ros__parameters": dict(as_mapping(node.parameters))}}
        parameter_file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        remappings = [word for pair in node.remappings.items() for word in ("-r", ":=".join(pair))]
        log = self._run_dir / "logs" / f"{name}.log"
        read_end, write_end = os.pipe()
        environment = {
            **os.environ,
            **transport_environment(self.domain_id),
            **dict.fromkeys(_THREAD_VARIABLES, str(node.threads)),
            "PYTHONUNBUFFERED": "1",
            READY_FD: str(write_end),
            STDIN_IS_PARENT: "1",
        }
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [
                        *(sys.executable, "-m", f"ros_nodes.{name}", "--ros-args"),
                        "--disable-external-lib-logs",  # the log file here is enough
                        *("--params-file", str(parameter_file), *remappings),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=(write_end,),
                    start_new_session=True,
                )
        finally:
            os.close(write_end)
        return _Running(name, process, log, os.fdopen(read_end, "rb"))

    def _take_report(self, node: _Running) -> None:
        line = node.report.readline().decode(errors="replace").strip()
        if line == "ready":
            return
        if line.startswith("error: "):
            raise GraphError(f"{node.name}: {line.removeprefix('error: ')}")
        code = node.process.wait(timeout=10.0)
        raise GraphError(f"{node.name} died on start ({_how(code)}): {_last_line(node.log)}")


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
    """
    nodes = [
        NodeSpec("sim_node", sim or SimParameters()),
        NodeSpec(
            "agent_node",
            AgentParameters(
                bundle=str(bundle.resolve()),
                agent_config="" if agent_config is None else str(agent_config.resolve()),
                task="" if task is None else str(task.resolve()),
                plan_log=str((run_dir / "plans.mcap").resolve()) if record else "",
                provider=provider,
                variant=variant,
                threads=threads,
            ),
        ),
        NodeSpec("command_node", command or CommandParameters()),
    ]
    if record:
        path = str((run_dir / "bag").resolve())
        nodes.insert(0, NodeSpec("recorder_node", RecorderParameters(path=path)))
    return Graph(nodes, run_dir, domain_id)


def _end(process: subprocess.Popen[bytes]) -> int:
    """End one process, gently first; returns its exit status."""
    for number, patience_s in _PATIENCE:
        if process.poll() is not None:
            break
        process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
    if process.stdin is not None:
        process.stdin.close()
    return process.wait()


def _how(code: int) -> str:
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name


def _last_line(log: Path) -> str:
    """The last line a node wrote, which is where Python puts the error."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip()} ({log})" if lines else f"it wrote nothing ({log})"
