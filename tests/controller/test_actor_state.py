"""What the actor carries from plan to plan, and what it makes of guardrails and of damage."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from controller.actor import Actor
from controller.config import CostConfig, PlannerConfig
from controller.costs import Judgement, build_cost
from controller.effort import affordable
from controller.imagination import imagine
from controller.optimizers import build_optimizer
from controller.types import Begin, Effort, Goal, Plan, PlanStatus

METHODS = ["cem", "icem", "mppi", "predictive", "gradient"]
PLANNER = PlannerConfig(horizon=6, knots=6, samples=128, iterations=6, elites=13)
DT_NS = 100_000_000


def build(model, planner: PlannerConfig = PLANNER, violation=None) -> Actor:
    """An actor; ``violation`` gives the worst violation of positions ``(B, H, 2)``."""
    low, high = model.spec.action_low, model.spec.action_high
    cost = build_cost(CostConfig(action_weight=0.01), planner.horizon, low, high)

    def guarded(rollouts, actions, context) -> Judgement:
        judgement = cost(rollouts, actions, context)
        return judgement._replace(violation=violation(rollouts.proprio))

    optimizer = build_optimizer(planner, low, high)
    return Actor(model, planner, optimizer, guarded if violation else cost)


def search(actor: Actor, model, goal_m=(0.2, -0.1), *, seed=0, stamp_ns=0, **kw) -> Plan:
    state = model.state(kw.pop("position_m", (0.0, 0.0)), stamp_ns)
    goal = Goal(np.array([goal_m], np.float32))
    rng = np.random.default_rng(seed)
    return actor.plan(
        state, goal, kw.pop("warm_start", None), kw.pop("deadline_ns", None), rng, **kw
    )


def path(plan: Plan, start_m=(0.0, 0.0)) -> np.ndarray:
    actions = [plan.action_at(plan.start_ns + i * DT_NS) for i in range(6)]
    return np.asarray(start_m) + np.cumsum(actions, axis=0) * 0.1


# --- guardrails


def beyond(limit_m: float):
    return lambda positions: np.maximum(positions[:, :, 0] - limit_m, 0).max(axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_no_plan_goes_where_it_must_not(model, method):
    planner = replace(PLANNER, method=method)
    free = search(build(model, planner), model)
    plan = search(build(model, planner, beyond(0.1)), model)
    assert plan.status is PlanStatus.OK
    assert path(free)[:, 0].max() > 0.15
    assert path(plan)[:, 0].max() <= 0.1 + 1e-6
    if method != "gradient":  # a slope says nothing of a wall: descent stays away from it
        assert path(plan)[:, 0].max() > 0.07


@pytest.mark.parametrize("method", METHODS)
def test_when_all_violate_it_takes_the_least_and_comes_to_rest(model, method):
    # 0.4 m beyond the limit: even at full speed back (0.1 m a step) the first step is 0.3 beyond
    planner = replace(PLANNER, method=method, iterations=10)
    actor = build(model, planner, beyond(-0.4))
    plan = search(actor, model)
    assert plan.status is PlanStatus.LEAST_VIOLATION
    assert plan.usable
    assert path(plan)[0, 0] < -0.08
    assert not plan.knots[-1].any()


def test_among_equal_violations_it_stands_still(model):
    actor = build(model, violation=lambda positions: np.ones(len(positions), np.float32))
    plan = search(actor, model)
    assert plan.status is PlanStatus.LEAST_VIOLATION
    assert not plan.knots.any()


def test_a_guardrail_that_nobody_breaks_changes_nothing(model):
    np.testing.assert_array_equal(
        search(build(model), model).knots, search(build(model, violation=beyond(9.0)), model).knots
    )


# --- effort


def slow(model, clock, seconds_each: float, seconds: float = 0.0) -> None:
    """Let each rollout take some time, and each candidate some more."""
    rollout = model.rollout

    def rollout_slowly(state, actions):
        clock.sleep(seconds + seconds_each * len(actions))
        return rollout(state, actions)

    model.rollout = rollout_slowly


def test_the_effort_of_a_plan_gives_it_again(model, clock):
    actor = build(model, replace(PLANNER, iterations=50))
    slow(model, clock, 0.0, 0.005)
    cut = search(actor, model, deadline_ns=clock.now_ns + 47_000_000)
    assert cut.status is PlanStatus.BEST_SO_FAR
    assert cut.effort == Effort(128, 8, False, 6)
    again = search(actor, model, deadline_ns=clock.now_ns - 1, effort=cut.effort)
    assert (again.effort, again.status, again.cost) == (cut.effort, cut.status, cut.cost)
    np.testing.assert_array_equal(again.knots, cut.knots)


ADAPT = PlannerConfig(samples=300, iterations=4, horizon=12, knots=4, adapt=True, min_samples=60)


@pytest.mark.parametrize(
    ("left_s", "sample_s", "expected"),
    [
        (0.1, 0.0, (300, 4, 12)),  # nothing known yet
        (0.1, 1e-5, (300, 4, 12)),  # 0.09 s / 10 us = 9000 candidates: all of them
        (0.1, 8e-5, (281, 4, 12)),  # 1125 candidates in 4 iterations
        (0.1, 5e-4, (60, 3, 12)),  # 180 candidates: not less than 60 at a time
        (0.1, 2e-3, (60, 1, 9)),  # 45 candidates: 60 of 9 steps instead of 12
        (0.1, 2.2e-3, (60, 1, 6)),  # 8.2 steps: the third knot begins after 6
        (0.1, 1e-1, (60, 1, 3)),  # never less than one knot
        (-0.1, 1e-1, (60, 1, 3)),
        (None, 1e-1, (300, 4, 12)),
    ],
)
def test_what_is_affordable(left_s, sample_s, expected):
    samples, iterations, horizon = expected
    deadline_ns = None if left_s is None else 5 + round(left_s * 1e9)
    asked = affordable(ADAPT, deadline_ns, 5, sample_s)
    assert asked == Effort(samples, iterations, True, horizon)
    all_of_it = affordable(replace(ADAPT, adapt=False), deadline_ns, 5, sample_s)
    assert all_of_it == Effort(300, 4, True, 12)
    one_knot = replace(ADAPT, knots=1)
    assert affordable(one_knot, deadline_ns, 5, 1e-1).horizon == 12


@pytest.mark.parametrize("interpolation", ["hold", "linear"])
@pytest.mark.parametrize("method", METHODS)
def test_a_short_horizon_is_a_plan_that_rests_afterwards(model, method, interpolation):
    planner = replace(PLANNER, method=method, knots=3, interpolation=interpolation)
    actor = build(model, planner)
    horizon = {"hold": 4, "linear": 3}[interpolation]  # where the last knot begins
    plan = search(actor, model, effort=Effort(128, 6, True, horizon))
    assert {actions.shape[1] for _, actions in model.calls} == {horizon}
    assert plan.usable
    assert plan.knots[:-1].any()
    assert not plan.knots[2 if interpolation == "hold" else 1 :][-1].any()
    # what it costs is what the whole horizon costs when imagined to its end
    other = build(model, replace(planner, method="cem"))
    whole = search(other, model, candidates=plan.knots[None], effort=Effort(4, 1, False, 6))
    assert whole.cost <= plan.cost * 1.0001


def test_what_rests_is_as_uncertain_as_where_it_came_to_rest(model):
    rollout = model.rollout

    def unsure(state, actions):
        known = rollout(state, actions)
        return SimpleNamespace(**known._asdict(), disagreement=known.proprio[:, :, 0])

    model.rollout = unsure
    actions = np.ones((1, 5, 2), np.float32)
    found = imagine(model, model.state([0.0, 0.0]), actions, 2)
    assert found.disagreement[0].tolist() == pytest.approx([0.1, 0.2, 0.2, 0.2, 0.2])
    low, high = model.spec.action_low, model.spec.action_high
    cost = build_cost(CostConfig(uncertainty_weight=1.0), PLANNER.horizon, low, high)
    actor = Actor(model, PLANNER, build_optimizer(PLANNER, low, high), cost)
    assert "uncertainty" in search(actor, model, effort=Effort(128, 1, True, 3)).cost_terms


def test_a_slow_model_gets_fewer_samples_and_all_iterations(model, clock):
    actor = build(model, replace(PLANNER, adapt=True, min_samples=16))
    slow(model, clock, 2e-4)  # all of it: (6 * 128 + 1) * 0.2 ms = 154 ms
    plans: list[Plan] = []
    for _ in range(3):
        deadline_ns = clock.now_ns + 80_000_000
        warm_start = plans[-1] if plans else None
        plans.append(search(actor, model, warm_start=warm_start, deadline_ns=deadline_ns))
        assert clock.now_ns <= deadline_ns
    # nothing known: after 2 of 25.6 ms a third has too little room. Then 0.9 * 0.92 * 80 ms /
    # 0.2 ms = 331 candidates in 6 iterations of 11 ms each; what is left would not do for one
    # more, so the mean is not tried
    assert [plan.effort[:3] for plan in plans] == [(128, 2, False)] + 2 * [(55, 6, False)]
    assert plans[-1].status is PlanStatus.OK
    assert plans[-1].effort.horizon == 6
    assert plans[-1].sample_s == pytest.approx(2e-4)


def test_a_hiccup_is_forgotten_slowly(model, clock):
    actor = build(model, replace(PLANNER, adapt=True, min_samples=16))
    slow(model, clock, 1e-4)
    before = replace(search(actor, model), sample_s=1e-3)
    plan = search(actor, model, warm_start=before)
    assert plan.sample_s == pytest.approx(0.8 * 1e-3 + 0.2 * 1e-4)


def test_a_planner_that_gets_no_time_at_all_does_not_pile_up_candidates(model):
    actor = build(model, replace(PLANNER, method="icem"))
    none = Effort(128, 0, False, 6)
    assert search(actor, model, effort=none).elites is None
    plan = search(actor, model)
    assert len(plan.elites) == PLANNER.kept_elites
    for step in range(1, 5):
        before = plan.elites
        more = {"candidates": np.ones((3, 6, 2), np.float32), "effort": none}
        plan = search(actor, model, warm_start=plan, stamp_ns=step * DT_NS, **more)
        assert plan.begin is Begin.WARM
        # those that there were, a step on
        np.testing.assert_allclose(plan.elites[:, :-1], before[:, 1:], atol=1e-6)


# --- damage


def test_a_plan_is_intact_and_a_replaced_one_too(model):
    plan = search(build(model), model)
    assert plan.intact
    assert replace(plan, knots=plan.knots + 1).intact


@pytest.mark.parametrize("what", ["knots", "knot_times_s"])
def test_a_warm_start_that_was_changed_is_not_gone_on_from(model, what):
    actor = build(model)
    cold, last = search(actor, model), search(actor, model, seed=1)
    warm = search(actor, model, warm_start=last)
    assert (cold.begin, warm.begin) == (Begin.COLD, Begin.WARM)
    bits = getattr(last, what).view(np.uint8).reshape(-1)
    bits[5] ^= 1  # one flipped bit
    assert not last.intact
    plan = search(actor, model, warm_start=last)
    assert plan.begin is Begin.DAMAGED
    np.testing.assert_array_equal(plan.knots, cold.knots)


def test_candidates_from_elsewhere_are_tried(model):
    planner = replace(PLANNER, samples=4, elites=2, kept_elites=0, iterations=1)
    good = search(build(model), model)
    plan = search(build(model, planner), model, candidates=good.knots[None])
    assert plan.cost <= good.cost
