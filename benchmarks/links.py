"""Which link of the chain is weak? Encoder, predictor, cost and search of a pushing bundle, apart.

    python -m benchmarks.links --data data/push --json runs/results/links.json
    python -m benchmarks.links --only true_simulator small_search --json runs/results/links.json

The block is read from the latent by probes, which are fitted here on episodes the model was
trained on and judged on held-out ones. With the probe's eyes the rollouts can be judged in
centimetres, on steps with contact and without, and a planner can be given the block's true
distance from its goal in place of the learned cost: what then fails is not the cost.

true_simulator plans in a copy of the world in place of the model, under the agent's own cost: what
then fails is not the model. Each candidate is simulated, rendered and encoded step by step, so its
search is small, and small_search is the model with the same one. Both are kept episode by episode
beside --json and go on where they were interrupted. Parts that are not asked for stay in --json.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.closed_loop import Kind, Loop, close_the_loop, small
from benchmarks.probes import judge, places_of, see
from controller.config import AgentConfig, load_agent_config
from controller.types import ModelState
from foresee.summary import write_json
from world_model.bundle import agent_settings, open_bundle
from world_model.data.cache import build_cache
from world_model.data.clips import Cache
from world_model.decoder import NetworkReadout
from world_model.held_out import split_of
from world_model.runtime import OnnxWorldModel, load_world_model

Array = NDArray[np.float32]
Part = Literal["encoder", "predictor"] | Kind
PLACES = ("block.x", "block.y", "tool.x", "tool.y")
_STILL_M = 0.002  # a block that moved less than this was not touched
_PUSHED_M_PER_STEP = 0.008  # one that moved more than this each step, up to 4 cm in all, was


@dataclass
class Links:
    """Judge the links one after the other; prints a table in Markdown."""

    data: Path | None = None
    """Data set the bundle was trained on; for encoder, predictor and true_distance."""
    only: tuple[Part, ...] = ("encoder", "predictor", "true_distance", "as_shipped")
    """What is judged."""
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
    frames: int = 20_000
    """At most this many frames for fitting the probes."""
    clips: int = 1500
    """Held-out clips whose rollouts are judged."""
    workers: int = 0
    """Processes; 0 takes one for each core."""
    samples: int = 32
    """Candidates of an iteration of the small search, for true_simulator and small_search."""
    iterations: int = 2
    """Its iterations."""
    json: Path | None = None
    """Put the figures into this file; beside it are the episodes of the small search."""


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
        imagined.append(probe(rollouts.latents.reshape(horizon, -1))[:, :2])
        seen.append(probe(latents[context:].reshape(horizon, -1))[:, :2])
        true.append(places_of(cache, PLACES[:2], frames[context - 1 :]))
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


def section(figures: dict[str, Any]) -> str:
    """The figures in Markdown, for docs/results.md."""
    lines = ["## Push-v0, link by link\n", f"`{figures['command']}`\n"]
    if encoder := figures.get("encoder"):
        lines += [
            "Encoder: R² of probes on held-out episodes "
            f"(n = {encoder['frames']} frames); the network finds the block to "
            f"{100 * encoder['block_error_median_m']:.1f} cm (median).\n",
            "| probe | " + " | ".join(PLACES) + " |",
            "|---" * (len(PLACES) + 1) + "|",
        ]
        for title, name in (("linear", "linear_r2"), ("network, 2 hidden layers", "network_r2")):
            values = " | ".join(f"{encoder[name][place]:.3f}" for place in PLACES)
            lines.append(f"| {title} | {values} |")
    if rows := figures.get("predictor"):
        lines += [
            "\nPredictor: median error of the block's imagined place, read by the network probe, "
            "beside the floors: the block stays where it was, and the encoder sees the true "
            "frame.\n",
            "| steps ahead | clips | n | rollout | floor: stays | floor: seen |",
            "|---|---|---|---|---|---|",
        ]
        for row in rows:
            cells = (f"{100 * row[f'{name}_m']:.1f} cm" for name in ("rollout", "copy", "encoder"))
            lines.append(
                f"| {row['step']} | {row['kind']} | {row['clips']} | {' | '.join(cells)} |"
            )
    if there := [(title, figures[kind]) for kind, title in _TITLES.items() if kind in figures]:
        lines += [
            "\nClosed loop, the same bundle and settings but for what is named.\n",
            "| | success | 95 % interval | n | within 2.5 cm | final: median |",
            "|---|---|---|---|---|---|",
        ]
    for title, row in there:
        low, high = row["ci95"]
        search = f", {row['samples']} × {row['iterations']}" if "samples" in row else ""
        lines.append(
            f"| {title}{search} | {row['success_rate']:.0%} | {low:.1%} – {high:.1%} | {row['n']} "
            f"| {row['within_2.5_cm']:.0%} | {100 * row['final_median_m']:.1f} cm |"
        )
    if command := figures.get("simulator_command"):
        lines.append(
            f"\n`{command}`: in place of the model each candidate is tried in a copy of the "
            "simulator, rendered and encoded; the costs are the agent's own, critic and all, and "
            "the model has the same small search beside it (samples × iterations)."
        )
    return "\n".join(lines) + "\n"


_TITLES: dict[Kind, str] = {
    "true_distance": "cost: the block's distance as the probe sees it, and a term for the tool to "
    "be behind it (not tuned), no critic",
    "as_shipped": "as shipped",
    "true_simulator": "the true simulator in place of the model, small search",
    "small_search": "the model, the same small search",
}


def judge_offline(job: Links, horizon: int) -> tuple[dict[str, Any], NetworkReadout]:
    """Encoder and predictor on held-out episodes, and the probe that reads latents."""
    if job.data is None:
        raise ValueError("encoder, predictor and true_distance need --data")
    bundle, model, cache = (
        open_bundle(job.bundle),
        load_world_model(job.bundle),
        build_cache(job.data),
    )
    rng = np.random.default_rng(0)
    counts, split = (job.frames, job.frames // 4), split_of(bundle, cache)
    fit, held = (
        see(model, cache, PLACES, episodes, count, rng)
        for episodes, count in zip(split, counts, strict=True)
    )
    probed, network = judge(fit, held, PLACES)
    figures: dict[str, Any] = {
        "encoder": {
            "frames": probed["frames"],
            "linear_r2": probed["linear"]["r2"],
            "network_r2": probed["network"]["r2"],
            "block_error_median_m": probed["network"]["error_median_m"],
        }
    }
    if "predictor" in job.only:
        starts = cache.clip_starts(model.spec.context + horizon, split[1])
        starts = rng.choice(starts, min(job.clips, len(starts)), replace=False)
        figures["predictor"] = judge_predictor(model, network, cache, starts, horizon)
    return figures, network


def judge_links(job: Links) -> dict[str, Any]:
    """All that is asked for, beside what the file has."""
    figures: dict[str, Any] = {}
    if job.json is not None and job.json.is_file():
        figures = json.loads(job.json.read_text())
    settings = job.agent or agent_settings(job.bundle)
    agent = AgentConfig() if settings is None else load_agent_config(settings)
    few = dataclasses.replace(agent, planner=small(agent.planner, job.samples, job.iterations))
    told = f"--bundle {job.bundle} --episodes {job.episodes} --seed {job.seed}"
    figures.setdefault("command", f"python -m benchmarks.links {told}")
    network = None
    if {"encoder", "predictor", "true_distance"} & set(job.only):
        found, network = judge_offline(job, agent.planner.horizon)
        assert job.data is not None
        figures |= found
        figures["command"] = f"python -m benchmarks.links --data {job.data} {told}"
    seeds = range(job.seed, job.seed + job.episodes)
    for kind in _TITLES:
        if kind not in job.only:
            continue
        searches_little = kind in ("true_simulator", "small_search")
        loop = Loop(kind, job.env, job.bundle, few if searches_little else agent, network)
        kept = job.json.with_suffix(f".{kind}.jsonl") if job.json and searches_little else None
        figures[kind] = close_the_loop(loop, seeds, job.workers, kept)
        if kind == "true_simulator":
            figures["simulator_command"] = (
                f"python -m benchmarks.links --only true_simulator small_search {told} --samples "
                f"{job.samples} --iterations {job.iterations}"
            )
        if job.json:
            write_json(job.json, figures)
    return figures


def main() -> int:
    """Judge, print, and write the figures."""
    job = tyro.cli(Links, description=__doc__)
    torch.set_num_threads(1)
    try:
        figures = judge_links(job)
    except ValueError as error:
        print(f"links: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("links: interrupted; the same command goes on", file=sys.stderr)
        return 130
    if job.json:
        write_json(job.json, figures)
    print(section(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
