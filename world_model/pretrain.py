"""Pretrain an encoder on camera streams alone: masked prediction in latent space, no actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from world_model import ranks
from world_model.data.mixture import Mixture
from world_model.encoder import unit_scale
from world_model.loop import Method, TrainResult, run_method
from world_model.masked import MaskedJepa
from world_model.masks import Mask, draw_masks
from world_model.pretrain_config import PretrainConfig
from world_model.probe import probe_trunk, worst_probe
from world_model.training_data import draw
from world_model.vit import TUBELET, grid_of, pick

_JUDGED_CLIPS = 128
_ALIVE_STD = 0.01  # of a token from frame to frame; most of what a fixed camera sees stands still


@dataclass(frozen=True)
class MaskedClips:
    """One camera's clips of a step and what is hidden of them.

    Attributes:
        images: ``(B, T, H, W, 3)`` uint8.
        masks: short range, long range.
    """

    images: Tensor
    masks: tuple[Mask, Mask]

    def to(self, device: torch.device) -> MaskedClips:
        """The same with its images on a device."""
        return MaskedClips(self.images.to(device), self.masks)


def pretrain(
    dataset: Path | Sequence[Path],
    out: Path,
    config: PretrainConfig,
    resume: bool = False,
    progress: bool = True,
    skip_bad: bool = False,
) -> TrainResult:
    """Train a trunk that any camera of a world model can take over; see `run_method`."""
    return run_method(
        lambda mixture, device: Masked(mixture, config, device),
        dataset,
        out,
        config,
        resume,
        progress,
        skip_bad,
    )


class Masked(Method[list[MaskedClips]]):
    """V-JEPA, or with clips of one frame I-JEPA; one trunk for all cameras."""

    model: MaskedJepa

    def __init__(self, mixture: Mixture, config: PretrainConfig, device: torch.device) -> None:
        """Build for the data."""
        self.mixture, self.config = mixture, config
        span = config.span(config.clip_length)
        self.starts = mixture.clip_starts(span)
        mixture.cache.clip_starts(span, mixture.held_out)  # too short: say so now
        self.model = MaskedJepa(config).to(device)
        self.normalization: dict[str, list[float]] = {}

    def draw(self, step: int) -> list[MaskedClips]:
        """Clips of each camera, or their single frames, as many tokens of them."""
        drawn = draw(self.mixture, self.starts, self.config, step)
        still = self.config.frames == 1 or drawn.rng.random() < self.config.still_share
        batch = []
        for images in drawn.clips.images.values():
            if still:
                images = images[:, ::TUBELET].reshape(-1, 1, *images.shape[2:])
            batch.append(self._hide(images, drawn.rng, ranks.count()).to(self.device))
        return batch

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.trunk.device

    def compile(self) -> None:
        """The transformers alone: the trunk is not called as a whole."""
        for part in (self.model.trunk, self.model.target, self.model.predictor):
            part.transformer.compile()

    def energy(self, batch: list[MaskedClips], generator: torch.Generator) -> dict[str, Tensor]:
        """Mean absolute error at what is hidden, over the cameras."""
        errors = [self.model.energy(_channels_first(clips.images), clips.masks) for clips in batch]
        error = torch.stack(errors).mean()
        return {"prediction": error, "total": error}

    def updated(self, step: int) -> None:
        """Move the targets; the momentum rises to 1 in a straight line."""
        start = self.config.momentum
        self.model.follow(start + (1.0 - start) * step / self.config.steps)

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, Any]:
        """Judge what the planner's encoder will be: the moving average, on single frames.

        Returns:
            See `probe_trunk`; and ``prediction_l1``, the error at what is hidden of held-out clips,
            ``constant_l1``, that of the best constant for each position (the median of the targets
            it is judged on), and ``prediction_ratio``, the first over the second.
        """
        self.model.eval()
        cache, config = self.mixture.cache, self.config
        rng = np.random.default_rng(config.seed)
        report = probe_trunk(
            self.model.target, cache, self.mixture.episodes_seen(step), self.mixture.held_out, rng
        )
        span = config.span(config.clip_length)
        starts = cache.clip_starts(span, self.mixture.held_out)
        chosen = np.sort(rng.choice(starts, min(_JUDGED_CLIPS, len(starts)), replace=False))
        errors, floors = [], []
        drawn = cache.clips(chosen, config.clip_length, config.clip_stride)
        for values in drawn.images.values():
            clips = self._hide(values, rng).to(self.device)
            images = _channels_first(clips.images)
            targets = self.model.targets(images)
            constant = targets.median(0, keepdim=True).values.expand_as(targets)
            for mask in clips.masks:
                hidden = torch.from_numpy(mask.hidden).to(self.device)
                truth = pick(targets, hidden)
                errors.append((self.model.predict(images, mask) - truth).abs().mean())
                floors.append((pick(constant, hidden) - truth).abs().mean())
        error, floor = float(torch.stack(errors).mean()), float(torch.stack(floors).mean())
        return report | {
            "prediction_l1": error,
            "constant_l1": floor,
            "prediction_ratio": error / max(floor, 1e-12),
        }

    def sentence(self, report: dict[str, Any]) -> str:
        """Spread, error and the worst probe."""
        worst, r2 = worst_probe(report)
        return (
            f"token std {report['std_mean']:.2f}, effective rank {report['effective_rank']:.1f} of "
            f"{self.config.vit.width}, prediction error {report['prediction_ratio']:.2f} x that of "
            f"a constant, worst probe {worst} R² {r2:.3f} (mean "
            f"token: {report['probe_r2_mean'].get(worst, float('nan')):.3f})"
        )

    def alarms(self, report: dict[str, Any]) -> list[str]:
        """Collapse, and a prediction that is no better than a constant."""
        lines = []
        if report["std_mean"] < _ALIVE_STD or report["effective_rank"] < 2:
            lines.append(
                f"collapse: tokens of held-out frames differ by a std of {report['std_mean']:.3f}, "
                f"effective rank {report['effective_rank']:.1f}; begin with a higher momentum or a "
                "lower learning_rate, or look for frames that never change"
            )
        if report["prediction_ratio"] > 1.0:
            lines.append(
                f"what is hidden is predicted {report['prediction_ratio']:.2f} x as badly as by a "
                "constant; it needs more steps, or a lower learning_rate"
            )
        return lines

    def _hide(
        self, images: np.ndarray, rng: np.random.Generator, processes: int = 1
    ) -> MaskedClips:
        """Draw the masks of clips ``(B, T, H, W, 3)``, of all processes, and keep one's own."""
        grid = grid_of(images.shape[1], (images.shape[2], images.shape[3]))
        all_rows = len(images) * processes
        rows = ranks.own_rows(all_rows) if processes > 1 else slice(None)
        short, long = (
            Mask(mask.visible[rows], mask.hidden[rows])
            for mask in draw_masks(self.config.mask, grid, all_rows, rng)
        )
        return MaskedClips(torch.from_numpy(np.ascontiguousarray(images)), (short, long))


def _channels_first(images: Tensor) -> Tensor:
    """``(B, T, H, W, 3)`` uint8 to ``(B, T, 3, H, W)`` in [-1, 1]."""
    return unit_scale(images.permute(0, 1, 4, 2, 3))
