"""What the supervisor does when one of those who move the robot is lost.

ros2_control's forward_command_controller holds its last command for ever. So somebody else has to
end the motion when `command_node` is dead: from the last command that was heard, within the limits,
and then an e-stop that only a person clears. When the agent is lost, its place is taken by a plan
that says stop, and `command_node` brakes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import Bool
from trajectory_msgs.msg import JointTrajectory

from controller.braking import AxisLimits, brake
from ros_nodes import qos
from ros_nodes.convert import diagnostic_values, twist_to_velocity, velocity_to_twist
from ros_nodes.params import CommandParameters

_LOOK_EVERY_S = 0.01
_IN_FLIGHT_S = 0.003  # what a lost node sent last is here by then
_RECENT_S = 0.5  # commands this young mean that the robot was being commanded
_STOP_PLANS = 5


class _Heard(NamedTuple):
    """The last command: velocity and acceleration ``(N,)`` and its `time.monotonic`."""

    velocity: NDArray[np.float64]
    acceleration: NDArray[np.float64]
    arrived_s: float


class CommandWatch:
    """Hears every command and can take over from `command_node`.

    Callbacks run on the executor's thread; `command_lost` and `agent_lost` on whichever notices.
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
            node: the supervisor.
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
        self._limits = AxisLimits(
            velocity=np.array(command.speed_m_s),
            acceleration=np.array(command.acceleration_m_s2),
            jerk=np.array(command.jerk_m_s3),
        )
        self._heard: _Heard | None = None
        self._plan: JointTrajectory | None = None
        self._armed = False
        self._owed = False  # an e-stop that command_node has not confirmed
        self._braking = threading.Lock()
        self._ending = threading.Event()
        self.stops = 0
        self._commands = node.create_publisher(
            TwistStamped, "servo_node/delta_twist_cmds", qos.COMMAND_LOG
        )
        self._plans = node.create_publisher(JointTrajectory, "plan", qos.COMMAND)
        self._estops = node.create_publisher(Bool, "estop", qos.STATE)
        node.create_subscription(
            TwistStamped, "servo_node/delta_twist_cmds", self._on_command, qos.COMMAND_LOG
        )
        node.create_subscription(DiagnosticArray, "command_node/status", self._on_status, qos.STATE)
        node.create_subscription(JointTrajectory, "plan", self._on_plan, qos.COMMAND)
        self._thread = threading.Thread(target=self._listen, name="silence", daemon=True)

    def start(self) -> None:
        """Begin to notice silence."""
        self._thread.start()

    def stop(self) -> None:
        """End it; call before the nodes are ended on purpose."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def command_lost(self) -> None:
        """Brake in the place of a `command_node` that is dead, then latch the e-stop.

        Nothing is sent when it was not armed and had not just commanded anything.
        """
        noticed_s = time.monotonic()
        heard = self._heard
        recent = heard is not None and noticed_s - heard.arrived_s < _RECENT_S
        if self._ending.is_set() or not (recent or self._armed):
            return
        self.stops += 1
        self._armed = False
        with self._braking:
            if heard is not None and recent:
                self._brake(noticed_s)
            self._owed = True
            self._estops.publish(Bool(data=True))
        self._node.get_logger().error(
            "command_node was lost while it commanded: the robot was stopped, the e-stop is latched"
        )

    def agent_lost(self) -> None:
        """Send the plan that says stop in the place of an agent that cannot."""
        if self._ending.is_set():
            return
        last = self._plan
        if last is None:
            return
        message = JointTrajectory(header=last.header, joint_names=last.joint_names)
        for _ in range(_STOP_PLANS):  # one that the agent sent just before may come after the first
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._plans.publish(message)
            time.sleep(self._dt_s)

    def _brake(self, noticed_s: float) -> None:
        time.sleep(_IN_FLIGHT_S)
        heard = self._heard
        assert heard is not None
        velocity, acceleration = heard.velocity, heard.acceleration
        next_s = max(noticed_s, heard.arrived_s + self._dt_s)
        while True:
            time.sleep(max(0.0, next_s - time.monotonic()))
            velocity, acceleration = brake(velocity, acceleration, self._limits, self._dt_s)
            stamp_ns = self._node.get_clock().now().nanoseconds
            self._commands.publish(velocity_to_twist(velocity, stamp_ns, self._given.base_frame))
            if not velocity.any():
                return
            next_s += self._dt_s

    # Executor thread

    def _on_command(self, message: TwistStamped) -> None:
        if self._braking.locked():
            return  # it is our own
        velocity = twist_to_velocity(message)
        if not np.isfinite(velocity).all():
            return
        now_s, before = time.monotonic(), self._heard
        acceleration = np.zeros_like(velocity)
        if before is not None and now_s - before.arrived_s < _RECENT_S:
            acceleration = (velocity - before.velocity) / self._dt_s
        self._heard = _Heard(velocity, acceleration, now_s)

    def _on_plan(self, message: JointTrajectory) -> None:
        self._plan = message

    def _on_status(self, message: DiagnosticArray) -> None:
        values = diagnostic_values(message)
        self._armed = values.get("armed") == "true"
        if not self._owed:
            return
        if values.get("estop") == "true":
            self._owed = False
        elif values.get("estop") == "false":  # started again since
            self._estops.publish(Bool(data=True))

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
            if heard is None or not heard.velocity.any() or self._braking.locked():
                continue
            silent_s = now_s - heard.arrived_s
            if on_time > 1 and self._silence_s < silent_s < _RECENT_S:
                self._node.get_logger().error(f"no command for {1e3 * silent_s:.0f} ms in motion")
                self._kill()
                time.sleep(_RECENT_S)
