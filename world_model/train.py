"""Train a world model from a data set: an action-conditioned JEPA, end to end or on an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from world_model.config import RunConfig, TrainConfig
from world_model.data.mixture import Mixture
from world_model.data.spec import DatasetError
from world_model.jepa import Clips, Jepa, Normalization, tensors
from world_model.latents import adopt_encoder, encode_frames
from world_model.loop import DivergedError, Method, TrainResult, run_method
from world_model.probe import HORIZON, alarms, validate, worst_probe
from world_model.training_data import draw

__all__ = ["DivergedError", "TrainResult", "draw_clips", "train"]

_CONSTANT = 1e-3  # SI; the std of what does not vary


def train(
    dataset: Path | Sequence[Path],
    out: Path,
    config: TrainConfig,
    resume: bool = False,
    progress: bool = True,
    skip_bad: bool = False,
) -> TrainResult:
    """Train a world model; see `run_method`.

    Raises:
        DatasetError: see `run_method`, or the data set has no actions or no readings.
        TrainConfigError: the encoder to take over is of another shape.
        CheckpointError: see `run_method`, or there is no encoder to take over.
    """
    return run_method(
        lambda mixture, device: ActionConditioned(mixture, config, device),
        dataset,
        out,
        config,
        resume,
        progress,
        skip_bad,
    )


class ActionConditioned(Method[Clips]):
    """Encoder and action-conditioned predictor, end to end or on what another run has learned."""

    model: Jepa

    def __init__(self, mixture: Mixture, config: TrainConfig, device: torch.device) -> None:
        """Build for the data."""
        cache = mixture.cache
        for what, names in (
            ("actions", cache.spec.action_names),
            ("proprio", cache.spec.proprio_names),
        ):
            if not names:
                raise DatasetError(
                    f"the data holds no {what}, and the model learns from them: import it with "
                    f"{what} in the mapping, or learn an encoder from it with foresee pretrain"
                )
        self.mixture, self.config = mixture, config
        self.starts = mixture.clip_starts(config.span(config.clip_length))
        # Too short to be judged: say so now.
        cache.clip_starts(config.span(config.predictor.context + HORIZON), mixture.held_out)
        normalization = _normalization(mixture)
        self.normalization = {k: v.tolist() for k, v in vars(normalization).items()}
        self.model = Jepa(config, dict(cache.spec.cameras), normalization).to(device)
        self.frozen: list[nn.Module] = []
        self.encoded: Tensor | None = None
        if config.encoder_from:
            taken = adopt_encoder(self.model, Path(config.encoder_from), cache.dataset_hash)
            if config.encoder_frozen:
                self.frozen = taken
                for part in taken:
                    part.requires_grad_(False)

    def prepare(self, progress: bool) -> None:
        """What is frozen encodes all of the data: after a resume the checkpoint's own weights."""
        if self.frozen:
            cache = self.mixture.cache
            self.encoded = encode_frames(self.model, cache, progress, self.trunk_alone)

    @property
    def trunk_alone(self) -> bool:
        """Whether the heads are trained on a frozen trunk."""
        return bool(self.frozen) and self.frozen != [self.model.encoder]

    @property
    def latent_width(self) -> int:
        """N * D."""
        return self.model.latent_shape[0] * self.model.latent_shape[1]

    def draw(self, step: int) -> Clips:
        """Clips of the training episodes, where the model is."""
        return self._drawn(step).to(self.model.device)

    def _drawn(self, step: int) -> Clips:
        if self.encoded is None:
            return draw_clips(self.mixture, self.starts, self.config, step)
        drawn = draw(self.mixture, self.starts, self.config, step, with_images=False)
        config = self.config
        frames = drawn.starts[:, None] + config.clip_stride * np.arange(config.frames_at(step))
        seen = self.encoded[torch.from_numpy(frames)]
        clips = tensors(drawn.clips)
        if self.trunk_alone:
            return dataclasses.replace(clips, features=seen)
        return dataclasses.replace(clips, latents=seen)

    def train_mode(self) -> None:
        """What is frozen stays in evaluation mode."""
        self.model.train()
        for part in self.frozen:
            part.eval()

    def energy(self, batch: Clips, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Jepa.energy`."""
        return self.model.energy(batch, generator)

    def validate(self, step: int) -> dict[str, Any]:
        """See `world_model.probe.validate`."""
        seen = self.mixture.episodes_seen(step)
        return validate(
            self.model, self.mixture.cache, seen, self.mixture.held_out, self.config.seed
        )

    def sentence(self, report: dict[str, Any]) -> str:
        """Spread, rollout error and the worst probe."""
        worst, r2 = worst_probe(report)
        return (
            f"latent std {report['std_mean']:.2f}, effective rank "
            f"{report['effective_rank']:.1f} of {self.latent_width}, rollout error "
            f"{report['rollout_ratio']:.2f} x copy-last, worst probe {worst} "
            f"R² {r2:.3f}"
        )

    def alarms(self, report: dict[str, Any]) -> list[str]:
        """See `world_model.probe.alarms`."""
        return alarms(report, self.latent_width)


def draw_clips(
    mixture: Mixture, starts: Sequence[NDArray[np.int64]], config: RunConfig, step: int
) -> Clips:
    """The batch of one step with its images, see `world_model.training_data.draw`."""
    return tensors(draw(mixture, starts, config, step).clips)


def _normalization(mixture: Mixture) -> Normalization:
    proprio_mean, proprio_std = _moments(mixture, np.asarray(mixture.cache.proprio))
    action_mean, action_std = _moments(mixture, np.asarray(mixture.cache.actions))
    return Normalization(
        proprio_mean=proprio_mean,
        proprio_std=_scale(proprio_std),
        action_mean=action_mean,
        action_std=_scale(action_std),
    )


def _scale(std: NDArray[np.float64]) -> NDArray[np.float64]:
    """What standardised values are divided by: not by the little that a constant one varies."""
    return np.where(std < _CONSTANT, 1.0, std)


def _moments(
    mixture: Mixture, values: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std ``(width,)`` of the rows that clips are drawn from, data sets by weight."""
    parts = [
        values[mixture.cache.clip_starts(1, episodes)].astype(np.float64)
        for episodes in mixture.parts
    ]
    if len(parts) == 1:
        return parts[0].mean(0), parts[0].std(0)
    weights = np.array(mixture.weights)[:, None]
    means = np.stack([part.mean(0) for part in parts])
    squares = np.stack([part.var(0) for part in parts]) + means**2
    mean = (weights * means).sum(0)
    return mean, np.sqrt(np.maximum((weights * squares).sum(0) - mean**2, 0.0))
