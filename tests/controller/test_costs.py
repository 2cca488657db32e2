"""Each cost against arithmetic written out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from controller.config import CostConfig
from controller.costs import CostContext, build_cost
from controller.costs.action import ActionCost, SmoothnessCost
from controller.costs.task import GoalCost
from controller.types import Goal

LOW = np.array([-0.5, -1.0], np.float32)
HIGH = np.array([0.5, 1.0], np.float32)


@pytest.fixture
def context(model):
    goal = Goal(np.array([[1.0, 0.0]], np.float32))
    return CostContext(goal, model.state([0.0, 0.0]), np.array([0.5, 0.0], np.float32))


@pytest.fixture
def rollouts():
    # two samples, two steps, one token of width two
    latents = np.array([[[[0, 0]], [[1, 0]]], [[[3, 0]], [[1, 2]]]], np.float32)
    return SimpleNamespace(latents=latents, proprio=np.zeros((2, 2, 3), np.float32))


@pytest.fixture
def actions():
    return np.array([[[0.0, 0.0], [0.0, 0.0]], [[0.5, 1.0], [0.5, 0.0]]], np.float32)


def test_goal_cost_is_the_mean_over_latent_and_horizon(rollouts, actions, context):
    # sample 0: step 0 is (1+0)/2 = 0.5, step 1 is 0: mean 0.25
    # sample 1: step 0 is (4+0)/2 = 2, step 1 is (0+4)/2 = 2: mean 2
    cost = GoalCost(horizon=2, growth=1.0)(rollouts, actions, context)
    assert cost.tolist() == pytest.approx([0.25, 2.0])


def test_goal_growth_weighs_later_steps_more(rollouts, actions, context):
    # weights 1/4 and 3/4. sample 0: 0.5/4 + 0 = 0.125
    cost = GoalCost(horizon=2, growth=3.0)(rollouts, actions, context)
    assert cost.tolist() == pytest.approx([0.125, 2.0])


@pytest.mark.parametrize("growth", [1e-30, 1e30])
def test_extreme_growth_stays_finite(growth, context):
    latents = np.ones((1, 40, 1, 2), np.float32)
    rollouts = SimpleNamespace(latents=latents, proprio=np.zeros((1, 40, 1)))
    cost = GoalCost(40, growth)(rollouts, np.zeros((1, 40, 2), np.float32), context)
    assert cost.tolist() == pytest.approx([0.5])  # (0 + 1)/2 at every step


def test_action_cost_is_one_at_full_speed_on_all_axes(rollouts, actions, context):
    # in halves of the range: sample 1 is (1, 1), (1, 0): (1 + 1 + 1 + 0) / 4 = 0.75
    cost = ActionCost(2, LOW, HIGH)(rollouts, actions, context)
    assert cost.tolist() == pytest.approx([0.0, 0.75])


def test_smoothness_cost_counts_from_the_action_in_force(rollouts, actions, context):
    # in halves of the range, in force (1, 0).
    # sample 0: changes (-1, 0), (0, 0): 1/4
    # sample 1: changes (0, 1), (0, -1): (1 + 1)/4 = 0.5
    cost = SmoothnessCost(2, LOW, HIGH)(rollouts, actions, context)
    assert cost.tolist() == pytest.approx([0.25, 0.5])


def test_smoothness_cost_leaves_the_actions_alone(rollouts, actions, context):
    before = actions.copy()
    SmoothnessCost(2, LOW, HIGH)(rollouts, actions, context)
    np.testing.assert_array_equal(actions, before)


def test_total_is_the_weighted_sum_and_reports_each_share(rollouts, actions, context):
    config = CostConfig(goal_weight=2.0, action_weight=0.1, smoothness_weight=0.2)
    total, shares, *_ = build_cost(config, 2, LOW, HIGH)(rollouts, actions, context)
    # sample 0: 2*0.25 + 0.1*0 + 0.2*0.25 = 0.55; sample 1: 2*2 + 0.1*0.75 + 0.2*0.5 = 4.175
    assert total.tolist() == pytest.approx([0.55, 4.175])
    assert {name: share.tolist() for name, share in shares.items()} == {
        "goal": pytest.approx([0.5, 4.0]),
        "action": pytest.approx([0.0, 0.075]),
        "smoothness": pytest.approx([0.05, 0.1]),
    }


def test_a_weight_of_zero_leaves_the_term_out(rollouts, actions, context):
    config = CostConfig(action_weight=0.0, smoothness_weight=0.0)
    shares = build_cost(config, 2, LOW, HIGH)(rollouts, actions, context).shares
    assert list(shares) == ["goal"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["latents", "proprio"])
def test_whatever_is_not_finite_makes_its_sample_not_finite(rollouts, actions, context, field, bad):
    getattr(rollouts, field)[1].flat[-1] = bad
    with np.errstate(all="ignore"):
        total = build_cost(CostConfig(), 2, LOW, HIGH)(rollouts, actions, context).costs
    assert np.isfinite(total).tolist() == [True, False]


def test_costs_of_one_sample_do_not_depend_on_the_others(rollouts, actions, context):
    cost = build_cost(CostConfig(), 2, LOW, HIGH)
    both = cost(rollouts, actions, replace(context)).costs
    second = SimpleNamespace(latents=rollouts.latents[1:], proprio=rollouts.proprio[1:])
    alone = cost(second, actions[1:], context).costs
    assert alone[0] == both[1]
