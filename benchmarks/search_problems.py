"""Planning problems to hold optimisers against: a start, a goal, the least cost that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.linear import linear_actor, linear_world
from controller.actor import Actor
from controller.config import AgentConfig, PlannerConfig
from controller.costs import CostContext, build_cost
from controller.imagination import advance
from controller.optimizers import build_optimizer
from controller.types import Goal, ModelState, Plan
from foresee.commands import BUNDLES
from foresee.worlds import CAMERA, make_world
from world_model.runtime import OnnxWorldModel, load_world_model

_LINEAR_STEPS, _LINEAR_ACTION_WEIGHT = 8, 0.05


@dataclass(frozen=True)
class Problem:
    """Two successive moments of a task: a plan for the first is a warm start for the second.

    Attributes:
        actor: makes one from settings.
        before: where the robot was one step earlier.
        state: where it is.
        goal: where to go.
        rest: cost of standing still from ``state``.
        least: least cost from ``state`` that is known.
    """

    actor: Callable[[PlannerConfig], Actor]
    before: ModelState
    state: ModelState
    goal: Goal
    rest: float
    least: float

    def gap(self, plan: Plan) -> float:
        """What is missing to the least cost, as a share of what standing still misses."""
        return (plan.cost - self.least) / (self.rest - self.least)


def search(
    actor: Actor, state: ModelState, goal: Goal, seed: int, warm_start: Plan | None = None
) -> Plan:
    """One plan without deadline."""
    return actor.plan(state, goal, warm_start, None, np.random.default_rng(seed))


def linear_problems() -> tuple[PlannerConfig, list[Problem]]:
    """The linear worlds, their least cost by Riccati, and settings that fit them."""
    planner = PlannerConfig(horizon=_LINEAR_STEPS, knots=_LINEAR_STEPS, std=0.5, noise_beta=0.5)
    problems = []
    for name in ("point", "mass", "pendulum"):
        world = linear_world(name)
        _, actions = world.optimum(_LINEAR_STEPS, _LINEAR_ACTION_WEIGHT)
        before = world.state()
        state = advance(world, before, actions[:1])
        after = linear_world(name)
        after.start = state.latents[-1, 0]
        least, _ = after.optimum(_LINEAR_STEPS, _LINEAR_ACTION_WEIGHT)

        def actor(settings: PlannerConfig, world=world) -> Actor:  # noqa: ANN001
            return linear_actor(world, settings, _LINEAR_ACTION_WEIGHT)

        nothing = np.zeros((1, _LINEAR_STEPS, len(world.spec.action_names)), np.float32)
        away = world.rollout(state, nothing).latents[0, :, 0] - world.goal
        rest = float(np.square(away).mean())
        problems.append(Problem(actor, before, state, world.target(), rest, least))
    return planner, problems


def imagined_problems(
    name: str, config: AgentConfig, count: int, seed: int
) -> tuple[PlannerConfig, list[Problem]]:
    """Starts and goals of a task as its shipped bundle sees them, and the settings.

    The least cost is the best of two long searches, CEM's and gradient descent's.

    Args:
        name: "Reach-v0" or "Push-v0".
        config: the shipped settings for it.
        count: of problems.
        seed: of the first scene.
    """
    model = load_world_model(BUNDLES / name)
    planner, low, high = config.planner, model.spec.action_low, model.spec.action_high
    total = build_cost(config.cost, planner.horizon, low, high)
    nothing = np.zeros((1, planner.horizon, len(low)), np.float32)

    def actor(settings: PlannerConfig) -> Actor:
        return Actor(model, settings, build_optimizer(settings, low, high), total)

    block = 2 * planner.knots * len(low) + 1
    long = (
        replace(planner, samples=500, elites=50, iterations=12),
        replace(planner, method="gradient", samples=6 * block, iterations=40),
    )
    problems = []
    for before, goal in scenes(model, name, count, seed):
        plans = [search(actor(settings), before, goal, 0) for settings in long]
        first = min(plans, key=lambda plan: plan.cost)
        state = advance(model, before, first.action_at(first.start_ns)[None])
        plans = [search(actor(settings), state, goal, 1, first) for settings in long]
        least = min(plan.cost for plan in plans)
        context = CostContext(goal, state, state.actions[-1])
        rest = float(total(model.rollout(state, nothing), nothing, context).costs[0])
        problems.append(Problem(actor, before, state, goal, rest, least))
    return planner, problems


def scenes(
    model: OnnxWorldModel, name: str, count: int, seed: int
) -> Iterator[tuple[ModelState, Goal]]:
    """Where episodes begin, standing still, and their goals, as the model sees them."""
    spec = model.spec
    world = make_world(f"foresee/{name}")
    try:
        for i in range(count):
            obs, _ = world.reset(seed=seed + i)
            latent = np.array(model.encode({CAMERA: obs["image"]}))
            proprio = np.asarray(obs["proprio"], np.float32)
            standing = np.zeros((spec.context - 1, len(spec.action_names)), np.float32)
            before = ModelState(
                np.stack([latent] * spec.context), np.stack([proprio] * spec.context), standing, 0
            )
            yield before, Goal(np.array(model.encode({CAMERA: obs["goal_image"]})))
    finally:
        world.close()
