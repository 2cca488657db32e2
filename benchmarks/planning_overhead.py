"""What a planner adds to its model: the model and the cost do nothing here."""

from __future__ import annotations

import contextlib
import io
import time
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_mppi import MPPI

from benchmarks.planning_peers import CEMSolver, Models
from controller.actor import Actor
from controller.config import PlannerConfig
from controller.costs.base import Judgement
from controller.optimizers import build_optimizer
from controller.types import Goal, ModelState
from world_model.runtime import Rollouts

_ACTIONS = 3
_ITERATIONS = 4
SHAPES = ((256, 8), (1024, 16))


def overhead(models: Models, rounds: int) -> list[dict[str, Any]]:
    """CPU µs of an iteration of a plan of four with each planner, for each shape, interleaved.

    Each draws samples for every step (no splines), has ready-made costs handed to it and updates.
    """
    rows = []
    for samples, horizon in SHAPES:
        planners = {
            "foresee": _foresee(models, samples, horizon),
            "pytorch_mppi": _mppi(samples, horizon),
            "swm_cem": _swm(samples, horizon),
        }
        times: dict[str, list[float]] = {name: [] for name in planners}
        with torch.inference_mode(), contextlib.redirect_stdout(io.StringIO()):
            for number in range(20 * rounds + 20):
                for name, plan in planners.items():
                    began = time.thread_time()
                    plan()
                    if number >= 20:
                        took_s = time.thread_time() - began
                        times[name].append(1e6 * took_s / _ITERATIONS)
        ours = np.array(times["foresee"])
        for name, values in times.items():
            low, middle, high = np.percentile(values, [25, 50, 75]).round(1).tolist()
            rows.append(
                {
                    "shape": f"{samples} x {horizon}",
                    "name": name,
                    "us": {"p50": middle, "p25": low, "p75": high},
                    "times_foresee": round(float(np.median(np.array(values) / ours)), 2),
                }
            )
    return rows


def _foresee(models: Models, samples: int, horizon: int) -> Any:  # noqa: ANN401 - a callable
    spec = models.variants["fp32"].spec
    config = PlannerConfig(
        horizon=horizon,
        knots=horizon,
        samples=samples,
        iterations=_ITERATIONS,
        elites=samples // 10,
    )
    low, high = np.full(_ACTIONS, -1, np.float32), np.full(_ACTIONS, 1, np.float32)
    costs = np.random.default_rng(0).uniform(size=samples).astype(np.float32)
    nothing = Rollouts(
        np.zeros((samples, horizon, 1, 1), "f"), np.zeros((samples, horizon, 1), "f")
    )

    def judge(rollouts: Rollouts, actions: NDArray[np.float32], context: object) -> Judgement:
        return Judgement(costs[: len(actions)], {})

    model: Any = SimpleNamespace(
        spec=SimpleNamespace(action_names=("x", "y", "z"), model_dt_s=spec.model_dt_s),
        rollout=lambda state, actions: nothing,
    )
    cost: Any = judge
    actor = Actor(model, config, build_optimizer(config, low, high), cost)
    empty = np.zeros((1, 1, 1), np.float32)
    state = ModelState(empty, empty[0], np.zeros((1, _ACTIONS), np.float32), 0)
    goal, rng = Goal(empty[0]), np.random.default_rng(0)
    return lambda: actor.plan(state, goal, None, None, rng)


def _mppi(samples: int, horizon: int) -> Any:  # noqa: ANN401 - a callable
    costs = torch.rand(samples)
    mppi = MPPI(
        lambda state, action: state,
        lambda state, action: costs,
        nx=4,
        noise_sigma=torch.eye(_ACTIONS),
        num_samples=samples,
        horizon=horizon,
        u_min=-torch.ones(_ACTIONS),
        u_max=torch.ones(_ACTIONS),
    )
    state = torch.zeros(4)

    def plan() -> None:
        for iteration in range(_ITERATIONS):
            mppi.command(state, shift_nominal_trajectory=iteration == 0)

    return plan


def _swm(samples: int, horizon: int) -> Any:  # noqa: ANN401 - a callable
    costs = torch.rand(1, samples)
    solver = CEMSolver(
        SimpleNamespace(get_cost=lambda info, candidates: costs),
        num_samples=samples,
        n_steps=_ITERATIONS,
        topk=samples // 10,
    )
    box = gymnasium.spaces.Box(-1, 1, (1, _ACTIONS), np.float32)
    solver.configure(
        action_space=box, n_envs=1, config=SimpleNamespace(horizon=horizon, action_block=1)
    )
    info = {"start": torch.zeros(1, 1)}
    return lambda: solver.solve(info)
