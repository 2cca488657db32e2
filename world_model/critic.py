"""The critic: how many steps is it from here to a goal? Learned in hindsight, from frames alone.

Every later frame of an episode is a goal that was reached, in as many steps as lie between
(hindsight goals, Andrychowicz et al. 2017; dynamical distances, Hartikainen et al. 2020). Whoever
recorded made detours, so the mean of those distances is too long; an expectile (Newey & Powell
1987, as in IQL and HIQL) tends to the short ones. Backing up through the critic's own prediction
(TD) ranked no better here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from world_model.bundle import CRITIC, BundleError, add_network
from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.config import CriticConfig
from world_model.data.clips import Cache
from world_model.data.mixture import Mixture, open_mixture
from world_model.export import ExportError, write_onnx
from world_model.latents import encode_frames
from world_model.predictor import MlpBlock
from world_model.runtime import load_world_model

_TOLERANCE = 1e-3
_LINEAR_RANGE = 5.0  # what the longest distance is on the linear scale


class Critic(nn.Module):
    """Steps from a latent to a goal, between 0 and ``max_distance_steps``."""

    def __init__(self, latent: int, config: CriticConfig) -> None:
        """Build for flattened latents of size ``latent``."""
        super().__init__()
        hidden, self.longest = config.hidden, float(config.max_distance_steps)
        self.in_log = config.error_in == "log"
        self.here = nn.Linear(latent, hidden)
        self.goal = nn.Linear(latent, hidden)
        self.body = nn.Sequential(
            MlpBlock(hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, 1)
        )

    def scaled(self, latents: Tensor, goals: Tensor) -> Tensor:
        """What is learned, unbounded: `scale` of the steps ``(B,)``; arguments as of `forward`."""
        return self.body(self.here(latents.flatten(1)) + self.goal(goals.flatten(1)))[:, 0]

    def scale(self, steps: Tensor) -> Tensor:
        """Steps to the scale on which errors count, about as wide as the output at the start."""
        return torch.log1p(steps) if self.in_log else steps * (_LINEAR_RANGE / self.longest)

    def forward(self, latents: Tensor, goals: Tensor) -> Tensor:
        """Steps ``(B,)`` from latents ``(B, N, D)`` to goals ``(B or 1, N, D)``."""
        found = self.scaled(latents, goals)
        if self.in_log:
            return torch.expm1(found.clamp(0.0, math.log1p(self.longest)))
        return (found * (self.longest / _LINEAR_RANGE)).clamp(0.0, self.longest)


@dataclass(frozen=True)
class CriticResult:
    """What training a critic came to.

    Attributes:
        out: folder with ``critic.onnx`` and ``critic.json``.
        bundle: the bundle it was put into, or None.
        steps: optimiser steps done.
        spearman: mean rank correlation, within held-out episodes, of its distance to a later frame
            with the steps that lie between.
        spearman_latent: the same of the distance of the latents: the floor.
        wall_s: seconds.
    """

    out: Path
    bundle: Path | None
    steps: int
    spearman: float
    spearman_latent: float
    wall_s: float


def train_critic(
    run: Path,
    dataset: Path | Sequence[Path],
    out: Path,
    config: CriticConfig,
    bundle: Path | None = None,
    progress: bool = True,
) -> CriticResult:
    """Train a critic on the latents of a trained encoder, which stays as it is.

    Args:
        run: folder of `world_model.train.train`.
        dataset: frames to learn from, of the cameras that the model was trained with; not
            necessarily the data set the model was trained on. Several are mixed by
            ``config.data_weights``.
        out: new folder for ``critic.onnx`` and the report ``critic.json``.
        config: settings.
        bundle: put the critic into this bundle too; it must be exported from ``run``.
        progress: show progress bars.

    Raises:
        CheckpointError: ``run`` has no usable checkpoint.
        DatasetError: a data set cannot be read, or see `open_mixture`.
        BundleError: the bundle is damaged, or of another encoder.
        TrainConfigError: the cameras differ.
        ExportError: ``out`` exists, or ONNX differs from torch.
    """
    began = time.monotonic()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    if out.exists() and any(out.iterdir()):
        raise ExportError(f"{out}: exists already and is not empty; choose another --out")
    checkpoint = load_checkpoint(run)
    mixture = open_mixture(
        dataset,
        config.data_weights,
        config.held_out,
        config.seed,
        progress,
        train_frames=config.train_frames,
    )
    cache, held_out = mixture.cache, mixture.held_out
    latents = encode_frames(model_from_checkpoint(checkpoint), cache, progress)
    if bundle is not None:
        _check_encoder(bundle, cache, latents)
    critic = fit_critic(latents, mixture, config, progress)
    report: dict[str, Any] = {
        "steps": config.steps,
        "spearman": round(_rank_correlation(critic, latents, cache, held_out), 4),
        "spearman_latent": round(_rank_correlation(_latent_distance, latents, cache, held_out), 4),
    }
    details = report | {
        "config": dataclasses.asdict(config),
        "dataset_hash": cache.dataset_hash,
        "parity": {"max_relative_error": _write(critic, latents, out), "tolerance": _TOLERANCE},
    }
    (out / "critic.json").write_text(json.dumps(details, indent=1) + "\n")
    if bundle is not None:
        add_network(bundle, CRITIC, out / "critic.onnx", details)
    return CriticResult(out=out, bundle=bundle, **report, wall_s=time.monotonic() - began)


def fit_critic(
    latents: Tensor, mixture: Mixture, config: CriticConfig, progress: bool = True
) -> Critic:
    """Train on pairs of frames of the training episodes.

    Args:
        latents: ``(T, N, D)`` of all frames.
        mixture: whose frames they are.
        config: settings.
        progress: show a progress bar.
    """
    torch.manual_seed(config.seed)
    critic = Critic(latents[0].numel(), config)
    optimizer = torch.optim.Adam(critic.parameters(), config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    rng = np.random.default_rng(config.seed)
    with tqdm(total=config.steps, desc="critic", unit="step", disable=not progress) as bar:
        for step in range(config.steps):
            frames, goals, steps = draw_pairs(mixture, config, rng)
            predicted = critic.scaled(latents[frames], latents[goals])
            error = predicted - critic.scale(torch.from_numpy(steps))
            weight = torch.where(error > 0, 1 - config.expectile, config.expectile)
            loss = (weight * error.square()).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            bar.update()
            if step % 50 == 0:
                bar.set_postfix(loss=f"{loss.item():.3f}")
    return critic.eval()


def draw_pairs(
    mixture: Mixture, config: CriticConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Frames of training episodes, goals and the steps between them, ``(batch,)`` each.

    A goal is the frame itself or a later one of its episode, all alike likely, or, for a share of
    the pairs, any frame of any data set. Data sets are drawn from by their weights.
    """
    cache, episodes = mixture.cache, mixture.fit
    lengths = [cache.episode_lengths[part] for part in mixture.parts]
    shares = np.concatenate(
        [weight * of / of.sum() for weight, of in zip(mixture.weights, lengths, strict=True)]
    )
    chosen = rng.choice(episodes, config.batch, p=shares)
    offset = rng.integers(0, cache.episode_lengths[chosen])
    ahead = rng.integers(0, cache.episode_lengths[chosen] - offset)
    frames = cache.episode_starts[chosen] + offset
    elsewhere = rng.choice(episodes, config.batch, p=shares)
    anywhere = cache.episode_starts[elsewhere] + rng.integers(0, cache.episode_lengths[elsewhere])
    negative = rng.random(config.batch) < config.negatives
    steps = np.where(negative, config.max_distance_steps, ahead)
    return (
        frames,
        np.where(negative, anywhere, frames + ahead),
        steps.clip(max=config.max_distance_steps).astype(np.float32),
    )


def _latent_distance(latents: Tensor, goals: Tensor) -> Tensor:
    return (latents - goals).square().flatten(1).mean(1)


@torch.no_grad()
def _rank_correlation(
    distance: Any,  # noqa: ANN401 - Critic or a function of two tensors
    latents: Tensor,
    cache: Cache,
    episodes: NDArray[np.int64],
) -> float:
    """Mean of Spearman's correlation, over episodes, of a distance to a later frame with steps."""
    values = []
    for start, length in zip(
        cache.episode_starts[episodes], cache.episode_lengths[episodes], strict=True
    ):
        for goal in (length // 2, length - 1):
            if goal < 3:
                continue
            before = latents[start : start + goal]
            found = distance(before, latents[start + goal][None]).numpy()
            values.append(spearman(found, np.arange(goal)[::-1]))
    return float(np.mean(values)) if values else math.nan


def spearman(found: NDArray[np.floating], ranks: NDArray[np.integer]) -> float:
    """Rank correlation with ``ranks``, all different; what is equal shares a rank. 0 if all is."""
    _, place, count = np.unique(found, return_inverse=True, return_counts=True)
    if len(count) < 2:
        return 0.0
    shared = count.cumsum() - (count + 1) / 2
    return float(np.corrcoef(shared[place], ranks)[0, 1])


def _check_encoder(bundle: Path, cache: Cache, latents: Tensor) -> None:
    """Refuse a bundle that gives other latents than the checkpoint."""
    model = load_world_model(bundle, provider="cpu")
    for frame in np.linspace(0, cache.frames - 1, 8).astype(int):
        latent = model.encode({n: np.array(v[frame]) for n, v in cache.images.items()})
        if latent.shape != latents[frame].shape or not np.allclose(
            latent, latents[frame].numpy(), atol=_TOLERANCE
        ):
            raise BundleError(
                f"{bundle}: its encoder is not the checkpoint's, so the critic would misread it; "
                "export the bundle from the same --checkpoint"
            )


def _write(critic: Critic, latents: Tensor, out: Path) -> float:
    """Write ``critic.onnx``; returns the largest difference from torch, relative to 1 + steps."""
    import onnxruntime as ort

    out.mkdir(parents=True, exist_ok=True)
    path = out / "critic.onnx"
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    examples = (latents[:2], latents[:1])
    write_onnx(critic, examples, path, ["latents", "goal"], ["steps"], ({0: batch}, {}))
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    some, goal = latents[:: max(len(latents) // 64, 1)], latents[:1]
    (given,) = session.run(["steps"], {"latents": some.numpy(), "goal": goal.numpy()})
    with torch.no_grad():
        expected = critic(some, goal).numpy()
    worst = float((np.abs(given - expected) / (1 + expected)).max())
    if not worst <= _TOLERANCE:
        raise ExportError(
            f"the critic in ONNX differs from torch by {worst:.1e} of 1 + steps, more than "
            f"{_TOLERANCE:.0e}; it was not added to a bundle"
        )
    return worst
