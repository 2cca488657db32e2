"""One closed-loop episode of an agent in a simulated world, in one process.

The world waits while the agent plans. `ros_nodes` runs the same agent in real time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from controller.agent import Agent
from controller.goals import Course
from controller.types import NS_PER_S, Plan
from foresee.worlds import core_of, images_of, observation_of
from sim.policies import scripted_action, straight_line_action


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode went, judged by the simulator's truth.

    Attributes:
        seed: the world's and the agent's.
        success: at the end of the episode.
        start_distance_m: from the goal, before the first action.
        final_distance_m: from the goal, after the last.
        plan_ms: wall time of each plan.
        also: what else was reached at the end, stricter or in part: the names in the world's truth
            that begin with ``success_``.
    """

    seed: int
    success: bool
    start_distance_m: float
    final_distance_m: float
    plan_ms: tuple[float, ...]
    also: dict[str, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """What happened at one step, for whoever watches.

    Attributes:
        image: ``(H, W, 3)`` uint8, what the camera saw before the action.
        goal_image: ``(H, W, 3)`` uint8.
        plan: what the agent decided on it.
        truth: the simulator's evaluation values after the action.
    """

    image: NDArray[np.uint8]
    goal_image: NDArray[np.uint8]
    plan: Plan
    truth: dict[str, Any]


def run_episode(
    world: gymnasium.Env,
    agent: Agent,
    seed: int,
    watch: Callable[[Step], None] | None = None,
    course: Course | None = None,
    subgoals: bool = True,
) -> EpisodeResult:
    """Give the agent the goal image of ``seed`` and let it act until the episode ends.

    The agent is given camera frames, readings and the goal image; never the truth in ``info``.

    Args:
        world: a foresee environment.
        agent: its bundle must fit the environment's camera and readings, and its plans must take
            effect at once (``latency_steps`` 0), because the world waits.
        seed: of the world and of the search.
        watch: called after every step.
        course: goals to pursue instead of the goal image of ``seed``.
        subgoals: give it the images of the stages before the goal first, where the world has them.

    Raises:
        ObservationError: an observation is not what the bundle expects.
    """
    obs, info = world.reset(seed=seed)
    agent.reset(seed)
    if course is not None:
        agent.set_course(course)
    else:
        seen = [*(core_of(world).subgoals() if subgoals else ()), obs]
        agent.set_goals([images_of(world, images, "goal_image") for images in seen])
    start_distance_m = float(info["distance_m"])
    dt_s = core_of(world).control_dt_s
    plan_ms: list[float] = []
    ended = False
    while not ended:
        observation = observation_of(world, obs, len(plan_ms) * dt_s)
        plan = agent.step(observation)
        # One action for all of the step: of straight-line knots the mean, as it was imagined.
        action = plan.action_at(observation.stamp_ns + round(0.5 * dt_s * NS_PER_S))
        image, goal_image = obs["image"], obs["goal_image"]
        obs, _, terminated, truncated, info = world.step(action)
        plan_ms.append(1e3 * plan.plan_s)
        ended = terminated or truncated
        if watch is not None:
            watch(Step(image, goal_image, plan, info))
    return EpisodeResult(
        seed=seed,
        success=bool(info["success"]),
        start_distance_m=start_distance_m,
        final_distance_m=float(info["distance_m"]),
        plan_ms=tuple(plan_ms),
        also=also_reached(info),
    )


def run_floor(world: gymnasium.Env, seed: int, policy: str) -> EpisodeResult:
    """The same task without a learned model: what a success rate has to be held against.

    Args:
        world: a foresee environment; it is not rendered, so this is quick.
        seed: of the world and of the random policy.
        policy: ``zero`` does nothing, ``random`` draws uniform actions, ``straight`` heads for the
            goal as the crow flies, ``scripted`` is the hand-written policy; the last two know the
            simulator's truth.
    """
    core = core_of(world)
    _, info = world.reset(seed=seed)
    rng = np.random.default_rng(seed)
    low, high = core.action_space.low, core.action_space.high
    start_distance_m = float(info["distance_m"])
    assert world.spec is not None
    for _ in range(world.spec.max_episode_steps or 0):
        if policy == "zero":
            action = np.zeros(low.shape, np.float32)
        elif policy == "random":
            action = rng.uniform(low, high).astype(np.float32)
        elif policy == "straight":
            action = straight_line_action(world.spec.id, info)
        else:
            action = scripted_action(world.spec.id, info)
        core.command(action)
        core.advance(core.control_dt_s)
        info = core.truth()
    return EpisodeResult(
        seed=seed,
        success=bool(info["success"]),
        start_distance_m=start_distance_m,
        final_distance_m=float(info["distance_m"]),
        plan_ms=(),
        also=also_reached(info),
    )


def also_reached(truth: Mapping[str, Any]) -> dict[str, bool]:
    """What a world's truth says of `EpisodeResult.also`."""
    return {name: bool(truth[name]) for name in truth if name.startswith("success_")}
