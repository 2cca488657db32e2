"""From the parameters of `command_node` to the command filter of that robot."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

from controller.braking import AxisLimits
from controller.command_filter import CommandFilter, StopTimes
from controller.gripper import GripperLimits
from controller.limits import Box, Sphere
from controller.motion_filter import MotionLimits
from controller.surroundings import Body, Surroundings
from ros_nodes.command_interfaces import positions_are_sent
from ros_nodes.params import CommandParameters, ParameterError

_PACKAGE = "package://"
_OF_THE_BASE = ("x", "y", "yaw")


def is_joint_interface(given: CommandParameters) -> bool:
    """Whether the robot takes commands for its joints."""
    return given.interface.startswith("joint_")


def stop_times(given: CommandParameters) -> StopTimes:
    """When it stops by itself.

    Raises:
        ValueError: surprise levels that contradict each other.
    """
    return StopTimes(
        plan_s=given.max_plan_age_s,
        state_s=given.max_pose_age_s,
        image_s=given.max_image_age_s,
        slow_surprise=given.slow_surprise,
        stop_surprise=given.stop_surprise,
        tracking=given.max_tracking_error,
    )


def gripper_limits(given: CommandParameters) -> GripperLimits:
    """What its gripper may be told."""
    return GripperLimits(
        given.gripper_low_m,
        given.gripper_high_m,
        given.gripper_speed_m_s * given.speed_scale,
        given.gripper_ahead_m,
    )


def build_filter(given: CommandParameters, urdf: str | None) -> CommandFilter:
    """The filter of a robot.

    Args:
        given: its parameters.
        urdf: text of its URDF; ``None`` where it takes tool or base velocities.

    Raises:
        ValueError: parameters that do not fit each other or the URDF; one line.
        ImportError: the robot takes joint commands and the extra ``safety`` is not installed.
    """
    times, dt_s = stop_times(given), 1.0 / given.rate_hz
    if given.gripper and not given.gripper_low_m < given.gripper_high_m:
        raise ParameterError(
            f"parameter gripper_low_m: {given.gripper_low_m} is not below gripper_high_m "
            f"{given.gripper_high_m}"
        )
    if not is_joint_interface(given) and _lines(given.keep_out):
        raise ParameterError(
            f"parameter keep_out: interface {given.interface} cannot keep clear of anything; "
            "the interfaces of joints can"
        )
    tool = AxisLimits(
        np.array(given.speed_m_s) * given.speed_scale,
        np.array(given.acceleration_m_s2),
        np.array(given.jerk_m_s3),
    )
    if given.interface == "twist":
        nowhere = np.full(3, np.inf)
        limits = MotionLimits(_OF_THE_BASE, tool, -nowhere, nowhere)
        return CommandFilter(limits, times, dt_s, located=False, shadow=given.shadow)
    low, high = np.array(given.workspace_low_m), np.array(given.workspace_high_m)
    if not is_joint_interface(given):
        return CommandFilter(
            MotionLimits(("x", "y", "z"), tool, low, high),
            times,
            dt_s,
            robot_delay_s=given.robot_delay_s,
            shadow=given.shadow,
        )
    from controller.kinematics import Kinematics

    if urdf is None:
        raise ParameterError("parameter robot_description_file: joint commands need the URDF")
    count = len(given.joint_names)
    for name in (
        "joint_low_rad",
        "joint_high_rad",
        "joint_speed_rad_s",
        "joint_acceleration_rad_s2",
        "joint_jerk_rad_s3",
        "home_rad",
    ):
        if len(getattr(given, name)) != count:
            raise ParameterError(
                f"parameter {name}: {len(getattr(given, name))} numbers for {count} joint_names"
            )
    around, home = surroundings(given), given.home_rad
    arm = Kinematics(urdf, given.joint_names, given.tool_frame, around, home, given.base_frame)
    margin = given.joint_margin_rad
    limits = MotionLimits(
        given.joint_names,
        AxisLimits(
            np.minimum(np.array(given.joint_speed_rad_s) * given.speed_scale, arm.velocity_limit),
            np.array(given.joint_acceleration_rad_s2),
            np.array(given.joint_jerk_rad_s3),
        ),
        np.maximum(np.array(given.joint_low_rad), arm.position_low) + margin,
        np.minimum(np.array(given.joint_high_rad), arm.position_high) - margin,
        tool.velocity,
    )
    return CommandFilter(
        limits,
        times,
        dt_s,
        arm=arm,
        task="tool",
        positions_are_sent=positions_are_sent(given),
        robot_delay_s=given.robot_delay_s,
        tool_limits=tool,
        shadow=given.shadow,
    )


def surroundings(given: CommandParameters) -> Surroundings:
    """What the robot must not touch.

    Raises:
        ParameterError: text that cannot be read; names it.
    """
    spheres, boxes = [], []
    for line in _lines(given.keep_out):
        kind, *rest = line.split()
        numbers = _numbers("keep_out", line, rest)
        if kind == "sphere" and len(numbers) == 4:
            spheres.append(Sphere(tuple(numbers[:3]), numbers[3]))
        elif kind == "box" and len(numbers) == 6:
            corners = np.array(numbers).reshape(2, 3)
            boxes.append(Box(tuple(corners.min(axis=0)), tuple(corners.max(axis=0))))
        else:
            raise ParameterError(
                f"parameter keep_out: {line!r} is neither 'sphere x y z radius' nor "
                "'box x y z x y z'"
            )
    bodies = []
    for line in _lines(given.bodies):
        frame, *rest = line.split()
        numbers = _numbers("bodies", line, rest)
        if len(numbers) != 4:
            raise ParameterError(f"parameter bodies: {line!r} is not 'frame x y z radius'")
        bodies.append(Body(frame, (numbers[0], numbers[1], numbers[2]), numbers[3]))
    return Surroundings(
        workspace=Box(given.workspace_low_m, given.workspace_high_m),
        keep_out_spheres=tuple(spheres),
        keep_out_boxes=tuple(boxes),
        bodies=tuple(bodies),
        margin_m=given.margin_m,
        apart=given.bodies_apart,
    )


def read_urdf(where: str) -> str:
    """The text of a URDF.

    Args:
        where: a path, or ``package://<name>/<path>`` in the share folder of a ROS package,
            in an installed Python package or in the files that come with foresee.

    Raises:
        ParameterError: there is no such file.
    """
    path = Path(where)
    if where.startswith(_PACKAGE):
        name, _, inside = where.removeprefix(_PACKAGE).partition("/")
        path = _root_of(name) / inside
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParameterError(
            f"parameter robot_description_file: {where}: {error.strerror}"
        ) from error


def _root_of(package: str) -> Path:
    share = _share_of(package)
    if share is not None:
        return share
    if package == "foresee":
        shipped = Path(sys.prefix) / "share" / "foresee"
        source = Path(__file__).parents[1]
        return source if (source / "config" / "robots").is_dir() else shipped
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ParameterError(
            f"parameter robot_description_file: no package {package!r}, neither of ROS (is its "
            "workspace sourced?) nor of Python"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _share_of(package: str) -> Path | None:
    """Where a sourced ROS workspace has the files of a package; None where none has it."""
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package))
    # Without ROS 2 from apt there may be no index, and no AMENT_PREFIX_PATH to look in.
    except (ImportError, LookupError, OSError, ValueError):
        return None


def _lines(values: tuple[str, ...]) -> list[str]:
    return [value for value in values if value.strip() not in ("", "none")]


def _numbers(name: str, line: str, words: list[str]) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise ParameterError(f"parameter {name}: {line!r}: {error}") from error
    if not np.isfinite(numbers).all():
        raise ParameterError(f"parameter {name}: {line!r} is not finite")
    return numbers
