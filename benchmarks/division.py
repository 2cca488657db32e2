"""How to divide the candidates of a plan among iterations, and what drawing their noise costs.

    python -m benchmarks.division [--searches 20]

CPU time and imagined cost of cold searches of one start of Reach-v0 with the shipped bundle, one
thread, settings in turn: medians and means over searches. Then the time to draw noise afresh
against reading the pool, the lowest of 30 times 20.
"""

from __future__ import annotations

import time
import timeit
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tyro

from benchmarks.search_problems import scenes, search
from controller.actor import Actor
from controller.config import AgentConfig
from controller.costs import build_cost
from controller.optimizers import build_optimizer
from controller.optimizers.noise import NoisePool, coloured_noise
from foresee.commands import BUNDLES
from world_model.runtime import load_world_model

DIVISIONS: dict[str, dict[str, Any]] = {
    "cem 300 x 4": {"samples": 300, "iterations": 4, "elites": 30},
    "cem 100 x 12": {"samples": 100, "iterations": 12, "elites": 10},
    "cem 75 x 16": {"samples": 75, "iterations": 16, "elites": 10},
    "cem 75 x 12": {"samples": 75, "iterations": 12, "elites": 10},
    "gradient 75 x 16": {"method": "gradient", "samples": 75, "iterations": 16, "elites": 10},
}


@dataclass
class Division:
    """Measure divisions and noise."""

    searches: int = 20
    """Of each division."""
    seed: int = 20_000
    """Of the scene."""


def main() -> None:
    """Measure and print."""
    job = tyro.cli(Division, description=__doc__)
    name, config = "Reach-v0", AgentConfig()
    model = load_world_model(BUNDLES / name, threads=1)
    low, high = model.spec.action_low, model.spec.action_high
    cost = build_cost(config.cost, config.planner.horizon, low, high)
    state, goal = next(scenes(model, name, 1, job.seed))
    actors = {}
    for kind, values in DIVISIONS.items():
        planner = replace(config.planner, **values)
        actors[kind] = Actor(model, planner, build_optimizer(planner, low, high), cost)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in actors}
    for seed in range(job.searches):
        for kind, actor in actors.items():
            begin_s = time.process_time()
            plan = search(actor, state, goal, seed)
            found[kind].append((1e3 * (time.process_time() - begin_s), plan.cost))
    for kind, pairs in found.items():
        times_ms, costs = np.array(pairs).T
        print(f"{kind:18s} cost {costs.mean():.4f}, {np.median(times_ms):.1f} ms of CPU")
    rng = np.random.default_rng(0)
    for count, knots in ((256, 8), (1024, 16)):
        pool = NoisePool(knots, 2, 2.0, count)
        works = {
            "coloured": lambda c=count, k=knots: coloured_noise(rng, c, k, 2, 2.0),
            "white": lambda c=count, k=knots: rng.standard_normal((c, 2 * k), np.float32),
            "pool": lambda c=count, p=pool: p.read(rng, c),
        }
        for kind, work in works.items():
            least_us = min(timeit.repeat(work, number=20, repeat=30)) / 20 * 1e6
            print(f"noise {count} x {knots} x 2, {kind:8s} {least_us:.1f} us")


if __name__ == "__main__":
    main()
