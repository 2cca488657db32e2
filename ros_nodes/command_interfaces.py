"""What robots take: a command as messages. The one place where this is decided.

Every interface has the same quality of service and, in shadow mode, the same name under
``command_node/shadow``, so that what would be commanded can be recorded and compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Twist, TwistStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from controller.types import NS_PER_S
from controller.viability import Motion
from ros_nodes import qos
from ros_nodes.convert import (
    BASE_ACTIONS,
    GRIPPER_ACTION,
    TOOL_ACTIONS,
    base_to_twist,
    ns_to_stamp,
    twist_to_base,
    twist_to_velocity,
    velocity_to_twist,
)
from ros_nodes.params import CommandParameters, ParameterError

TWIST_TOPIC = "servo_node/delta_twist_cmds"
BASE_TOPIC = "cmd_vel"
APPLIED_TOPIC = "command_node/applied"
APPLIED_GRIPPER_TOPIC = "command_node/applied_gripper"
_SHADOW = "command_node/shadow"


def action_names(given: CommandParameters) -> tuple[str, ...]:
    """What a plan may hold for this robot, in the order of the filter's axes, the gripper last."""
    names = BASE_ACTIONS if given.interface == "twist" else TOOL_ACTIONS
    return (*names, GRIPPER_ACTION) if given.gripper else names


def topic(given: CommandParameters) -> str:
    """Where the robot takes its commands."""
    if given.interface == "twist_stamped":
        name = TWIST_TOPIC
    elif given.interface == "twist":
        name = BASE_TOPIC
    elif not given.controller:
        raise ParameterError(
            f"parameter controller: interface {given.interface} needs the name of the controller"
        )
    elif given.interface == "joint_trajectory":
        name = f"{given.controller}/joint_trajectory"
    else:
        name = f"{given.controller}/commands"
    return f"{_SHADOW}/{name}" if given.shadow else name


def gripper_topic(given: CommandParameters) -> str:
    """Where the gripper takes its commands; empty where there is none."""
    name = f"{given.gripper}/commands"
    return (f"{_SHADOW}/{name}" if given.shadow else name) if given.gripper else ""


def applied_topic(given: CommandParameters) -> str:
    """Where the agent hears what was applied; empty where it hears the commands themselves."""
    if given.interface == "twist_stamped":
        return ""
    return f"{_SHADOW}/applied" if given.shadow else APPLIED_TOPIC


def command_topics(given: CommandParameters) -> set[str]:
    """Where a robot takes commands, and where they would go in shadow mode.

    Raises:
        ParameterError: a joint interface without a controller.
    """
    both = [replace(given, shadow=shadow) for shadow in (False, True)]
    return {name for one in both for name in (topic(one), gripper_topic(one)) if name}


def message_class(given: CommandParameters) -> type:
    """What the robot's commands are sent as."""
    kinds = {
        "twist_stamped": TwistStamped,
        "twist": TwistStamped if given.cmd_vel_stamped else Twist,
        "joint_trajectory": JointTrajectory,
    }
    return kinds.get(given.interface, Float64MultiArray)


def positions_are_sent(given: CommandParameters) -> bool:
    """Whether a command says where the joints are to be, not how fast they are to move."""
    return given.interface in ("joint_position", "joint_trajectory")


class CommandOutput:
    """The publishers of one robot. The ticking thread's alone."""

    def __init__(self, node: Node, given: CommandParameters) -> None:
        """Create them.

        Raises:
            ParameterError: a joint interface without a controller.
        """
        self._given = given
        self.topic = topic(given)
        self._commands = node.create_publisher(message_class(given), self.topic, qos.COMMAND_LOG)
        self._gripper = self._applied_gripper = None
        if name := gripper_topic(given):
            applied = f"{_SHADOW}/applied_gripper" if given.shadow else APPLIED_GRIPPER_TOPIC
            self._gripper = node.create_publisher(Float64MultiArray, name, qos.COMMAND_LOG)
            self._applied_gripper = node.create_publisher(JointState, applied, qos.COMMAND_LOG)
        self._applied = None
        if name := applied_topic(given):
            self._applied = node.create_publisher(TwistStamped, name, qos.COMMAND_LOG)

    def send(self, motion: Motion, stamp_ns: int) -> None:
        """Send a command of the filter's axes.

        Raises:
            ValueError: it is not finite; nothing was sent.
        """
        if not np.isfinite([motion.position, motion.velocity]).all():
            raise ValueError("a command that is not finite was not sent")
        self._commands.publish(command_message(self._given, motion, stamp_ns))
        if self._applied is not None and self._given.interface == "twist":
            frame = self._given.base_frame  # cmd_vel says neither this nor when
            self._applied.publish(base_to_twist(motion.velocity, stamp_ns, frame))

    def send_gripper(self, position_m: float, speed_m_s: float, stamp_ns: int) -> None:
        """Send the gripper's target position, m, and tell the agent how fast it is to open, m/s.

        Raises:
            ValueError: it is not finite; nothing was sent.
        """
        if not np.isfinite([position_m, speed_m_s]).all():
            raise ValueError("a gripper command that is not finite was not sent")
        if self._gripper is None or self._applied_gripper is None:
            return
        self._gripper.publish(Float64MultiArray(data=[float(position_m)]))
        applied = JointState(
            name=[self._given.gripper_joint],
            position=[float(position_m)],
            velocity=[float(speed_m_s)],
        )
        applied.header.stamp = ns_to_stamp(stamp_ns)
        self._applied_gripper.publish(applied)

    def report_applied(self, tool_m_s: NDArray[np.floating], stamp_ns: int) -> None:
        """Say what the tool ``(3,)`` m/s was commanded, for the agent of a joint-level robot."""
        if self._applied is not None:
            message = velocity_to_twist(tool_m_s, stamp_ns, self._given.base_frame)
            self._applied.publish(message)


def command_message(given: CommandParameters, motion: Motion, stamp_ns: int) -> Any:  # noqa: ANN401
    """The message of one command.

    ``twist_stamped``: tool velocity in the base frame, as MoveIt Servo takes it. ``twist``: a base,
    x and y m/s, rad/s about z. ``joint_velocity`` and ``joint_position``: one number a joint, in
    the order of ``joint_names``, which must be the controller's. ``joint_trajectory``: one point a
    tick ahead, without a velocity: joint_trajectory_controller refuses to end in motion. With stamp
    0 it starts on arrival.
    """
    if given.interface == "twist_stamped":
        return velocity_to_twist(motion.velocity, stamp_ns, given.base_frame)
    if given.interface == "twist":
        message = base_to_twist(motion.velocity, stamp_ns, given.base_frame)
        return message if given.cmd_vel_stamped else message.twist
    if given.interface == "joint_velocity":
        return Float64MultiArray(data=motion.velocity.tolist())
    if given.interface == "joint_position":
        return Float64MultiArray(data=motion.position.tolist())
    return _trajectory(given.joint_names, motion, round(NS_PER_S / given.rate_hz))


def message_values(given: CommandParameters, message: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """What `command_message` put into a message: positions or velocities ``(N,)``."""
    if given.interface == "twist_stamped":
        return twist_to_velocity(message)
    if given.interface == "twist":
        return twist_to_base(message.twist if given.cmd_vel_stamped else message)
    if given.interface == "joint_trajectory":
        return np.array(message.points[0].positions if message.points else ())
    return np.array(message.data)


def _trajectory(names: Sequence[str], motion: Motion, ahead_ns: int) -> JointTrajectory:
    ahead = ns_to_stamp(ahead_ns)
    point = JointTrajectoryPoint(
        positions=motion.position.tolist(),
        time_from_start=Duration(sec=ahead.sec, nanosec=ahead.nanosec),
    )
    return JointTrajectory(joint_names=list(names), points=[point])
