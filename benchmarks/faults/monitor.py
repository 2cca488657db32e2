"""Hears what the robot is told, in a process of its own, and keeps it for the judge.

It knows topics and nothing of the nodes. The first line on stdin says what to listen to; each line
after it is a request, answered by one line on stdout: ``save`` names a file, into which everything
since the last one is written (``numpy.savez``), and when this process itself did not run; ``speed``
asks how fast the robot is told to move; ``last`` when each node was last heard of (monotonic s),
and whether it is armed.

    {"command": ["geometry_msgs/msg/TwistStamped", "servo_node/delta_twist_cmds"],
     "plan": "plan", "position": ["geometry_msgs/msg/PoseStamped", "robot/tool_pose"], "names": []}
    {"save": "trial.npz"}        {"speed": true}
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from benchmarks.faults.wire import serve
from ros_nodes.convert import diagnostic_values
from ros_nodes.process import use_realtime_priority

Message = Any  # of any type
Info = dict[str, Any]  # what rclpy says of a message
_DEPTH = 1000
_RECENT_S = 0.1
_PRIORITY = 60  # above the nodes'
_BEAT_S = 0.005
_PAUSE_S = 0.05  # between two beats: what arrived meanwhile has no time
# So much is in the next file too: a rule is about what came before as well.
_KEPT_S = 1.0
_TOGETHER = {
    "command_s": ("stamp_s", "command", "command_s"),
    "plan_s": ("plan_s", "plan_stamp_s"),
    "stop_plan_s": ("stop_plan_s",),
    "estop_s": ("estop_s",),
    "position_s": ("position", "position_s"),
    "pause_s": ("pause_s", "paused_s"),
}


class Monitor(Node):
    """See the module's text."""

    def __init__(self, begin: dict[str, Any]) -> None:
        super().__init__("fault_monitor")
        self._names: list[str] = begin["names"]
        self._lock = threading.Lock()
        names = (
            "command_s",
            "stamp_s",
            "command",
            "plan_s",
            "plan_stamp_s",
            "stop_plan_s",
            "position_s",
            "estop_s",
            "pause_s",
            "paused_s",
        )
        self._rows: dict[str, list[Any]] = {name: [] for name in (*names, "position")}
        reliable = QoSProfile(depth=_DEPTH)
        newest = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        kind, topic = begin["command"]
        self.create_subscription(_class(kind), topic, self._on_command, reliable)
        self.create_subscription(JointTrajectory, begin["plan"], self._on_plan, reliable)
        self.create_subscription(Bool, "estop", self._on_estop, reliable)
        kind, topic = begin["position"]
        self.create_subscription(_class(kind), topic, self._on_position, newest)
        self._last: dict[str, dict[str, Any]] = {}
        for name, topic in begin["alive"].items():
            self.create_subscription(DiagnosticArray, topic, self._on_alive(name), reliable)
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def save(self, path: str) -> int:
        """Write what was heard since the last call, and a little before; how many commands."""
        with self._lock:
            rows = {name: list(values) for name, values in self._rows.items()}
            oldest_s = time.monotonic() - _KEPT_S
            for of, names in _TOGETHER.items():
                gone = sum(at_s < oldest_s for at_s in self._rows[of])
                for name in names:
                    del self._rows[name][:gone]
        arrays = {name: np.array(values, np.float64) for name, values in rows.items()}
        np.savez(path, **arrays)
        return len(rows["command_s"])

    def speed(self) -> float:
        """Norm of the last command; 0 when that was more than a tenth of a second ago."""
        with self._lock:
            times_s = self._rows["command_s"]
            if not times_s or time.monotonic() - times_s[-1] > _RECENT_S:
                return 0.0
            return float(np.linalg.norm(self._rows["command"][-1]))

    def last(self) -> dict[str, dict[str, Any]]:
        """When each node was last heard of, and whether it said that it is armed."""
        return dict(self._last)

    def _beat(self) -> None:
        """Keep when this process did not run, and for how long."""
        last_s = time.monotonic()
        while True:
            time.sleep(_BEAT_S)
            now_s = time.monotonic()
            if now_s - last_s > _PAUSE_S:
                with self._lock:
                    self._rows["pause_s"].append(now_s)
                    self._rows["paused_s"].append(now_s - last_s)
            last_s = now_s

    def _on_alive(self, name: str) -> Callable[[DiagnosticArray, Info], None]:
        def take(message: DiagnosticArray, info: Info) -> None:
            if not message.status:
                return
            values = diagnostic_values(message)
            self._last[name] = {"at_s": _arrival_s(info), "armed": values.get("armed")}

        return take

    def _on_command(self, message: Message, info: Info) -> None:
        header = getattr(message, "header", None)
        with self._lock:
            self._rows["command_s"].append(_arrival_s(info))
            self._rows["stamp_s"].append(
                float("nan") if header is None else header.stamp.sec + 1e-9 * header.stamp.nanosec
            )
            self._rows["command"].append(_values(message))

    def _on_plan(self, message: JointTrajectory, info: Info) -> None:
        with self._lock:
            if not message.points:
                self._rows["stop_plan_s"].append(_arrival_s(info))
                return
            self._rows["plan_s"].append(_arrival_s(info))
            stamp = message.header.stamp
            self._rows["plan_stamp_s"].append(_monotonic_s(stamp.sec * 10**9 + stamp.nanosec))

    def _on_estop(self, message: Bool, info: Info) -> None:
        if message.data:
            with self._lock:
                self._rows["estop_s"].append(_arrival_s(info))

    def _on_position(self, message: Message, info: Info) -> None:
        if hasattr(message, "pose"):
            point = message.pose.position
            values = [point.x, point.y, point.z]
        else:
            by_name = dict(zip(message.name, message.position, strict=False))
            values = [by_name[name] for name in self._names]
        with self._lock:
            self._rows["position_s"].append(_arrival_s(info))
            self._rows["position"].append(values)


def _arrival_s(info: Info) -> float:
    """When the middleware had a message, monotonic s: it may wait here before it is looked at."""
    return _monotonic_s(info["received_timestamp"])


def _monotonic_s(clock_ns: int) -> float:
    """What the monotonic clock showed when the machine's clock showed this."""
    return 1e-9 * (clock_ns - time.time_ns() + time.monotonic_ns())


def _values(message: Message) -> list[float]:
    """The numbers of a command."""
    twist = getattr(message, "twist", message if hasattr(message, "linear") else None)
    if twist is not None:
        return [twist.linear.x, twist.linear.y, twist.linear.z]
    if hasattr(message, "points"):
        point = message.points[-1]
        return list(point.positions or point.velocities)
    return list(message.data)


def _class(kind: str) -> type:
    package, _, name = kind.split("/")
    return getattr(import_module(f"{package}.msg"), name)


def _reply(monitor: Monitor, request: dict[str, Any]) -> object:
    if "save" in request:
        return monitor.save(request["save"])
    return json.dumps(monitor.last() if "last" in request else monitor.speed())


def main() -> None:
    """Serve stdin until it ends."""
    use_realtime_priority(_PRIORITY)  # where the system allows it: its times are to be arrivals
    serve(Monitor, _reply)


if __name__ == "__main__":
    main()
