"""Planners in closed loop: equal time for each, on the same seeds, judged by the world's truth."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from benchmarks.planning_peers import Models, Setting, build
from benchmarks.planning_torch import TorchModel
from controller.memory import AppliedCommand, CommandMemory
from controller.perception import Frame, model_state
from controller.types import Goal
from foresee.statistics import wilson_interval
from foresee.workers import map_in_processes
from foresee.worlds import CAMERA, core_of, make_world, observation_of
from world_model.bundle import open_bundle
from world_model.runtime import load_world_model, variants


def load_models(path: Path) -> Models:
    """The bundle in every precision it has, and in torch."""
    bundle = open_bundle(path)
    loaded = {
        name: load_world_model(path, "cpu", threads=1, variant=name) for name in variants(bundle)
    }
    return Models(loaded, TorchModel(bundle, loaded["fp32"]))


@dataclass(frozen=True)
class Episode:
    """How an episode went.

    Attributes:
        success: at its end.
        mean_distance_m: from the goal, mean over all steps: the closed-loop cost.
        final_distance_m: from the goal, at the end.
        plan_ms: CPU time of each plan, on its one thread.
    """

    success: bool
    mean_distance_m: float
    final_distance_m: float
    plan_ms: tuple[float, ...]


def run_planner(world: gymnasium.Env, setting: Setting, models: Models, seed: int) -> Episode:
    """One episode; the world waits for the plans, so a busy machine changes nothing."""
    model = models.variants["fp32"]
    spec = model.spec
    planner = build(setting, models)
    obs, info = world.reset(seed=seed)
    goal = Goal(model.encode({CAMERA: obs["goal_image"]}))
    dt_s = core_of(world).control_dt_s
    frames: list[Frame] = []
    commands = CommandMemory.empty(len(spec.action_names))
    distances, plan_ms = [], []
    ended = False
    while not ended:
        seen = observation_of(world, obs, len(plan_ms) * dt_s)
        frames = [*frames, Frame(seen.stamp_ns, model.encode(seen.images), seen.proprio)]
        frames = frames[-spec.context :]
        state = model_state(spec, tuple(frames), commands)
        began = time.thread_time()
        action = planner.plan(state, goal, 1000 * seed + len(plan_ms))
        plan_ms.append(1e3 * (time.thread_time() - began))
        applied = [AppliedCommand(seen.stamp_ns, action)]
        commands = commands.extended(applied, oldest_ns=frames[0].stamp_ns)
        obs, _, terminated, truncated, info = world.step(action)
        distances.append(float(info["distance_m"]))
        ended = terminated or truncated
    return Episode(bool(info["success"]), float(np.mean(distances)), distances[-1], tuple(plan_ms))


_world: gymnasium.Env
_models: Models


def _start(env_id: str, bundle: Path) -> None:
    import torch

    global _world, _models
    torch.set_num_threads(1)
    _world, _models = make_world(env_id), load_models(bundle)
    _models.torch.choose_fastest()


def _run(task: tuple[Setting, int]) -> Episode:
    return run_planner(_world, task[0], _models, task[1])


def closed_loop(
    settings: Sequence[Setting], seeds: Sequence[int], env_id: str, bundle: Path, workers: int = 0
) -> list[dict[str, Any]]:
    """Every setting on every seed, interleaved; a row for each setting.

    ``cost_beyond_first_cm`` compares it with the first one, seed by seed.
    """
    tasks = [(setting, seed) for seed in seeds for setting in settings]
    work = map_in_processes(_run, tasks, workers or os.cpu_count() or 1, _start, (env_id, bundle))
    results = list(tqdm(work, total=len(tasks), unit="episode", desc="closed loop"))
    rows: list[dict[str, Any]] = []
    of_first = np.array([episode.mean_distance_m for episode in results[:: len(settings)]])
    for index, setting in enumerate(settings):
        mine = results[index :: len(settings)]
        wins = sum(episode.success for episode in mine)
        costs = np.array([episode.mean_distance_m for episode in mine])
        ends = np.array([episode.final_distance_m for episode in mine])
        times = np.concatenate([episode.plan_ms for episode in mine])
        low, high = _bootstrap(costs)
        beyond = costs - of_first
        less, more = _bootstrap(beyond)
        rows.append(
            {
                "name": setting.name,
                "setting": asdict(setting),
                "n": len(mine),
                "success_rate": wins / len(mine),
                "success_ci95": [round(v, 4) for v in wilson_interval(wins, len(mine))],
                "cost_cm": round(100 * float(costs.mean()), 3),
                "cost_ci95_cm": [round(100 * low, 3), round(100 * high, 3)],
                "cost_beyond_first_cm": round(100 * float(beyond.mean()), 3),
                "cost_beyond_first_ci95_cm": [round(100 * less, 3), round(100 * more, 3)],
                "final_median_cm": round(100 * float(np.median(ends)), 3),
                "plan_cpu_ms": {
                    "p50": round(float(np.median(times)), 2),
                    "p95": round(float(np.percentile(times, 95)), 2),
                },
                "costs_cm": [round(100 * value, 3) for value in costs.tolist()],
            }
        )
    return rows


def _bootstrap(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))
