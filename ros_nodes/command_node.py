"""Commands the robot at a fixed rate, whatever the planner does: sample the plan, filter, send.

It runs in a process of its own, because two busy threads of one interpreter make each other late.
Two threads here: the executor's, which only stores the newest plan and tool pose, and the ticking
one with absolute deadlines, which decides nothing itself either: `controller.command_filter` does.

Subscribes: ``plan`` (JointTrajectory), ``tool_pose`` (PoseStamped).
Publishes: ``servo_node/delta_twist_cmds`` (TwistStamped, as MoveIt Servo takes it), ``~/status``
(DiagnosticArray, 2 Hz), ``/diagnostics`` (1 Hz). Service: ``~/arm`` (SetBool).
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from controller.command_filter import (
    CommandLimits,
    CommandRequest,
    CommandState,
    PlanSchedule,
    filter_command,
)
from controller.types import NS_PER_S
from ros_nodes import qos
from ros_nodes.convert import (
    diagnostics,
    pose_to_position,
    stamp_to_ns,
    trajectory_to_plan,
    velocity_to_twist,
)
from ros_nodes.params import CommandParameters, declare_parameters
from ros_nodes.process import run_node, use_realtime_priority

_LATENESS_WINDOW = 1000  # ticks the percentiles are taken over
_BRAKING_TIMEOUT_S = 1.0
# How long a thread may hold the interpreter when the ticking one wants it. Python's default of 5 ms
# would be half a tick.
_SWITCH_INTERVAL_S = 0.0002


class CommandNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Declare parameters, create topics; nothing moves and nothing is sent yet."""
        super().__init__("command_node", automatically_declare_parameters_from_overrides=True)
        self._given = parameters = declare_parameters(self, CommandParameters)
        self._limits = CommandLimits(
            speed_m_s=_three(parameters.speed_m_s),
            acceleration_m_s2=_three(parameters.acceleration_m_s2),
            workspace_low_m=_three(parameters.workspace_low_m),
            workspace_high_m=_three(parameters.workspace_high_m),
            max_plan_age_s=parameters.max_plan_age_s,
            max_pose_age_s=parameters.max_pose_age_s,
            max_step_s=2.0 / parameters.rate_hz,
        )
        self._lock = threading.Lock()  # guards the schedule; held for microseconds
        self._schedule = PlanSchedule()
        # (position, stamp_ns, monotonic arrival): replaced as a whole, read without the lock
        self._pose: tuple[np.ndarray, int, float] | None = None
        self._armed = False
        self._ending = threading.Event()
        self._velocity = np.zeros(3)
        self._state = CommandState.NOT_ARMED
        self._realtime = False
        self._sent = 0
        self._missed = 0
        self._clamps: Counter[str] = Counter()
        self._lateness_s: deque[float] = deque(maxlen=_LATENESS_WINDOW)
        self._thread = threading.Thread(target=self._tick_forever, name="ticks", daemon=True)

        self._commands = self.create_publisher(
            TwistStamped, "servo_node/delta_twist_cmds", qos.COMMAND_LOG
        )
        self._status = self.create_publisher(DiagnosticArray, "~/status", qos.STATE)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
        self.create_subscription(JointTrajectory, "plan", self._on_plan, qos.COMMAND)
        self.create_subscription(PoseStamped, "tool_pose", self._on_pose, qos.SENSOR)
        self.create_service(SetBool, "~/arm", self._on_arm)
        self.create_timer(0.5, lambda: self._status.publish(self._report()))
        self.create_timer(1.0, lambda: self._diagnostics.publish(self._report()))

    def start(self) -> None:
        """Start ticking."""
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._realtime = use_realtime_priority(self._given.realtime_priority)
        self._thread.start()

    def stop(self) -> None:
        """Brake within the limits, then end the ticks."""
        self._armed = False
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_BRAKING_TIMEOUT_S + 1.0)

    # Executor thread

    def _on_plan(self, message: JointTrajectory) -> None:
        try:
            plan = trajectory_to_plan(message)
        except ValueError as error:
            self.get_logger().warning(f"plan dropped: {error}", throttle_duration_sec=1.0)
            return
        with self._lock:
            self._schedule.add(plan, time.monotonic())

    def _on_pose(self, message: PoseStamped) -> None:
        frame = message.header.frame_id
        if frame != self._given.base_frame:
            self.get_logger().warning(
                f"tool_pose is in frame {frame!r}, expected {self._given.base_frame!r}: dropped",
                throttle_duration_sec=1.0,
            )
            return
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._pose = (pose_to_position(message), stamp_ns, time.monotonic())

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        pose_age_s = self._pose_age_s(self.get_clock().now().nanoseconds, time.monotonic())
        if request.data and not pose_age_s <= self._limits.max_pose_age_s:
            response.success = False
            response.message = f"not armed: the tool pose is {pose_age_s:.2f} s old"
            return response
        if request.data and not self._armed:
            with self._lock:
                self._schedule.clear()  # motion starts with a plan made after arming
        self._armed = request.data
        response.success = True
        response.message = "armed" if request.data else "disarmed"
        self.get_logger().info(response.message)
        return response

    def _report(self) -> DiagnosticArray:
        lateness_ms = 1e3 * np.array(self._lateness_s or [0.0])
        values: dict[str, object] = {
            "armed": str(self._armed).lower(),
            "state": self._state.value,
            "realtime": str(self._realtime).lower(),
            "commands_sent": self._sent,
            "ticks_missed": self._missed,
            "lateness_p50_ms": float(np.percentile(lateness_ms, 50)),
            "lateness_p99_ms": float(np.percentile(lateness_ms, 99)),
            "lateness_max_ms": float(lateness_ms.max()),
        }
        values |= {f"clamps.{name}": count for name, count in sorted(self._clamps.copy().items())}
        quiet = self._state in (CommandState.FOLLOWING, CommandState.NOT_ARMED)
        level = DiagnosticStatus.OK if quiet else DiagnosticStatus.WARN
        now_ns = self.get_clock().now().nanoseconds
        return diagnostics(now_ns, self.get_name(), self._state.value, values, level)

    # Ticking thread

    def _tick_forever(self) -> None:
        period_ns = round(NS_PER_S / self._given.rate_hz)
        last_ns = time.monotonic_ns()
        deadline_ns = last_ns + period_ns
        give_up_ns: int | None = None
        while True:
            time.sleep(max(0, deadline_ns - time.monotonic_ns()) / NS_PER_S)
            now_ns = time.monotonic_ns()
            self._lateness_s.append((now_ns - deadline_ns) / NS_PER_S)
            self._tick(now_ns / NS_PER_S, (now_ns - last_ns) / NS_PER_S)
            if self._ending.is_set():
                give_up_ns = give_up_ns or now_ns + round(_BRAKING_TIMEOUT_S * NS_PER_S)
                if not self._velocity.any() or now_ns > give_up_ns:
                    return
            last_ns = now_ns
            # Ticks that have passed already are counted and left out, never sent in a burst.
            missed = max(0, (time.monotonic_ns() - deadline_ns) // period_ns)
            self._missed += missed
            deadline_ns += (missed + 1) * period_ns

    def _tick(self, now_s: float, dt_s: float) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        with self._lock:
            plan = self._schedule.in_force(stamp_ns)
            newest = self._schedule.newest
            plan_age_s = self._schedule.age_s(stamp_ns, now_s)
        pose = self._pose
        command = filter_command(
            self._limits,
            self._velocity,
            CommandRequest(
                armed=self._armed,
                wanted_m_s=None if plan is None else plan.action_at(stamp_ns),
                plan_usable=newest is not None and newest.usable,
                plan_age_s=plan_age_s,
                tool_position_m=None if pose is None else pose[0],
                pose_age_s=self._pose_age_s(stamp_ns, now_s),
            ),
            dt_s,
        )
        moving = bool(self._velocity.any())
        self._velocity = command.velocity_m_s
        self._state = command.state
        self._clamps.update(command.clamps)
        if self._armed or moving:  # the last command after disarming is the zero that ends it
            self._commands.publish(
                velocity_to_twist(command.velocity_m_s, stamp_ns, self._given.base_frame)
            )
            self._sent += 1

    def _pose_age_s(self, stamp_ns: int, now_s: float) -> float:
        """Age of the tool pose by arrival and by stamp, the larger; infinite without one."""
        pose = self._pose
        if pose is None:
            return float("inf")
        return max(now_s - pose[2], (stamp_ns - pose[1]) / NS_PER_S)


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


def main() -> None:
    """Entry point."""
    sys.exit(run_node("command_node", CommandNode))


if __name__ == "__main__":
    main()
