"""The parameters of every node: name, type, default, meaning and limits, each written once.

A node declares its dataclass with `declare_parameters` and gets the values back, checked. The graph
starter writes the same dataclasses to parameter files, and a test holds the launch files to them.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rclpy.node import Node

Parameters = TypeVar("Parameters")
Value = TypeVar("Value")
# Declared by rclpy itself on every node.
_OF_RCLPY = ("use_sim_time", "start_type_description_service", "qos_overrides")


class ParameterError(ValueError):
    """A parameter that is unknown, of the wrong type or out of range: one line, naming it."""


def parameter(
    default: Value,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    any_length: bool = False,
    may_change: bool = False,
) -> Value:
    """A dataclass field that is a ROS parameter.

    Args:
        default: its value when none is given; its type is the parameter's type.
        description: one line, with the unit.
        low: lowest value allowed, of a number or of every number in a tuple.
        high: highest value allowed.
        choices: the strings allowed; empty for any.
        any_length: a list of numbers may be longer or shorter than its default.
        may_change: the node reads it anew, so that it can be set while the node runs. Of all others
            a change is refused: it would have no effect.
    """
    metadata = {
        "description": description,
        "low": low,
        "high": high,
        "choices": choices,
        "any_length": any_length,
        "may_change": may_change,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SimParameters:
    """Parameters of `sim_node`."""

    env_id: str = parameter("foresee/Reach-v0", "Gymnasium id of the simulated world")
    seed: int = parameter(
        0, "seed of the first reset and of the next ~/reset", low=0, may_change=True
    )
    cameras: tuple[str, ...] = parameter(("scene",), "which of the world's cameras to publish")
    image_size: int = parameter(64, "image height and width in pixels", low=16, high=1024)
    image_rate_hz: float = parameter(10.0, "camera frames per second", low=0.1, high=60.0)
    state_rate_hz: float = parameter(
        100.0, "joint states and tool poses per second", low=10.0, high=240.0
    )
    command_timeout_s: float = parameter(
        0.2, "the tool stops when no command came for this long, s", low=0.01, high=10.0
    )
    gripper: str = parameter(
        "gripper_controller", "name of the gripper's controller, in worlds whose robot has one"
    )
    base_frame: str = parameter("panda_link0", "frame of commands and tool poses")
    publish_clock: bool = parameter(
        False,
        "publish the world's time on /clock, for nodes with use_sim_time; ~/reset sets it back",
    )


@dataclass(frozen=True)
class FakeRobotParameters:
    """Parameters of `fake_robot_node`; by default the Panda of the simulation, with its stick."""

    interface: str = parameter(
        "joint_velocity",
        "what it takes",
        choices=("joint_velocity", "joint_position", "joint_trajectory", "twist_stamped"),
    )
    controller: str = parameter("arm_controller", "name of its controller, before the topic")
    command_timeout_s: float = parameter(
        0.0, "it stops when no command came for this long, s; 0: never (Servo: 0.1)", low=0.0
    )
    robot_description_file: str = parameter("", "path of its URDF; empty for the simulated Panda")
    joint_names: tuple[str, ...] = parameter(
        tuple(f"panda_joint{number}" for number in range(1, 8)), "its joints, base to tool"
    )
    start_rad: tuple[float, ...] = parameter(
        (0.0, -0.6, 0.0, -2.4, 0.0, 1.8, 0.785398), "where its joints begin, rad", any_length=True
    )
    tool_frame: str = parameter("tool", "frame of the URDF whose pose is tool_pose")
    base_frame: str = parameter("panda_link0", "frame of tool_pose and of twists")
    gripper: str = parameter("", "name of the gripper's controller; empty for none")
    gripper_joint: str = parameter("panda_finger_joint1", "joint of the gripper")
    gripper_low_m: float = parameter(0.0, "position of the closed gripper, m")
    gripper_high_m: float = parameter(0.04, "position of the open gripper, m")
    natural_hz: float = parameter(12.0, "natural frequency of the joints' lag", low=1.0, high=60.0)
    damping: float = parameter(0.9, "damping ratio of the lag", low=0.1, high=10.0)
    friction_rad_s: float = parameter(0.002, "speed that friction takes, rad/s", low=0.0, high=0.1)
    delay_s: float = parameter(0.01, "from a command to its effect, s", low=0.0, high=0.5)
    noise_rad: float = parameter(1e-4, "standard deviation of the readings, rad", low=0.0, high=0.1)
    shuffled: bool = parameter(False, "joint_states names the joints in another order")
    nan_velocity: bool = parameter(False, "joint_states gives NaN for velocities, as some do")
    cameras: tuple[str, ...] = parameter(("scene",), "which of the simulation's cameras to publish")
    compressed: bool = parameter(False, "images as JPEG on image_raw/compressed")
    image_size: int = parameter(64, "image height and width in pixels", low=16, high=1024)
    image_rate_hz: float = parameter(10.0, "camera frames per second", low=0.1, high=60.0)
    state_rate_hz: float = parameter(
        100.0, "joint states and tool poses per second", low=10.0, high=500.0
    )
    seed: int = parameter(0, "of the noise and of the order of the joints", low=0)


@dataclass(frozen=True)
class FakeBaseParameters:
    """Parameters of `fake_base_node`; by default about a TurtleBot 4 in a room of 4 m × 4 m."""

    cmd_vel_stamped: bool = parameter(
        False, "cmd_vel is TwistStamped, as diff_drive_controller takes it from Jazzy on"
    )
    command_timeout_s: float = parameter(
        0.5, "it stops when no command came for this long, s (diff_drive_controller: 0.5)", low=0.01
    )
    joint_names: tuple[str, ...] = parameter(
        ("left_wheel_joint", "right_wheel_joint"), "its wheels, the left one first"
    )
    wheel_radius_m: float = parameter(0.03575, "of a wheel, m", low=1e-3, high=1.0)
    wheel_separation_m: float = parameter(0.233, "from wheel to wheel, m", low=1e-2, high=5.0)
    wheel_speed_rad_s: float = parameter(
        12.9, "what a motor does at most, rad/s", low=0.1, high=200.0
    )
    slip: float = parameter(
        0.01, "share of the wheels' way that is lost on the floor", low=0.0, high=0.5
    )
    start: tuple[float, ...] = parameter(
        (-0.8, 0.0, 0.0), "where it begins: x m, y m from the middle of the room, heading rad"
    )
    base_frame: str = parameter("base_link", "frame of commands and of the odometry's velocity")
    odom_frame: str = parameter("odom", "frame of the odometry's pose, which is 0 at the start")
    natural_hz: float = parameter(5.0, "natural frequency of the wheels' lag", low=1.0, high=60.0)
    damping: float = parameter(0.9, "damping ratio of the lag", low=0.1, high=10.0)
    friction_rad_s: float = parameter(0.02, "speed that friction takes, rad/s", low=0.0, high=1.0)
    delay_s: float = parameter(0.03, "from a command to its effect, s", low=0.0, high=0.5)
    noise_rad: float = parameter(1e-4, "standard deviation of the readings, rad", low=0.0, high=0.1)
    camera: str = parameter("scene", "name of the camera, which looks down on the whole room")
    compressed: bool = parameter(False, "images as JPEG on image_raw/compressed")
    image_size: int = parameter(64, "image height and width in pixels", low=16, high=1024)
    image_rate_hz: float = parameter(10.0, "camera frames per second", low=0.1, high=60.0)
    state_rate_hz: float = parameter(
        50.0, "joint states and odometry per second", low=10.0, high=500.0
    )
    seed: int = parameter(0, "of the noise", low=0)


@dataclass(frozen=True)
class AgentParameters:
    """Parameters of `agent_node`."""

    bundle: str = parameter("", "folder of the world model bundle")
    agent_config: str = parameter(
        "", "YAML file of the agent; empty for the bundle's own or the defaults"
    )
    task: str = parameter("", "YAML file of the task to begin with, instead of agent_config")
    plan_log: str = parameter(
        "", "file for the inputs of every plan (MCAP); with -2, … if there is one; empty for none"
    )
    provider: str = parameter(
        "auto", "where the model runs", choices=("auto", "tensorrt", "cuda", "cpu")
    )
    variant: str = parameter("fp32", "precision of the rollouts: fp32 or one the bundle has")
    threads: int = parameter(1, "CPU threads of the model", low=1, high=64)
    latency_steps: int = parameter(
        1, "model steps from a frame to the start of its plan", low=1, high=10
    )
    deadline_s: float = parameter(
        0.07, "time to plan in, s; with all delays it must end within latency_steps", low=0.001
    )
    realtime_priority: int = parameter(
        0,
        "SCHED_FIFO priority, below command_node's, used where the system allows it; 0 for none",
        low=0,
        high=49,
    )
    autostart: bool = parameter(True, "configure and activate without a lifecycle manager")
    base_frame: str = parameter("panda_link0", "frame of the planned velocities")
    max_reading_skew_s: float = parameter(
        0.05, "largest time between a frame and the joint reading planned with, s", low=0.001
    )
    frozen_after_m: float = parameter(
        0.03, "a camera without news while tool or base move so far, m, is frozen; 0: none", low=0.0
    )


@dataclass(frozen=True)
class CommandParameters:
    """Parameters of `command_node`. The defaults are those of the simulated Panda.

    Of the lists of text, ``bodies`` holds a frame of the URDF, x, y, z in it and a radius each, and
    ``keep_out`` either ``sphere x y z radius`` or ``box x y z x y z``, which are two opposite
    corners; all in m and in the base frame. ``none`` stands for an empty list.
    """

    rate_hz: float = parameter(100.0, "commands per second", low=10.0, high=1000.0)
    realtime_priority: int = parameter(
        50, "SCHED_FIFO priority, used where the system allows it; 0 for none", low=0, high=99
    )
    base_frame: str = parameter("panda_link0", "frame of commands, limits and workspace")
    interface: str = parameter(
        "twist_stamped",
        "what the robot takes",
        choices=("twist_stamped", "twist", "joint_velocity", "joint_position", "joint_trajectory"),
    )
    controller: str = parameter("", "ros2_control controller that takes joint commands")
    cmd_vel_stamped: bool = parameter(
        False, "interface twist: TwistStamped, as diff_drive_controller takes it from Jazzy on"
    )
    gripper: str = parameter("", "ros2_control controller of the gripper; empty for none")
    gripper_joint: str = parameter("", "joint of joint_states that says where the gripper is")
    gripper_speed_m_s: float = parameter(
        0.05, "largest speed of the gripper's fingers, m/s", low=1e-3, high=1.0
    )
    gripper_low_m: float = parameter(0.0, "position of the closed gripper, m")
    gripper_high_m: float = parameter(0.04, "position of the open gripper, m")
    gripper_ahead_m: float = parameter(
        0.008,
        "how far the gripper is told to go beyond where it is, m: what squeezes a thing in it",
        low=1e-4,
        high=0.2,
    )
    shadow: bool = parameter(
        False, "command nothing, publish what would be commanded under ~/shadow"
    )
    speed_scale: float = parameter(
        1.0, "share of all speed limits, for the first motions", low=0.01, high=1.0
    )
    # Of the tool (a base: forwards, sideways, and rad about z).
    speed_m_s: tuple[float, ...] = parameter(
        (0.25, 0.25, 0.25), "largest tool speed along x, y, z, m/s", low=1e-3, high=3.0
    )
    acceleration_m_s2: tuple[float, ...] = parameter(
        (5.0, 5.0, 5.0), "largest tool acceleration along x, y, z, m/s²", low=1e-2, high=50.0
    )
    jerk_m_s3: tuple[float, ...] = parameter(
        (200.0, 200.0, 200.0), "largest tool jerk along x, y, z, m/s³", low=1e-1, high=1e5
    )
    workspace_low_m: tuple[float, ...] = parameter(
        (0.2, -0.5, 0.0), "lower corner of the box the tool is kept in, m"
    )
    workspace_high_m: tuple[float, ...] = parameter(
        (0.8, 0.5, 0.8), "upper corner of the box the tool is kept in, m"
    )
    # Of the joints: interfaces joint_*. A base: its wheels' names, to see that it is alive.
    joint_names: tuple[str, ...] = parameter(
        tuple(f"panda_joint{number}" for number in range(1, 8)), "joints that are commanded"
    )
    joint_low_rad: tuple[float, ...] = parameter(
        (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973),
        "lowest joint positions, rad",
        any_length=True,
    )
    joint_high_rad: tuple[float, ...] = parameter(
        (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973),
        "highest joint positions, rad",
        any_length=True,
    )
    joint_speed_rad_s: tuple[float, ...] = parameter(
        (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61),
        "largest joint speeds, rad/s",
        low=1e-3,
        any_length=True,
    )
    joint_acceleration_rad_s2: tuple[float, ...] = parameter(
        (15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0),
        "largest joint accelerations, rad/s²",
        low=1e-2,
        any_length=True,
    )
    joint_jerk_rad_s3: tuple[float, ...] = parameter(
        (7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0),
        "largest joint jerks, rad/s³",
        low=1e-1,
        any_length=True,
    )
    joint_margin_rad: float = parameter(
        0.02, "room kept to the lowest and highest positions, rad", low=0.0, high=0.5
    )
    home_rad: tuple[float, ...] = parameter(
        (0.0, -0.6, 0.0, -2.4, 0.0, 1.8, 0.785),
        "posture that is preferred where the tool leaves the choice, rad",
        any_length=True,
    )
    robot_description_file: str = parameter(
        "", "URDF: a path or package://<name>/<path>; empty for the topic robot_description"
    )
    tool_frame: str = parameter("panda_hand", "frame of the URDF that is the tool")
    bodies: tuple[str, ...] = parameter(("none",), "spheres that are part of the robot")
    bodies_apart: int = parameter(
        2, "bodies whose joints are at most so many apart cannot touch", low=0, high=20
    )
    keep_out: tuple[str, ...] = parameter(("none",), "where neither tool nor bodies may be")
    margin_m: float = parameter(0.01, "room kept to all of these, m", low=0.0, high=0.5)
    robot_delay_s: float = parameter(
        0.0, "from a command to the reading that shows it, s", low=0.0, high=0.5
    )
    max_tracking_error: float = parameter(
        0.1, "largest distance between reading and command, rad or m", low=1e-3, high=3.2
    )
    max_plan_age_s: float = parameter(
        0.15, "the robot stops when no new plan came for this long, s", low=0.02, high=10.0
    )
    max_pose_age_s: float = parameter(
        0.1, "it stops when tool pose or joint states are older than this, s", low=0.02, high=10.0
    )
    max_image_age_s: float = parameter(
        0.5, "it stops when the image planned from is older, s; 0 for unwatched", low=0.0, high=10.0
    )
    slow_surprise: float = parameter(
        1.0,
        "surprise from which on it slows down, 1: one held-out frame in 100 is; 0 for never",
        low=0.0,
    )
    stop_surprise: float = parameter(2.0, "and at which it stops", low=0.0)


@dataclass(frozen=True)
class ExploreParameters:
    """Parameters of `explore_node`; the defaults fit the simulated Panda of Reach."""

    low_m: tuple[float, ...] = parameter(
        (0.30, -0.25, 0.05), "lower corner of the box to explore, m"
    )
    high_m: tuple[float, ...] = parameter(
        (0.60, 0.25, 0.35), "upper corner of the box to explore, m"
    )
    speed_m_s: float = parameter(0.25, "largest speed along each axis, m/s", low=1e-3, high=3.0)
    rate_hz: float = parameter(20.0, "plans per second", low=10.0, high=100.0)
    seed: int = parameter(0, "of the motion", low=0, high=2**31 - 1)
    base_frame: str = parameter("panda_link0", "frame of the box and of tool_pose")


@dataclass(frozen=True)
class SupervisorParameters:
    """Parameters of `supervisor_node`."""

    nodes: tuple[str, ...] = parameter(
        ("agent_node", "command_node"), "nodes to start, in this order"
    )
    remappings: tuple[str, ...] = parameter(
        ("",), "topics of these nodes that the robot calls otherwise, each as ours:=theirs"
    )
    settings: tuple[str, ...] = parameter(
        ("",),
        "parameters of these nodes, each as node.parameter:=value, before those of the files; "
        "no value: what the files say",
    )
    run_dir: str = parameter("", "gets logs/<node>.log and pids/<node>; empty: output is passed on")
    realtime_priority: int = parameter(
        60, "SCHED_FIFO priority, used where the system allows it; 0 for none", low=0, high=99
    )
    silence_s: float = parameter(
        0.1,
        "no command for this long while the robot moves: command_node is lost, s",
        low=0.02,
        high=0.4,
    )
    longest_delay_s: float = parameter(
        10.0, "longest wait before a node that keeps failing is started again, s", low=0.0
    )
    start_timeout_s: float = parameter(
        60.0, "a node that is not ready by then is ended and started again, s", low=1.0
    )


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of `recorder_node`."""

    path: str = parameter("", "folder of the new bag, with -2, … where there is one")
    topics: tuple[str, ...] = parameter(
        (
            "scene/image_raw",
            "scene/image_raw/compressed",
            "scene/camera_info",
            "front/image_raw",
            "front/image_raw/compressed",
            "front/camera_info",
            "scene/goal_image",
            "front/goal_image",
            "goal_file",
            "task",
            "joint_states",
            "tool_pose",
            "servo_node/delta_twist_cmds",
            "command_node/applied",
            "command_node/applied_gripper",
            "cmd_vel",
            "command_node/shadow/servo_node/delta_twist_cmds",
            "command_node/shadow/applied",
            "command_node/shadow/applied_gripper",
            "command_node/shadow/cmd_vel",
            "odom",
            "plan",
            "plan_status",
            "command_node/status",
            "evaluation/truth",
            "episode",
            "/diagnostics",
        ),
        "topics to record, each from when it first appears; by default also what is remapped "
        "and the commands that the parameters of command_node imply",
    )
    split_minutes: float = parameter(
        30.0,
        "after so long a new bag is begun, in the folder of the first, min",
        low=0.01,
        high=1e5,
    )


def check(values: object) -> None:
    """Hold every field of a parameter dataclass to its type and limits.

    Raises:
        ParameterError: the first one that does not fit.
    """
    for item in fields(values):  # type: ignore[arg-type]
        name, value, default = item.name, getattr(values, item.name), item.default
        if isinstance(default, tuple):
            if not isinstance(value, tuple) or not all(type(v) is type(default[0]) for v in value):
                raise ParameterError(f"parameter {name}: expected a list like {list(default)}")
            sized = isinstance(default[0], float) and not item.metadata["any_length"]
            if sized and len(value) != len(default):
                raise ParameterError(f"parameter {name}: expected {len(default)} numbers")
        elif type(value) is not type(default):
            kind = type(default).__name__
            raise ParameterError(f"parameter {name}: expected {kind}, got {value!r}")
        low, high = item.metadata["low"], item.metadata["high"]
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ParameterError(f"parameter {name}: {number} is not finite")
            if (low is not None and number < low) or (high is not None and number > high):
                lowest = "-inf" if low is None else low
                highest = "inf" if high is None else high
                raise ParameterError(f"parameter {name}: {number} is not in [{lowest}, {highest}]")
        choices = item.metadata["choices"]
        if choices and value not in choices:
            raise ParameterError(f"parameter {name}: {value!r} is not one of {', '.join(choices)}")


def declare_parameters(node: Node, kind: type[Parameters]) -> Parameters:
    """Declare every field of a dataclass on a node and read the values it was started with.

    The node must be created with ``automatically_declare_parameters_from_overrides=True``: that is
    how a misspelt parameter is seen at all, rclpy otherwise drops it without a word.

    Raises:
        ParameterError: unknown name (with the nearest known one), wrong type or out of range.
    """
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    known = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    for name in node.get_parameters_by_prefix(""):
        if name not in known and name.split(".")[0] not in _OF_RCLPY:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"
            raise ParameterError(f"unknown parameter {name}{hint}")
    values: dict[str, Any] = {}
    descriptors: dict[str, ParameterDescriptor] = {}
    for name, item in known.items():
        low, high = item.metadata["low"], item.metadata["high"]
        descriptor = ParameterDescriptor(
            name=name,
            description=item.metadata["description"],
            additional_constraints=", ".join(item.metadata["choices"]),
            read_only=not item.metadata["may_change"],
        )
        if low is not None and high is not None:
            if isinstance(item.default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
                ]
            elif isinstance(item.default, int):
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=1)
                ]
        descriptors[name] = descriptor
        if node.has_parameter(name):
            value = node.get_parameter(name).value
            if isinstance(item.default, float) and type(value) is int:
                value = float(value)  # YAML's 10 for 10.0 is no reason to refuse
            node.undeclare_parameter(name)
        else:
            value = item.default
        if isinstance(item.default, tuple):
            kind_of_one = type(item.default[0])
            value = tuple(float(v) if kind_of_one is float else v for v in value)
        values[name] = value
    result = kind(**values)
    check(result)
    for name, value in values.items():
        node.declare_parameter(name, value, descriptors[name], ignore_override=True)
    return result


def as_mapping(values: object) -> Mapping[str, Any]:
    """A parameter dataclass as ROS writes it to YAML: tuples become lists."""
    pairs = dataclasses.asdict(values).items()  # type: ignore[call-overload]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in pairs}
