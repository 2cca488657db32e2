"""The agent: perception, memory and actor in one receding-horizon loop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.actor import Actor
from controller.config import AgentConfig
from controller.costs import build_cost
from controller.costs.guardrail import Guardrails
from controller.memory import AppliedCommand, CommandMemory, committed_actions, planned_commands
from controller.optimizers import build_optimizer
from controller.perception import Frame, check_images, model_state, perceive
from controller.types import (
    NS_PER_S,
    Goal,
    Observation,
    ObservationError,
    Plan,
    PlanStatus,
    WorldModel,
)


@dataclass(frozen=True)
class AgentState:
    """All that a step depends on beside its observation; nothing of it is hidden elsewhere.

    Attributes:
        frames: what was perceived, oldest first.
        commands: what was applied.
        plans: the last plans, oldest first.
        warm_start: the last plan that was usable; ``None`` before the first.
        goal: where to go; ``None`` before the first goal.
        seed: of the search.
        count: steps done; with the seed it gives the random numbers of the next.
    """

    frames: tuple[Frame, ...]
    commands: CommandMemory
    plans: tuple[Plan, ...]
    warm_start: Plan | None
    goal: Goal | None
    seed: int
    count: int


class Agent:
    """Reaches goal images by planning with a world model.

    The class holds one `AgentState` for convenience; `step_from` is the same loop as a pure
    function. One thread at a time may call it.
    """

    def __init__(self, model: WorldModel, config: AgentConfig) -> None:
        """Build the parts.

        Args:
            model: imagines and encodes.
            config: all settings.
        """
        spec = model.spec
        low = np.asarray(spec.action_low, np.float32)
        high = np.asarray(spec.action_high, np.float32)
        self._model = model
        self._config = config
        self._step_ns = round(spec.model_dt_s * NS_PER_S)
        optimizer = build_optimizer(config.planner, low, high)
        guardrails = Guardrails(config.guardrails, spec.proprio_names)
        cost = build_cost(config.cost, config.planner.horizon, low, high, model, guardrails)
        self._actor = Actor(model, config.planner, optimizer, cost)
        self.state = self.initial_state(config.seed)

    def initial_state(self, seed: int) -> AgentState:
        """The state before the first observation, without a goal.

        Args:
            seed: of the search, at least 0.
        """
        commands = CommandMemory.empty(len(self._model.spec.action_names))
        return AgentState((), commands, (), None, None, seed, 0)

    def reset(self, seed: int | None = None) -> None:
        """Forget everything, the goal too.

        Args:
            seed: of the search from now on; ``None`` takes the configured one.
        """
        self.state = self.initial_state(self._config.seed if seed is None else seed)

    def set_goal(
        self,
        images: Mapping[str, NDArray[np.uint8]],
        source: str = "",
        valid_until_ns: int | None = None,
    ) -> Goal:
        """Go to where the cameras see these images.

        Args:
            images: camera name to ``(H, W, 3)`` uint8, RGB.
            source: where they come from, for logs.
            valid_until_ns: stamp after which the goal no longer counts; ``None`` for no limit.

        Returns:
            The goal.

        Raises:
            ObservationError: when the images do not fit the model.
        """
        check_images(images, self._model.spec)
        latent = np.array(self._model.encode(images), np.float32)
        if not np.isfinite(latent).all():
            raise ObservationError("the encoder gave a latent that is not finite for the goal")
        goal = Goal(latent, source, valid_until_ns)
        self.state = replace(self.state, goal=goal)
        return goal

    def step(
        self,
        observation: Observation,
        applied: Sequence[AppliedCommand] | None = None,
        now_ns: int | None = None,
    ) -> Plan:
        """Observe and plan; see `step_from`."""
        self.state, plan = self.step_from(self.state, observation, applied, now_ns)
        return plan

    def step_from(
        self,
        state: AgentState,
        observation: Observation,
        applied: Sequence[AppliedCommand] | None = None,
        now_ns: int | None = None,
    ) -> tuple[AgentState, Plan]:
        """Observe and plan, as a function of its arguments alone (but for the deadline).

        Args:
            state: from the step before, or `initial_state`.
            observation: what the sensors say.
            applied: the commands sent since the last step, in any order; ``None`` when the last
                plans were followed exactly, as a simulation in the same process can do.
            now_ns: the time now on the clock that stamps the frames, to tell how old the
                observation is; ``None`` when time stands still during planning.

        Returns:
            The next state, and the plan. It starts ``latency_steps`` after the frame and is not
            usable when the observation is too old (STALE), when there is no goal or its time is
            over (NO_GOAL) or when the model predicts nothing finite (NO_FINITE_ROLLOUT).

        Raises:
            ObservationError: when the observation does not fit the model; nothing changes then.
            ValueError: when an applied command does not fit the model; nothing changes then.
        """
        begin_ns = time.monotonic_ns()
        spec, config = self._model.spec, self._config
        size = len(spec.action_names)
        frames = perceive(self._model, state.frames, observation)
        if applied is None:
            since_ns = state.frames[-1].stamp_ns if state.frames else observation.stamp_ns
            applied = planned_commands(
                state.plans, since_ns, observation.stamp_ns, self._step_ns, size
            )
        commands = state.commands.extended(applied, oldest_ns=frames[0].stamp_ns)
        plan = self._plan(state, frames, commands, begin_ns, now_ns)
        # As many plans as can still be in force before the next one starts.
        plans = (*state.plans, plan)[-(config.latency_steps + 2) :]
        next_state = replace(
            state,
            frames=frames,
            commands=commands,
            plans=plans,
            warm_start=plan if plan.usable else state.warm_start,
            count=state.count + 1,
        )
        return next_state, plan

    def _plan(
        self,
        state: AgentState,
        frames: tuple[Frame, ...],
        commands: CommandMemory,
        begin_ns: int,
        now_ns: int | None,
    ) -> Plan:
        """Plan from what was perceived, or say why not."""
        spec, config = self._model.spec, self._config
        stamp_ns = frames[-1].stamp_ns
        goal = state.goal
        start_ns = stamp_ns + config.latency_steps * self._step_ns
        if now_ns is not None and (now_ns - stamp_ns) / NS_PER_S > config.max_observation_age_s:
            return self._actor.stop_plan(start_ns, PlanStatus.STALE)
        if goal is None or (goal.valid_until_ns is not None and stamp_ns > goal.valid_until_ns):
            return self._actor.stop_plan(start_ns, PlanStatus.NO_GOAL)
        deadline_ns = None
        if config.deadline_s is not None:
            deadline_ns = begin_ns + round(config.deadline_s * NS_PER_S)
        committed = committed_actions(
            state.plans, stamp_ns, config.latency_steps, spec.model_dt_s, len(spec.action_names)
        )
        return self._actor.plan(
            model_state(spec, frames, commands),
            goal,
            state.warm_start,
            deadline_ns,
            np.random.default_rng([state.seed, state.count]),
            committed,
        )
