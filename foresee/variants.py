"""Faster, less exact rollouts for a bundle: made, judged, and kept only when as good as fp32.

A variant is judged by what a planner does with it: does it pick the same elites, and does the agent
succeed as often?
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controller.agent import Agent
from controller.config import AgentConfig
from controller.memory import AppliedCommand
from controller.types import ModelState, Observation
from foresee.evaluate import Evaluation, evaluate, waiting_world
from world_model.bundle import BundleError, annotate
from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.data.mixture import Mixture
from world_model.export import add_rollout
from world_model.rollout_graph import VARIANTS, rollout_graph
from world_model.runtime import ROLLOUT, OnnxWorldModel, Rollouts, load_world_model
from world_model.training_data import open_training_data

Array = NDArray[np.float32]
MIN_OVERLAP = 0.95
MAX_SUCCESS_LOSS = 0.02
_STATES = 40
_STEPS_TO_GOAL = 15


@dataclass(frozen=True)
class Verdict:
    """Whether a variant is as good as fp32, and by which figures.

    Attributes:
        accepted: True when all of it is good enough.
        reason: what was not, or "".
        elite_overlap: share of fp32's elites that are the variant's too, mean over the candidate
            sets of whole searches from held-out states; NaN when it cannot be run.
        elite_overlap_by_iteration: the same by iteration of the search.
        speedup: time of an fp32 rollout over the variant's, median of pairs.
        success_rate: closed loop, on the same seeds as ``fp32_success_rate``; ``None`` when it was
            not tried because something else was bad already.
        fp32_success_rate: closed loop with fp32.
        episodes: of each.
    """

    accepted: bool
    reason: str
    elite_overlap: float
    elite_overlap_by_iteration: tuple[float, ...] = ()
    speedup: float = float("nan")
    success_rate: float | None = None
    fp32_success_rate: float | None = None
    episodes: int = 0


@dataclass(frozen=True)
class Search:
    """The candidates of one search: ``actions[i] (B, H, A)`` of iteration i, from one state."""

    state: ModelState
    goal: Array
    actions: list[Array]


def add_variants(
    path: Path,
    run: Path,
    dataset: Path | Sequence[Path],
    env_id: str,
    agent: AgentConfig,
    episodes: int,
    skip_bad: bool = False,
) -> dict[str, Verdict]:
    """Make every variant of a bundle's rollout, judge it and keep it if it is accepted.

    Verdicts, those of rejected variants too, are written into the manifest under ``variants``.

    Args:
        path: the bundle, exported from ``run``.
        run: folder of the training run.
        dataset: the data set it was trained on, or all of them in the same order; held-out episodes
            give the states.
        env_id: world for the closed loop.
        agent: the controller to judge with.
        episodes: closed-loop episodes for each of fp32 and the variant, on the same seeds.
        skip_bad: the run was trained without the damaged episodes.
    """
    checkpoint = load_checkpoint(run)
    model, config = model_from_checkpoint(checkpoint), checkpoint.config
    exact = load_world_model(path, "cpu")
    with open_training_data(dataset, config, skip_bad=skip_bad) as mixture:
        searches = held_out_searches(exact, mixture, agent)
    verdicts = {}
    fp32_rate: float | None = None
    for name in VARIANTS:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            trial = Path(folder) / path.name
            shutil.copytree(path, trial)
            graph = rollout_graph(model, name)
            add_rollout(trial, f"{ROLLOUT}-{name}", graph, {})
            try:
                variant = load_world_model(trial, "cpu", variant=name)
            except BundleError as error:
                verdicts[name] = Verdict(
                    False, f"cannot be run here: {_why(error, trial)}", float("nan")
                )
                continue
            verdict = judge_searches(exact, variant, searches, agent.planner.elites)
            if verdict.accepted:
                job = Evaluation(env_id, trial, agent, episodes, provider="cpu", floors=False)
                if fp32_rate is None:
                    fp32_rate = _success_rate(job)
                rate = _success_rate(replace(job, variant=name))
                verdict = judge_success(verdict, fp32_rate, rate, episodes)
        verdicts[name] = verdict
        if verdict.accepted:
            add_rollout(path, f"{ROLLOUT}-{name}", graph, {"variant": name})
    annotate(path, {"variants": {name: _json(verdict) for name, verdict in verdicts.items()}})
    return verdicts


def judge_searches(
    exact: OnnxWorldModel, variant: OnnxWorldModel, searches: list[Search], elites: int
) -> Verdict:
    """Compare elites and speed of a variant with fp32's, on the same candidates.

    Candidates are ranked by their distance to the goal over the horizon alone; what else the
    agent's cost makes of imagined latents counts in the closed loop.
    """
    count = max(len(search.actions) for search in searches)
    overlaps: list[list[float]] = [[] for _ in range(count)]
    for search in searches:
        for iteration, actions in enumerate(search.actions):
            ours, theirs = (
                _elites(model.rollout(search.state, actions), search.goal, elites)
                for model in (exact, variant)
            )
            overlaps[iteration].append(len(ours & theirs) / elites)
    overlap = float(np.mean([value for row in overlaps for value in row]))
    speedup = _speedup(exact, variant, searches[0])
    reasons = []
    if not overlap >= MIN_OVERLAP:
        reasons.append(f"elite overlap {overlap:.1%}, less than {MIN_OVERLAP:.0%}")
    if not speedup > 1.0:
        reasons.append(f"not faster than fp32 here (x {speedup:.2f})")
    by_iteration = tuple(round(float(np.mean(row)), 4) for row in overlaps)
    return Verdict(not reasons, "; ".join(reasons), overlap, by_iteration, speedup)


def judge_success(verdict: Verdict, fp32_rate: float, rate: float, episodes: int) -> Verdict:
    """Add the closed loop to a verdict."""
    verdict = replace(verdict, success_rate=rate, fp32_success_rate=fp32_rate, episodes=episodes)
    if rate >= fp32_rate - MAX_SUCCESS_LOSS:
        return verdict
    reason = f"success {rate:.1%}, with fp32 {fp32_rate:.1%}"
    return replace(verdict, accepted=False, reason=reason)


class _Listener:
    """A world model that remembers what it was asked to imagine."""

    def __init__(self, model: OnnxWorldModel) -> None:
        self.spec = model.spec
        self.heard: list[tuple[ModelState, Array]] = []
        self._model = model

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        return self._model.encode(images)

    def rollout(self, state: ModelState, actions: Array) -> Rollouts:
        self.heard.append((state, actions.copy()))
        return self._model.rollout(state, actions)


def held_out_searches(model: OnnxWorldModel, mixture: Mixture, agent: AgentConfig) -> list[Search]:
    """What the agent's planner asks of the model, from held-out states to goals some steps later.

    Args:
        model: in fp32.
        mixture: the data of its training run.
        agent: the controller.
    """
    spec = model.spec
    cache = mixture.cache
    length = spec.context + _STEPS_TO_GOAL
    starts = cache.clip_starts(length, mixture.held_out)
    starts = starts[np.linspace(0, len(starts) - 1, min(_STATES, len(starts))).astype(int)]
    clips = cache.clips(starts, length)
    listener = _Listener(model)
    controller = Agent(listener, waiting_world(agent))
    searches = []
    for row in range(len(starts)):
        controller.reset(row)
        controller.set_goal({name: images[row, -1] for name, images in clips.images.items()})
        stamps = [round(t * spec.model_dt_s * 1e9) for t in range(spec.context)]
        for t, stamp_ns in enumerate(stamps):
            listener.heard.clear()
            images = {name: of[row, t] for name, of in clips.images.items()}
            applied = [AppliedCommand(stamps[t - 1], clips.actions[row, t - 1])] if t else []
            controller.step(Observation(stamp_ns, images, clips.proprio[row, t]), applied)
        goal = model.encode({name: images[row, -1] for name, images in clips.images.items()})
        wanted = [ask for ask in listener.heard if len(ask[1]) > agent.planner.elites]
        searches.append(Search(wanted[0][0], goal, [actions for _, actions in wanted]))
    return searches


def _success_rate(job: Evaluation) -> float:
    summary = evaluate(job)
    if not summary["finished"]:
        raise KeyboardInterrupt  # half an evaluation is no reason to accept anything
    return summary["success_rate"]


def _elites(rollouts: Rollouts, goal: Array, count: int) -> set[int]:
    far = np.square(rollouts.latents - goal).mean(axis=(1, 2, 3))
    far = np.where(np.isfinite(far), far, np.inf)
    return set(np.argpartition(far, count)[:count].tolist())


def _speedup(exact: OnnxWorldModel, variant: OnnxWorldModel, search: Search) -> float:
    """In pairs, so that a noisy machine disturbs both alike."""
    ratios = []
    for _ in range(15):
        times = []
        for model in (exact, variant):
            began = time.perf_counter()
            model.rollout(search.state, search.actions[0])
            times.append(time.perf_counter() - began)
        ratios.append(times[0] / times[1])
    return float(np.median(ratios))


def _why(error: BundleError, trial: Path) -> str:
    """Without the name of a folder that is gone."""
    return str(error).replace(f"{trial}/", "")


def _json(verdict: Verdict) -> dict[str, Any]:
    values = asdict(verdict)
    return {k: None if v != v else v for k, v in values.items()}  # JSON has no NaN
