"""The robots that faults are tried on, with what each was promised at its actuators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
from numpy.typing import NDArray

import sim  # noqa: F401 registers the environments
from benchmarks.faults.judge import Rules
from benchmarks.faults.rig import Plant
from foresee.commands import shipped_bundle
from ros_nodes.graph import NodeSpec, supervised
from ros_nodes.params import (
    AgentParameters,
    CommandParameters,
    RecorderParameters,
    SimParameters,
)
from sim.envs.table import TableEnv

# Narrower than where the simulated robot can go, so that the limits are in its way.
LOW_M, HIGH_M = (0.37, -0.17, 0.11), (0.53, 0.17, 0.29)
_LATE_M = 0.01  # the simulated arm follows its command this much late, at most
_GOALS = 6
_OF_ROBOT = ("scene/image_raw", "scene/camera_info", "joint_states", "tool_pose")


def simulation(run_dir: Path, simulated_time: bool) -> Plant:
    """The simulated Panda of Reach, commanded by tool velocity.

    Args:
        run_dir: gets the recording.
        simulated_time: whether the nodes live by ``/clock``.
    """
    command = CommandParameters(workspace_low_m=LOW_M, workspace_high_m=HIGH_M)
    agent = AgentParameters(bundle=str(shipped_bundle("foresee/Reach-v0")))
    recorder = RecorderParameters(path=str((run_dir / "bag").resolve()))
    seed, goals, beyond, outside = _goals()
    speed = np.asarray(command.speed_m_s)
    acceleration = np.asarray(command.acceleration_m_s2)
    jerk = np.asarray(command.jerk_m_s3)
    period_s = 1.0 / command.rate_hz
    return Plant(
        name="simulation",
        nodes=(
            NodeSpec("recorder_node", recorder),
            NodeSpec(
                "sim_node",
                SimParameters(seed=seed),
                remappings={topic: f"robot/{topic}" for topic in _OF_ROBOT},
            ),
            supervised(
                NodeSpec("agent_node", agent),
                NodeSpec("command_node", command),
                remappings={"agent_node:plan": "agent/plan"},
            ),
        ),
        goals=goals,
        goal_beyond=beyond,
        outside_seed=outside,
        command=("geometry_msgs/msg/TwistStamped", "servo_node/delta_twist_cmds"),
        position=("geometry_msgs/msg/PoseStamped", "robot/tool_pose"),
        names=(),
        rules=Rules(
            velocity=speed,
            acceleration=acceleration,
            jerk=jerk,
            period_s=period_s,
            low=np.asarray(LOW_M),
            high=np.asarray(HIGH_M),
            position_margin=_LATE_M,
            stop_s=command.max_plan_age_s,
            braking_s=float((speed / acceleration + acceleration / jerk).max()) + 5 * period_s,
        ),
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


PLANTS: dict[str, Callable[[Path, bool], Plant]] = {"simulation": simulation}
