"""What the supervisor does when `command_node`, which moves the robot, is lost.

ros2_control's forward_command_controller holds its last command for ever. So somebody else has to
end the motion when `command_node` is dead: from the last command that was heard, within the limits,
and then an e-stop that only a person clears. (That the agent is lost, `command_node` sees itself.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node
from std_msgs.msg import Bool

from controller.braking import AxisLimits, brake
from controller.viability import Motion
from ros_nodes import qos
from ros_nodes.command_interfaces import (
    applied_topic,
    command_message,
    message_class,
    message_values,
    positions_are_sent,
    topic,
)
from ros_nodes.convert import diagnostic_values, velocity_to_twist
from ros_nodes.params import CommandParameters
from ros_nodes.robot_model import is_joint_interface

_LOOK_EVERY_S = 0.01
_IN_FLIGHT_S = 0.003  # what a lost node sent last is here by then
_RECENT_S = 0.5  # commands this young mean that the robot was being commanded
_UNHEARD_S = 0.2  # a status so long after an e-stop that denies it: command_node did not hear it


class _Heard(NamedTuple):
    """The last command, and its `time.monotonic`."""

    motion: Motion
    arrived_s: float


class CommandWatch:
    """Hears every command and can take over from `command_node`.

    Callbacks run on the executor's thread, `command_lost` on whichever notices.
    """

    def __init__(
        self,
        node: Node,
        command: CommandParameters,
        silence_s: float,
        kill: Callable[[], None],
    ) -> None:
        """Subscribe to commands and to what `command_node` says.

        Args:
            node: to hear and speak with, on an executor of its own: what waits behind other
                callbacks would look like silence.
            command: parameters of the `command_node` that is watched.
            silence_s: a robot that was last told to move and then nothing for this long has lost
                its `command_node`, whatever the kernel says of the process.
            kill: ends that process; `command_lost` is called then as after any death.
        """
        self._node = node
        self._given = command
        self._silence_s = silence_s
        self._kill = kill
        self._dt_s = 1.0 / command.rate_hz
        self._limits = _limits(command)
        self._heard: _Heard | None = None
        self._armed = False
        self._latched = False
        self._missed = False  # an e-stop came before the process that is watched could hear it
        self._estop_s = -np.inf  # when the last one came
        self._spoken = False  # that process has said something
        self._pid = ""  # of that process; what a dead one said last may still arrive
        self._lost = False  # that process; both the kernel and its silence may tell
        self._cleared = "0"  # how often that process was told to clear the e-stop
        self._braking = threading.Lock()
        self._at_once = threading.Event()  # an e-stop came, and a ramp is no answer to it
        self._ending = threading.Event()
        self.stops = 0
        kind, name = message_class(command), topic(command)
        self._commands = node.create_publisher(kind, name, qos.COMMAND_LOG)
        self._applied = None
        if topic_applied := applied_topic(command):
            self._applied = node.create_publisher(TwistStamped, topic_applied, qos.COMMAND_LOG)
        self._estops = node.create_publisher(Bool, "estop", qos.STATE)
        if not command.shadow:  # which moves nothing
            node.create_subscription(kind, name, self._on_command, qos.COMMAND_LOG)
        node.create_subscription(Bool, "estop", self._on_estop, qos.STATE)
        node.create_subscription(DiagnosticArray, "command_node/status", self._on_status, qos.STATE)
        self._thread = threading.Thread(target=self._listen, name="silence", daemon=True)

    def start(self) -> None:
        """Begin to notice silence."""
        self._thread.start()

    def stop(self) -> None:
        """End it; call before the nodes are ended on purpose, and `command_ended` after that."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def starts(self) -> bool:
        """A `command_node` is about to start; returns whether it is to begin with a latched e-stop.

        Nothing has to be repeated to it then, and nothing that is under way when a person clears
        the e-stop can latch it again.
        """
        self._spoken = self._missed = False
        self._cleared = "0"
        return self._latched

    def started(self, pid: int) -> None:
        """From now on `command_node` is this process."""
        self._pid = str(pid)
        self._lost = False

    def command_lost(self) -> None:
        """Brake in the place of a `command_node` that is dead, then latch the e-stop.

        Nothing is sent when it was not armed and had not just commanded anything.
        """
        noticed_s = time.monotonic()
        self._pid = ""
        if self._ending.is_set():
            return
        time.sleep(_IN_FLIGHT_S)
        with self._braking:
            if self._lost:
                return
            self._lost = True
            heard = self._heard
            # What was last told to move does so still, however long ago that was.
            told = heard is not None and (
                not heard.motion.rests or noticed_s - heard.arrived_s < _RECENT_S
            )
            if told or self._armed:
                self._stop_robot(heard if told else None, noticed_s)

    def command_ended(self) -> None:
        """Brake where a `command_node` that was to end on its own was killed in motion."""
        ended_s = time.monotonic()
        time.sleep(_IN_FLIGHT_S)
        with self._braking:
            heard = self._heard
            if heard is not None and not heard.motion.rests:
                self._stop_robot(heard, ended_s)

    def _stop_robot(self, heard: _Heard | None, noticed_s: float) -> None:
        self.stops += 1
        self._armed = False
        self._latched = True
        if heard is not None:
            self._brake(heard, noticed_s)
            self._report_rest()
        self._heard = None
        self._estops.publish(Bool(data=True))
        self._node.get_logger().error(
            "command_node was lost while it commanded: the robot was stopped, the e-stop is latched"
        )

    def _brake(self, heard: _Heard, noticed_s: float) -> None:
        motion = heard.motion
        if noticed_s - heard.arrived_s > _RECENT_S and self._given.interface != "joint_velocity":
            # Such a robot has come to its place, or has stopped by its own time-out.
            motion = Motion.at_rest(motion.position)
        next_s = max(noticed_s, heard.arrived_s + self._dt_s)
        while True:
            time.sleep(max(0.0, next_s - time.monotonic()))
            velocity, acceleration = brake(
                motion.velocity, motion.acceleration, self._limits, self._dt_s
            )
            position = motion.position + velocity * self._dt_s
            motion = Motion(position, velocity, acceleration)
            if self._at_once.is_set():
                motion = Motion.at_rest(motion.position)
            stamp_ns = self._node.get_clock().now().nanoseconds
            self._commands.publish(command_message(self._given, motion, stamp_ns))
            if motion.rests:
                return
            next_s += self._dt_s

    def _report_rest(self) -> None:
        """Tell an agent that hears no commands; it would take the last it heard of to go on."""
        if self._applied is not None:
            stamp_ns = self._node.get_clock().now().nanoseconds
            rest = velocity_to_twist(np.zeros(3), stamp_ns, self._given.base_frame)
            self._applied.publish(rest)

    # Executor thread

    def _on_estop(self, message: Bool) -> None:
        if message.data:
            self._at_once.set()
            self._latched, self._estop_s = True, time.monotonic()
            self._missed = self._missed or not self._spoken

    def _on_command(self, message: object) -> None:
        if self._braking.locked():
            return  # it is our own
        values = message_values(self._given, message)
        if values.shape != (self._limits.axes,) or not np.isfinite(values).all():
            return
        now_s, before = time.monotonic(), self._heard
        last = Motion.at_rest(np.zeros_like(values))
        if before is not None and now_s - before.arrived_s < _RECENT_S:
            last = before.motion
        elif positions_are_sent(self._given):
            last = Motion.at_rest(values)
        # A command is one tick on from the one before, whenever it arrives.
        velocity = values
        if positions_are_sent(self._given):
            velocity = (values - last.position) / self._dt_s
        position = values if positions_are_sent(self._given) else np.zeros_like(values)
        # What is beyond the limits is not from command_node, and must not be gone on from.
        if (np.abs(velocity) > 1.01 * self._limits.velocity).any():
            return
        acceleration = (velocity - last.velocity) / self._dt_s
        most = self._limits.acceleration
        acceleration = np.clip(acceleration, -most, most)
        self._heard = _Heard(Motion(position, velocity, acceleration), now_s)

    def _on_status(self, message: DiagnosticArray) -> None:
        values = diagnostic_values(message)
        if values.get("pid") != self._pid:
            return
        self._spoken = True
        self._armed = values.get("armed") == "true"
        cleared = values.get("estops_cleared", "0")
        if values.get("estop") == "true":
            self._latched, self._missed = True, False
        elif cleared != self._cleared:
            self._latched = self._missed = False
            self._at_once.clear()
        elif self._missed or (self._latched and time.monotonic() - self._estop_s > _UNHEARD_S):
            self._estops.publish(Bool(data=True))
        self._cleared = cleared

    # Its own thread

    def _listen(self) -> None:
        looked_s = time.monotonic()
        on_time = 0
        while not self._ending.wait(_LOOK_EVERY_S):
            now_s = time.monotonic()
            # Late itself, it cannot tell silence from messages that nobody has taken in yet.
            on_time = on_time + 1 if now_s - looked_s < 2.0 * _LOOK_EVERY_S else 0
            looked_s = now_s
            heard = self._heard
            if heard is None or heard.motion.rests or self._braking.locked():
                continue
            silent_s = now_s - heard.arrived_s
            if on_time > 1 and silent_s > self._silence_s:
                self._kill()
                self._node.get_logger().error(f"no command for {1e3 * silent_s:.0f} ms in motion")
                time.sleep(_RECENT_S)
                if self._heard is heard:  # nobody has noticed the end of that process
                    self.command_lost()


def _limits(given: CommandParameters) -> AxisLimits:
    """Of the axes that the robot's commands are of."""
    if is_joint_interface(given):
        return AxisLimits(
            np.array(given.joint_speed_rad_s),
            np.array(given.joint_acceleration_rad_s2),
            np.array(given.joint_jerk_rad_s3),
        )
    return AxisLimits(
        np.array(given.speed_m_s), np.array(given.acceleration_m_s2), np.array(given.jerk_m_s3)
    )
