"""Which link of the chain is weak? Encoder, predictor, cost and search of a pushing bundle, apart.

    python -m benchmarks.links --data data/push --json runs/results/links.json

The block is read from the latent by probes, which are fitted here on episodes the model was
trained on and judged on held-out ones. With the probe's eyes the rollouts can be judged in
centimetres, on steps with contact and without, and a planner can be given the block's true
distance from its goal in place of the learned cost: what then fails is not the cost.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from controller.agent import Agent
from controller.config import AgentConfig, load_agent_config
from controller.costs import TotalCost
from controller.costs.action import ActionCost, SmoothnessCost
from controller.costs.base import CostContext
from controller.types import ModelState, Rollouts
from foresee.episode import EpisodeResult, run_episode
from foresee.evaluate import waiting_world
from foresee.statistics import wilson_interval
from foresee.summary import write_json
from foresee.workers import map_in_processes
from foresee.worlds import make_world
from world_model.bundle import agent_settings
from world_model.data.cache import build_cache
from world_model.data.clips import Cache, split_episodes
from world_model.decoder import NetworkReadout, fit_network
from world_model.probe import linear_probe
from world_model.runtime import OnnxWorldModel, load_world_model

Array = NDArray[np.float32]
PLACES = ("tool.x", "tool.y", "block.x", "block.y")
_STILL_M = 0.002  # a block that moved less than this was not touched
_PUSHED_M_PER_STEP = 0.008  # one that moved more than this each step, up to 4 cm in all, was
_TOOL_BEHIND_M = 0.055  # from the block's centre to a tool that is about to push


@dataclass
class Links:
    """Judge the links one after the other; prints a table in Markdown."""

    data: Path
    """Data set the bundle was trained on (or another one of the same world)."""
    bundle: Path = Path("foresee/bundles/Push-v0")
    """Bundle to judge."""
    agent: Path | None = None
    """Settings of the agent, by default the bundle's; the search is that of every planner here."""
    env: str = "foresee/Push-v0"
    """World of the closed loop."""
    episodes: int = 40
    """Closed-loop episodes of each kind."""
    seed: int = 10_000
    """Of the first episode."""
    held_out: float = 0.1
    """Share of the episodes held out in training, with the split's seed 0."""
    frames: int = 20_000
    """At most this many frames for fitting the probes."""
    clips: int = 1500
    """Held-out clips whose rollouts are judged."""
    workers: int = 0
    """Processes; 0 takes one for each core."""
    json: Path | None = None
    """Write the figures here."""


def places_of(cache: Cache, frames: NDArray[np.int64]) -> Array:
    """True `PLACES` of frames ``(B,)``, ``(B, 4)`` m."""
    names = [*cache.spec.proprio_names, *cache.spec.evaluation_names]
    values = np.concatenate([cache.proprio[frames], cache.evaluation[frames]], axis=1)
    return values[:, [names.index(name) for name in PLACES]].astype(np.float32)


def encode(model: OnnxWorldModel, cache: Cache, frames: NDArray[np.int64]) -> Array:
    """Latents ``(B, N*D)`` of frames ``(B,)``."""
    latents = []
    for frame in tqdm(frames.tolist(), desc="encode", unit="frame"):
        images = {name: np.asarray(array[frame]) for name, array in cache.images.items()}
        latents.append(model.encode(images).reshape(-1))
    return np.stack(latents)


def judge_encoder(
    probe: NetworkReadout, fit: tuple[Array, Array], held: tuple[Array, Array]
) -> Any:  # noqa: ANN401
    """R² and error of the probes on held-out frames; ``fit`` and ``held`` are latents, places."""
    linear = linear_probe(*(a.astype(np.float64) for a in (*fit, *held)))
    error = probe(held[0]) - held[1]
    r2 = 1 - np.square(error, dtype=np.float64).mean(0) / held[1].var(0)
    return {
        "frames": len(held[0]),
        "linear_r2": dict(zip(PLACES, linear.round(3).tolist(), strict=True)),
        "network_r2": dict(zip(PLACES, r2.round(3).tolist(), strict=True)),
        "block_error_median_m": float(np.median(np.linalg.norm(error[:, 2:], axis=1)).round(4)),
    }


def judge_predictor(
    model: OnnxWorldModel,
    probe: NetworkReadout,
    cache: Cache,
    starts: NDArray[np.int64],
    horizon: int,
) -> list[dict[str, Any]]:
    """Error of the block's imagined place at some steps ahead, with contact and without."""
    context = model.spec.context
    length = context + horizon
    imagined, seen, true = [], [], []
    for start in tqdm(starts.tolist(), desc="rollouts", unit="clip"):
        frames = np.arange(start, start + length)
        latents = np.stack(
            [model.encode({n: np.asarray(a[f]) for n, a in cache.images.items()}) for f in frames]
        )
        actions = np.asarray(cache.actions[frames])
        state = ModelState(
            latents[:context],
            np.asarray(cache.proprio[frames[:context]]),
            actions[: context - 1],
            0,
        )
        rollouts = model.rollout(state, actions[None, context - 1 : -1])
        imagined.append(probe(rollouts.latents.reshape(horizon, -1))[:, 2:])
        seen.append(probe(latents[context:].reshape(horizon, -1))[:, 2:])
        true.append(places_of(cache, frames[context - 1 :])[:, 2:])
    places = np.stack(true)
    moved_m = np.linalg.norm(places[:, 1:] - places[:, :1], axis=2)
    errors_m = np.linalg.norm(np.stack(imagined) - places[:, 1:], axis=2)
    floors_m = np.linalg.norm(np.stack(seen) - places[:, 1:], axis=2)
    rows = []
    for step in sorted({1, 4, 8, horizon}):
        at = step - 1
        pushed = moved_m[:, at] > min(0.04, _PUSHED_M_PER_STEP * step)
        for kind, chosen in (("contact", pushed), ("free", moved_m[:, at] < _STILL_M)):
            rows.append(
                {
                    "step": step,
                    "kind": kind,
                    "clips": int(chosen.sum()),
                    "rollout_m": _median(errors_m[chosen, at]),
                    "copy_m": _median(moved_m[chosen, at]),
                    "encoder_m": _median(floors_m[chosen, at]),
                }
            )
    return rows


def _median(values: NDArray[Any]) -> float:
    return round(float(np.median(values)), 4) if len(values) else float("nan")


class TrueDistance:
    """The block's distance from its true goal, and the tool's from the place behind the block."""

    name = "truth"

    def __init__(
        self, probe: NetworkReadout, horizon: int, growth: float = 1.1, tool: float = 0.5
    ) -> None:
        """Weigh step h by ``growth ** h``, the tool's distance by ``tool``."""
        weights = growth ** np.arange(horizon)
        self._weights = (weights / weights.sum()).astype(np.float32)
        self._probe, self._tool = probe, np.float32(tool)
        self.goal_m = np.zeros(2, np.float32)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``rollouts``; see `controller.costs.base.Cost`. In decimetres."""
        count, horizon = actions.shape[:2]
        flat = rollouts.latents.reshape(count * horizon, -1)
        places = self._probe(flat).reshape(count, horizon, -1)
        way = self.goal_m - places[..., 2:]
        left_m = np.linalg.norm(way, axis=2)
        forward = way / np.maximum(left_m, 1e-3)[..., None]
        behind = places[..., 2:] - _TOOL_BEHIND_M * forward
        tool_m = np.linalg.norm(places[..., :2] - behind, axis=2) * np.minimum(1, left_m / 0.03)
        return (10 * (left_m + self._tool * tool_m)) @ self._weights


@dataclass(frozen=True)
class _Loop:
    """What a worker needs: the world, the bundle, the agent's settings, a probe or None."""

    env: str
    bundle: Path
    agent: AgentConfig
    probe: NetworkReadout | None


@dataclass
class _Worker:
    world: gymnasium.Env
    agent: Agent
    truth: TrueDistance | None = field(default=None)


_worker: _Worker


def _start(loop: _Loop) -> None:
    global _worker
    model = load_world_model(loop.bundle, threads=1)
    planner = loop.agent.planner
    truth = cost = None
    if loop.probe is not None:
        low = np.asarray(model.spec.action_low, np.float32)
        high = np.asarray(model.spec.action_high, np.float32)
        truth = TrueDistance(loop.probe, planner.horizon)
        small = loop.agent.cost
        cost = TotalCost(
            [
                (truth, 1.0),
                (ActionCost(planner.horizon, low, high), small.action_weight),
                (SmoothnessCost(planner.horizon, low, high), small.smoothness_weight),
            ]
        )
    _worker = _Worker(make_world(loop.env), Agent(model, loop.agent, cost=cost), truth)


def _run(seed: int) -> EpisodeResult:
    if _worker.truth is not None:
        _, info = _worker.world.reset(seed=seed)
        _worker.truth.goal_m = info["goal_position_m"][:2].astype(np.float32)
    return run_episode(_worker.world, _worker.agent, seed)


def close_the_loop(job: Links, agent: AgentConfig, probe: NetworkReadout | None) -> dict[str, Any]:
    """Success of the agent, with its own cost or with the true distance seen by ``probe``."""
    seeds = range(job.seed, job.seed + job.episodes)
    loop = _Loop(job.env, job.bundle, waiting_world(agent), probe)
    results = []
    with tqdm(total=job.episodes, desc="episodes", unit="episode") as bar:
        for result in map_in_processes(_run, list(seeds), job.workers, _start, (loop,)):
            results.append(result)
            bar.update()
    final = np.array([r.final_distance_m for r in results])
    successes = sum(r.success for r in results)
    return {
        "n": len(results),
        "success_rate": successes / len(results),
        "ci95": [round(v, 4) for v in wilson_interval(successes, len(results))],
        "within_2.5_cm": float((final <= 0.025).mean()),
        "final_median_m": _median(final),
    }


def section(figures: dict[str, Any]) -> str:
    """The figures in Markdown, for docs/results.md."""
    encoder = figures["encoder"]
    lines = [
        "## Push-v0, link by link\n",
        f"`{figures['command']}`\n",
        "Encoder: R² of probes on held-out episodes "
        f"(n = {encoder['frames']} frames); the network finds the block to "
        f"{100 * encoder['block_error_median_m']:.1f} cm (median).\n",
        "| probe | " + " | ".join(PLACES) + " |",
        "|---" * (len(PLACES) + 1) + "|",
    ]
    for title, name in (("linear", "linear_r2"), ("network, 2 hidden layers", "network_r2")):
        values = " | ".join(f"{encoder[name][place]:.3f}" for place in PLACES)
        lines.append(f"| {title} | {values} |")
    lines += [
        "\nPredictor: median error of the block's imagined place, read by the network probe, "
        "beside the floors: the block stays where it was, and the encoder sees the true frame.\n",
        "| steps ahead | clips | n | rollout | floor: stays | floor: seen |",
        "|---|---|---|---|---|---|",
    ]
    for row in figures["predictor"]:
        values = (f"{100 * row[f'{name}_m']:.1f} cm" for name in ("rollout", "copy", "encoder"))
        lines.append(f"| {row['step']} | {row['kind']} | {row['clips']} | {' | '.join(values)} |")
    lines += [
        "\nClosed loop, same model, search and seeds; the cost alone differs.\n",
        "| cost | success | 95 % interval | n | within 2.5 cm | final: median |",
        "|---|---|---|---|---|---|",
    ]
    for title, name in (
        ("the block's true distance, seen by the probe", "true_distance"),
        ("as shipped", "as_shipped"),
    ):
        row = figures[name]
        low, high = row["ci95"]
        lines.append(
            f"| {title} | {row['success_rate']:.0%} | {low:.1%} – {high:.1%} | {row['n']} | "
            f"{row['within_2.5_cm']:.0%} | {100 * row['final_median_m']:.1f} cm |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Judge, print, and write the figures."""
    job = tyro.cli(Links, description=__doc__)
    torch.set_num_threads(1)
    settings = job.agent or agent_settings(job.bundle)
    agent = AgentConfig() if settings is None else load_agent_config(settings)
    model = load_world_model(job.bundle)
    cache = build_cache(job.data)
    fit, held_out = split_episodes(len(cache.episode_starts), job.held_out, 0)
    rng = np.random.default_rng(0)
    latents, places = [], []
    for episodes, count in ((fit, job.frames), (held_out, job.frames // 4)):
        frames = cache.clip_starts(1, episodes)
        frames = np.sort(rng.choice(frames, min(count, len(frames)), replace=False))
        latents.append(encode(model, cache, frames))
        places.append(places_of(cache, frames))
    probe = fit_network(latents[0], places[0])
    horizon = agent.planner.horizon
    starts = cache.clip_starts(model.spec.context + horizon, held_out)
    starts = rng.choice(starts, min(job.clips, len(starts)), replace=False)
    figures: dict[str, Any] = {
        "command": f"python -m benchmarks.links --data {job.data.name} --bundle {job.bundle} "
        f"--episodes {job.episodes} --seed {job.seed}",
        "encoder": judge_encoder(probe, (latents[0], places[0]), (latents[1], places[1])),
        "predictor": judge_predictor(model, probe, cache, starts, horizon),
        "true_distance": close_the_loop(job, agent, probe),
        "as_shipped": close_the_loop(job, agent, None),
    }
    if job.json:
        write_json(job.json, figures)
    print(section(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
