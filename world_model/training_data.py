"""The data of a training run, as its settings say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from world_model import ranks
from world_model.config import RunConfig
from world_model.data.clips import Clips
from world_model.data.mixture import Mixture, open_mixture
from world_model.data.stream import Bound


def open_training_data(
    dataset: Path | Sequence[Path],
    config: RunConfig,
    progress: bool = True,
    skip_bad: bool = False,
) -> Mixture:
    """Open what a run of ``config`` trains on and judges with; close it by ``with``.

    Args:
        dataset: one data set folder or several, in the order of ``config.data_weights``.
        config: settings of the run.
        progress: see `build_cache`.
        skip_bad: see `build_cache`.

    Raises:
        DatasetError: see `open_mixture`.
    """
    bound = None
    if config.cache_gb:
        span = config.span(config.clip_length)
        bound = Bound(int(config.cache_gb * 1e9), span, config.batch)
    return open_mixture(
        dataset,
        config.data_weights,
        config.held_out,
        config.seed,
        progress,
        skip_bad,
        bound,
        config.train_frames,
    )


@dataclass(frozen=True)
class Drawn:
    """What a training step learns from.

    Attributes:
        starts: ``(B,)`` first frame of each clip.
        clips: the clips.
        rng: for whatever else the step draws.
    """

    starts: NDArray[np.int64]
    clips: Clips
    rng: np.random.Generator


def draw(
    mixture: Mixture,
    starts: Sequence[NDArray[np.int64]],
    config: RunConfig,
    step: int,
    with_images: bool = True,
) -> Drawn:
    """The clips of one step: a function of (seed, step) alone, so that a resumed run repeats it.

    Of a stream, they are from the shards of the step instead of from all ``starts``. Of several
    processes each gets its own rows of them.

    Args:
        mixture: the data.
        starts: of `Mixture.clip_starts`.
        config: settings of the run.
        step: from 0.
        with_images: else the clips have readings and actions alone.
    """
    if mixture.stream is not None:
        starts = (mixture.stream.clip_starts(step),)
    rng = np.random.default_rng((config.seed, step))
    rows = ranks.own_rows(config.batch)
    chosen = mixture.draw(starts, config.batch, rng)[rows]
    cache = mixture.cache if with_images else dataclasses.replace(mixture.cache, images={})
    clips = cache.clips(chosen, config.frames_at(step), config.clip_stride)
    if config.shift_px:
        for name, images in clips.images.items():
            offsets = rng.integers(0, 2 * config.shift_px + 1, (config.batch, 2))[rows]
            clips.images[name] = _shift(images, config.shift_px, offsets)
    return Drawn(chosen, clips, rng)


def _shift(images: NDArray[np.uint8], pixels: int, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Move each clip ``(B, T, H, W, 3)`` to its offset ``(B, 2)`` of up to ``2 * pixels``.

    Edges are repeated; in the middle, at ``pixels``, it stays where it is.
    """
    padded = np.pad(images, ((0, 0), (0, 0), (pixels,) * 2, (pixels,) * 2, (0, 0)), mode="edge")
    height, width = images.shape[2:4]
    moved = np.empty_like(images)
    for row, (y, x) in enumerate(offsets):
        moved[row] = padded[row, :, y : y + height, x : x + width]
    return moved
