"""What holds for every plan, whatever the shapes, bounds, seeds, time steps and faults."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.actor import Actor
from controller.config import CostConfig, PlannerConfig
from controller.costs import build_cost
from controller.optimizers import METHODS, build_optimizer
from controller.types import NS_PER_S, Goal, ModelState, Plan, PlanStatus


class Sliding:
    """The latent slides by the sum of the actions; a share of the rollouts is spoilt."""

    def __init__(self, low: np.ndarray, dt_s: float, bad: float, share: float) -> None:
        names = tuple(f"u{i}" for i in range(len(low)))
        self.spec = SimpleNamespace(
            action_names=names, action_low=low, action_high=-low / 2, model_dt_s=dt_s
        )
        self.bad, self.share = bad, share

    def rollout(self, state, actions):
        latents = state.latents[-1] + np.cumsum(actions, axis=1)[:, :, None, :]
        latents = latents.astype(np.float32)
        spoilt = round(self.share * len(latents))
        latents[::-1][:spoilt, -1] = self.bad
        return SimpleNamespace(latents=latents, proprio=np.zeros((*actions.shape[:2], 1), "f4"))


@st.composite
def cases(draw):
    interpolation = draw(st.sampled_from(["hold", "linear"]))
    fewest = 2 if interpolation == "linear" else 1
    knots = draw(st.integers(fewest, 4))
    planner = PlannerConfig(
        method=draw(st.sampled_from(list(METHODS))),
        horizon=draw(st.integers(max(knots, fewest), 7)),
        knots=knots,
        interpolation=interpolation,
        samples=draw(st.integers(33, 70)),
        iterations=draw(st.integers(1, 4)),
        elites=draw(st.integers(2, 33)),
        kept_elites=draw(st.integers(0, 2)),
        std=draw(st.floats(0.05, 5.0)),
        noise_beta=draw(st.floats(0.0, 4.0)),
        sample_decay=draw(st.floats(0.1, 1.0)),
        momentum=draw(st.floats(0.0, 0.9)),
    )
    low = np.array(draw(st.lists(st.floats(-10.0, -0.01), min_size=1, max_size=4)), np.float32)
    model = Sliding(
        low,
        draw(st.floats(0.005, 2.0)),
        draw(st.sampled_from([np.nan, np.inf, -np.inf, 1e30])),
        draw(st.sampled_from([0.0, 0.01, 0.5, 1.0])),
    )
    return planner, model


def plan_with(planner, model, seed, stamp_ns=0, **kw) -> Plan:
    low, high = model.spec.action_low, model.spec.action_high
    actor = Actor(
        model,
        planner,
        build_optimizer(planner, low, high),
        build_cost(CostConfig(), planner.horizon, low, high),
    )
    size = len(low)
    state = ModelState(
        np.zeros((1, 1, size), np.float32),
        np.zeros((1, 1), np.float32),
        np.zeros((0, size), np.float32),
        stamp_ns,
    )
    goal = Goal(np.full((1, size), 0.3, np.float32))
    rng = np.random.default_rng(seed)
    return actor.plan(
        state, goal, kw.pop("warm_start", None), kw.pop("deadline_ns", None), rng, **kw
    )


@settings(deadline=None, max_examples=80)
@given(
    case=cases(),
    seed=st.integers(0, 2**32),
    elapsed=st.floats(0.0, 1.5),
    candidate=st.floats(-20.0, 20.0),
)
def test_every_plan_is_bounded_sealed_and_repeatable(case, seed, elapsed, candidate):
    planner, model = case
    size = len(model.spec.action_low)
    shape = (planner.knots, size)
    last = plan_with(planner, model, seed)
    step_ns = round(elapsed * planner.horizon * model.spec.model_dt_s * NS_PER_S)
    given_ = {"warm_start": last, "candidates": np.full((1, *shape), candidate, np.float32)}
    plan = plan_with(planner, model, seed + 1, step_ns, **given_)
    for made in (last, plan):
        assert made.knots.shape == shape
        assert made.knots.dtype == np.float32
        assert (made.knots >= model.spec.action_low).all()  # which no NaN is
        assert (made.knots <= model.spec.action_high).all()
        assert made.intact
        assert made.status in (PlanStatus.OK, PlanStatus.NO_FINITE_ROLLOUT)
        assert made.effort == (planner.samples, planner.iterations, True, planner.horizon)
        for stamp_ns in np.linspace(made.start_ns - 5, made.end_ns + 5, 9).astype(int):
            action = made.action_at(int(stamp_ns))
            assert (action >= model.spec.action_low).all()
            assert (action <= model.spec.action_high).all()
    if model.share == 1.0 and not np.isfinite(model.bad):
        assert plan.status is PlanStatus.NO_FINITE_ROLLOUT
        assert not plan.knots.any()
    if model.share < 0.5:
        assert plan.usable
        assert plan.cost <= 0.09 + 1e-5  # standing still: 0.3 away on every axis at every step
    again = plan_with(planner, model, seed + 1, step_ns, effort=plan.effort, **given_)
    for name in ("knots", "knot_times_s", "elites", "cost", "cost_terms", "violations"):
        np.testing.assert_equal(getattr(again, name), getattr(plan, name))
    for name in ("start_ns", "status", "effort", "begin", "quarantined"):
        assert getattr(again, name) == getattr(plan, name)


@settings(deadline=None, max_examples=40)
@given(case=cases(), seed=st.integers(0, 2**32), left_ns=st.integers(-(10**6), 10**6))
def test_a_deadline_never_unbinds_a_plan(case, seed, left_ns):
    planner, model = case
    plan = plan_with(planner, model, seed, deadline_ns=time.monotonic_ns() + left_ns)
    assert (plan.knots >= model.spec.action_low).all()
    assert (plan.knots <= model.spec.action_high).all()
    assert plan.effort.iterations <= planner.iterations
    if plan.effort.iterations == 0:
        assert plan.status is PlanStatus.BEST_SO_FAR
        assert not plan.knots.any()
