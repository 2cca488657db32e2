"""Pictures of a data set: a contact sheet of its frames and plots of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from world_model.data.dataset import Dataset
from world_model.data.spec import DatasetSpec, Episode

_TILE = 128
_COLUMNS = 8
_CAPTION = 14
_MOST_PLOTS = 24


def spread(count: int, at_most: int) -> list[int]:
    """At most so many of ``count`` things, evenly spread."""
    return sorted(set(np.linspace(0, count - 1, min(count, at_most)).round().astype(int).tolist()))


def contact_sheet(dataset: Dataset, places: Sequence[int], out: Path) -> None:
    """Write a PNG with a row for each camera of each episode, frames evenly spread over it.

    Args:
        dataset: what to show.
        places: which of its episodes.
        out: file to write.
    """
    cameras = list(dataset.spec.cameras)
    height = (_TILE + _CAPTION) * len(places) * len(cameras)
    sheet = Image.new("RGB", (_COLUMNS * _TILE, height), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for place in places:
        episode, info = dataset.episode(place), dataset.episodes[place]
        at = spread(len(episode), _COLUMNS)
        for camera in cameras:
            caption = f"episode {info.index}  {camera}  {len(episode)} frames  {info.task}"
            draw.text((2, top + 1), caption, fill="black")
            for column, frame in enumerate(at):
                left = column * _TILE
                sheet.paste(_tile(episode.images[camera][frame]), (left, top + _CAPTION))
                draw.text((left + 3, top + _CAPTION + 1), str(frame), fill="white")
            top += _TILE + _CAPTION
    sheet.save(out)


def plots(dataset: Dataset, places: Sequence[int], out: Path) -> None:
    """Write a PNG with every reading and action over time, and how the actions are distributed.

    Args: as of `contact_sheet`.
    """
    spec = dataset.spec
    episodes = [dataset.episode(place) for place in places]
    readings, actions = spec.proprio_names[:_MOST_PLOTS], spec.action_names[:_MOST_PLOTS]
    rows = max(len(readings), len(actions), 1)
    figure, axes = plt.subplots(
        rows, 3, figsize=(13, 1.7 * rows + 0.6), squeeze=False, constrained_layout=True
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for row, name in enumerate(readings):
        _curves(axes[row, 0], name, [(_time(e), e.proprio[:, row]) for e in episodes])
    for row, name in enumerate(actions):
        _curves(axes[row, 1], name, [(_time(e), e.actions[:, row]) for e in episodes])
        _histogram(axes[row, 2], spec, row, np.concatenate([e.actions[:, row] for e in episodes]))
    left = max(len(spec.proprio_names), len(spec.action_names)) - _MOST_PLOTS
    more = f" (the first {_MOST_PLOTS}; {left} more are not drawn)" if left > 0 else ""
    figure.suptitle(f"{dataset.path.name}: readings, actions, distribution of the actions{more}")
    for axis in axes[-1, :2]:
        axis.set_xlabel("time in the episode (s)")
    figure.savefig(out, dpi=80)
    plt.close(figure)


def _tile(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image)
    picture.thumbnail((_TILE, _TILE))
    scale = _TILE / max(picture.size)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.NEAREST)


def _time(episode: Episode) -> NDArray[np.float64]:
    return (episode.stamps_ns - episode.stamps_ns[0]) / 1e9


def _curves(
    axis: plt.Axes, name: str, curves: Sequence[tuple[NDArray[np.float64], NDArray[np.float32]]]
) -> None:
    axis.set_visible(True)
    for time_s, values in curves:
        axis.plot(time_s, values, linewidth=0.8, alpha=0.7)
    axis.set_title(name, fontsize=9, loc="left")
    axis.tick_params(labelsize=7)


def _histogram(axis: plt.Axes, spec: DatasetSpec, column: int, values: NDArray[np.float32]) -> None:
    axis.set_visible(True)
    axis.hist(values, bins=40, color="0.5")
    for limit in (spec.action_low[column], spec.action_high[column]):
        axis.axvline(limit, color="tab:red", linewidth=0.8)
    axis.set_title(f"{spec.action_names[column]} (red: limits)", fontsize=9, loc="left")
    axis.tick_params(labelsize=7)
