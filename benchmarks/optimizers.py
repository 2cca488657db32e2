"""The optimisers side by side: their own cost in time, and the cost of their plans in samples.

    python -m benchmarks.optimizers                        # everything, about ten minutes
    python -m benchmarks.optimizers --parts overhead

overhead  Time of one iteration (sample, knots to actions, rank, update) with a model and a cost
          that return at once what they made before: `Actor.plan` of eight iterations, divided by
          eight. Two actions, as many knots as steps. Methods take turns within a round; the
          plan before the timed one fills the processor's caches, which the others had emptied.
linear    Gap to the optimum on linear worlds (Riccati) against the number of candidates imagined.
reach     The same on the imagined cost of the shipped Reach bundle, against the best of two long
          searches. A gap of 0 is the least cost known, 100 % is standing still.
push      The same for Push, with contact, and the settings of its bundle. Not run unless
          asked for.

Every point is the mean over problems and seeds with a 95 % interval (bootstrap over problems).
``cold`` begins from standing still, ``warm`` from the plan that the same settings made one step
before. CEM, iCEM and MPPI divide their candidates among 4 iterations, predictive sampling among 16;
gradient descent takes 16 steps and then more descents. Colour matters to it only for where the
further descents begin.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import matplotlib
import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.search_problems import Problem, imagined_problems, linear_problems, search
from controller.actor import Actor
from controller.config import AgentConfig, PlannerConfig, load_agent_config
from controller.costs import Judgement
from controller.optimizers import METHODS, build_optimizer
from controller.types import Goal, ModelState
from foresee.summary import write_json

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SIZES = ((256, 8), (1024, 16))
COLOURS = {"white": 0.0, "coloured": 2.0}
_ITERATIONS = 8


@dataclass
class Optimizers:
    """Measure the optimisers."""

    parts: tuple[Literal["overhead", "linear", "reach", "push"], ...] = (
        "overhead",
        "linear",
        "reach",
    )
    """Which parts to run."""
    budgets: tuple[int, ...] = (100, 200, 400, 800, 1600)
    """Candidates imagined for one plan."""
    problems: int = 12
    """Starts and goals of Reach and Push."""
    seeds: int = 3
    """Searches of each problem."""
    seed: int = 20_000
    """Of the first scene."""
    rounds: int = 200
    """Plans timed for the overhead, of each method and size."""
    out: Path = Path("runs/optimizers")
    """Folder of optimizers.json and of a picture for each curve."""


@dataclass(frozen=True)
class Point:
    """One point of a curve; ``gap_low`` to ``gap_high`` is the 95 % interval of the mean."""

    method: str
    colour: str
    begin: str
    budget: int
    imagined: int
    gap: float
    gap_low: float
    gap_high: float
    plan_ms: float


def main() -> None:
    """Run the parts that were asked for."""
    job = tyro.cli(Optimizers, description=__doc__)
    job.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {}
    if "overhead" in job.parts:
        found["overhead_us"] = overhead(job.rounds)
    push = load_agent_config(
        Path(__file__).parents[1] / "foresee" / "bundles" / "Push-v0" / "agent.yaml"
    )
    makers = {
        "linear": linear_problems,
        "reach": lambda: imagined_problems("Reach-v0", AgentConfig(), job.problems, job.seed),
        "push": lambda: imagined_problems("Push-v0", push, job.problems, job.seed),
    }
    for name, make in makers.items():
        if name not in job.parts:
            continue
        planner, problems = make()
        points = curves(planner, problems, job.budgets, job.seeds, name)
        found[name] = [asdict(point) for point in points]
        table(name, points, len(problems), job.seeds)
        picture(points, f"{name}: {len(problems)} problems × {job.seeds} seeds", job.out / name)
    write_json(job.out / "optimizers.json", found)
    print(f"wrote {job.out}/optimizers.json")


def overhead(rounds: int) -> list[dict[str, object]]:
    """Microseconds of one iteration, with everything that imagines and judges taken out."""
    actors, names = [], list(itertools.product(METHODS, SIZES))
    for method, (samples, horizon) in names:
        planner = PlannerConfig(
            method=method,
            horizon=horizon,
            knots=horizon,
            samples=samples,
            elites=samples // 10,
            iterations=_ITERATIONS,
            sample_decay=1.0,  # as many samples in each iteration as the others have
        )
        actors.append(_idle_actor(planner))
    state = ModelState(np.zeros((1, 1, 1), np.float32), *[np.zeros((1, 2), np.float32)] * 2, 0)
    goal, rng = Goal(np.zeros((1, 1), np.float32)), np.random.default_rng(0)
    times_us = np.empty((rounds, len(actors)))
    for i in tqdm(range(rounds), desc="overhead"):
        for j, actor in enumerate(actors):
            actor.plan(state, goal, None, None, rng)  # not timed: it fills the caches
            begin_s = time.perf_counter()
            actor.plan(state, goal, None, None, rng)
            times_us[i, j] = (time.perf_counter() - begin_s) * 1e6 / _ITERATIONS
    rows: list[dict[str, object]] = []
    print("\n| method | samples × steps | p10 | p50 | p95 |\n|---|---|---|---|---|")
    for (method, (samples, horizon)), column in zip(names, times_us.T, strict=True):
        p10, p50, p95 = np.percentile(column, [10, 50, 95])
        rows.append({"method": method, "samples": samples, "horizon": horizon, "n": rounds})
        rows[-1] |= {"p10_us": round(p10, 1), "p50_us": round(p50, 1), "p95_us": round(p95, 1)}
        print(f"| {method} | {samples} × {horizon} | {p10:.0f} µs | {p50:.0f} µs | {p95:.0f} µs |")
    return rows


def _idle_actor(planner: PlannerConfig) -> Actor:
    """An actor whose model and cost take no time."""
    ones = np.ones(2, np.float32)
    spec = SimpleNamespace(
        action_names=("u0", "u1"), action_low=-ones, action_high=ones, model_dt_s=0.1
    )
    costs = np.random.default_rng(0).random(planner.samples + 1).astype(np.float32)
    model = SimpleNamespace(spec=spec, rollout=lambda state, actions: None)
    optimizer = build_optimizer(planner, -ones, ones)

    def cost(rollouts: object, actions: np.ndarray, context: object) -> Judgement:
        return Judgement(costs[: len(actions)], {})

    return Actor(model, planner, optimizer, cost)


def settings_for(planner: PlannerConfig, method: str, budget: int, size: int) -> PlannerConfig:
    """Settings of a method that imagine about ``budget`` candidates; ``size`` is K times A."""
    samples, iterations = budget // 4, 4
    if method == "icem":  # 1 + 0.8 + 0.64 + 0.512
        samples = round(budget / 2.95)
    if method == "predictive":
        samples, iterations = max(4, budget // 16), 16
    if method == "gradient":  # as many steps as it takes to arrive, then more descents
        block = 2 * size + 1
        descents = max(1, budget // (16 * block))
        samples, iterations = descents * block, max(1, budget // (descents * block))
    elites = min(max(4, samples // 10), samples)
    return replace(
        planner, method=method, samples=samples, iterations=iterations, elites=elites, kept_elites=4
    )


def curves(
    planner: PlannerConfig, problems: list[Problem], budgets: tuple[int, ...], seeds: int, name: str
) -> list[Point]:
    """Gap against candidates imagined, for every method, colour and begin."""
    points = []
    kinds = list(itertools.product(METHODS, COLOURS, budgets))
    for method, colour, budget in tqdm(kinds, desc=name):
        gaps: dict[str, list[list[float]]] = {"cold": [], "warm": []}
        plan_ms, imagined = [], 0
        for problem in problems:
            ones = np.ones(problem.state.actions.shape[1], np.float32)
            settings = settings_for(planner, method, budget, planner.knots * len(ones))
            optimizer = build_optimizer(settings, -ones, ones)
            counts = (optimizer.count(settings.samples, i) for i in range(settings.iterations))
            imagined = sum(counts) + 1
            actor = problem.actor(replace(settings, noise_beta=COLOURS[colour]))
            for kind in gaps:
                gaps[kind].append([])
            for seed in range(seeds):
                last = search(actor, problem.before, problem.goal, 1000 + seed)
                for kind, warm_start in (("cold", None), ("warm", last)):
                    plan = search(actor, problem.state, problem.goal, seed, warm_start)
                    gaps[kind][-1].append(problem.gap(plan))
                    plan_ms.append(1e3 * plan.plan_s)
        for kind, values in gaps.items():
            mean, low, high = _interval(np.array(values))
            points.append(
                Point(
                    method,
                    colour,
                    kind,
                    budget,
                    imagined,
                    mean,
                    low,
                    high,
                    float(np.median(plan_ms)),
                )
            )
    return points


def _interval(gaps: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``(problems, seeds)`` and its 95 % interval, resampling problems."""
    rng = np.random.default_rng(0)
    by_problem = gaps.mean(axis=1)
    chosen = rng.integers(len(by_problem), size=(2000, len(by_problem)))
    low, high = np.percentile(by_problem[chosen].mean(axis=1), [2.5, 97.5])
    return float(by_problem.mean()), float(low), float(high)


def table(name: str, points: list[Point], problems: int, seeds: int) -> None:
    """Print the gaps in percent, a row for each method, colour and begin."""
    budgets = sorted({point.budget for point in points})
    print(f"\n{name}: gap in %, n = {problems} problems × {seeds} seeds; candidates imagined:")
    print("| method | noise | begin | " + " | ".join(str(b) for b in budgets) + " |")
    print("|---|---|---|" + "---|" * len(budgets))
    rows = itertools.groupby(points, key=lambda p: (p.method, p.colour))
    for (method, colour), group in rows:
        both = list(group)
        for begin in ("cold", "warm"):
            cells = [
                f"{100 * p.gap:.2f} ({100 * p.gap_low:.2f}–{100 * p.gap_high:.2f})"
                for p in both
                if p.begin == begin
            ]
            print(f"| {method} | {colour} | {begin} | " + " | ".join(cells) + " |")


def picture(points: list[Point], title: str, path: Path) -> None:
    """Curves of all methods: white noise dashed, coloured drawn through; cold left, warm right."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axis, begin in zip(axes, ("cold", "warm"), strict=True):
        for i, method in enumerate(METHODS):
            for colour in COLOURS:
                line = [
                    p for p in points if (p.method, p.colour, p.begin) == (method, colour, begin)
                ]
                axis.plot(
                    [p.imagined for p in line],
                    [max(100 * p.gap, 1e-3) for p in line],
                    color=f"C{i}",
                    linestyle="--" if colour == "white" else "-",
                    marker="o",
                    markersize=3,
                    label=f"{method}, {colour}" if begin == "cold" else None,
                )
        axis.set(xscale="log", yscale="log", xlabel="candidates imagined per plan", title=begin)
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("gap to the least cost, % of standing still's")
    figure.legend(loc="outside right center", fontsize=8)
    figure.suptitle(title)
    figure.savefig(path.with_suffix(".png"), dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
