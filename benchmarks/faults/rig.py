"""The graph under test: nodes as on a robot, relays on their wires, a monitor at the actuator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from std_msgs.msg import Bool

from benchmarks.faults.judge import Heard, Rules
from benchmarks.faults.wire import ANSWER
from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.graph import Graph, GraphError, NodeSpec
from ros_nodes.keeper import RestartPolicy
from ros_nodes.transport import transport_environment

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
# By what each node is known to work.
_ALIVE = {"agent_node": "plan_status", "command_node": "command_node/status"}
_STABLE_S = RestartPolicy().stable_s + 0.5
_PUT_HEARD_S = 0.1  # after the world was reset, where the robot is then is known here


@dataclass(frozen=True)
class Plant:
    """A robot to test with: its nodes and what it was promised.

    Attributes:
        name: "simulation" or "fake hardware".
        nodes: of the graph, with the robot's topics under ``robot/``.
        goals: goal images, to be given in turn so that it keeps moving.
        goal_beyond: the image of a place beyond its limits.
        start_seed: of the simulated world, where it begins.
        outside_seed: of the simulated world, where the robot then stands beyond its limits; None
            for a robot that cannot be put anywhere.
        command: message type and topic of its commands.
        position: message type and topic of its true position.
        names: of the joints in that position; empty for a pose.
        place: joint positions ``(T, N)`` to further places ``(T, K)`` that the rules are about;
            None where there are none.
        rules: what may never happen.
        simulated_time: whether the nodes live by ``/clock``.
    """

    name: str
    nodes: tuple[NodeSpec, ...]
    goals: tuple[NDArray[np.uint8], ...]
    goal_beyond: NDArray[np.uint8]
    start_seed: int | None
    outside_seed: int | None
    command: tuple[str, str]
    position: tuple[str, str]
    names: tuple[str, ...]
    rules: Rules
    place: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    simulated_time: bool = False


class Helper:
    """A process that takes requests as JSON lines and answers each with a line."""

    def __init__(self, module: str, begin: dict[str, Any], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.ask(begin)

    def ask(self, request: dict[str, Any]) -> str:
        """Send one request and wait for its answer.

        Raises:
            GraphError: it has died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            # The middleware writes complaints of its own in between.
            answer = next((x for x in self._process.stdout if x.startswith(ANSWER)), "")
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise GraphError(f"{self._process.args} does not answer")
        return answer.removeprefix(ANSWER).strip()

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class _Told:
    """What this process asked for and when it was answered, monotonic s."""

    armed_s: list[float] = field(default_factory=list)
    armed: list[bool] = field(default_factory=list)


class Rig:
    """One graph that runs. Use it as a context manager."""

    def __init__(self, plant: Plant, run_dir: Path, seed: int) -> None:
        """Describe it; nothing is started."""
        self.plant = plant
        self._run_dir = run_dir
        self._seed = seed
        self._model_fault = run_dir / "model_fault.json"
        self._told = _Told()
        self._goal = 0
        self._camera_dead = False
        self._put: list[tuple[float, float]] = []
        self._back_since: dict[str, float] = {}
        self._back_s = float("-inf")  # when the last node that was killed was back

    def __enter__(self) -> Rig:
        """Start everything and arm."""
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._model_fault.write_text("")
        inside = str(Path(__file__).parent / "inside")
        os.environ["FORESEE_MODEL_FAULT"] = str(self._model_fault.resolve())
        path = os.environ.get("PYTHONPATH", "")
        with contextlib.ExitStack() as stack:
            os.environ["PYTHONPATH"] = os.pathsep.join([inside, str(ROOT), path])
            stack.callback(os.environ.__setitem__, "PYTHONPATH", path)
            graph = Graph(self.plant.nodes, self._run_dir, sim_time=self.plant.simulated_time)
            self.graph = stack.enter_context(graph)
            self._environment = {**os.environ, **transport_environment(self.graph.domain_id)}
            self._relays = {
                "camera": self._start_camera(),
                "state": self._start_relay(
                    {
                        "joints": ("sensor_msgs/msg/JointState", "joint_states", False),
                        "pose": ("geometry_msgs/msg/PoseStamped", "tool_pose", False),
                        "plan": ("trajectory_msgs/msg/JointTrajectory", "plan", True),
                        "clock": ("rosgraph_msgs/msg/Clock", "clock", False),
                    }
                ),
            }
            stack.callback(lambda: [relay.close() for relay in self._relays.values()])
            listen = {
                "command": self.plant.command,
                "plan": "plan",
                "position": self.plant.position,
                "names": self.plant.names,
                "alive": _ALIVE,
            }
            module = "benchmarks.faults.monitor"
            self._monitor = Helper(module, listen, self._environment)
            stack.callback(self._monitor.close)
            self.graph.wait_ready(PATIENCE_S)
            self.client = stack.enter_context(GraphClient(self.graph.domain_id))
            self._estop = self.client.publisher(Bool, "estop", qos.STATE)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything."""
        self._stack.close()

    # What a person does

    def arm(self, armed: bool = True) -> None:
        """Arm or disarm, clearing a latched e-stop before; asks again while it is refused."""
        if armed:
            self.client.clear_estop(PATIENCE_S)
        self.client.arm(armed, timeout_s=PATIENCE_S)
        self._told.armed_s.append(time.monotonic())
        self._told.armed.append(armed)

    def disarmed(self, since_s: float) -> None:
        """Note that from then on (monotonic s) nothing may move until it is armed again."""
        self._told.armed_s.append(since_s)
        self._told.armed.append(False)

    def next_goal(self) -> None:
        """Give the next goal image, so that there is somewhere to go."""
        self._goal = (self._goal + 1) % len(self.plant.goals)
        self.client.set_goal(self.plant.goals[self._goal], PATIENCE_S)

    # Faults

    def set_route_fault(self, routes: Iterable[str], fault: dict[str, Any]) -> None:
        """Put a fault of messages in force; an empty one ends it."""
        by_relay: dict[str, list[str]] = {}
        for name in routes:
            by_relay.setdefault("camera" if name == "camera" else "state", []).append(name)
        for relay, names in by_relay.items():
            if not (relay == "camera" and self._camera_dead):
                self._relays[relay].ask({"routes": names, **fault})

    def set_model_fault(self, fault: dict[str, Any]) -> None:
        """Put a fault of the model in force; an empty one ends it."""
        partial = self._model_fault.with_suffix(".partial")
        partial.write_text(json.dumps(fault) if fault else "")
        partial.replace(self._model_fault)

    def pid(self, name: str) -> int:
        """Process id of a node, or of the camera's driver.

        Raises:
            GraphError: it does not run now.
        """
        if name == "camera":
            return self._relays["camera"].pid
        pids = self.graph.pids
        if name not in pids:
            raise GraphError(f"{name} does not run")
        return pids[name]

    def signal(self, name: str, number: int) -> float:
        """Send a signal to a node; returns when, monotonic s."""
        pid = self.pid(name)
        now_s = time.monotonic()
        os.kill(pid, number)
        self._camera_dead |= name == "camera" and number == signal.SIGKILL
        return now_s

    def runs(self, pid: int) -> bool:
        """Whether there is such a process, a stopped one included."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def is_back(self, name: str, old_pid: int) -> bool:
        """Whether a node that was killed has a new process, and that one has been heard."""
        pids = self.graph.pids
        if pids.get(name, old_pid) == old_pid:
            return False
        if name not in self._back_since:
            self._back_since[name] = time.monotonic()
        last = self._last(name)
        if last is None or last["at_s"] <= self._back_since[name]:
            return False
        self._back_s = self._back_since.pop(name)
        return True

    def says_armed(self) -> bool:
        """Whether the newest word of `command_node` is that it is armed."""
        last = self._last("command_node")
        return last is not None and last["armed"] == "true"

    def _last(self, name: str) -> dict[str, Any] | None:
        heard: dict[str, dict[str, Any]] = json.loads(self._monitor.ask({"last": True}))
        return heard.get(name)

    def wait_until_stable(self) -> None:
        """Give a node that was started again the time to count as working.

        One that dies sooner is started later and later, as it should be.
        """
        time.sleep(max(0.0, self._back_s + _STABLE_S - time.monotonic()))

    def estop(self) -> None:
        """Press it: the topic, as a button is wired."""
        self._estop.publish(Bool(data=True))

    def put_outside(self) -> None:
        """Put the simulated robot beyond its limits.

        Raises:
            GraphError: it cannot be put anywhere.
        """
        if self.plant.outside_seed is None:
            raise GraphError(f"{self.plant.name} cannot be put anywhere")
        began_s = time.monotonic()
        self.client.reset_world(self.plant.outside_seed)
        self._put.append((began_s, time.monotonic() + _PUT_HEARD_S))

    def restart_camera(self) -> None:
        """What whoever started the camera's driver does when it has died."""
        if self._camera_dead:
            self._relays["camera"].close()
            self._relays["camera"] = self._start_camera()
            self._camera_dead = False

    # What happened

    def heard(self, path: Path, rest: tuple[tuple[float, float], ...] = ()) -> Heard:
        """What arrived at the robot since the last call, kept in a file.

        Args:
            path: of that file.
            rest: from when until when it had to brake and rest, monotonic s.
        """
        self._monitor.ask({"save": str(path.resolve())})
        told = self._told
        with np.load(path) as rows:
            values = {name: rows[name] for name in rows.files}
        axes, told_of = len(self.plant.rules.velocity), len(self.plant.names) or 3
        position = values["position"].reshape(-1, told_of)
        if self.plant.place is not None:
            position = np.hstack([position, self.plant.place(position)])
        # By simulated time a stamp says nothing here.
        start_s = values["plan_s" if self.plant.simulated_time else "plan_stamp_s"]
        return Heard(
            command_s=values["command_s"],
            stamp_s=values["stamp_s"],
            velocity=values["command"].reshape(-1, axes),
            plan_s=values["plan_s"],
            plan_start_s=start_s,
            position_s=values["position_s"],
            position=position,
            armed_s=np.array(told.armed_s),
            armed=np.array(told.armed, bool),
            stop_asked_s=values["estop_s"],
            rest=rest,
            paused_s=values["paused_s"],
            put=tuple(self._put),
        )

    def speed(self) -> float:
        """Speed that the robot is told to move at, m/s or rad/s."""
        return float(self._monitor.ask({"speed": True}))

    def _start_camera(self) -> Helper:
        return self._start_relay({"camera": ("sensor_msgs/msg/Image", "scene/image_raw", False)})

    def _start_relay(self, routes: dict[str, tuple[str, str, bool]]) -> Helper:
        table = {
            name: (kind, f"{'agent' if name == 'plan' else 'robot'}/{topic}", topic, reliable)
            for name, (kind, topic, reliable) in routes.items()
        }
        begin = {"routes": table, "seed": self._seed}
        return Helper("benchmarks.faults.relay", begin, self._environment)
