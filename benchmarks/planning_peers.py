"""The planners that are compared, each with its own package's code and the same world model.

Peers get the model in torch, or step by step in ONNX Runtime where that is faster for them; both
are held against the bundle before anything is timed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import time
import types
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_mppi import KMPPI, MPPI
from torch import Tensor

from benchmarks.planning_torch import COST, HORIZON, TorchModel
from controller.actor import Actor
from controller.config import PlannerConfig
from controller.costs import build_cost
from controller.optimizers import build_optimizer
from controller.types import Goal, ModelState, Plan
from world_model.runtime import OnnxWorldModel


def _swm_solvers() -> tuple[type, type]:
    """stable-worldmodel's solvers, from its own files but without the rest of the package.

    The package imports torchvision, which has no build beside this torch, and every environment.
    """
    package = types.ModuleType("stable_worldmodel")
    found = importlib.util.find_spec("stable_worldmodel")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'stable_worldmodel'")
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["stable_worldmodel"] = package
    from stable_worldmodel.solver.cem import CEMSolver
    from stable_worldmodel.solver.icem import ICEMSolver

    return CEMSolver, ICEMSolver


CEMSolver, ICEMSolver = _swm_solvers()
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """One planner with its settings.

    Attributes:
        kind: ``foresee``, ``pytorch_mppi``, ``swm_cem`` or ``swm_icem``.
        samples: candidates in an iteration.
        iterations: rounds of sample, imagine, update in a plan.
        knots: decision points of a plan: splines (foresee), KMPPI's support points, or actions held
            for several steps (stable-worldmodel); ``HORIZON`` for one decision a step.
        std: of the noise at the start, in halves of the action range.
        temperature: pytorch_mppi's lambda.
        variant: precision of foresee's rollouts.
    """

    kind: str
    samples: int
    iterations: int
    knots: int = HORIZON
    std: float = 1.0
    temperature: float = 0.01
    variant: str = "fp32"

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.kind} {self.variant}" if self.kind == "foresee" else self.kind


class Planner(Protocol):
    """Plans from a state to a goal; keeps its own warm start."""

    def plan(self, state: ModelState, goal: Goal, seed: int) -> Array:
        """The first action ``(A,)``, SI."""
        ...


class ForeseePlanner:
    """This project's actor."""

    def __init__(self, model: OnnxWorldModel, setting: Setting) -> None:
        """Build it; no deadline, so that it does what the setting says."""
        spec = model.spec
        samples = setting.samples
        config = PlannerConfig(
            horizon=HORIZON,
            knots=setting.knots,
            samples=samples,
            iterations=setting.iterations,
            std=setting.std,
            elites=max(4, samples // 10),
            kept_elites=min(4, max(4, samples // 10)),
        )
        optimizer = build_optimizer(config, spec.action_low, spec.action_high)
        cost = build_cost(COST, HORIZON, spec.action_low, spec.action_high)
        self._actor = Actor(model, config, optimizer, cost)
        self._last: Plan | None = None

    def plan(self, state: ModelState, goal: Goal, seed: int) -> Array:
        """See `Planner`."""
        self._last = self._actor.plan(state, goal, self._last, None, np.random.default_rng(seed))
        return self._last.action_at(state.stamp_ns)


class MppiPlanner:
    """pytorch_mppi, refined ``iterations`` times; with fewer knots than steps its KMPPI."""

    def __init__(self, model: TorchModel, setting: Setting) -> None:
        """Build it."""
        self._model, self._iterations = model, setting.iterations
        self._goal = torch.zeros(model.latent)
        kind: Any = MPPI
        extra = {}
        if setting.knots < HORIZON:
            kind, extra = KMPPI, {"num_support_pts": setting.knots}
        std = setting.std * model.high
        self._mppi = kind(
            lambda state, action: model.step(state, action),
            lambda state, action: model.cost(self._goal, state, action),
            nx=model.ends[1] + (model.context - 1) * model.action,
            noise_sigma=torch.diag(std.square()),
            num_samples=setting.samples,
            horizon=HORIZON,
            lambda_=setting.temperature,
            u_min=model.low,
            u_max=model.high,
            U_init=torch.zeros(HORIZON, model.action),
            sample_null_action=True,
            **extra,
        )

    @torch.inference_mode()
    def plan(self, state: ModelState, goal: Goal, seed: int) -> Array:
        """See `Planner`."""
        torch.manual_seed(seed)
        self._goal = torch.from_numpy(goal.latent).flatten()
        flat = self._model.flat(state)
        for iteration in range(self._iterations):
            action = self._mppi.command(flat, shift_nominal_trajectory=iteration == 0)
        return np.clip(action.numpy(), self._model.low.numpy(), self._model.high.numpy())


class SwmPlanner:
    """stable-worldmodel's CEM or iCEM solver."""

    def __init__(self, model: TorchModel, setting: Setting) -> None:
        """Build it. It never clips (CEM), so the model does."""
        self._model, self._hold = model, HORIZON // setting.knots
        samples = setting.samples
        kind = CEMSolver if setting.kind == "swm_cem" else ICEMSolver
        self._solver = kind(
            SimpleNamespace(get_cost=self._cost),
            num_samples=samples,
            n_steps=setting.iterations,
            topk=max(4, samples // 10),
            var_scale=setting.std * float(model.high[0]),
        )
        low, high = model.low.numpy()[None], model.high.numpy()[None]
        space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        config = SimpleNamespace(horizon=setting.knots, action_block=1)
        self._solver.configure(action_space=space, n_envs=1, config=config)
        self._start = self._goal = torch.zeros(0)
        self._last: Tensor | None = None

    def plan(self, state: ModelState, goal: Goal, seed: int) -> Array:
        """See `Planner`."""
        self._solver.torch_gen.manual_seed(seed)
        self._start = self._model.flat(state)
        self._goal = torch.from_numpy(goal.latent).flatten()
        if self._last is not None and self._hold == 1:  # as its own policy moves a plan on
            self._last = torch.cat([self._last[:, 1:], torch.zeros_like(self._last[:, :1])], dim=1)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its time after every plan
            found = self._solver.solve({"start": torch.zeros(1, 1)}, self._last)
        self._last = found["actions"]
        first = self._last[0, 0].numpy()
        return np.clip(first, self._model.low.numpy(), self._model.high.numpy())

    def _cost(self, info: dict[str, Any], candidates: Tensor) -> Tensor:
        actions = candidates[0].clamp(self._model.low, self._model.high)
        states = self._start.expand(len(actions), -1)
        total = torch.zeros(len(actions))
        for step in range(HORIZON):
            action = actions[:, step // self._hold]
            states = self._model.step(states, action)
            total = total + self._model.cost(self._goal, states, action)
        return total[None]


@dataclass(frozen=True)
class Models:
    """The same world model, loaded for each."""

    variants: dict[str, OnnxWorldModel]
    torch: TorchModel


def build(setting: Setting, models: Models) -> Planner:
    """A planner, fresh."""
    if setting.kind == "foresee":
        return ForeseePlanner(models.variants[setting.variant], setting)
    if setting.kind == "pytorch_mppi":
        return MppiPlanner(models.torch, setting)
    return SwmPlanner(models.torch, setting)


def plan_cpu_s(setting: Setting, models: Models, state: ModelState, goal: Goal) -> float:
    """CPU time of a plan, median of a few: on a busy machine it is what an idle core would take."""
    planner = build(setting, models)
    times = []
    for seed in range(7):
        began = time.thread_time()
        planner.plan(state, goal, seed)
        times.append(time.thread_time() - began)
    return float(np.median(times[1:]))


def fitted(
    setting: Setting, budget_s: float, models: Models, state: ModelState, goal: Goal
) -> Setting:
    """The setting with as many samples as fill a time budget, at least 8."""
    counts = (32, 128)
    small, large = (
        plan_cpu_s(replace(setting, samples=count), models, state, goal) for count in counts
    )
    each = max((large - small) / (counts[1] - counts[0]), 1e-9)
    count = max(8, int(counts[0] + (budget_s - small) / each))
    for _ in range(3):  # what is beyond the measured counts need not lie on a line
        took = plan_cpu_s(replace(setting, samples=count), models, state, goal)
        if 0.97 * budget_s <= took <= budget_s:
            break
        count = max(8, int(count * 0.985 * budget_s / took))
    return replace(setting, samples=count)
