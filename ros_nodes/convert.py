"""Messages to arrays and back. No node, no state, no decisions.

Everything that comes from outside is checked here: a message that does not hold what it says raises
ValueError with one line that names the field.
"""

from __future__ import annotations

import array
from collections.abc import Mapping, Sequence

import numpy as np
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, PoseWithCovariance, Twist, TwistStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Float64MultiArray, MultiArrayDimension
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from controller.types import NS_PER_S, Plan, PlanStatus
from world_model.image_message import image_to_array as image_to_array

TOOL_ACTIONS = ("tool.vx", "tool.vy", "tool.vz")
BASE_ACTIONS = ("base.vx", "base.vy", "base.wz")
GRIPPER_ACTION = "gripper.v"
# A plan whose knots are joined by straight lines is sent as steps of this length.
_LINEAR_STEP_S = 0.02


def stamp_to_ns(stamp: Time) -> int:
    """ROS stamp to integer nanoseconds."""
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def ns_to_stamp(stamp_ns: int) -> Time:
    """Integer nanoseconds to a ROS stamp."""
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def array_to_image(pixels: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """``(H, W, 3)`` uint8 RGB to an rgb8 message stamped with the capture time.

    Raises:
        ValueError: another shape or type.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image must be (H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
    message = Image()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    message.height, message.width = pixels.shape[:2]
    message.encoding = "rgb8"
    message.step = pixels.shape[1] * 3
    data = array.array("B")  # rclpy copies this in 0.05 ms; a list or bytes takes over 1 ms
    data.frombytes(pixels.tobytes())
    message.data = data
    return message


def decode_image(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """Pixels of an image, compressed or not, ``(H, W, 3)`` uint8 RGB.

    Raises:
        ValueError: it does not hold what it says, or is damaged.
    """
    if isinstance(message, Image):
        return image_to_array(message)
    # Needs Pillow, of the `data` extra; a robot whose cameras send plain images does without.
    from world_model.data.images import decode_still

    return decode_still(bytes(message.data))


def camera_info(matrix: NDArray[np.float64], image: Image) -> CameraInfo:
    """The description of a camera without distortion, for one of its images.

    Args:
        matrix: K ``(3, 3)``, pixels.
        image: whose stamp, frame and size it has.
    """
    info = CameraInfo(header=image.header, height=image.height, width=image.width)
    info.distortion_model = "plumb_bob"
    info.d = [0.0] * 5
    info.k = matrix.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist()
    return info


def action_axes(action_names: Sequence[str]) -> tuple[int, ...]:
    """Which of x, y, z each action moves the tool along.

    Raises:
        ValueError: a name that is no tool velocity, or one twice.
    """
    return _places(action_names, TOOL_ACTIONS, "a tool velocity")


def split_gripper(action_names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """The actions of the arm, and whether a last one is the speed at which a gripper opens."""
    has_gripper = len(action_names) > 1 and action_names[-1] == GRIPPER_ACTION
    return tuple(action_names[:-1] if has_gripper else action_names), has_gripper


def base_axes(action_names: Sequence[str]) -> tuple[int, ...]:
    """Which of forwards, sideways and about z each action moves the base.

    Raises:
        ValueError: a name that is no velocity of a base, or one twice.
    """
    return _places(action_names, BASE_ACTIONS, "a velocity of a base")


def _places(names: Sequence[str], known: Sequence[str], what: str) -> tuple[int, ...]:
    """Where each name stands among those that are known."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"action {unknown[0]!r} is not {what} ({', '.join(known)})")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"actions {list(names)} must be given, each once")
    return tuple(known.index(name) for name in names)


def velocity_to_twist(
    velocity_m_s: NDArray[np.floating], stamp_ns: int, frame_id: str
) -> TwistStamped:
    """Tool velocity ``(3,)`` m/s in ``frame_id`` to a twist without rotation."""
    message = TwistStamped()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    linear = message.twist.linear
    linear.x, linear.y, linear.z = (float(v) for v in velocity_m_s)
    return message


def twist_to_velocity(message: TwistStamped) -> NDArray[np.float64]:
    """Linear part ``(3,)`` of a twist, m/s."""
    linear = message.twist.linear
    return np.array([linear.x, linear.y, linear.z])


def base_to_twist(velocity: NDArray[np.floating], stamp_ns: int, frame_id: str) -> TwistStamped:
    """Velocity ``(3,)`` of a base, forwards and sideways m/s, about z rad/s, to a twist."""
    message = TwistStamped()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    twist = message.twist
    twist.linear.x, twist.linear.y, twist.angular.z = (float(v) for v in velocity)
    return message


def twist_to_base(twist: Twist) -> NDArray[np.float64]:
    """Forwards and sideways m/s, about z rad/s ``(3,)`` of a base."""
    return np.array([twist.linear.x, twist.linear.y, twist.angular.z])


def position_to_pose(position_m: NDArray[np.floating], stamp_ns: int, frame_id: str) -> PoseStamped:
    """Tool position ``(3,)`` m in ``frame_id``, gripper pointing down (half a turn about x)."""
    message = PoseStamped()
    message.header.stamp = ns_to_stamp(stamp_ns)
    message.header.frame_id = frame_id
    point = message.pose.position
    point.x, point.y, point.z = (float(v) for v in position_m)
    message.pose.orientation.x = 1.0
    message.pose.orientation.w = 0.0
    return message


def pose_to_position(message: PoseStamped | PoseWithCovariance) -> NDArray[np.float64]:
    """Position ``(3,)`` of a pose, m."""
    point = message.pose.position
    return np.array([point.x, point.y, point.z])


def plan_to_trajectory(plan: Plan, action_names: Sequence[str], frame_id: str) -> JointTrajectory:
    """A plan as velocities over time: each point holds from its time to that of the next.

    The header stamp is the plan's start and the last point, all zeros, is its end. A plan that must
    not be followed becomes a trajectory without points, which means stop. Straight-line knots are
    sent as fine steps, so that there is only one way to read the message.
    """
    message = JointTrajectory()
    message.header.stamp = ns_to_stamp(plan.start_ns)
    message.header.frame_id = frame_id
    message.joint_names = list(action_names)
    if not plan.usable:
        return message
    if plan.interpolation == "hold":
        times_s = plan.knot_times_s[plan.knot_times_s < plan.duration_s]
        actions = plan.knots[: len(times_s)]
    else:
        times_s = np.arange(0.0, plan.duration_s - 1e-9, _LINEAR_STEP_S)
        actions = np.stack([plan.action_at(plan.start_ns + round(t * NS_PER_S)) for t in times_s])
    for time_s, action in zip(times_s, actions, strict=True):
        message.points.append(_point(float(time_s), [float(a) for a in action]))
    message.points.append(_point(plan.duration_s, [0.0] * len(action_names)))
    return message


def trajectory_to_plan(
    message: JointTrajectory, known: tuple[str, ...] = TOOL_ACTIONS, what: str = "a tool velocity"
) -> Plan:
    """The plan ``plan_to_trajectory`` sent.

    Values are not judged here: NaN passes and is the command filter's to stop.

    Args:
        message: of actions among those that are known.
        known: A names of actions; the plan's knots are ``(K, A)`` in this order, 0 where the
            message does not name one. By default tool velocities, m/s.
        what: they are, for the error.

    Raises:
        ValueError: unknown actions, points of the wrong size, or times that do not ascend from 0.
    """
    axes = _places(message.joint_names, known, what)
    start_ns = stamp_to_ns(message.header.stamp)
    if not message.points:
        return Plan(
            start_ns=start_ns,
            knot_times_s=np.zeros(1),
            knots=np.zeros((1, len(known)), np.float32),
            duration_s=0.0,
            cost=float("nan"),
            status=PlanStatus.NO_FINITE_ROLLOUT,
        )
    times_s = np.array(
        [p.time_from_start.sec + p.time_from_start.nanosec / NS_PER_S for p in message.points]
    )
    if len(times_s) < 2 or times_s[0] != 0.0 or (np.diff(times_s) <= 0).any():
        raise ValueError(f"plan times must ascend from 0 and have an end, got {times_s.tolist()}")
    knots = np.zeros((len(times_s) - 1, len(known)), np.float32)
    for row, point in zip(knots, message.points[:-1], strict=True):
        if len(point.velocities) != len(axes):
            raise ValueError(f"plan point has {len(point.velocities)} velocities for {len(axes)}")
        row[list(axes)] = point.velocities
    return Plan(
        start_ns=start_ns,
        knot_times_s=times_s[:-1],
        knots=knots,
        duration_s=float(times_s[-1]),
        cost=float("nan"),
        status=PlanStatus.OK,
    )


def _point(time_s: float, velocities: list[float]) -> JointTrajectoryPoint:
    stamp = ns_to_stamp(round(time_s * NS_PER_S))
    return JointTrajectoryPoint(
        velocities=velocities, time_from_start=Duration(sec=stamp.sec, nanosec=stamp.nanosec)
    )


def values_to_labelled_array(values: Mapping[str, float]) -> Float64MultiArray:
    """Named numbers as one vector; the names, comma-separated, are the label of its dimension."""
    message = Float64MultiArray(data=[float(v) for v in values.values()])
    size = len(message.data)
    message.layout.dim.append(MultiArrayDimension(label=",".join(values), size=size, stride=size))
    return message


def labelled_array_to_values(message: Float64MultiArray) -> dict[str, float]:
    """The named numbers `values_to_labelled_array` sent.

    Raises:
        ValueError: names and numbers that are not equally many.
    """
    names = message.layout.dim[0].label.split(",") if message.layout.dim else []
    if len(names) != len(message.data):
        raise ValueError(f"{len(message.data)} numbers with {len(names)} names")
    return dict(zip(names, message.data, strict=True))


def diagnostics(
    stamp_ns: int, name: str, message: str, values: Mapping[str, object], level: bytes
) -> DiagnosticArray:
    """One diagnostic status; numbers are written with six significant digits."""
    status = DiagnosticStatus(level=level, name=name, message=message, hardware_id="foresee")
    for key, value in values.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        status.values.append(KeyValue(key=key, value=text))
    array_message = DiagnosticArray(status=[status])
    array_message.header.stamp = ns_to_stamp(stamp_ns)
    return array_message


def status_name(node: Node) -> str:
    """What a node calls itself on ``/diagnostics``: with its namespace, as robots share it."""
    return node.get_fully_qualified_name().lstrip("/")


def diagnostic_values(message: DiagnosticArray) -> dict[str, str]:
    """Key to value of the first status."""
    return {v.key: v.value for v in message.status[0].values} if message.status else {}
