"""What the checks look at: a few numbers for each frame, gathered while it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from world_model.data.dataset import Rows
from world_model.data.episodes import EpisodeInfo
from world_model.data.spec import DatasetSpec

# A pixel has changed when a channel differs by more levels than coding alone makes it.
CHANGED_LEVELS = 12
_MOST_PIXELS = 128  # larger images are looked at with fewer pixels


@dataclass(frozen=True)
class Pictures:
    """The frames of one camera in one episode of T frames.

    Attributes:
        brightness: ``(T,)`` mean level, 0 to 255.
        contrast: ``(T,)`` standard deviation of the levels.
        changed: ``(T - 1,)`` share of the pixels that change from frame t to t + 1.
        motion: ``(T - 1,)`` mean change of a pixel from frame t to t + 1, in levels.
    """

    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    changed: NDArray[np.float64]
    motion: NDArray[np.float64]


@dataclass(frozen=True)
class EpisodeEvidence:
    """One episode that can be read whole."""

    info: EpisodeInfo
    rows: Rows
    pictures: Mapping[str, Pictures]


@dataclass(frozen=True)
class Evidence:
    """A whole data set.

    Attributes:
        spec: what every frame holds.
        limits_declared: whether the action limits are the robot's, not just those seen.
        episodes: the intact episodes.
        min_frames: frames an episode needs to be trained on.
        proprio_span: ``(P,)`` range that the readings cover, outliers (1 %) left aside.
    """

    spec: DatasetSpec
    limits_declared: bool
    episodes: tuple[EpisodeEvidence, ...]
    min_frames: int
    proprio_span: NDArray[np.float64]


@dataclass
class Collector:
    """A `Visitor` that keeps four numbers for each frame, and the rows."""

    numbers: dict[int, Rows] = field(default_factory=dict)
    series: dict[tuple[int, str], list[tuple[float, float, float, float]]] = field(
        default_factory=dict
    )
    _last: NDArray[np.int16] | None = None

    def rows(self, info: EpisodeInfo, rows: Rows) -> None:
        """Keep the numbers of an episode."""
        self.numbers[info.index] = rows

    def frame(self, info: EpisodeInfo, camera: str, index: int, frame: NDArray[np.uint8]) -> None:
        """Measure a frame against the one before it."""
        step = -(-max(frame.shape[:2]) // _MOST_PIXELS)
        small = frame[::step, ::step].astype(np.int16)
        changed = motion = 0.0
        if index and self._last is not None:
            difference = np.abs(small - self._last)
            changed = float((difference.max(axis=2) > CHANGED_LEVELS).mean())
            motion = float(difference.mean())
        self._last = small
        kept = self.series.setdefault((info.index, camera), [])
        kept.append((float(small.mean()), float(small.std()), changed, motion))

    def evidence(
        self,
        spec: DatasetSpec,
        limits_declared: bool,
        episodes: tuple[EpisodeInfo, ...],
        min_frames: int,
    ) -> Evidence:
        """What was gathered of these episodes."""
        found = []
        for info in episodes:
            pictures = {}
            for camera in info.videos:
                brightness, contrast, changed, motion = np.array(
                    self.series[info.index, camera], np.float64
                ).T
                pictures[camera] = Pictures(brightness, contrast, changed[1:], motion[1:])
            found.append(EpisodeEvidence(info, self.numbers[info.index], pictures))
        return Evidence(
            spec, limits_declared, tuple(found), min_frames, _span([e.rows.proprio for e in found])
        )


def _span(parts: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Range of each column of rows, the outermost 1 % on either side left aside."""
    if not parts:
        return np.zeros(0)
    low, high = np.percentile(np.concatenate(parts), (1, 99), axis=0)
    return np.asarray(high - low, np.float64)


def stretches(flags: NDArray[np.bool_], at_least: int) -> list[tuple[int, int]]:
    """``[first, last)`` of every run of ``at_least`` flags or more."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= at_least]
