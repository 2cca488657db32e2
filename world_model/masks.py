"""Which positions of a clip are hidden from the encoder and predicted: blocks, in every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from world_model.pretrain_config import MaskConfig


@dataclass(frozen=True)
class Mask:
    """For each of B clips, positions in the order of `VitTrunk.encode`; sorted, none in both.

    Attributes:
        visible: ``(B, V)`` int64, what the encoder sees.
        hidden: ``(B, M)`` int64, what is predicted.
    """

    visible: NDArray[np.int64]
    hidden: NDArray[np.int64]


def draw_masks(
    config: MaskConfig, grid: tuple[int, int, int], count: int, rng: np.random.Generator
) -> tuple[Mask, Mask]:
    """A short-range and a long-range mask for each of ``count`` clips.

    Args:
        config: settings.
        grid: tubelets, rows and columns of a clip.
        count: B, clips.
        rng: source of the blocks.

    Returns:
        Both masks. Within one, all clips have as many positions visible, and as many hidden, as
        the clip with the fewest: what is over is dropped at random and then is neither.
    """
    return (
        _draw(config, config.short_blocks, config.short_scale, grid, count, rng),
        _draw(config, config.long_blocks, config.long_scale, grid, count, rng),
    )


def _draw(
    config: MaskConfig,
    blocks: int,
    scale: float,
    grid: tuple[int, int, int],
    count: int,
    rng: np.random.Generator,
) -> Mask:
    tubelets, rows, columns = grid
    least = min(max(math.ceil(config.min_visible * rows * columns), 1), rows * columns - 1)
    hidden = np.stack(
        [_blocks(config, blocks, scale, (rows, columns), least, rng) for _ in range(count)]
    )
    everywhere = np.arange(tubelets)[:, None] * (rows * columns)

    def positions(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        kept = int(chosen.sum(1).min())
        order = np.where(chosen, rng.random(chosen.shape), 2.0).argsort(1)[:, :kept]
        return (everywhere + np.sort(order, 1)[:, None, :]).reshape(count, -1)

    return Mask(visible=positions(~hidden), hidden=positions(hidden))


def _blocks(
    config: MaskConfig,
    blocks: int,
    scale: float,
    image: tuple[int, int],
    least: int,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """The union of blocks ``(rows * columns,)``; one that leaves too little is cut to a corner."""
    hidden = np.zeros(image, bool)
    for _ in range(blocks):
        aspect = math.exp(rng.uniform(-1, 1) * math.log(config.max_aspect))
        area = scale * image[0] * image[1]
        height = min(max(round(math.sqrt(area * aspect)), 1), image[0])
        width = min(max(round(math.sqrt(area / aspect)), 1), image[1])
        top = rng.integers(image[0] - height + 1)
        left = rng.integers(image[1] - width + 1)
        for end in ((top + height, left + width), (top + 1, left + 1)):
            more = hidden.copy()
            more[top : end[0], left : end[1]] = True
            if more.size - more.sum() >= least:
                hidden = more
                break
    return hidden.reshape(-1)
