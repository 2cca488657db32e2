"""The agent: perception, memory and actor in one receding-horizon loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.actor import Actor
from controller.config import AgentConfig
from controller.costs import TotalCost, build_cost
from controller.costs.guardrail import Guardrails
from controller.episodic import EpisodicMemory, Moment, knots_of
from controller.goals import Course, Waypoint
from controller.memory import AppliedCommand, CommandMemory, committed_actions, planned_commands
from controller.optimizers import build_optimizer
from controller.perception import Frame, encode_goal, model_state, perceive
from controller.record import PlanInputs, PlanRecord
from controller.settings import ConfigError
from controller.spline import knot_steps
from controller.types import (
    NS_PER_S,
    Effort,
    Goal,
    Observation,
    Plan,
    PlanStatus,
    WorldModel,
)

Array = NDArray[np.float32]

_SILENT_NS = 200_000_000  # without a command for so long, plans are not followed


@dataclass(frozen=True)
class AgentState:
    """All that a step depends on beside its observation; nothing of it is hidden elsewhere.

    Attributes:
        frames: what was perceived, oldest first.
        commands: what was applied.
        plans: the one in force at the last frame and those that start later, oldest first.
        warm_start: the last plan that was usable; ``None`` before the first.
        goal: where to go; ``None`` before the first goal.
        seed: of the search.
        count: steps done; with the seed it gives the random numbers of the next.
        course: the goals that ``goal`` is one of, where there are several.
    """

    frames: tuple[Frame, ...]
    commands: CommandMemory
    plans: tuple[Plan, ...]
    warm_start: Plan | None
    goal: Goal | None
    seed: int
    count: int
    course: Course | None = None


class Agent:
    """Reaches goal images by planning with a world model.

    The class holds one `AgentState` for convenience; `step_from` is the same loop as a pure
    function. One thread at a time may call it.
    """

    def __init__(
        self,
        model: WorldModel,
        config: AgentConfig,
        memory: EpisodicMemory | None = None,
        cost: TotalCost | None = None,
    ) -> None:
        """Build the parts.

        Args:
            model: imagines and encodes.
            config: all settings.
            memory: of earlier runs; ``None`` for none. `step` remembers, `step_from` only looks.
            cost: takes the place of the configured costs and guardrails.

        Raises:
            ConfigError: the settings ask for what the model does not have.
        """
        spec = model.spec
        low = np.asarray(spec.action_low, np.float32)
        high = np.asarray(spec.action_high, np.float32)
        self._model = model
        self._config = config
        self._memory = memory
        self._remembered: Frame | None = None  # the frame that goes into memory next
        self.memory_problem = ""  # why nothing is remembered any more
        self.log: Callable[[PlanRecord], None] | None = None
        planner = config.planner
        knots = knot_steps(planner.horizon, planner.knots, planner.interpolation)
        self._knot_steps: list[int] = knots.tolist()
        self._step_ns = round(spec.model_dt_s * NS_PER_S)
        optimizer = build_optimizer(config.planner, low, high)
        if cost is None:
            guardrails = Guardrails(config.guardrails, spec.proprio_names)
            cost = build_cost(config.cost, config.planner.horizon, low, high, model, guardrails)
        self._actor = Actor(model, config.planner, optimizer, cost)
        self.state = self.initial_state(config.seed)

    @property
    def model(self) -> WorldModel:
        """What it plans with."""
        return self._model

    @property
    def config(self) -> AgentConfig:
        """Its settings."""
        return self._config

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
        self._remembered = None

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
        goal = encode_goal(self._model, images, source, valid_until_ns)
        self.state = replace(self.state, goal=goal, course=None)
        return goal

    def set_goals(
        self, images: Sequence[Mapping[str, NDArray[np.uint8]]], source: str = ""
    ) -> None:
        """Go to where the cameras see one set of images after the other; the last one is kept.

        When to go on is in the settings, ``course``.

        Args:
            images: at least one set, see `set_goal`.
            source: where they come from, for logs.

        Raises:
            ObservationError: when the images do not fit the model.
        """
        *stages, last = [encode_goal(self._model, seen, source) for seen in images]
        on = self._config.course
        points = [Waypoint(g, on.reached_distance, on.dwell_s, on.timeout_s) for g in stages]
        self.set_course(Course((*points, Waypoint(last))))

    def set_course(self, course: Course) -> None:
        """Go to one goal after the other.

        Args:
            course: of goals of this model.
        """
        self.state = replace(self.state, goal=course.goal, course=course)

    def forget_plans(self) -> None:
        """None of the plans is carried out any more: a stop was sent in their place."""
        self.state = replace(self.state, plans=())

    def clock_went_back(self) -> None:
        """Forget what bears stamps of the clock before; the goal is kept, its time begins anew."""
        fresh, course = self.initial_state(self.state.seed), self.state.course
        course = None if course is None else course.restarted()
        self.state = replace(fresh, goal=self.state.goal, course=course)
        self._remembered = None

    def take_over(self, other: Agent) -> None:
        """Go on where another agent is, so that a change of task does not stop the robot.

        Plans in force and commands are kept, what was seen only if the model is the same one; so
        is the goal where this agent was given none.

        Args:
            other: has been stepping; it must not be used afterwards.

        Raises:
            ConfigError: the agents act through different actions.
        """
        old, ours, theirs = other.state, self._model.spec, other._model.spec
        if tuple(ours.action_names) != tuple(theirs.action_names):
            raise ConfigError(
                f"the new model's actions are {', '.join(ours.action_names)}, the robot is being "
                f"commanded {', '.join(theirs.action_names)}"
            )
        kept = replace(old, goal=self.state.goal, course=self.state.course, seed=self.state.seed)
        if self._model is not other._model:
            kept = replace(kept, frames=())
        elif self.state.goal is None and self.state.course is None:
            kept = replace(kept, goal=old.goal, course=old.course)
        self.state = kept

    def replan(self, inputs: PlanInputs, effort: Effort) -> Plan:
        """Search again exactly as much as was searched before, from the same inputs.

        Args:
            inputs: of a `PlanRecord`.
            effort: of its plan.
        """
        return self._search(inputs, None, effort)

    def step(
        self,
        observation: Observation,
        applied: Sequence[AppliedCommand] | None = None,
        now_ns: int | None = None,
    ) -> Plan:
        """Observe and plan; see `step_from`."""
        self.state, plan = self.step_from(self.state, observation, applied, now_ns)
        if self._memory is not None:
            self._remember(self.state)
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
                plans were followed exactly, as a simulation in the same process can do. Where none
                was sent for 0.2 s nobody follows the plans, and the robot stays where it is.
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
        size, told = len(self._model.spec.action_names), applied is not None
        frames = perceive(self._model, state.frames, observation)
        before_ns = state.frames[-1].stamp_ns if state.frames else observation.stamp_ns
        if applied is None:
            applied = planned_commands(
                state.plans, before_ns, observation.stamp_ns, self._step_ns, size
            )
        # None is forgotten unseen, not even in a gap that is longer than the context, and none of
        # the step and a half that a moment of the memory may be long.
        moment_ns = observation.stamp_ns - 3 * self._step_ns // 2
        commands = state.commands.extended(applied, min(before_ns, frames[0].stamp_ns, moment_ns))
        if state.course is not None:
            course = state.course.advanced(frames[-1].latent, observation.stamp_ns)
            state = replace(state, course=course, goal=course.goal)
        silent = told and not (commands.stamps_ns > observation.stamp_ns - _SILENT_NS).any()
        pending = () if silent else state.plans
        plan = self._plan(state, pending, frames, commands, observation, begin_ns, now_ns)
        # Those that are, or are still to come, in force: how many depends on the camera's rate.
        plans = (*(p for p in state.plans if p.start_ns < plan.start_ns), plan)
        begun = sum(p.start_ns <= observation.stamp_ns for p in plans)
        plans = plans[max(begun - 1, 0) :]
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
        pending: tuple[Plan, ...],
        frames: tuple[Frame, ...],
        commands: CommandMemory,
        observation: Observation,
        begin_ns: int,
        now_ns: int | None,
    ) -> Plan:
        """Plan from what was perceived, while ``pending`` plans are followed, or say why not."""
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
            pending, stamp_ns, config.latency_steps, spec.model_dt_s, len(spec.action_names)
        )
        goal, candidates = self._recall(frames[-1].latent, goal)
        inputs = PlanInputs(
            model_state(spec, frames, commands),
            goal,
            state.warm_start,
            committed,
            candidates,
            (state.seed, state.count),
        )
        plan = self._search(inputs, deadline_ns, None)
        if self.log is not None:
            self.log(PlanRecord(observation, inputs, plan))
        return plan

    def _search(self, inputs: PlanInputs, deadline_ns: int | None, effort: Effort | None) -> Plan:
        return self._actor.plan(
            inputs.state,
            inputs.goal,
            inputs.warm_start,
            deadline_ns,
            np.random.default_rng(inputs.seed),
            inputs.committed,
            inputs.candidates,
            effort,
        )

    def _recall(self, latent: Array, goal: Goal) -> tuple[Goal, Array | None]:
        """The goal or a remembered place on the way to it, and what was done here before."""
        asked, memory = self._config.memory, self._memory
        if memory is None:
            return goal, None
        candidates = None
        if asked.candidates:
            # What was done from here on, less the steps after which a plan begins.
            late, horizon = self._config.latency_steps, self._config.planner.horizon
            courses = memory.courses(latent, goal.latent, asked.candidates, late + horizon)
            candidates = knots_of(courses[:, late:], self._knot_steps)
        if asked.subgoal_steps:
            place = memory.subgoal(latent, goal.latent, asked.subgoal_steps)
            if place is not None:
                goal = replace(goal, latent=place, source=f"remembered way to {goal.source}")
        return goal, candidates

    def _remember(self, state: AgentState) -> None:
        """Remember the frame of one step of the model ago, with what was done since."""
        assert self._memory is not None
        newest, last = state.frames[-1], self._remembered
        if last is not None and 0 <= 4 * (newest.stamp_ns - last.stamp_ns) < 3 * self._step_ns:
            return  # a camera faster than the model
        self._remembered = newest
        if last is None or not 0 < 2 * (newest.stamp_ns - last.stamp_ns) < 3 * self._step_ns:
            self._memory.begin_run()
            return
        action = state.commands.mean(last.stamp_ns, newest.stamp_ns)
        try:
            self._memory.add(Moment(last.stamp_ns, last.latent, last.proprio, action))
        except OSError as error:  # a full disk must not stop the robot
            self.memory_problem = f"{error.filename or 'memory'}: {error.strerror}"
            self._memory = None
