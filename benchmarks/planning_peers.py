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
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Protocol

import gymnasium
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from pytorch_mppi import KMPPI, MPPI
from torch import Tensor

from controller.actor import Actor
from controller.config import CostConfig, PlannerConfig
from controller.costs import build_cost
from controller.optimizers import build_optimizer
from controller.types import Goal, ModelState, Plan
from world_model.bundle import PREDICTOR, Bundle
from world_model.config import PredictorConfig
from world_model.predictor import Predictor
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
HORIZON = 12
COST = CostConfig()


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


class TorchModel:
    """The bundle's predictor with its weights in torch, over flat states.

    A state row is what the predictor reads: latents of the context, readings, past actions, the
    last two standardised.
    """

    def __init__(self, bundle: Bundle, model: OnnxWorldModel) -> None:
        """Read the weights out of the bundle's predictor."""
        spec = bundle.spec
        network = onnx.load(bundle.path / PREDICTOR)
        weights = {
            tensor.name.removeprefix("model."): torch.from_numpy(
                numpy_helper.to_array(tensor).copy()
            )
            for tensor in network.graph.initializer
            if tensor.name.startswith("model.")
        }
        parts = {k.removeprefix("predictor."): v for k, v in weights.items() if "predictor." in k}
        blocks = len({key.split(".")[1] for key in parts if key.startswith("blocks.")})
        config = PredictorConfig(
            hidden=len(parts["inlet.bias"]), blocks=blocks, context=spec.context
        )
        sizes = len(spec.proprio_names), len(spec.action_names)
        self.net = Predictor(config, spec.latent_shape, *sizes).eval().requires_grad_(False)
        self.net.load_state_dict(parts)
        self._model = model
        self._mean_p, self._std_p = weights["proprio_mean"], weights["proprio_std"]
        self._mean_a, self._std_a = weights["action_mean"], weights["action_std"]
        self.context, self.latent = spec.context, spec.latent_shape[0] * spec.latent_shape[1]
        self.proprio, self.action = sizes
        self.low, self.high = torch.from_numpy(spec.action_low), torch.from_numpy(spec.action_high)
        self.ends = np.cumsum([self.context * self.latent, self.context * self.proprio]).tolist()
        example = torch.zeros(8, self.ends[1] + (self.context - 1) * self.action)
        with torch.inference_mode():
            traced = torch.jit.trace(self._torch_step, (example, torch.zeros(8, self.action)))
        self._steps: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "torch": self._torch_step,
            "torch.jit": traced,
            "ONNX Runtime": self._onnx_step,
        }
        self.step = self._torch_step
        self.fastest = "torch"

    def choose_fastest(self, samples: int = 300) -> dict[str, float]:
        """Take the way to step that is fastest here; returns CPU ms of each."""
        state = torch.zeros(samples, self.ends[1] + (self.context - 1) * self.action)
        action = torch.zeros(samples, self.action)
        times: dict[str, list[float]] = {name: [] for name in self._steps}
        with torch.inference_mode():
            for _ in range(40):
                for name, step in self._steps.items():
                    began = time.thread_time()
                    step(state, action)
                    times[name].append(1e3 * (time.thread_time() - began))
        medians = {name: float(np.median(values)) for name, values in times.items()}
        self.fastest = min(medians, key=lambda name: medians[name])
        self.step = self._steps[self.fastest]
        return medians

    def flat(self, state: ModelState) -> Tensor:
        """A state as a row."""
        proprio = (torch.from_numpy(state.proprio) - self._mean_p) / self._std_p
        actions = (torch.from_numpy(state.actions) - self._mean_a) / self._std_a
        latents = torch.from_numpy(state.latents)
        return torch.cat([latents.flatten(), proprio.flatten(), actions.flatten()])

    def newest(self, states: Tensor) -> Tensor:
        """The newest latent of each row."""
        return states[:, self.ends[0] - self.latent : self.ends[0]]

    def cost(self, goal: Tensor, states: Tensor, actions: Tensor) -> Tensor:
        """The share of one step in the cost: distance to the goal and size of the action."""
        far = (self.newest(states) - goal).square().mean(dim=1)
        size = (actions / self.high).square().mean(dim=1)
        return (COST.goal_weight * far + COST.action_weight * size) / HORIZON

    def _torch_step(self, states: Tensor, actions: Tensor) -> Tensor:
        inputs = torch.cat([states, (actions - self._mean_a) / self._std_a], dim=1)
        change = self.net.outlet(self.net.blocks(self.net.inlet(inputs)))
        latents, proprio = inputs[:, : self.ends[0]], inputs[:, self.ends[0] : self.ends[1]]
        return torch.cat(
            [
                latents[:, self.latent :],
                latents[:, -self.latent :] + change[:, : self.latent],
                proprio[:, self.proprio :],
                proprio[:, -self.proprio :] + change[:, self.latent :],
                inputs[:, self.ends[1] + self.action :],
            ],
            dim=1,
        )

    def _onnx_step(self, states: Tensor, actions: Tensor) -> Tensor:
        rows, context = len(states), self.context
        latents = states[:, : self.ends[0]].reshape(rows, context, *self._model.spec.latent_shape)
        proprio = states[:, self.ends[0] : self.ends[1]].reshape(rows, context, -1)
        past = states[:, self.ends[1] :].reshape(rows, context - 1, -1) * self._std_a + self._mean_a
        applied = torch.cat([past, actions[:, None]], dim=1)
        latent, reading = self._model.predict(
            latents.numpy(), (proprio * self._std_p + self._mean_p).numpy(), applied.numpy()
        )
        standard = (torch.from_numpy(reading) - self._mean_p) / self._std_p
        moved = [
            latents[:, 1:].flatten(1),
            torch.from_numpy(latent).flatten(1),
            proprio[:, 1:].flatten(1),
            standard,
            (applied[:, 1:] - self._mean_a).div(self._std_a).flatten(1),
        ]
        return torch.cat(moved, dim=1)


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
