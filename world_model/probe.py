"""Is the latent alive? Spread, rank, linear probes and rollout error of a model on held-out data.

These are the early warnings that a training run will not work; nothing here trains the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from world_model.data.cache import Cache
from world_model.encoder import unit_scale
from world_model.jepa import Jepa, tensors
from world_model.latents import encode_rows
from world_model.readout import encode_all, fit_linear, judge, quantities
from world_model.vit import VitTrunk

Floats = NDArray[np.float64]
HORIZON = 8  # rollout steps judged


def effective_rank(latents: Floats) -> float:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007).

    Args:
        latents: ``(B, D)``.

    Returns:
        Between 1 (collapsed to a line) and ``min(B, D)``; 0 when nothing varies.
    """
    singular = np.linalg.svd(latents - latents.mean(0), compute_uv=False)
    if singular.sum() < 1e-12:
        return 0.0
    share = singular / singular.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


@torch.no_grad()
def validate(
    model: Jepa,
    cache: Cache,
    fit_episodes: NDArray[np.int64],
    held_out: NDArray[np.int64],
    seed: int = 0,
    frames: int = 1500,
    horizon: int = HORIZON,
) -> dict[str, Any]:
    """Judge a model on episodes that it was not trained on.

    Args:
        model: in any mode; it is put back as it was.
        cache: the data.
        fit_episodes: episodes the probes are fitted on.
        held_out: episodes everything is judged on.
        seed: choice of frames.
        frames: at most this many frames for each probe set, and a quarter of it clips.
        horizon: rollout steps judged.

    Returns:
        ``std_min``, ``std_mean``, ``effective_rank``, ``probe_r2`` (what is probed to R²), and for
        each rollout step ``rollout_mse`` and ``copy_mse`` (the error of "the latent stays as it
        is"), with ``rollout_ratio``, the mean of the first over the mean of the second.
    """
    was_training = model.training
    model.eval()
    rng = np.random.default_rng(seed)
    fit_rows = _some_frames(cache, fit_episodes, frames, rng)
    test_rows = _some_frames(cache, held_out, frames, rng)
    fit_x, test_x = (_encode_frames(model, cache, rows) for rows in (fit_rows, test_rows))
    std = test_x.std(0)
    report: dict[str, Any] = {
        "std_min": float(std.min()),
        "std_mean": float(std.mean()),
        "effective_rank": effective_rank(test_x),
        "probe_r2": _probe(cache, fit_x, fit_rows, test_x, test_rows),
    }
    report.update(_rollout_error(model, cache, held_out, max(frames // 4, 1), horizon, rng))
    model.train(was_training)
    return report


@torch.no_grad()
def probe_trunk(
    trunk: VitTrunk,
    cache: Cache,
    fit_episodes: NDArray[np.int64],
    held_out: NDArray[np.int64],
    rng: np.random.Generator,
    frames: int = 1000,
) -> dict[str, Any]:
    """Judge the tokens of single frames, of all cameras beside each other.

    Args:
        trunk: in evaluation mode.
        cache: the data.
        fit_episodes: episodes the probes are fitted on.
        held_out: episodes everything is judged on.
        rng: choice of frames.
        frames: at most this many for each probe set.

    Returns:
        ``std_mean``: std of each number of each token from frame to frame, mean over all;
        ``effective_rank`` of the mean token; ``probe_r2`` of all tokens and ``probe_r2_mean`` of
        the mean token (name to R²).
    """
    rows = [_some_frames(cache, part, frames, rng) for part in (fit_episodes, held_out)]
    (fit_all, fit_mean), (test_all, test_mean) = (_tokens(trunk, cache, some) for some in rows)
    return {
        "std_mean": float(test_all.std(0).mean()),
        "effective_rank": effective_rank(test_mean),
        "probe_r2": _probe(cache, fit_all, rows[0], test_all, rows[1]),
        "probe_r2_mean": _probe(cache, fit_mean, rows[0], test_mean, rows[1]),
    }


def worst_probe(report: dict[str, Any]) -> tuple[str, float]:
    """Name and R² of the place that a report's probes find worst; "none" and NaN without any."""
    found = report["probe_r2"].items()
    return min(found, key=lambda item: item[1], default=("none", float("nan")))


def alarms(report: dict[str, Any], latent_width: int) -> list[str]:
    """What a validation report says is going wrong, one line each with what to do.

    Args:
        report: of `validate`.
        latent_width: size of the flattened latent.
    """
    lines = []
    if report["std_mean"] < 0.1:
        lines.append(
            f"collapse: mean latent std {report['std_mean']:.3f} on held-out frames; raise the "
            "regulariser's weight"
        )
    if report["effective_rank"] < max(2.0, 0.05 * latent_width):
        lines.append(
            f"collapse: effective rank {report['effective_rank']:.1f} of {latent_width}; raise the "
            "regulariser's weight or look for frames that never change"
        )
    if report["rollout_ratio"] > 1.0:
        lines.append(
            f"rollout error is {report['rollout_ratio']:.2f} x that of predicting no change; the "
            "actions may not match the frames (check their alignment), or it needs more steps"
        )
    return lines


def _encode_frames(model: Jepa, cache: Cache, indices: NDArray[np.int64]) -> Floats:
    chunks = []
    for part in np.array_split(indices, max(len(indices) // 256, 1)):
        chunks.append(encode_rows(model, cache, part).flatten(1).double().cpu().numpy())
    return np.concatenate(chunks)


def _tokens(trunk: VitTrunk, cache: Cache, indices: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """All tokens of frames ``(B, K*W)`` and their mean token ``(B, W)``, cameras side by side."""
    flat, mean = [], []
    for part in np.array_split(indices, max(len(indices) // 256, 1)):
        frames = [
            torch.from_numpy(cache.images[name][part]).to(trunk.device)
            for name in cache.spec.cameras
        ]
        tokens = [trunk(unit_scale(images.permute(0, 3, 1, 2))) for images in frames]
        flat.append(torch.cat([one.flatten(1) for one in tokens], 1).double().cpu().numpy())
        mean.append(torch.cat([one.mean(1) for one in tokens], 1).double().cpu().numpy())
    return np.concatenate(flat), np.concatenate(mean)


def _some_frames(
    cache: Cache, episodes: NDArray[np.int64], frames: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    starts = cache.clip_starts(1, episodes)
    return np.sort(rng.choice(starts, min(frames, len(starts)), replace=False))


def _probe(
    cache: Cache,
    fit_x: Floats,
    fit_rows: NDArray[np.int64],
    test_x: Floats,
    test_rows: NDArray[np.int64],
) -> dict[str, float]:
    """R² of what a linear probe should find in one frame, readings and true values, by title."""
    fit_y, test_y = (
        np.concatenate([cache.proprio[rows], cache.evaluation[rows]], axis=1).astype(np.float64)
        for rows in (fit_rows, test_rows)
    )
    wanted = quantities([*cache.spec.proprio_names, *cache.spec.evaluation_names], fit_y)
    if not wanted:
        return {}
    scores = judge(fit_linear(fit_x, encode_all(wanted, fit_y)), wanted, test_x, test_y)
    found = zip(wanted, scores, strict=True)
    return {of.title: round(score.r2, 4) for of, score in found if np.isfinite(score.r2)}


def _rollout_error(
    model: Jepa,
    cache: Cache,
    episodes: NDArray[np.int64],
    clips: int,
    horizon: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    config, context = model.config, model.config.predictor.context
    starts = cache.clip_starts(config.span(context + horizon), episodes)
    chosen = np.sort(rng.choice(starts, min(clips, len(starts)), replace=False))
    clips_of = cache.clips(chosen, context + horizon, config.clip_stride)
    batch = tensors(clips_of).to(model.device)
    images = {name: values.flatten(0, 1) for name, values in batch.images.items()}
    latents = model.encode(images).unflatten(0, (len(chosen), context + horizon))
    proprio = model.standardize_proprio(batch.proprio)
    actions = model.standardize_actions(batch.actions[:, :-1])
    predicted, _ = model.rollout(latents[:, :context], proprio[:, :context], actions)
    truth = latents[:, context:]
    rollout = (predicted - truth).pow(2).mean(dim=(0, 2, 3))
    copy = (latents[:, context - 1 : context] - truth).pow(2).mean(dim=(0, 2, 3))
    return {
        "rollout_mse": [round(float(v), 5) for v in rollout],
        "copy_mse": [round(float(v), 5) for v in copy],
        "rollout_ratio": float(rollout.mean() / copy.mean().clamp_min(1e-12)),
    }
