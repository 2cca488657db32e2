"""The closed loop of `benchmarks.links`: the same agent with a part replaced by the truth.

Its cost by the block's true distance, which a probe sees in imagined latents; or its world model
by the simulator itself.
"""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.true_simulator import TrueSimulator
from controller.agent import Agent
from controller.config import AgentConfig, PlannerConfig
from controller.costs import TotalCost
from controller.costs.action import ActionCost, SmoothnessCost
from controller.costs.base import CostContext
from controller.types import Rollouts
from foresee.episode import EpisodeResult, Step, run_episode
from foresee.evaluate import waiting_world
from foresee.statistics import wilson_interval
from foresee.workers import map_in_processes
from foresee.worlds import world_for
from world_model.bundle import MANIFEST, sha256
from world_model.decoder import NetworkReadout
from world_model.runtime import load_world_model

Array = NDArray[np.float32]
Kind = Literal["as_shipped", "true_distance", "true_simulator", "small_search"]
_TOOL_BEHIND_M = 0.055  # from the block's centre to a tool that is about to push


class TrueDistance:
    """The block's distance from its true goal, and the tool's from the place behind the block."""

    name = "truth"

    def __init__(
        self, probe: NetworkReadout, horizon: int, growth: float = 1.1, tool: float = 0.5
    ) -> None:
        """Weigh step h by ``growth ** h``, the tool's distance by ``tool``.

        ``probe`` gives x, y of the block, then of the tool.
        """
        weights = growth ** np.arange(horizon)
        self._weights = (weights / weights.sum()).astype(np.float32)
        self._probe, self._tool = probe, np.float32(tool)
        self.goal_m = np.zeros(2, np.float32)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``rollouts``; see `controller.costs.base.Cost`. In decimetres."""
        count, horizon = actions.shape[:2]
        flat = rollouts.latents.reshape(count * horizon, -1)
        places = self._probe(flat).reshape(count, horizon, -1)
        way = self.goal_m - places[..., :2]
        left_m = np.linalg.norm(way, axis=2)
        forward = way / np.maximum(left_m, 1e-3)[..., None]
        behind = places[..., :2] - _TOOL_BEHIND_M * forward
        tool_m = np.linalg.norm(places[..., 2:] - behind, axis=2) * np.minimum(1, left_m / 0.03)
        return (10 * (left_m + self._tool * tool_m)) @ self._weights


def small(planner: PlannerConfig, samples: int, iterations: int) -> PlannerConfig:
    """The same search with fewer candidates, the best quarter of them elites."""
    elites = max(samples // 4, 2)
    return dataclasses.replace(
        planner,
        samples=samples,
        iterations=iterations,
        elites=elites,
        kept_elites=min(planner.kept_elites, elites),
        adapt=False,
    )


@dataclass(frozen=True)
class Loop:
    """Episodes of one kind.

    Attributes:
        kind: what is replaced by the truth, if anything is.
        env: the world.
        bundle: the model.
        agent: settings; its search is that of every kind.
        probe: for ``true_distance``.
    """

    kind: Kind
    env: str
    bundle: Path
    agent: AgentConfig
    probe: NetworkReadout | None = None


@dataclass
class _Worker:
    loop: Loop
    world: gymnasium.Env
    agent: Agent
    truth: TrueDistance | None = field(default=None)
    simulator: TrueSimulator | None = field(default=None)


_worker: _Worker


def _start(loop: Loop) -> None:
    global _worker
    _worker = _make(loop)


def _make(loop: Loop) -> _Worker:
    model = load_world_model(loop.bundle, threads=1)
    planner, settings = loop.agent.planner, waiting_world(loop.agent)
    world = world_for(loop.env, model.spec)
    if loop.kind == "true_simulator":
        simulator = TrueSimulator(model, loop.env)
        return _Worker(loop, world, Agent(simulator, settings), simulator=simulator)
    if loop.kind != "true_distance":
        return _Worker(loop, world, Agent(model, settings))
    assert loop.probe is not None
    low = np.asarray(model.spec.action_low, np.float32)
    high = np.asarray(model.spec.action_high, np.float32)
    truth = TrueDistance(loop.probe, planner.horizon)
    few = loop.agent.cost
    cost = TotalCost(
        [
            (truth, 1.0),
            (ActionCost(planner.horizon, low, high), few.action_weight),
            (SmoothnessCost(planner.horizon, low, high), few.smoothness_weight),
        ]
    )
    return _Worker(loop, world, Agent(model, settings, cost=cost), truth)


def _run(seed: int) -> EpisodeResult:
    return _episode(_worker, seed)


def _episode(worker: _Worker, seed: int) -> EpisodeResult:
    if worker.truth is not None:
        _, info = worker.world.reset(seed=seed)
        worker.truth.goal_m = info["goal_position_m"][:2].astype(np.float32)
    if worker.simulator is None:
        return run_episode(worker.world, worker.agent, seed)
    simulator = worker.simulator
    simulator.begin(seed)

    def watch(step: Step) -> None:
        simulator.follow(step.plan.action_at(step.plan.start_ns))

    return run_episode(worker.world, worker.agent, seed, watch)


def cost_of_a_plan(loop: Loop, seed: int) -> tuple[float, int]:
    """CPU seconds of one plan in this process, and the plans in an episode."""
    worker = _make(loop)
    short = worker.world.spec
    assert short is not None
    steps = int(short.max_episode_steps or 0)
    times: list[float] = []

    def watch(step: Step) -> None:
        times.append(time.process_time())
        raise _EnoughError

    if worker.simulator is not None:
        worker.simulator.begin(seed)
    began = time.process_time()
    try:
        run_episode(worker.world, worker.agent, seed, watch)
    except _EnoughError:
        pass
    finally:
        worker.world.close()
        if worker.simulator is not None:
            worker.simulator.close()
    return times[0] - began, steps


class _EnoughError(Exception):
    """One plan is enough."""


def close_the_loop(
    loop: Loop, seeds: range, workers: int, kept: Path | None = None
) -> dict[str, Any]:
    """Success over some seeds; the same for every kind.

    Args:
        loop: what acts.
        seeds: of the episodes.
        workers: processes; 0 takes one for each core.
        kept: file that each episode is added to when it is done; those in it are not run again.

    Raises:
        ValueError: the file is of another model, world or agent.
    """
    head = {
        "kind": loop.kind,
        "env": loop.env,
        "manifest_sha256": sha256(loop.bundle / MANIFEST),
        "agent": dataclasses.asdict(loop.agent),
    }
    done = _read(kept, head)
    left = [seed for seed in seeds if seed not in done]
    if loop.kind == "true_simulator" and left:
        plan_s, steps = cost_of_a_plan(loop, left[0])
        hours = plan_s * steps * len(left) / 3600
        tqdm.write(
            f"{loop.kind}: a plan takes {plan_s:.1f} s of CPU, an episode {plan_s * steps:.0f} s; "
            f"{len(left)} episodes about {hours:.1f} h on one core"
        )
    work = map_in_processes(_run, left, workers, _start, (loop,))
    with (
        closing(work) as results,
        tqdm(total=len(seeds), initial=len(done), desc=loop.kind, unit="episode") as bar,
    ):
        for result in results if left else ():
            done[result.seed] = result
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps(dataclasses.asdict(result)) + "\n")
            bar.update()
            bar.set_postfix(success=f"{sum(r.success for r in done.values())}/{len(done)}")
    return _figures([done[seed] for seed in seeds], loop.agent.planner)


def _read(kept: Path | None, head: dict[str, Any]) -> dict[int, EpisodeResult]:
    """Episodes that are done; begins the file where there is none."""
    if kept is None:
        return {}
    first = json.dumps(head)
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(first + "\n")
        return {}
    # What was being written when it was killed is done again.
    whole = kept.read_text().rpartition("\n")[0] + "\n"
    kept.write_text(whole)
    lines = whole.splitlines()
    if lines[:1] != [first]:
        raise ValueError(f"{kept}: episodes of another bundle, world or agent; remove it")
    results = [EpisodeResult(**json.loads(line)) for line in lines[1:]]
    return {result.seed: result for result in results}


def _figures(results: list[EpisodeResult], planner: PlannerConfig) -> dict[str, Any]:
    final = np.array([r.final_distance_m for r in results])
    near = final <= 0.025
    successes = sum(r.success for r in results)
    plans_ms = [ms for r in results for ms in r.plan_ms]
    return {
        "n": len(results),
        "seed": results[0].seed,
        "success_rate": successes / len(results),
        "ci95": [round(v, 4) for v in wilson_interval(successes, len(results))],
        "within_2.5_cm": float(near.mean()),
        "final_median_m": round(float(np.median(final)), 4),
        "samples": planner.samples,
        "iterations": planner.iterations,
        "plan_median_ms": round(float(np.median(plans_ms)), 1),
    }
