"""The actor: search for the actions of least cost, for as long as there is time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.costs import CostContext, TotalCost
from controller.effort import affordable
from controller.imagination import advance, imagine
from controller.optimizers import Optimizer
from controller.ranking import rank
from controller.spline import interpolation_matrix, knot_steps
from controller.types import (
    NO_EFFORT,
    NS_PER_S,
    Begin,
    Effort,
    Goal,
    ModelState,
    Plan,
    PlanStatus,
    WorldModel,
)

Array = NDArray[np.float32]

# An iteration is not begun unless so many times the longest one so far fits in: on a machine with
# other work every one may be interrupted.
_RESERVE = 1.25

# And this share of the time there is stays free for the last one.
_SPARE = 0.08


@dataclass(frozen=True)
class _Best:
    """The best candidate so far: knots ``(K, A)``, worst violation, cost.

    And what these are made of: the share of each cost, the violation of each guardrail.
    """

    knots: Array
    violation: float
    cost: float
    terms: dict[str, float]
    violations: dict[str, float]


@dataclass
class _Progress:
    """What a search in the making has found."""

    horizon: int
    best: _Best | None = None
    effort: Effort = NO_EFFORT
    tried: int = 0
    quarantined: int = 0
    elites: Array | None = None


class Actor:
    """Anytime sampling-based search over knots.

    It keeps nothing from plan to plan: all that a plan depends on comes in with `plan`. One thread
    at a time may call it.
    """

    def __init__(
        self, model: WorldModel, config: PlannerConfig, optimizer: Optimizer, cost: TotalCost
    ) -> None:
        """Wire the parts.

        Args:
            model: imagines.
            config: ``horizon``, ``knots``, ``interpolation``, ``samples``, ``iterations``,
                ``adapt`` and ``min_samples`` are read.
            optimizer: samples and updates.
            cost: judges.
        """
        self._model = model
        self._config = config
        self._optimizer = optimizer
        self._cost = cost
        self._size = len(model.spec.action_names)
        dt_s = model.spec.model_dt_s
        steps = knot_steps(config.horizon, config.knots, config.interpolation)
        self._knot_steps = steps
        self._knot_times_s: NDArray[np.float64] = steps * np.float64(dt_s)
        self._duration_s = config.horizon * dt_s
        # The mean action over a step is the spline at its middle, knots being on step boundaries.
        middles_s = (np.arange(config.horizon) + 0.5) * np.float64(dt_s)
        matrix = interpolation_matrix(self._knot_times_s, middles_s, config.interpolation)
        # One matrix product for all axes, (B, K*A) -> (B, H*A): a stack of small ones is slower.
        identity = np.eye(self._size, dtype=np.float32)
        self._to_actions = np.ascontiguousarray(np.kron(matrix, identity).T)
        self._knots_are_actions = np.array_equal(matrix, np.eye(config.knots))
        self._rest = np.zeros((config.knots, self._size), np.float32)

    def plan(
        self,
        state: ModelState,
        goal: Goal,
        warm_start: Plan | None,
        deadline_ns: int | None,
        rng: np.random.Generator,
        committed: Array | None = None,
        candidates: Array | None = None,
        effort: Effort | None = None,
    ) -> Plan:
        """Search for a plan.

        Args:
            state: where the robot was when the newest frame was captured.
            goal: where to go.
            warm_start: the last plan that was usable, at whatever time it was made.
            deadline_ns: of `time.monotonic_ns`: no iteration is started that would not end well
                before, judging by those before. The first one is done if there is any time at all.
                ``None`` for no deadline.
            rng: the only source of chance.
            committed: ``(M, A)`` SI, actions of the M steps after the frame that no plan can change
                any more; they are imagined first and the plan starts after them.
            candidates: ``(S, K, A)`` SI, knots from elsewhere to be tried too.
            effort: search exactly this much, whatever the deadline: the ``effort`` of a plan gives
                that plan again. ``None`` for as much as settings and deadline allow.

        Returns:
            The best plan found, with status OK after all iterations, BEST_SO_FAR when the deadline
            cut the search, LEAST_VIOLATION when every candidate breaks a guardrail (it then is a
            plan that comes to rest, the least violating one), NO_FINITE_ROLLOUT when there was
            nothing to choose from. When the deadline had passed before the first iteration it is
            what is left of the warm start and then standing still, with cost NaN.
        """
        begin_ns = time.monotonic_ns()
        # Predictions may overflow; what is not finite is dropped, there is nothing to warn about.
        with np.errstate(all="ignore"):
            previous = state.actions[-1] if len(state.actions) else self._rest[0]
            if committed is not None and len(committed):
                state, previous = advance(self._model, state, committed), committed[-1]
            context = CostContext(goal, state, previous)
            begin, warm_start = _check(warm_start, state.stamp_ns)
            known_s = 0.0 if warm_start is None else warm_start.sample_s
            mean, old, kept = self._begin(warm_start, candidates, state.stamp_ns)
            search_ns = time.monotonic_ns()
            if deadline_ns is not None:
                deadline_ns -= round(_SPARE * max(deadline_ns - search_ns, 0))
            asked = effort or affordable(self._config, deadline_ns, search_ns, known_s)
            if effort is not None:
                deadline_ns = None
            found = self._search(context, mean, old, kept, asked, deadline_ns, rng)
            if found.best is not None and found.best.violation > 0.0:
                self._brake(context, found, found.best.knots)
        now_ns = time.monotonic_ns()
        if found.effort.iterations == 0:
            left = self._last_knots(warm_start, state.stamp_ns)
            found.best = _Best(left, 0.0, float("nan"), {}, {})
        best = found.best
        sample_s = known_s
        if found.tried:
            measured_s = (now_ns - search_ns) / NS_PER_S / found.tried
            measured_s *= self._config.horizon / found.horizon
            sample_s = max(measured_s, 0.8 * known_s + 0.2 * measured_s)
        return Plan(
            start_ns=state.stamp_ns,
            knot_times_s=self._knot_times_s,
            knots=self._rest if best is None else best.knots,
            duration_s=self._duration_s,
            cost=float("nan") if best is None else best.cost,
            status=self._status(found),
            cost_terms={} if best is None else best.terms,
            plan_s=(now_ns - begin_ns) / NS_PER_S,
            effort=found.effort,
            interpolation=self._config.interpolation,
            elites=found.elites,
            sample_s=sample_s,
            quarantined=found.quarantined,
            begin=begin,
            violations={} if best is None else best.violations,
        )

    def stop_plan(self, start_ns: int, status: PlanStatus) -> Plan:
        """A plan to stand still.

        Args:
            start_ns: when it begins.
            status: why.
        """
        return Plan(
            start_ns=start_ns,
            knot_times_s=self._knot_times_s,
            knots=self._rest,
            duration_s=self._duration_s,
            cost=float("nan"),
            status=status,
            interpolation=self._config.interpolation,
        )

    def _status(self, found: _Progress) -> PlanStatus:
        if found.best is None:
            return PlanStatus.NO_FINITE_ROLLOUT
        if found.best.violation > 0.0:
            return PlanStatus.LEAST_VIOLATION
        if found.effort.iterations < self._config.iterations:
            return PlanStatus.BEST_SO_FAR
        return PlanStatus.OK

    def _search(
        self,
        context: CostContext,
        mean: Array,
        old: Array,
        kept: Array,
        asked: Effort,
        deadline_ns: int | None,
        rng: np.random.Generator,
    ) -> _Progress:
        """Iterate until done or out of time."""
        found = _Progress(asked.horizon, elites=old if len(old) else None)
        moving: Array | None = None  # those that count, where not all of the horizon is searched
        if asked.horizon < self._config.horizon:
            moving = (self._knot_steps < asked.horizon).astype(np.float32)[:, None]
        optimizer = self._optimizer
        distribution = begun = optimizer.start(mean, kept)
        longest_ns = 0
        now_ns = time.monotonic_ns()

        def in_time() -> bool:
            return deadline_ns is None or now_ns + _RESERVE * longest_ns < deadline_ns

        iteration = 0
        while iteration < asked.iterations and in_time():
            count = optimizer.count(asked.samples, iteration)
            samples = optimizer.sample(distribution, rng, count)
            if moving is not None:
                samples *= moving
            costs = self._judge(samples, context, found)
            distribution = optimizer.update(distribution, samples, costs)
            iteration += 1
            started_ns, now_ns = now_ns, time.monotonic_ns()
            longest_ns = max(longest_ns, now_ns - started_ns)
        # The last update has a mean that nobody has tried; it is often the best of all.
        last = iteration > 0 and asked.mean_tried and in_time()
        if last:
            untried = distribution.mean if moving is None else distribution.mean * moving
            self._judge(untried[None], context, found)
        found.effort = Effort(asked.samples, iteration, last, asked.horizon)
        if distribution is not begun:  # else nobody knows which of those kept are any good
            found.elites = optimizer.carried(distribution)
        return found

    def _judge(self, samples: Array, context: CostContext, found: _Progress) -> Array:
        """Judge samples ``(B, K, A)``, note the best; costs ``(B,)`` for the optimiser."""
        count = len(samples)
        actions = samples
        if not self._knots_are_actions:
            rows = samples.reshape(count, -1) @ self._to_actions
            actions = rows.reshape(count, -1, self._size)
        rollouts = imagine(self._model, context.state, actions, found.horizon)
        judgement = self._cost(rollouts, actions, context)
        ranking = rank(judgement)
        found.tried += count
        found.quarantined += ranking.quarantined
        first, best = ranking.first, found.best
        if first is not None:
            cost = float(judgement.costs[first])
            violation = 0.0 if ranking.admissible else float(ranking.costs[first])
            if best is None or (violation, cost) < (best.violation, best.cost):
                terms = {name: float(share[first]) for name, share in judgement.shares.items()}
                violations = {
                    name: max(0.0, float(by[first])) for name, by in judgement.violations.items()
                }
                found.best = _Best(samples[first].copy(), violation, cost, terms, violations)
        return ranking.costs

    def _brake(self, context: CostContext, found: _Progress, knots: Array) -> None:
        """Take the least violating of the plans that follow ``knots`` for a while and then rest.

        Between equals it is the one that comes to rest first.
        """
        moving = np.tri(len(knots), len(knots), -1, dtype=np.float32)
        best = found.best
        found.best = None
        self._judge(moving[:, :, None] * knots, context, found)
        found.best = found.best or best

    def _last_knots(self, plan: Plan | None, start_ns: int) -> Array:
        """What is left of the last plan ``(K, A)``, zero where it says nothing.

        Unlike for a warm start, its last knot is not held: nobody has looked at what it does, and
        a planner that always comes too late must bring the robot to a stop.
        """
        if plan is None:
            return self._rest
        offsets_ns = (self._knot_times_s * NS_PER_S).round().astype(np.int64).tolist()
        return np.stack([plan.action_at(start_ns + offset) for offset in offsets_ns])

    def _begin(
        self, plan: Plan | None, candidates: Array | None, start_ns: int
    ) -> tuple[Array, Array, Array]:
        """The first mean ``(K, A)``, the old elites and all else to try, ``(E, K, A)`` each.

        The last plan is read at the new knots' times, its last knot held beyond its end. It is
        moved by elapsed time and not by index: frames do not come as regularly as knots.
        """
        # Standing still comes right after the mean: where there is room for it, no plan is worse
        # than it in the model's eyes.
        mean, kept = self._rest, self._rest[None]
        old = kept[:0]
        if plan is not None:
            elapsed_s = (start_ns - plan.start_ns) / NS_PER_S
            times_s: NDArray[np.float64] = self._knot_times_s + elapsed_s
            matrix = interpolation_matrix(plan.knot_times_s, times_s, plan.interpolation)
            mean = matrix @ plan.knots
            if plan.elites is not None and len(plan.elites):
                old = matrix @ plan.elites
        kept = np.concatenate([kept, old])
        if candidates is not None and len(candidates):
            kept = np.concatenate([kept, candidates.astype(np.float32)])
        return mean, old, kept


def _check(plan: Plan | None, start_ns: int) -> tuple[Begin, Plan | None]:
    """Whether the last plan can be gone on from."""
    if plan is None or not plan.usable or not plan.start_ns <= start_ns < plan.end_ns:
        return Begin.COLD, None
    if not plan.intact or not np.isfinite(plan.knots).all():
        return Begin.DAMAGED, None
    return Begin.WARM, plan
