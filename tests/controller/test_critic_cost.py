"""The critic's cost: steps to go, asked at the steps of the horizon that were chosen."""

from types import SimpleNamespace

import numpy as np
import pytest

from controller.agent import Agent
from controller.config import AgentConfig, ConfigError, CostConfig, PlannerConfig
from controller.costs import CostContext
from controller.costs.critic import CriticCost
from controller.types import Goal

PLANNER = PlannerConfig(horizon=8, knots=2, samples=64, elites=8, iterations=3, noise_beta=0.0)


class Steps:
    """A critic that counts: one step for each 0.1 of distance along the first axis."""

    has_critic = True

    def critic(self, latents, goal):
        assert latents.shape[1:] == goal.shape
        return np.abs(latents[:, 0, 0] - goal[0, 0]) / np.float32(0.1)


@pytest.fixture
def context(model):
    goal = Goal(np.array([[1.0, 0.0]], np.float32))
    return CostContext(goal, model.state([0.0, 0.0]), np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [6.0]),  # the last alone: (1.0 - 0.4) / 0.1
        (2, [7.0]),  # steps 2 and 4: (8 + 6) / 2
        (3, [22 / 3]),  # steps 2, 3 and 4: (8 + 8 + 6) / 3, as 4/3 and 8/3 are rounded up
        (99, [7.75]),  # all four: (9 + 8 + 8 + 6) / 4
    ],
)
def test_it_is_the_mean_over_the_steps_asked_at(context, steps, expected):
    latents = np.zeros((1, 4, 1, 2), np.float32)
    latents[0, :, 0, 0] = [0.1, 0.2, 0.2, 0.4]
    cost = CriticCost(Steps(), horizon=4, steps=steps)
    found = cost(SimpleNamespace(latents=latents), np.zeros((1, 4, 2)), context)
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_planner_follows_the_critic_and_says_its_share(make_model):
    class WithCritic(Steps, make_model):
        """The point in the plane, with a critic that sees the first axis alone."""

    model = WithCritic()
    cost = CostConfig(goal_weight=0.0, critic_weight=0.5, critic_steps=2)
    agent = Agent(model, AgentConfig(PLANNER, cost, deadline_s=None))
    agent.set_goal(model.image([1.5, -1.5]))
    plan = agent.step(model.observe([0.0, 0.0], 0))
    # Full speed along x; y means nothing to this critic, so rest is cheapest there.
    assert plan.knots[:, 0].min() > 0.9
    # 8 steps of 0.1 m/s·s: steps to go 15 - 4 at the fourth, 15 - 8 at the last: mean 9, times 0.5
    assert plan.cost_terms["critic"] == pytest.approx(4.5, abs=0.3)


def test_a_model_without_one_is_a_clear_error(model):
    config = AgentConfig(PLANNER, CostConfig(critic_weight=0.5))
    with pytest.raises(ConfigError, match=r"critic_weight is 0\.5 .* `foresee train-critic`"):
        Agent(model, config)


@pytest.mark.parametrize(("setting", "value"), [("critic_weight", -0.1), ("critic_steps", 0)])
def test_limits(setting, value):
    with pytest.raises(ConfigError, match=setting):
        CostConfig(**{setting: value})
