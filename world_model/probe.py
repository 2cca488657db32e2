"""Is the latent alive? Spread, rank, linear probes and rollout error of a model on held-out data.

These are the early warnings that a training run will not work; nothing here trains the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from world_model.data.cache import Cache
from world_model.jepa import Jepa
from world_model.latents import encode_rows

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


def linear_probe(
    train_x: Floats, train_y: Floats, test_x: Floats, test_y: Floats, ridge: float = 1e-3
) -> Floats:
    """R² of a ridge regression, fitted on one set of episodes and judged on another.

    Args:
        train_x: ``(B, D)`` latents.
        train_y: ``(B, M)`` targets.
        test_x: ``(B', D)``.
        test_y: ``(B', M)``.
        ridge: penalty relative to the mean variance of the latents.

    Returns:
        ``(M,)``; NaN where the target does not vary.
    """
    mean_x, mean_y = train_x.mean(0), train_y.mean(0)
    x = train_x - mean_x
    gram = x.T @ x
    gram += np.eye(len(gram)) * (ridge * np.trace(gram) / len(gram) + 1e-9)
    weights = np.linalg.solve(gram, x.T @ (train_y - mean_y))
    residual = ((test_x - mean_x) @ weights + mean_y - test_y) ** 2
    total = ((test_y - test_y.mean(0)) ** 2).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 1e-12, 1.0 - residual.sum(0) / total, np.nan)


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
        ``std_min``, ``std_mean``, ``effective_rank``, ``probe_r2`` (name to R²), and for each
        rollout step ``rollout_mse`` and ``copy_mse`` (the error of "the latent stays as it is"),
        with ``rollout_ratio``, the mean of the first over the mean of the second.
    """
    was_training = model.training
    model.eval()
    rng = np.random.default_rng(seed)
    fit_x, fit_y, names = _latents_and_targets(model, cache, fit_episodes, frames, rng)
    test_x, test_y, _ = _latents_and_targets(model, cache, held_out, frames, rng)
    std = test_x.std(0)
    r2 = linear_probe(fit_x, fit_y, test_x, test_y)
    report: dict[str, Any] = {
        "std_min": float(std.min()),
        "std_mean": float(std.mean()),
        "effective_rank": effective_rank(test_x),
        "probe_r2": {
            name: round(float(value), 4)
            for name, value in zip(names, r2, strict=True)
            if np.isfinite(value)
        },
    }
    report.update(_rollout_error(model, cache, held_out, max(frames // 4, 1), horizon, rng))
    model.train(was_training)
    return report


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
        chunks.append(encode_rows(model, cache, part).flatten(1).double().numpy())
    return np.concatenate(chunks)


def _latents_and_targets(
    model: Jepa, cache: Cache, episodes: NDArray[np.int64], frames: int, rng: np.random.Generator
) -> tuple[Floats, Floats, list[str]]:
    """Latents, and beside them the true values that a probe should find."""
    starts = cache.clip_starts(1, episodes)
    indices = np.sort(rng.choice(starts, min(frames, len(starts)), replace=False))
    targets = np.concatenate(
        [np.asarray(cache.proprio[indices]), np.asarray(cache.evaluation[indices])], axis=1
    )
    names = [*cache.spec.proprio_names, *cache.spec.evaluation_names]
    return _encode_frames(model, cache, indices), targets.astype(np.float64), names


def _rollout_error(
    model: Jepa,
    cache: Cache,
    episodes: NDArray[np.int64],
    clips: int,
    horizon: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    context = model.config.predictor.context
    starts = cache.clip_starts(context + horizon, episodes)
    chosen = np.sort(rng.choice(starts, min(clips, len(starts)), replace=False))
    batch = cache.clips(chosen, context + horizon)
    images = {name: torch.from_numpy(v).flatten(0, 1) for name, v in batch.images.items()}
    latents = model.encode(images).unflatten(0, (len(chosen), context + horizon))
    proprio = model.standardize_proprio(torch.from_numpy(batch.proprio))
    actions = model.standardize_actions(torch.from_numpy(batch.actions[:, :-1]))
    predicted, _ = model.rollout(latents[:, :context], proprio[:, :context], actions)
    truth = latents[:, context:]
    rollout = (predicted - truth).pow(2).mean(dim=(0, 2, 3))
    copy = (latents[:, context - 1 : context] - truth).pow(2).mean(dim=(0, 2, 3))
    return {
        "rollout_mse": [round(float(v), 5) for v in rollout],
        "copy_mse": [round(float(v), 5) for v in copy],
        "rollout_ratio": float(rollout.mean() / copy.mean().clamp_min(1e-12)),
    }
