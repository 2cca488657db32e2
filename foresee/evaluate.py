"""How often does the agent succeed, and beside which floors?"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tqdm import tqdm

from controller.agent import Agent
from controller.config import AgentConfig
from foresee.episode import EpisodeResult, run_episode, run_floor
from foresee.errors import UsageError
from foresee.statistics import percentiles, wilson_interval
from foresee.workers import map_in_processes
from foresee.worlds import check_seed, world_for
from sim.policies import has_straight_line
from sim.randomization import Randomization
from world_model.bundle import MANIFEST, open_bundle, sha256
from world_model.runtime import FULL_PRECISION, Provider, load_world_model


def floors_of(env_id: str) -> tuple[str, ...]:
    """Policies without a model that are judged beside the agent; see `run_floor`."""
    straight = ("straight",) if has_straight_line(env_id) else ()
    return ("zero", "random", *straight, "scripted")


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate.

    Attributes:
        env_id: the world.
        bundle: folder of the model.
        agent: settings of the controller.
        episodes: n; episode i uses seed ``seed + i`` for the world and for the search.
        seed: of the first episode.
        image_size: side of the camera image in pixels; None for that of the bundle.
        provider: ONNX Runtime execution provider.
        floors: judge doing nothing, random actions, the scripted policy and, where it is another,
            the straight line as well.
        variant: precision of the rollouts, see `world_model.runtime.load_world_model`.
        randomization: how the world differs from the nominal one, drawn by each episode's seed and
            the same for its start, its way and its goal image; starts and goals are the nominal
            ones.
        subgoals: show the agent the stages before the goal, where the world has images of them.
    """

    env_id: str
    bundle: Path
    agent: AgentConfig
    episodes: int = 100
    seed: int = 10_000
    image_size: int | None = None
    provider: Provider = "auto"
    floors: bool = True
    variant: str = FULL_PRECISION
    randomization: Randomization | None = None
    subgoals: bool = True


def evaluate(job: Evaluation, workers: int = 0, progress: bool = True) -> dict[str, Any]:
    """Run n episodes and the floors on the same seeds.

    The world waits for each plan and the search has no deadline, so that the same seeds give the
    same result on a fast machine and on a slow one; ``plan_ms`` says what each plan took.

    Args:
        job: what to evaluate.
        workers: processes; 0 takes one for each core. Each plans on one thread.
        progress: show a progress bar.

    Returns:
        A JSON-ready summary: ``success_rate``, ``ci95``, ``n``, ``also`` (rates of stricter or
        partial success, as the world tells them), ``floors``, ``plan_ms``, ``final_distance_m``,
        and what is needed to repeat it. After Ctrl-C it is of the episodes that were done, with
        ``finished`` False.

    Raises:
        BundleError: the bundle cannot be used.
        UsageError: the environment does not exist, the bundle does not fit it, or ``episodes`` is
            not positive.
        WorkerError: a worker process died.
    """
    if job.episodes < 1:
        raise UsageError(f"--episodes must be at least 1, got {job.episodes}")
    check_seed(job.seed)
    if job.agent.memory.folder is not None:
        raise UsageError(
            "an evaluation keeps no memory: its episodes must not know each other; "
            "leave memory out of the agent's settings"
        )
    began = time.monotonic()
    # Whatever the user got wrong shows here, in one process, before the workers start.
    bundle = open_bundle(job.bundle)
    model = load_world_model(job.bundle, job.provider, variant=job.variant)
    world_for(job.env_id, model.spec, job.image_size, job.randomization).close()
    job = dataclasses.replace(job, agent=waiting_world(job.agent))
    tasks = [("agent", job.seed + i) for i in range(job.episodes)]
    floors = floors_of(job.env_id) if job.floors else ()
    tasks += [(name, job.seed + i) for name in floors for i in range(job.episodes)]
    results: dict[str, list[EpisodeResult]] = {name: [] for name, _ in tasks}
    work = map_in_processes(_run, tasks, workers, _start_worker, (job,))
    bar = tqdm(total=len(tasks), desc="eval", unit="episode", disable=not progress)
    finished = False
    try:
        with closing(work) as done, bar:
            for (name, _), result in zip(tasks, done, strict=True):
                results[name].append(result)
                bar.update()
                if name == "agent":
                    successes = sum(r.success for r in results[name])
                    bar.set_postfix(success=f"{successes}/{len(results[name])}")
        finished = True
    except KeyboardInterrupt:
        if not results["agent"]:
            raise
        tqdm.write(f"interrupted after {len(results['agent'])} of {job.episodes} episodes")
    return {
        "env": job.env_id,
        **_summary(results["agent"]),
        "finished": finished,
        "floors": {name: _summary(results[name]) for name in floors if results.get(name)},
        "plan_ms": percentiles([ms for r in results["agent"] for ms in r.plan_ms]),
        "seed": job.seed,
        "bundle": str(job.bundle),
        "provider": model.provider,
        "variant": job.variant,
        "manifest_sha256": sha256(job.bundle / MANIFEST),
        "trained_on_frames": bundle.manifest.get("training", {}).get("frames"),
        "agent": dataclasses.asdict(job.agent),
        "subgoals": job.subgoals,
        "randomization": dataclasses.asdict(job.randomization) if job.randomization else None,
        "wall_s": round(time.monotonic() - began, 1),
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "episodes": [_without_timing(r) for r in results["agent"]],
    }


def waiting_world(agent: AgentConfig) -> AgentConfig:
    """The settings for a world that stands still while the agent plans."""
    return dataclasses.replace(agent, deadline_s=None, latency_steps=0)


def _summary(results: list[EpisodeResult]) -> dict[str, Any]:
    n, successes = len(results), sum(r.success for r in results)
    final = np.array([r.final_distance_m for r in results])
    return {
        "success_rate": successes / n,
        "ci95": [round(v, 4) for v in wilson_interval(successes, n)],
        "n": n,
        "also": {
            name: {
                "success_rate": sum(r.also[name] for r in results) / n,
                "ci95": [
                    round(v, 4) for v in wilson_interval(sum(r.also[name] for r in results), n)
                ],
            }
            for name in results[0].also
        },
        "start_distance_m": {
            "mean": round(float(np.mean([r.start_distance_m for r in results])), 4)
        },
        "final_distance_m": {
            "mean": round(float(final.mean()), 4),
            "median": round(float(np.median(final)), 4),
            "p95": round(float(np.percentile(final, 95)), 4),
            "max": round(float(final.max()), 4),
        },
    }


def _without_timing(result: EpisodeResult) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    del values["plan_ms"]
    return values


_world: gymnasium.Env
_agent: Agent
_subgoals: bool


def _start_worker(job: Evaluation) -> None:
    global _world, _agent, _subgoals
    # One thread each: there are as many workers as cores.
    model = load_world_model(job.bundle, job.provider, threads=1, variant=job.variant)
    _world = world_for(job.env_id, model.spec, job.image_size, job.randomization)
    _agent = Agent(model, job.agent)
    _subgoals = job.subgoals


def _run(task: tuple[str, int]) -> EpisodeResult:
    name, seed = task
    if name == "agent":
        return run_episode(_world, _agent, seed, subgoals=_subgoals)
    return run_floor(_world, seed, name)
