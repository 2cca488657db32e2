"""Every optimiser against the optimum of linear worlds, which Riccati's recursion gives."""

import numpy as np
import pytest

from benchmarks.linear import linear_actor, linear_world
from controller.config import PlannerConfig
from controller.types import PlanStatus

HORIZON, ACTION_WEIGHT = 8, 0.05
# method: samples of an iteration, iterations, and what else differs from the default
BUDGETS = {
    "cem": (256, 20, {}),
    "icem": (256, 20, {"sample_decay": 0.9}),
    "mppi": (256, 20, {}),
    "predictive": (256, 40, {"std_decay": 0.9}),
    "gradient": (33, 30, {}),
}


@pytest.mark.parametrize("world_name", ["point", "mass", "pendulum"])
@pytest.mark.parametrize("method", BUDGETS)
def test_cost_is_within_one_percent_of_the_optimum(world_name, method):
    world = linear_world(world_name)
    least, optimal = world.optimum(HORIZON, ACTION_WEIGHT)
    assert np.abs(optimal).max() < 0.95, "the optimum must lie within bounds"
    samples, iterations, settings = BUDGETS[method]
    planner = PlannerConfig(
        method=method,
        horizon=HORIZON,
        knots=HORIZON,
        samples=samples,
        iterations=iterations,
        elites=min(26, samples),
        std=0.5,
        noise_beta=0.5,
        **settings,
    )
    actor = linear_actor(world, planner, ACTION_WEIGHT)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        plan = actor.plan(world.state(), world.target(), None, None, rng)
        assert least * 0.9999 <= plan.cost <= least * 1.01
        assert plan.status is PlanStatus.OK


@pytest.mark.parametrize("world_name", ["point", "mass", "pendulum"])
def test_the_optimum_is_what_its_own_actions_cost(world_name):
    world = linear_world(world_name)
    least, actions = world.optimum(HORIZON, ACTION_WEIGHT)

    def cost(tried):
        states = world.rollout(world.state(), tried[None]).latents[0, :, 0]
        return np.square(states - world.goal).mean() + ACTION_WEIGHT * np.square(tried).mean()

    assert cost(actions) == pytest.approx(least, rel=1e-4)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert cost(actions + rng.normal(0, 0.05, actions.shape).astype(np.float32)) > least
