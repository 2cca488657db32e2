"""The actor: near the optimum, on time, and never fooled by what is not finite."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from controller.actor import Actor
from controller.config import CostConfig, PlannerConfig
from controller.costs import build_cost
from controller.imagination import advance
from controller.optimizers import build_optimizer
from controller.spline import sample_knots
from controller.types import Goal, Plan, PlanStatus

METHODS = ["cem", "icem", "mppi", "predictive", "gradient"]
PLANNER = PlannerConfig(horizon=6, knots=6, samples=128, iterations=6, elites=13)
COST = CostConfig(action_weight=0.01, smoothness_weight=0.0)
GOAL_M = np.array([0.2, -0.1], np.float32)
DT_NS = 100_000_000


def build(model, planner: PlannerConfig = PLANNER, cost: CostConfig = COST) -> Actor:
    low, high = model.spec.action_low, model.spec.action_high
    optimizer = build_optimizer(planner, low, high)
    return Actor(model, planner, optimizer, build_cost(cost, planner.horizon, low, high))


def search(actor: Actor, model, position_m=(0.0, 0.0), *, seed=0, warm_start=None, **kw) -> Plan:
    state = model.state(position_m, kw.pop("stamp_ns", 0))
    return actor.plan(
        state,
        Goal(GOAL_M[None]),
        warm_start,
        kw.pop("deadline_ns", None),
        np.random.default_rng(seed),
        **kw,
    )


def made_plan(knots: np.ndarray, start_ns: int = 0, **fields: object) -> Plan:
    knots = np.asarray(knots, np.float32)
    times_s = np.arange(len(knots)) * 0.1
    plan = Plan(start_ns, times_s, knots, len(knots) * 0.1, 0.0, PlanStatus.OK)
    return replace(plan, **fields)


@pytest.mark.parametrize("method", METHODS)
def test_shares_sum_to_the_cost(model, method):
    planner = replace(PLANNER, method=method)
    plan = search(build(model, planner, CostConfig()), model)
    assert set(plan.cost_terms) == {"goal", "action", "smoothness"}
    assert sum(plan.cost_terms.values()) == pytest.approx(plan.cost, rel=1e-5)


@pytest.mark.parametrize("interpolation", ["hold", "linear"])
def test_the_last_mean_is_tried_with_all_its_knots(model, interpolation):
    planner = replace(PLANNER, knots=3, interpolation=interpolation, iterations=1)
    actor = build(model, planner)
    update, means = actor._optimizer.update, []

    def told(*given):
        distribution = update(*given)
        means.append(distribution.mean)
        return distribution

    actor._optimizer.update = told
    plan = search(actor, model)
    times_s = (np.arange(6) + 0.5) * 0.1
    expected = sample_knots(plan.knot_times_s, means[0], times_s, interpolation)
    assert means[0][-1].any()
    np.testing.assert_allclose(model.calls[-1][1][0], expected, atol=1e-6)


@pytest.mark.parametrize("interpolation", ["hold", "linear"])
def test_the_model_is_asked_about_the_mean_action_of_each_step(model, interpolation):
    planner = replace(PLANNER, knots=3, interpolation=interpolation, iterations=1)
    plan = search(build(model, planner), model)
    _, tried = model.calls[0]
    # the plan read finely over each step, against what the model was told: it was one of those
    fine_ns = np.arange(5_000_000, 600_000_000, 10_000_000)
    read = np.stack([plan.action_at(int(stamp)) for stamp in fine_ns]).reshape(6, 10, 2).mean(1)
    candidates = np.concatenate([tried, model.calls[-1][1]])
    assert np.abs(candidates - read).max(axis=(1, 2)).min() < 1e-5


def test_a_plan_never_costs_more_than_standing_still(model):
    # noise so wide and a goal so near that hardly a sample is better than nothing
    planner = replace(PLANNER, samples=4, elites=2, kept_elites=0, iterations=1, std=5.0)
    actor = build(model, planner)
    rush = made_plan(np.ones((6, 2)))
    for seed in range(20):
        for warm_start in (None, rush):
            plan = search(actor, model, GOAL_M, seed=seed, warm_start=warm_start)
            assert plan.cost == 0.0
            assert not plan.knots.any()


@pytest.mark.parametrize("method", METHODS)
def test_the_mean_of_the_last_update_is_tried_too(model, method):
    planner = replace(PLANNER, method=method, iterations=1, std=0.5, momentum=0.0)
    plan = search(build(model, planner), model)
    (_, samples), (_, last) = model.calls
    assert 100 <= len(samples) <= 128
    assert len(last) == 1
    if method == "predictive":  # there it is the best sample itself
        assert (samples == last).all(axis=(1, 2)).any()
    # the cost is convex: the mean of good samples is better than each of them
    np.testing.assert_array_equal(plan.knots, last[0])


# --- what is not finite


def spoil_share(share: float, bad: float, seed: int = 0):
    rng = np.random.default_rng(seed)

    def spoil(latents):
        count = round(share * len(latents))
        spoilt = latents.copy()
        spoilt[rng.permutation(len(latents))[:count], -1] = bad
        return spoilt

    return spoil


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("share", "loss"), [(0.01, 1.05), (0.5, 1.3)])
def test_some_samples_not_finite(model, method, bad, share, loss):
    actor = build(model, replace(PLANNER, method=method, samples=200))
    costs = []
    for spoil in (None, spoil_share(share, bad)):
        model.spoil = spoil
        plans = [search(actor, model, seed=seed) for seed in range(10)]
        assert all(plan.status is PlanStatus.OK for plan in plans)
        assert all((np.abs(plan.knots) <= 1.0).all() for plan in plans)  # no NaN either
        assert all((plan.quarantined > 0) == (spoil is not None) for plan in plans)
        costs.append(np.mean([plan.cost for plan in plans]))
    assert costs[1] <= costs[0] * loss


@pytest.mark.parametrize("method", METHODS)
def test_absurd_samples_are_quarantined(model, method):
    actor = build(model, replace(PLANNER, method=method, samples=200))
    clean = np.mean([search(actor, model, seed=seed).cost for seed in range(10)])
    model.spoil = spoil_share(0.1, 1e12)
    plans = [search(actor, model, seed=seed) for seed in range(10)]
    assert all(plan.quarantined >= 20 for plan in plans)
    assert np.mean([plan.cost for plan in plans]) <= 1.1 * clean


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", METHODS)
def test_no_sample_finite_stops_and_leaves_no_trace(model, method, value):
    actor = build(model, replace(PLANNER, method=method))
    clean = search(actor, model, seed=1)
    model.spoil = spoil_share(1.0, value)
    spoilt = search(actor, model, seed=0, warm_start=clean)
    assert spoilt.status is PlanStatus.NO_FINITE_ROLLOUT
    assert not spoilt.usable
    assert not spoilt.knots.any()
    assert np.isnan(spoilt.cost)
    model.spoil = None
    after = search(actor, model, seed=1, warm_start=spoilt)
    np.testing.assert_array_equal(after.knots, clean.knots)


def test_a_warm_start_that_is_not_finite_is_not_taken(model):
    actor = build(model)
    knots = np.full((6, 2), np.nan)
    plan = search(actor, model, warm_start=made_plan(knots))
    np.testing.assert_array_equal(plan.knots, search(actor, model).knots)


def test_readings_that_are_not_finite_spoil_their_sample(model):
    actor = build(model)
    rollout = model.rollout

    def without_readings(state, actions):
        predicted = rollout(state, actions)
        return predicted._replace(proprio=np.full_like(predicted.proprio, np.nan))

    model.rollout = without_readings
    assert search(actor, model).status is PlanStatus.NO_FINITE_ROLLOUT


# --- warm start


def first_candidate(actor: Actor, model, plan: Plan, stamp_ns: int) -> np.ndarray:
    model.calls.clear()
    search(actor, model, warm_start=plan, stamp_ns=stamp_ns)
    return model.calls[0][1][0, :, 0]


@pytest.mark.parametrize("elapsed", [0, 1, 2, 5])
def test_a_warm_start_moves_by_the_time_that_passed(model, elapsed):
    ramp = np.repeat(np.arange(6)[:, None] / 10, 2, axis=1)
    actor = build(model, replace(PLANNER, iterations=1))
    got = first_candidate(actor, model, made_plan(ramp), elapsed * DT_NS)
    expected = np.minimum(np.arange(6) + elapsed, 5) / 10  # the last knot is held
    assert got.tolist() == pytest.approx(expected.tolist())


def test_a_warm_start_moves_by_half_a_step_too(model):
    ramp = np.repeat(np.arange(6)[:, None] / 10, 2, axis=1)
    actor = build(model, replace(PLANNER, iterations=1))
    plan = made_plan(ramp, interpolation="linear")
    got = first_candidate(actor, model, plan, DT_NS // 2)
    assert got.tolist() == pytest.approx([0.05, 0.15, 0.25, 0.35, 0.45, 0.5])


@pytest.mark.parametrize("stamp_ns", [-1, 6 * DT_NS, 60 * DT_NS])
def test_a_plan_that_is_over_or_not_begun_is_no_warm_start(model, stamp_ns):
    actor = build(model, replace(PLANNER, iterations=1))
    assert not first_candidate(actor, model, made_plan(np.ones((6, 2))), stamp_ns).any()


def test_a_warm_start_helps_a_short_search(model):
    cold_actor = build(model, replace(PLANNER, iterations=1, samples=16, elites=2, kept_elites=0))
    good = search(build(model), model)
    cold = np.mean([search(cold_actor, model, seed=s).cost for s in range(10)])
    warm = np.mean([search(cold_actor, model, seed=s, warm_start=good).cost for s in range(10)])
    assert warm < cold


# --- time


def slow(model, seconds: float, sleep=time.sleep) -> None:
    rollout = model.rollout

    def rollout_slowly(state, actions):
        sleep(seconds)
        return rollout(state, actions)

    model.rollout = rollout_slowly


def test_the_deadline_cuts_the_search_and_the_best_so_far_is_given(model, clock):
    actor = build(model, replace(PLANNER, iterations=50))
    slow(model, 0.01, clock.sleep)
    deadline_ns = clock.now_ns + 60_000_000
    plan = search(actor, model, deadline_ns=deadline_ns)
    # after five iterations a sixth would end in time only if nothing came between; so would the
    # trial of the mean
    assert clock.now_ns == deadline_ns - 10_000_000
    assert plan.status is PlanStatus.BEST_SO_FAR
    assert plan.usable
    assert plan.effort == (128, 5, False, 6)
    assert np.isfinite(plan.cost)
    assert plan.plan_s == pytest.approx(0.05)


def test_the_deadline_is_on_the_monotonic_clock(model):
    actor = build(model, replace(PLANNER, iterations=10_000))
    slow(model, 0.001)
    plan = search(actor, model, deadline_ns=time.monotonic_ns() + 500_000_000)
    assert plan.status is PlanStatus.BEST_SO_FAR
    assert 1 <= plan.iterations <= 500


def test_an_iteration_that_cannot_end_in_time_is_not_begun(model, clock):
    actor = build(model, replace(PLANNER, iterations=50))
    slow(model, 0.05, clock.sleep)
    deadline_ns = clock.now_ns + 80_000_000
    assert search(actor, model, deadline_ns=deadline_ns).iterations == 1
    assert clock.now_ns < deadline_ns


def test_without_time_what_is_left_of_the_last_plan_is_given(model):
    actor = build(model)
    ramp = np.repeat(np.arange(1, 7)[:, None] / 10, 2, axis=1)
    plan = search(
        actor,
        model,
        warm_start=made_plan(ramp),
        stamp_ns=2 * DT_NS,
        deadline_ns=time.monotonic_ns() - 1,
    )
    assert plan.status is PlanStatus.BEST_SO_FAR
    assert plan.iterations == 0
    assert np.isnan(plan.cost)
    # and then it stands still: the last knot was never meant for later
    assert plan.knots[:, 0].tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.0, 0.0])
    assert model.calls == []


def test_without_time_and_without_a_last_plan_it_stands_still(model):
    plan = search(build(model), model, deadline_ns=time.monotonic_ns() - 1)
    assert plan.iterations == 0
    assert not plan.knots.any()


# --- committed actions


def test_committed_actions_come_first(model):
    committed = np.array([[1.0, 0.0], [0.5, -1.0]], np.float32)
    actor = build(model)
    plan = search(actor, model, committed=committed, stamp_ns=7)
    assert plan.start_ns == 7 + 2 * DT_NS
    # 0.1 s at (1, 0) and 0.1 s at (0.5, -1): the search starts at (0.15, -0.1)
    state, _ = model.calls[-1]
    assert state.latents[-1, 0].tolist() == pytest.approx([0.15, -0.1])
    np.testing.assert_array_equal(state.actions, committed)


@pytest.mark.parametrize("context", [1, 3])
def test_the_action_before_the_first_is_the_last_committed_one(make_model, context):
    model, seen = make_model(context=context), []
    actor = build(model)
    judge = actor._cost

    def watch(rollouts, actions, known):
        seen.append(known.previous_action.tolist())
        return judge(rollouts, actions, known)

    actor._cost = watch
    search(actor, model, committed=np.array([[1.0, 0.0], [0.5, -1.0]], np.float32))
    assert seen[0] == [0.5, -1.0]


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("context", [1, 3])
def test_advance_keeps_the_shapes_of_a_state(make_model, context, steps):
    model = make_model(context=context)
    before = model.state([0.0, 0.0])
    actions = np.full((steps, 2), 0.5, np.float32)
    after = advance(model, before, actions)
    assert after.latents.shape == before.latents.shape
    assert after.proprio.shape == before.proprio.shape
    assert after.actions.shape == before.actions.shape
    assert after.latents[-1, 0].tolist() == pytest.approx([0.05 * steps] * 2)
    assert after.stamp_ns == steps * DT_NS


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_plan(model, method):
    actor = build(model, replace(PLANNER, method=method))
    first, again, other = (search(actor, model, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.knots, again.knots)
    assert first.cost == again.cost
    assert (first.knots != other.knots).any()
