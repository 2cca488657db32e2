"""The actor: search for the actions of least cost, for as long as there is time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.costs import CostContext, TotalCost
from controller.optimizers import Optimizer
from controller.spline import interpolation_matrix, knot_steps, sample_knots
from controller.types import NS_PER_S, Goal, ModelState, Plan, PlanStatus, WorldModel

Array = NDArray[np.float32]


@dataclass(frozen=True)
class _Best:
    """The best candidate so far: its knots ``(K, A)``, its cost and the shares of it."""

    knots: Array
    cost: float
    terms: dict[str, float]


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
            config: ``horizon``, ``knots``, ``interpolation``, ``samples``, ``iterations`` are read.
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
        self._knot_times_s: NDArray[np.float64] = steps * np.float64(dt_s)
        self._duration_s = config.horizon * dt_s
        # The mean action over a step is the spline at its middle, knots being on step boundaries.
        middles_s = (np.arange(config.horizon) + 0.5) * np.float64(dt_s)
        matrix = interpolation_matrix(self._knot_times_s, middles_s, config.interpolation)
        # One matrix product for all axes, (B, K*A) -> (B, H*A): a stack of small ones is slower.
        identity = np.eye(self._size, dtype=np.float32)
        self._to_actions = np.ascontiguousarray(np.kron(matrix, identity).T)
        self._rest = np.zeros((config.knots, self._size), np.float32)

    def plan(
        self,
        state: ModelState,
        goal: Goal,
        warm_start: Plan | None,
        deadline_ns: int | None,
        rng: np.random.Generator,
        committed: Array | None = None,
    ) -> Plan:
        """Search for a plan.

        Args:
            state: where the robot was when the newest frame was captured.
            goal: where to go.
            warm_start: the last plan, at whatever time it was made.
            deadline_ns: of `time.monotonic_ns`: no iteration is started that would not end by
                then, judging by those before. The first one is done if there is any time at all.
                ``None`` for no deadline.
            rng: the only source of chance.
            committed: ``(M, A)`` SI, actions of the M steps after the frame that no plan can change
                any more; they are imagined first and the plan starts after them.

        Returns:
            The best plan found, with status OK after all iterations, BEST_SO_FAR when the deadline
            cut the search, NO_FINITE_ROLLOUT when there was nothing to choose from. When the
            deadline had passed before the first iteration it is what is left of the warm start and
            then standing still, with cost NaN.
        """
        begin_ns = time.monotonic_ns()
        # Predictions may overflow; what is not finite is dropped, there is nothing to warn about.
        with np.errstate(all="ignore"):
            if committed is not None and len(committed):
                state = advance(self._model, state, committed)
            previous = state.actions[-1] if len(state.actions) else self._rest[0]
            context = CostContext(goal, state, previous)
            mean = self._warm_knots(warm_start, state.stamp_ns)
            best, iterations = self._search(context, mean, deadline_ns, rng)
        if iterations == 0:
            best = _Best(self._last_knots(warm_start, state.stamp_ns), float("nan"), {})
        if best is None:
            status = PlanStatus.NO_FINITE_ROLLOUT
        elif iterations < self._config.iterations:
            status = PlanStatus.BEST_SO_FAR
        else:
            status = PlanStatus.OK
        plan_s = (time.monotonic_ns() - begin_ns) / NS_PER_S
        stop = self.stop_plan(state.stamp_ns, status)
        if best is None:
            return replace(stop, plan_s=plan_s, iterations=iterations)
        return replace(
            stop,
            knots=best.knots,
            cost=best.cost,
            cost_terms=best.terms,
            plan_s=plan_s,
            iterations=iterations,
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

    def _search(
        self,
        context: CostContext,
        mean: Array | None,
        deadline_ns: int | None,
        rng: np.random.Generator,
    ) -> tuple[_Best | None, int]:
        """Iterate until done or out of time; returns the best candidate and the iterations done."""
        # Standing still is always a candidate: no plan is worse than it in the model's eyes.
        rest = self._rest
        distribution = self._optimizer.start(rest if mean is None else mean, rest[None])
        best: _Best | None = None
        longest_ns = 0
        now_ns = time.monotonic_ns()
        for iteration in range(self._config.iterations):
            if deadline_ns is not None and now_ns + longest_ns >= deadline_ns:
                return best, iteration
            samples = self._optimizer.sample(distribution, rng, self._config.samples)
            costs, best = self._judge(samples, context, best)
            distribution = self._optimizer.update(distribution, samples, costs)
            started_ns, now_ns = now_ns, time.monotonic_ns()
            longest_ns = max(longest_ns, now_ns - started_ns)
        # The last update has a mean that nobody has tried; it is often the best of all.
        if deadline_ns is None or now_ns + longest_ns < deadline_ns:
            _, best = self._judge(distribution.mean[None], context, best)
        return best, self._config.iterations

    def _judge(
        self, samples: Array, context: CostContext, best: _Best | None
    ) -> tuple[Array, _Best | None]:
        """Costs ``(B,)`` of samples ``(B, K, A)``, and the best of them and the best before."""
        count = len(samples)
        actions = (samples.reshape(count, -1) @ self._to_actions).reshape(count, -1, self._size)
        rollouts = self._model.rollout(context.state, actions)
        costs, shares = self._cost(rollouts, actions, context)
        first = int(costs.argmin())  # NumPy gives a NaN where there is one
        if not np.isfinite(costs[first]):
            first = int(np.where(np.isfinite(costs), costs, np.inf).argmin())
        cost = float(costs[first])
        if np.isfinite(cost) and (best is None or cost < best.cost):
            terms = {name: float(share[first]) for name, share in shares.items()}
            best = _Best(samples[first].copy(), cost, terms)
        return costs, best

    def _last_knots(self, plan: Plan | None, start_ns: int) -> Array:
        """What is left of the last plan ``(K, A)``, zero where it says nothing.

        Unlike for a warm start, its last knot is not held: nobody has looked at what it does, and
        a planner that always comes too late must bring the robot to a stop.
        """
        if plan is None:
            return self._rest
        offsets_ns = (self._knot_times_s * NS_PER_S).round().astype(np.int64).tolist()
        return np.stack([plan.action_at(start_ns + offset) for offset in offsets_ns])

    def _warm_knots(self, plan: Plan | None, start_ns: int) -> Array | None:
        """The last plan read at the new knots' times ``(K, A)``, its last knot held beyond its end.

        Moved by elapsed time and not by index: frames do not come as regularly as knots.
        """
        if plan is None or not plan.usable or not np.isfinite(plan.knots).all():
            return None
        if not plan.start_ns <= start_ns < plan.end_ns:
            return None
        elapsed_s = (start_ns - plan.start_ns) / NS_PER_S
        times_s: NDArray[np.float64] = self._knot_times_s + elapsed_s
        return sample_knots(plan.knot_times_s, plan.knots, times_s, plan.interpolation)


def advance(model: WorldModel, state: ModelState, actions: Array) -> ModelState:
    """The state that the model expects after some actions.

    Args:
        model: imagines.
        state: where to start.
        actions: ``(M, A)`` SI, M at least 1.

    Returns:
        The state M steps later; not finite where the prediction is not.
    """
    rollouts = model.rollout(state, actions[None])
    size = len(state.latents)
    elapsed_ns = round(len(actions) * model.spec.model_dt_s * NS_PER_S)
    return ModelState(
        latents=np.concatenate([state.latents, rollouts.latents[0]])[-size:],
        proprio=np.concatenate([state.proprio, rollouts.proprio[0]])[-size:],
        actions=np.concatenate([state.actions, actions])[len(actions) :],
        stamp_ns=state.stamp_ns + elapsed_ns,
    )
