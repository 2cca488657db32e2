"""The robots that faults are tried on, with what each was promised at its actuators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray

import sim  # noqa: F401 registers the environments
from benchmarks.faults.catalog import FaultClass
from benchmarks.faults.judge import Rules
from benchmarks.faults.rig import Plant
from foresee.commands import shipped_bundle
from ros_nodes.graph import NodeSpec, supervised
from ros_nodes.params import (
    AgentParameters,
    CommandParameters,
    FakeRobotParameters,
    RecorderParameters,
    SimParameters,
)
from sim.arm_model import ArmModel, draw_arm
from sim.assets import panda_urdf
from sim.camera import TABLE_CAMERAS
from sim.envs.table import TableEnv

# Narrower than where the simulated robot can go, so that the limits are in its way.
LOW_M, HIGH_M = (0.37, -0.17, 0.11), (0.53, 0.17, 0.29)
_LATE_M = 0.01  # both arms follow their commands this much late, at most
_GOALS = 6
_OF_ROBOT = ("scene/image_raw", "scene/camera_info", "joint_states", "tool_pose")
# What cannot be done to a robot that is no simulation.
_SIMULATED = ("clock", "start")


def simulation(run_dir: Path, simulated_time: bool) -> Plant:
    """The simulated Panda of Reach, commanded by tool velocity.

    Args:
        run_dir: gets the recording.
        simulated_time: whether the nodes live by ``/clock``.
    """
    command = CommandParameters(workspace_low_m=LOW_M, workspace_high_m=HIGH_M)
    seed, goals, beyond, outside = _goals()
    robot = SimParameters(seed=seed, publish_clock=simulated_time)
    limits = (command.speed_m_s, command.acceleration_m_s2, command.jerk_m_s3)
    return Plant(
        name="simulation",
        nodes=_nodes(NodeSpec("sim_node", robot), command, run_dir),
        goals=goals,
        goal_beyond=beyond,
        start_seed=seed,
        outside_seed=outside,
        command=("geometry_msgs/msg/TwistStamped", "servo_node/delta_twist_cmds"),
        position=("geometry_msgs/msg/PoseStamped", "robot/tool_pose"),
        names=(),
        rules=_rules(command, *limits, LOW_M, HIGH_M, position_margin=_LATE_M),
        simulated_time=simulated_time,
    )


def _goals() -> tuple[int, tuple[NDArray[np.uint8], ...], NDArray[np.uint8], int]:
    """A start inside the limits, goal images far apart in them, one beyond, a start beyond."""
    world = gymnasium.make("foresee/Reach-v0").unwrapped
    assert isinstance(world, TableEnv)
    low, high = np.asarray(LOW_M), np.asarray(HIGH_M)
    inside: list[tuple[NDArray[np.float64], NDArray[np.uint8]]] = []
    beyond: NDArray[np.uint8] | None = None
    start_seed: int | None = None
    outside: int | None = None
    try:
        for number in range(1000):
            obs, info = world.reset(seed=number)
            place = np.asarray(info["goal_position_m"])
            if ((place > low + 0.01) & (place < high - 0.01)).all():
                if not inside or np.linalg.norm(inside[-1][0] - place) > 0.12:
                    inside.append((place, obs["goal_image"]))
            elif beyond is None and np.maximum(low - place, place - high).max() > 0.05:
                beyond = obs["goal_image"]
            start = np.asarray(info["tool_position_m"])
            out = float(np.maximum(low - start, start - high).max())
            if outside is None and out > 0.04:
                outside = number
            if start_seed is None and out < -0.01:
                start_seed = number
            if len(inside) < _GOALS or beyond is None or outside is None or start_seed is None:
                continue
            return start_seed, tuple(image for _, image in inside), beyond, outside
    finally:
        world.close()
    raise RuntimeError("no goals found: have the limits or the world changed?")


def fake(run_dir: Path, simulated_time: bool) -> Plant:
    """A Panda behind ros2_control that is not PyBullet, commanded by joint velocity.

    Its controller keeps the last command for ever, as forward_command_controller does.

    Args:
        run_dir: gets the recording.
        simulated_time: whether the nodes live by ``/clock``.
    """
    robot = FakeRobotParameters(interface="joint_velocity")
    command = CommandParameters(
        interface="joint_velocity",
        controller=robot.controller,
        tool_frame=robot.tool_frame,
        workspace_low_m=LOW_M,
        workspace_high_m=HIGH_M,
        # The bundle has never seen such a drawing, and rightly stops before the first trial.
        slow_surprise=0.0,
        stop_surprise=0.0,
    )
    rules = _rules(
        command,
        command.joint_speed_rad_s,
        command.joint_acceleration_rad_s2,
        command.joint_jerk_rad_s3,
        np.concatenate([command.joint_low_rad, LOW_M]),
        np.concatenate([command.joint_high_rad, HIGH_M]),
        position_margin=_LATE_M,
    )
    model = ArmModel(panda_urdf().read_text(), robot.joint_names, robot.tool_frame)
    goals, beyond = _drawn_goals(robot, model)
    return Plant(
        name="fake hardware",
        nodes=_nodes(NodeSpec("fake_robot_node", robot), command, run_dir),
        goals=goals,
        goal_beyond=beyond,
        start_seed=None,
        outside_seed=None,
        command=("std_msgs/msg/Float64MultiArray", f"{robot.controller}/commands"),
        position=("sensor_msgs/msg/JointState", "robot/joint_states"),
        names=robot.joint_names,
        rules=rules,
        place=lambda joints: np.array([model.tool_pose(row)[0] for row in joints]).reshape(-1, 3),
        simulated_time=simulated_time,
    )


def _rules(
    command: CommandParameters,
    velocity: Sequence[float],
    acceleration: Sequence[float],
    jerk: Sequence[float],
    low: Sequence[float] | NDArray[np.float64],
    high: Sequence[float] | NDArray[np.float64],
    position_margin: float,
) -> Rules:
    """What was promised of axes with these limits."""
    period_s = 1.0 / command.rate_hz
    speeds, accelerations, jerks = (np.asarray(x) for x in (velocity, acceleration, jerk))
    # The longest way to rest, from speeding up as hard as may be, and a few ticks to begin it.
    longest_s = float((speeds / accelerations + 2.0 * accelerations / jerks).max())
    return Rules(
        velocity=speeds,
        acceleration=accelerations,
        jerk=jerks,
        period_s=period_s,
        low=np.asarray(low),
        high=np.asarray(high),
        position_margin=position_margin,
        stop_s=command.max_plan_age_s,
        braking_s=longest_s + 5.0 * period_s,
    )


def _nodes(robot: NodeSpec, command: CommandParameters, run_dir: Path) -> tuple[NodeSpec, ...]:
    """Recorder, robot behind the relays, and agent and command node under their supervisor."""
    agent = AgentParameters(bundle=str(shipped_bundle("foresee/Reach-v0")))
    recorder = RecorderParameters(path=str((run_dir / "bag").resolve()))
    return (
        NodeSpec("recorder_node", recorder),
        replace(
            robot,
            remappings={topic: f"robot/{topic}" for topic in _OF_ROBOT}
            | {"/clock": "/robot/clock"},
        ),
        supervised(
            NodeSpec("agent_node", agent),
            NodeSpec("command_node", command),
            remappings={"agent_node:plan": "agent/plan"},
        ),
    )


def _drawn_goals(
    robot: FakeRobotParameters, model: ArmModel
) -> tuple[tuple[NDArray[np.uint8], ...], NDArray[np.uint8]]:
    """Images of the arm at places inside the limits, and one of a place beyond them."""
    low, high = np.asarray(LOW_M), np.asarray(HIGH_M)
    rng = np.random.default_rng(0)
    places = [*rng.uniform(low + 0.02, high - 0.02, (_GOALS, 3)), high + 0.06]
    images = []
    for place in places:
        joints = np.array(robot.start_rad)
        for _ in range(100):
            joints = joints + 0.1 * model.joint_speeds(joints, place - model.tool_pose(joints)[0])
        images.append(draw_arm(model.chain(joints), TABLE_CAMERAS["scene"], robot.image_size))
    return tuple(images[:-1]), images[-1]


def suits(plant: str, fault: FaultClass) -> bool:
    """Whether a class of faults can be tried on a plant."""
    return plant == "simulation" or fault.place not in _SIMULATED


PLANTS: dict[str, Callable[[Path, bool], Plant]] = {"simulation": simulation, "fake": fake}
