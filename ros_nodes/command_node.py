"""Commands the robot at a fixed rate, whatever the planner does: sample the plan, filter, send.

It runs in a process of its own, because two busy threads of one interpreter make each other late.
Two threads here: the executor's, which only takes messages in, and the ticking one with absolute
deadlines, which decides nothing itself either: `controller.command_filter` does.

Subscribes: ``plan`` (JointTrajectory), ``plan_status`` (DiagnosticArray), ``agent_node/process``
(String, latched), ``tool_pose`` (PoseStamped), ``joint_states`` (JointState; joints, gripper),
``estop`` (Bool), ``robot_description`` (String, latched; for joint commands without a file).
Publishes: the topic of the robot's interface (`ros_nodes.command_interfaces`), ``~/applied``
(TwistStamped, of joints' tool or of a base), ``~/applied_gripper`` (JointState), ``~/status``
(DiagnosticArray, on change and 2 Hz), ``/diagnostics`` (1 Hz).
Services: ``~/arm`` (SetBool), ``~/estop``, ``~/clear_estop`` (Trigger).
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from controller.command_filter import CommandFilter, CommandState, pace, why_not_armed
from controller.gripper import allowed_speed, next_target
from controller.types import NS_PER_S
from controller.viability import Motion
from ros_nodes import qos
from ros_nodes.command_inputs import CommandInputs
from ros_nodes.command_interfaces import CommandOutput
from ros_nodes.convert import diagnostics, status_name
from ros_nodes.params import CommandParameters, declare_parameters
from ros_nodes.process import (
    never_wait_for_output,
    run_node,
    steady_timer,
    use_realtime_priority,
)
from ros_nodes.process_watch import ProcessWatch
from ros_nodes.robot_model import build_filter, gripper_limits, is_joint_interface, read_urdf
from ros_nodes.transport import ESTOP_LATCHED, SUPERVISOR

_LATENESS_WINDOW = 1000  # ticks the percentiles are taken over
_BRAKING_TIMEOUT_S = 3.0
# How long a thread may hold the interpreter when the ticking one wants it. Python's default of 5 ms
# would be half a tick.
_SWITCH_INTERVAL_S = 0.0002
_CLOCK_JUMP_S = 0.05
_STANDS = 0.1  # rad/s or m/s: a robot that moves faster is not armed
_ZEROS_AFTER = 10  # commands of rest that end a motion
_WHAT_IT_DOES = {"stands still": "stands still", "gone": "has ended"}  # and must not, in words


def clock_jumped(clock_s: float, elapsed_s: float, simulated: bool) -> bool:
    """Whether the clock that stamps everything jumped; simulated time may be slow, but not go back.

    Args:
        clock_s: how far it went on.
        elapsed_s: how much time has passed.
        simulated: whether it is the simulation's.
    """
    slow_s = elapsed_s if simulated else 0.0
    steady = -_CLOCK_JUMP_S - slow_s <= clock_s - elapsed_s <= _CLOCK_JUMP_S
    return not steady or (simulated and clock_s < 0.0)


class CommandNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Declare parameters, create topics; nothing moves and nothing is sent yet.

        Raises:
            ValueError: parameters that do not fit each other or the robot's URDF.
        """
        super().__init__("command_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, CommandParameters)
        self._inputs = CommandInputs(given)
        self._output = CommandOutput(self, given)
        self._filter: CommandFilter | None = None
        if is_joint_interface(given) and not given.robot_description_file:
            self.create_subscription(String, "robot_description", self._on_description, qos.LATCHED)
        else:
            joints = is_joint_interface(given)
            self._filter = build_filter(
                given, read_urdf(given.robot_description_file) if joints else None
            )
        self._simulated_time = bool(self.get_parameter("use_sim_time").value)
        self._armed = False
        self._estop = os.environ.get(ESTOP_LATCHED) == "true"
        self._disarmed_by = "an e-stop from before it was started" if self._estop else ""
        self._estops_cleared = 0
        watched = os.environ.get(SUPERVISOR)  # who stops the robot when this process cannot
        self._supervisor = ProcessWatch(watched) if watched else None
        self._ending = threading.Event()
        self._state = CommandState.NOT_ARMED
        self._told: tuple[object, ...] = ()  # what ~/status said last
        self._last_stamp_ns = 0
        self._last_motion: Motion | None = None  # as it was sent
        self._owed = 0  # commands of rest still to be sent
        self._gripper_limits = gripper_limits(given)
        self._gripper_m = np.nan  # what it was told last
        self._gripping = False  # it was told something since the last arming
        self._realtime = False
        self._sent = 0
        self._missed = 0
        self._clamps: Counter[str] = Counter()
        self._lateness_s: deque[float] = deque(maxlen=_LATENESS_WINDOW)
        self._spent_s: deque[float] = deque(maxlen=_LATENESS_WINDOW)
        self._thread = threading.Thread(target=self._run, name="ticks", daemon=True)

        self._status = self.create_publisher(DiagnosticArray, "~/status", qos.STATE)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.STATE)
        self.create_subscription(Bool, "estop", self._on_estop, qos.STATE)
        self.create_subscription(JointTrajectory, "plan", self._on_plan, qos.COMMAND)
        self.create_subscription(DiagnosticArray, "plan_status", self._on_status, qos.STATE)
        self.create_subscription(String, "agent_node/process", self._on_agent, qos.LATCHED)
        if given.interface == "twist_stamped":
            self.create_subscription(PoseStamped, "tool_pose", self._on_pose, qos.SENSOR)
            if given.gripper:
                self.create_subscription(JointState, "joint_states", self._on_gripper, qos.SENSOR)
        else:
            self.create_subscription(JointState, "joint_states", self._on_joints, qos.SENSOR)
        self.create_service(SetBool, "~/arm", self._on_arm)
        self.create_service(Trigger, "~/estop", self._on_estop_call)
        self.create_service(Trigger, "~/clear_estop", self._on_clear)
        steady_timer(self, 0.5, lambda: self._status.publish(self._report()))
        steady_timer(self, 1.0, lambda: self._diagnostics.publish(self._report()))

    def start(self) -> None:
        """Start ticking."""
        never_wait_for_output()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        self._realtime = use_realtime_priority(self._given.realtime_priority)
        mode = "shadow: nothing is commanded, " if self._given.shadow else ""
        self.get_logger().info(f"{mode}{self._given.interface} on {self._output.topic}")
        self._thread.start()

    def stop(self) -> None:
        """Brake within the limits, then end the ticks."""
        self._disarm("the node ends")
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_BRAKING_TIMEOUT_S + 1.0)

    # Executor thread

    def _on_description(self, message: String) -> None:
        if self._filter is not None:
            return
        try:
            self._filter = build_filter(self._given, message.data)
        except ValueError as error:
            self._warn(f"robot_description: {error}")

    def _on_plan(self, message: JointTrajectory) -> None:
        self._take(lambda: self._inputs.take_plan(message, time.monotonic()))

    def _on_status(self, message: DiagnosticArray) -> None:
        self._take(lambda: self._inputs.take_status(message, time.monotonic()))

    def _on_agent(self, message: String) -> None:
        self._take(lambda: self._inputs.take_agent(message.data))

    def _on_pose(self, message: PoseStamped) -> None:
        self._take(lambda: self._inputs.take_pose(message, time.monotonic()))

    def _on_joints(self, message: JointState) -> None:
        self._take(lambda: self._inputs.take_joints(message, time.monotonic()))

    def _on_gripper(self, message: JointState) -> None:
        self._inputs.take_gripper(message, time.monotonic())

    def _take(self, take: Callable[[], None]) -> None:
        try:
            take()
        except ValueError as error:
            self._warn(f"dropped: {error}")

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._latch("the topic estop")

    def _on_estop_call(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._latch("a call")
        response.success, response.message = True, "e-stop latched"
        return response

    def _latch(self, by: str) -> None:
        before, self._estop = self._estop, True
        self._disarm(f"e-stop by {by}")
        if not before:
            self.get_logger().error(f"e-stop by {by}")

    def _on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._estop = False
        self._estops_cleared += 1
        response.success, response.message = True, "e-stop cleared; arm to move again"
        self.get_logger().warning(response.message)
        return response

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        reason = self._why_not_armed() if request.data and not self._armed else ""
        response.success = not reason
        if reason:
            response.message = f"not armed: {reason}"
            return response
        if request.data and not self._armed:
            self._inputs.forget_plans()  # motion starts with a plan made after arming
            self._gripping = False
            self._armed, self._disarmed_by = True, ""
        elif not request.data:
            self._disarm("a call")
        response.message = "armed" if request.data else "disarmed"
        self.get_logger().info(response.message)
        return response

    def _why_not_armed(self) -> str:
        if self._filter is None:
            return "there is no robot_description"
        if self._ending.is_set():
            return "the node ends"
        now_ns, now_s = self.get_clock().now().nanoseconds, time.monotonic()
        situation, _ = self._inputs.situation(now_ns, now_s, False, self._estop)
        reason = why_not_armed(self._filter.times, situation)
        if not reason and (does := self._supervisor_does()) in _WHAT_IT_DOES:
            reason = f"the supervisor's process {_WHAT_IT_DOES[does]}"
        speed = self._inputs.speed
        if not reason and np.isnan(speed):
            reason = "it is not known yet whether the robot stands: too few readings"
        if not reason and speed > _STANDS:
            unit = "m/s" if self._given.interface == "twist_stamped" else "rad/s"
            reason = f"the robot moves already ({speed:.2f} {unit})"
        if not reason and self._given.gripper and self._inputs.gripper_m(now_ns, now_s) is None:
            reason = f"joint_states says nothing new of gripper_joint {self._given.gripper_joint!r}"
        return reason

    def _supervisor_does(self) -> str:
        return "none" if self._supervisor is None else self._supervisor.state()

    def _disarm(self, by: str) -> None:
        if self._armed:
            self._disarmed_by = by
        self._armed = False

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=1.0)

    def _report(self) -> DiagnosticArray:
        lateness_ms = 1e3 * np.array(self._lateness_s or [0.0])
        spent_ms = 1e3 * np.array(self._spent_s or [0.0])
        values: dict[str, object] = {
            "armed": str(self._armed).lower(),
            "estop": str(self._estop).lower(),
            "estops_cleared": self._estops_cleared,
            "shadow": str(self._given.shadow).lower(),
            "state": self._state.value,
            "disarmed_by": self._disarmed_by,
            "agent": self._inputs.agent,
            "images": "watched"
            if self._inputs.images_are_watched
            else "no plan_status says how old",
            "supervisor": self._supervisor_does(),
            "pid": os.getpid(),
            "interface": self._given.interface,
            "realtime": str(self._realtime).lower(),
            "commands_sent": self._sent,
            "ticks_missed": self._missed,
            "lateness_p50_ms": float(np.percentile(lateness_ms, 50)),
            "lateness_p99_ms": float(np.percentile(lateness_ms, 99)),
            "lateness_max_ms": float(lateness_ms.max()),
            "tick_p99_ms": float(np.percentile(spent_ms, 99)),
        }
        values |= {f"clamps.{name}": count for name, count in sorted(self._clamps.copy().items())}
        quiet = self._state in (CommandState.FOLLOWING, CommandState.NOT_ARMED)
        level = DiagnosticStatus.OK if quiet else DiagnosticStatus.WARN
        if self._estop:
            level = DiagnosticStatus.ERROR
        now_ns = self.get_clock().now().nanoseconds
        return diagnostics(now_ns, status_name(self), self._state.value, values, level)

    # Ticking thread

    def _run(self) -> None:
        try:
            self._tick_forever()
        except Exception:
            # A process that lives on without ticks would be taken for a healthy one.
            self.get_logger().fatal(f"the ticking thread failed\n{traceback.format_exc()}")
            self._brake_and_die()

    def _brake_and_die(self) -> None:
        """To a stand with as little code as can be; the supervisor sees to the rest."""
        try:
            motion, period_s = self._last_motion, 1.0 / self._given.rate_hz
            if self._filter is not None and motion is not None:
                stamp_ns = max(self._last_stamp_ns + 1, self.get_clock().now().nanoseconds)
                while not motion.rests:
                    motion = motion.after_braking(self._filter.limits.axes, period_s)
                    self._output.send(motion, stamp_ns)
                    stamp_ns += round(period_s * NS_PER_S)
                    time.sleep(period_s)
        finally:
            os._exit(1)

    def _tick_forever(self) -> None:
        period_ns = round(NS_PER_S / self._given.rate_hz)
        last_ns = time.monotonic_ns()
        clock_ns = self.get_clock().now().nanoseconds
        deadline_ns = last_ns + period_ns
        give_up_ns: int | None = None
        while True:
            time.sleep(max(0, deadline_ns - time.monotonic_ns()) / NS_PER_S)
            now_ns, stamp_ns = time.monotonic_ns(), self.get_clock().now().nanoseconds
            self._lateness_s.append((now_ns - deadline_ns) / NS_PER_S)
            elapsed_s = (now_ns - last_ns) / NS_PER_S
            self._watch_clock((stamp_ns - clock_ns) / NS_PER_S, elapsed_s)
            moving = self._tick(stamp_ns, now_ns / NS_PER_S, elapsed_s)
            self._spent_s.append((time.monotonic_ns() - now_ns) / NS_PER_S)
            self._tell_changes()
            if self._ending.is_set():
                give_up_ns = give_up_ns or now_ns + round(_BRAKING_TIMEOUT_S * NS_PER_S)
                if not moving or now_ns > give_up_ns:
                    return
            last_ns, clock_ns = now_ns, stamp_ns
            # Ticks that have passed already are counted and left out, never sent in a burst.
            missed = max(0, (time.monotonic_ns() - deadline_ns) // period_ns)
            self._missed += missed
            deadline_ns += (missed + 1) * period_ns

    def _watch_clock(self, clock_s: float, elapsed_s: float) -> None:
        """Stop when the clock that stamps everything jumps."""
        if clock_jumped(clock_s, elapsed_s, self._simulated_time):
            self._disarm(f"the clock jumped by {clock_s - elapsed_s:.3f} s")
            self._inputs.forget()

    def _tick(self, stamp_ns: int, now_s: float, elapsed_s: float) -> bool:
        """One command; returns whether the robot still moves or is owed one."""
        if self._filter is None:
            return False
        if self._ending.is_set():
            self._disarm("the node ends")  # also when a call to arm was under way
        if self._armed and self._inputs.agent == "gone":
            self._disarm("the agent's process has ended")
        if self._armed and (does := self._supervisor_does()) in _WHAT_IT_DOES:
            self._disarm(f"the supervisor's process {_WHAT_IT_DOES[does]}")
        armed, moved = self._armed, not self._filter.motion.rests
        situation, gripper = self._inputs.situation(stamp_ns, now_s, armed, self._estop)
        command = self._filter.tick(situation, now_s, elapsed_s)
        self._state = command.state
        self._clamps.update(command.clamps)
        if (armed or moved) and self._filter.begun:
            self._owed = _ZEROS_AFTER
        if not self._owed:
            self._filter.release()
            self._last_stamp_ns = 0  # the next motion has a stream of its own
            return False
        self._owed -= 1
        # Within one motion stamps ascend, whatever the clock does.
        stamp_ns = self._last_stamp_ns = max(stamp_ns, self._last_stamp_ns + 1)
        share = pace(self._filter.times, situation.surprise)
        follows = command.state is CommandState.FOLLOWING
        # First: who hears the motion is to know what the gripper was told with it.
        self._send_gripper(gripper * share if follows else 0.0, stamp_ns, now_s)
        self._output.send(command.motion, stamp_ns)
        self._last_motion = command.motion
        tool_m_s = self._filter.tool_velocity()
        if tool_m_s is not None:
            self._output.report_applied(tool_m_s, stamp_ns)
        self._sent += 1
        return not command.motion.rests or bool(self._owed)

    def _send_gripper(self, wanted_m_s: float, stamp_ns: int, now_s: float) -> None:
        """Nothing is sent before the first wish to move it: it holds what it holds."""
        if not self._given.gripper:
            return
        measured_m = self._inputs.gripper_m(stamp_ns, now_s)
        limits, dt_s = self._gripper_limits, 1.0 / self._given.rate_hz
        speed_m_s = allowed_speed(wanted_m_s, limits)
        if measured_m is None or not (self._gripping or speed_m_s):
            return
        before_m = self._gripper_m
        moved_m = abs(before_m - measured_m)  # by hand, while nothing was sent
        if np.isnan(before_m) or (not self._gripping and moved_m > 2.0 * limits.ahead_m):
            before_m = measured_m
        self._gripping = True
        if speed_m_s != wanted_m_s:
            self._clamps["gripper.speed"] += 1
        self._gripper_m = next_target(before_m, measured_m, speed_m_s, dt_s, limits)
        self._output.send_gripper(self._gripper_m, speed_m_s, stamp_ns)

    def _tell_changes(self) -> None:
        now = (self._state, self._armed, self._estop)
        if now != self._told:
            self._told = now
            self._status.publish(self._report())


def main() -> None:
    """Entry point."""
    sys.exit(run_node("command_node", CommandNode))


if __name__ == "__main__":
    main()
