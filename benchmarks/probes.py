"""Is the thing in the latent? Probes of a bundle's encoder on episodes it was not trained on.

    python -m benchmarks.probes --env foresee/PushT-v0 --data data/pusht --bundle bundles/pusht \
        --json runs/results/probes.json

A linear probe and a small network read true places (`benchmarks.studies` says which, for each
world) from latents. They are fitted on episodes the model was trained on and judged on held-out
ones; always guessing the mean has R² 0. The figures of a world take the place of those that the
JSON file has of it, so that one file collects several worlds.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.studies import PIPELINES
from foresee.commands import shipped_bundle
from foresee.summary import write_json
from world_model.bundle import MANIFEST, open_bundle, sha256
from world_model.data.cache import build_cache
from world_model.data.clips import Cache
from world_model.decoder import NetworkReadout, fit_network
from world_model.held_out import split_of
from world_model.readout import fit_linear
from world_model.runtime import OnnxWorldModel, load_world_model

Array = NDArray[np.float32]
_RESAMPLES = 1000


@dataclass
class Probes:
    """Fit probes on latents and judge them on held-out episodes; prints a table in Markdown."""

    data: Path
    """Data set the bundle was trained on: its split says which episodes are held out."""
    env: str = "foresee/Push-v0"
    """World; it says which places are probed."""
    bundle: Path | None = None
    """Bundle to judge; by default the one shipped for the world."""
    frames: int = 20_000
    """At most this many frames for fitting, and a quarter of it for judging."""
    steps: int = 3000
    """Optimiser steps of the network."""
    json: Path | None = None
    """Put the figures into this file."""


@dataclass(frozen=True)
class Seen:
    """Frames as the encoder sees them.

    Attributes:
        latents: ``(B, N*D)``.
        places: ``(B, M)`` true values, SI.
        episodes: ``(B,)`` which episode each is of.
    """

    latents: Array
    places: Array
    episodes: NDArray[np.int64]


def places_of(cache: Cache, names: tuple[str, ...], frames: NDArray[np.int64]) -> Array:
    """True values ``(B, M)`` of M names at frames ``(B,)``, SI."""
    known = [*cache.spec.proprio_names, *cache.spec.evaluation_names]
    values = np.concatenate([cache.proprio[frames], cache.evaluation[frames]], axis=1)
    return values[:, [known.index(name) for name in names]].astype(np.float32)


def see(
    model: OnnxWorldModel,
    cache: Cache,
    names: tuple[str, ...],
    episodes: NDArray[np.int64],
    count: int,
    rng: np.random.Generator,
) -> Seen:
    """Encode some frames of some episodes and look up what is true."""
    frames = cache.clip_starts(1, episodes)
    frames = np.sort(rng.choice(frames, min(count, len(frames)), replace=False))
    latents = []
    for frame in tqdm(frames.tolist(), desc="encode", unit="frame"):
        images = {name: np.asarray(array[frame]) for name, array in cache.images.items()}
        latents.append(model.encode(images).reshape(-1))
    of = np.searchsorted(cache.episode_starts, frames, side="right") - 1
    return Seen(np.stack(latents), places_of(cache, names, frames), of)


def r2_of(read: Array, held: Seen) -> tuple[list[float], list[list[float]]]:
    """R² of what was read ``(B, M)``, and its 95 % interval by drawing whole episodes anew."""
    error = np.square(read - held.places, dtype=np.float64)
    spread = np.square(held.places - held.places.mean(0), dtype=np.float64)
    members = [held.episodes == episode for episode in np.unique(held.episodes)]
    errors, spreads = (np.stack([v[m].sum(0) for m in members]) for v in (error, spread))
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(members), (_RESAMPLES, len(members)))
    again = 1 - errors[drawn].sum(1) / np.maximum(spreads[drawn].sum(1), 1e-12)
    interval = np.percentile(again, [2.5, 97.5], axis=0).T
    r2 = 1 - error.sum(0) / np.maximum(spread.sum(0), 1e-12)
    return r2.round(4).tolist(), interval.round(4).tolist()


def judge(
    fit: Seen, held: Seen, names: tuple[str, ...], steps: int = 3000
) -> tuple[dict[str, Any], NetworkReadout]:
    """R² of a linear probe and of a network for each name, judged on held-out frames.

    Returns:
        The figures, JSON-ready, and the network.
    """
    network = fit_network(fit.latents, fit.places, steps)
    readers = {
        "linear": fit_linear(fit.latents.astype(np.float64), fit.places.astype(np.float64), 1e-3),
        "network": network,
    }
    figures: dict[str, Any] = {
        "places": list(names),
        "frames": len(held.latents),
        "episodes": len(np.unique(held.episodes)),
        "fitted_on": len(fit.latents),
    }
    for kind, read in readers.items():
        values = read(held.latents)
        r2, interval = r2_of(values, held)
        away_m = np.linalg.norm(values[:, :2] - held.places[:, :2], axis=1)
        figures[kind] = {
            "r2": dict(zip(names, r2, strict=True)),
            "ci95": dict(zip(names, interval, strict=True)),
            "error_median_m": round(float(np.median(away_m)), 4),
        }
    return figures, network


def section(summary: dict[str, Any]) -> str:
    """The figures of all worlds in Markdown, for docs/results.md."""
    lines = [
        "## Probes: what the latent tells\n",
        "`python -m benchmarks.probes` for each world: R² on held-out episodes of what is read "
        "from one latent, with its 95 % interval (whole episodes drawn anew); guessing the mean "
        "has 0. The distance is the median of the first two together.\n",
        "| world | bundle | probe | n frames, episodes | R² | distance |",
        "|---|---|---|---|---|---|",
    ]
    for env, figures in sorted(summary["worlds"].items()):
        for kind in ("linear", "network"):
            row = figures[kind]
            told = ", ".join(
                f"{name} {row['r2'][name]:.3f} ({row['ci95'][name][0]:.3f} – "
                f"{row['ci95'][name][1]:.3f})"
                for name in figures["places"]
            )
            lines.append(
                f"| {env.rsplit('/', 1)[-1]} | {figures['manifest_sha256'][:12]} | {kind} | "
                f"{figures['frames']}, {figures['episodes']} | {told} | "
                f"{100 * row['error_median_m']:.1f} cm |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    """Fit, judge, print, put the figures into the file."""
    job = tyro.cli(Probes, description=__doc__)
    if job.env not in PIPELINES:
        print(f"probes: no places for {job.env!r}; there are: {', '.join(PIPELINES)}")
        return 2
    torch.set_num_threads(1)
    path, names = job.bundle or shipped_bundle(job.env), PIPELINES[job.env].places
    bundle, model = open_bundle(path), load_world_model(path)
    cache = build_cache(job.data)
    known = {*cache.spec.proprio_names, *cache.spec.evaluation_names}
    if missing := set(names) - known:
        print(f"probes: {job.data} does not hold {sorted(missing)}; is it a data set of {job.env}?")
        return 2
    rng = np.random.default_rng(0)
    counts = (job.frames, job.frames // 4)
    fit, held = (
        see(model, cache, names, episodes, count, rng)
        for episodes, count in zip(split_of(bundle, cache), counts, strict=True)
    )
    figures = judge(fit, held, names, job.steps)[0] | {"manifest_sha256": sha256(path / MANIFEST)}
    there = json.loads(job.json.read_text()) if job.json and job.json.is_file() else {"worlds": {}}
    there["worlds"][job.env] = figures
    if job.json:
        write_json(job.json, there)
    print(section({"worlds": {job.env: figures}}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
