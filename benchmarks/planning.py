"""Planners side by side: the same world model, start, goal, seeds, samples, horizon, iterations.

    pip install --no-deps -r benchmarks/peers.txt # without what they need elsewhere
    python -m benchmarks.planning                 # all parts, about half an hour on two free cores
    python -m benchmarks.planning --only overhead budget

Parts: ``overhead`` (a model that does nothing), ``budget`` (the shipped model, equal samples, steps
and iterations), ``time`` (closed loop, equal time for each plan), ``deadlines`` (an agent at 10 Hz,
the machine as it is and with every core loaded). All are made in one run and interleaved; times are
CPU times of the planning thread, which a busy machine stretches less than wall times, except for
deadlines, which are wall times. Every planner has one thread, as in `agent_node`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from controller.types import Goal, ModelState
from foresee.commands import REACH, shipped_bundle
from foresee.summary import write_json
from world_model.bundle import open_bundle

try:
    from benchmarks.planning_deadlines import deadlines
    from benchmarks.planning_loop import closed_loop, load_models
    from benchmarks.planning_overhead import overhead
    from benchmarks.planning_peers import (
        Models,
        Setting,
        build,
        fitted,
    )
    from benchmarks.planning_torch import HORIZON
except ModuleNotFoundError as error:
    raise SystemExit(f"planning: {error}; pip install --no-deps -r benchmarks/peers.txt") from error

ROOT = Path(__file__).parents[1]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
PARTS = ("overhead", "budget", "time", "deadlines")
# Every peer's settings were chosen, with foresee's, for closed-loop cost on seeds that the results
# do not use (`--tune`).
TUNED = (
    Setting("foresee", 0, 4, knots=4),
    Setting("foresee", 0, 4, knots=4, variant="int8"),
    Setting("pytorch_mppi", 0, 3, temperature=0.003),
    Setting("swm_cem", 0, 4, knots=4, std=0.5),
)
GRID = (
    *(Setting("foresee", 0, its, knots=knots) for its in (2, 3, 4) for knots in (3, 4)),
    *(
        Setting("pytorch_mppi", 0, 3, knots=knots, std=std, temperature=temperature)
        for knots in (4, HORIZON)
        for std in (0.5, 1.0)
        for temperature in (0.003, 0.03)
    ),
    *(
        Setting("swm_cem", 0, its, knots=knots, std=std)
        for its in (2, 3, 4)
        for knots in (4, HORIZON)
        for std in (0.5, 1.0)
    ),
)


@dataclass
class Planning:
    """Compare the planners."""

    only: tuple[str, ...] = PARTS
    """Which parts: overhead, budget, time, deadlines."""
    bundle: Path | None = None
    """World model; by default the one shipped for Reach-v0."""
    rounds: int = 15
    """Interleaved rounds of overhead and budget."""
    episodes: int = 50
    """Closed-loop episodes for each planner and each time."""
    budgets_ms: tuple[float, ...] = (10.0, 20.0, 50.0)
    """Time for a plan in the closed loop."""
    seed: int = 30_000
    """First seed of the closed loop."""
    seconds: float = 400.0
    """How long the agent runs for each row of deadlines."""
    tune: int = 0
    """Instead: try the grid of settings at 20 ms on this many episodes and print the best."""
    out: Path = ROOT / "runs" / "results" / "planning.json"
    """Where the results go; parts that are not run keep what is there."""


def main() -> int:
    """Run the parts and print their tables."""
    job = tyro.cli(Planning, description=__doc__)
    if not ONE_THREAD.items() <= os.environ.items():  # which libraries read when they are loaded
        again = [sys.executable, "-m", "benchmarks.planning", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | ONE_THREAD)
    if unknown := set(job.only) - set(PARTS):
        print(f"planning: unknown part {sorted(unknown)}; there are {list(PARTS)}")
        return 2
    torch.set_num_threads(1)
    path = job.bundle or shipped_bundle(REACH)
    models = load_models(path)
    step_ms = models.torch.choose_fastest()
    print("a peer's step, CPU ms:", {k: round(v, 2) for k, v in step_ms.items()})
    if job.tune:
        print(json.dumps(_tune(job, models, path), indent=1))
        return 0
    found = json.loads(job.out.read_text()) if job.out.is_file() else {}
    runners: dict[str, Callable[[], Any]] = {
        "overhead": lambda: overhead(models, job.rounds),
        "budget": lambda: _budget(models, job.rounds),
        "time": lambda: _time(job, models, path),
        "deadlines": lambda: deadlines(models.variants["fp32"], job.seconds),
    }
    for part in job.only:
        load = os.getloadavg()[0]
        result = runners[part]()
        found[part] = {
            "rows": result,
            "load_before": round(load, 1),
            "load_after": round(os.getloadavg()[0], 1),
        }
        found |= {"peer_step_ms": step_ms, "peers_use": models.torch.fastest}
        found |= {"cpu_count": os.cpu_count(), "bundle": path.name}
        found["variants"] = open_bundle(path).manifest.get("variants", {})
        write_json(job.out, found)
        print(f"\n{part} (load {load:.1f})")
        for row in result:
            print("  ", {k: v for k, v in row.items() if k not in ("costs_cm", "setting")})
    return 0


def _case(models: Models) -> tuple[ModelState, Goal]:
    """A start and a goal; any do for times."""
    spec, rng = models.variants["fp32"].spec, np.random.default_rng(0)
    state = ModelState(
        rng.standard_normal((spec.context, *spec.latent_shape)).astype(np.float32),
        np.zeros((spec.context, len(spec.proprio_names)), np.float32),
        np.zeros((spec.context - 1, len(spec.action_names)), np.float32),
        0,
    )
    return state, Goal(rng.standard_normal(spec.latent_shape).astype(np.float32))


def _budget(models: Models, rounds: int) -> list[dict[str, Any]]:
    """300 samples, 12 steps, 4 iterations for each; ratios to foresee in fp32 round by round."""
    state, goal = _case(models)
    settings = [
        *(Setting("foresee", 300, 4, knots=4, variant=name) for name in models.variants),
        *(Setting(kind, 300, 4) for kind in ("pytorch_mppi", "swm_cem", "swm_icem")),
    ]
    planners = [build(setting, models) for setting in settings]
    times = np.zeros((rounds, len(settings)))
    peak = []
    for number in range(-2, rounds):
        for index, planner in enumerate(planners):
            began = time.thread_time()
            planner.plan(state, goal, number + 2)
            if number >= 0:
                times[number, index] = time.thread_time() - began
        peak.append(_peak())
    weights = sum(
        weight.numel()
        for name, weight in models.torch.net.named_parameters()
        if name.endswith("weight") and weight.ndim == 2
    )
    flop = 2 * weights * 300 * HORIZON * 4
    rows = []
    for index, setting in enumerate(settings):
        ratio = times[:, index] / times[:, 0]
        seconds = float(np.median(times[:, index]))
        rows.append(
            {
                "name": setting.name,
                "plan_cpu_ms": _spread(1e3 * times[:, index]),
                "times_foresee_fp32": _spread(ratio),
                "gflop_s": round(flop / seconds / 1e9, 1),
                "of_peak": round(flop / seconds / float(np.median(peak)), 3),
            }
        )
    best = round(float(np.median(peak)) / 1e9, 1)
    rows.append({"name": "matrix product 1024 x 1024 x 1024", "gflop_s": best})
    return rows


def _peak() -> float:
    """FLOP/s of a large fp32 matrix product on one thread."""
    a = torch.zeros(1024, 1024)
    a @ a
    began = time.thread_time()
    a @ a
    return 2 * 1024**3 / (time.thread_time() - began)


def _time(job: Planning, models: Models, path: Path) -> list[dict[str, Any]]:
    """Closed loop with every planner's samples chosen to fill the same time."""
    state, goal = _case(models)
    settings = [s for s in TUNED if s.kind != "foresee" or s.variant in models.variants]
    rows = []
    for budget_ms in job.budgets_ms:
        filled = [fitted(s, budget_ms / 1e3, models, state, goal) for s in settings]
        seeds = range(job.seed, job.seed + job.episodes)
        for row in closed_loop(filled, seeds, REACH, path):
            rows.append({"budget_ms": budget_ms, **row})
    return rows


def _tune(job: Planning, models: Models, path: Path) -> list[dict[str, Any]]:
    state, goal = _case(models)
    filled = [fitted(s, 0.02, models, state, goal) for s in GRID]
    rows = closed_loop(filled, range(40_000, 40_000 + job.tune), REACH, path)
    rows.sort(key=lambda row: row["cost_cm"])
    return [{k: row[k] for k in ("setting", "success_rate", "cost_cm")} for row in rows]


def _spread(values: np.ndarray) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return {
        "p50": round(float(middle), 3),
        "p25": round(float(low), 3),
        "p75": round(float(high), 3),
    }


if __name__ == "__main__":
    sys.exit(main())
