"""Train from memory-mapped arrays: clips of consecutive frames, cut out by the thousand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.data.frames import Frames, cut
from world_model.data.spec import DatasetError, DatasetSpec


@dataclass(frozen=True)
class Clips:
    """B clips of L frames each, evenly spaced; the arrays are the caller's own.

    Attributes:
        images: camera name to ``(B, L, H, W, 3)`` uint8, RGB.
        proprio: ``(B, L, P)`` float32, SI.
        actions: ``(B, L, A)`` float32, SI; ``actions[:, l]`` acts from frame l to frame l+1, on
            average.
    """

    images: dict[str, NDArray[np.uint8]]
    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]


@dataclass(frozen=True)
class Cache:
    """A whole data set as read-only memory maps; made by `build_cache`. T frames, N episodes.

    Safe to read from several threads and processes.

    Attributes:
        spec: what every frame holds.
        images: camera name to ``(T, H, W, 3)`` uint8, RGB.
        proprio: ``(T, P)`` float32, SI.
        actions: ``(T, A)`` float32, SI.
        evaluation: ``(T, E)`` float32, SI: true state, for evaluation and probes alone; clips
            leave it out.
        episode_starts: ``(N,)`` int64, first frame of each episode.
        episode_lengths: ``(N,)`` int64, frames of each episode.
        dataset_hash: SHA-256 over the data set's files, hexadecimal.
        left_out: indices of the episodes that are damaged and not in it.
    """

    spec: DatasetSpec
    images: Mapping[str, Frames]
    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]
    evaluation: NDArray[np.float32]
    episode_starts: NDArray[np.int64]
    episode_lengths: NDArray[np.int64]
    dataset_hash: str
    left_out: tuple[int, ...] = ()

    @property
    def frames(self) -> int:
        """T, the number of frames."""
        return len(self.proprio)

    def clip_starts(
        self, length: int, episodes: Sequence[int] | NDArray[np.integer[Any]]
    ) -> NDArray[np.int64]:
        """Return every frame at which a clip can start without leaving its episode.

        Args:
            length: frames per clip, L.
            episodes: which episodes to take clips from.

        Returns:
            ``(n,)`` int64, grouped by episode in the order given.

        Raises:
            DatasetError: no episode is long enough.
            IndexError: there is no such episode.
        """
        if length < 1:
            raise DatasetError(f"clip length must be at least 1, got {length}")
        chosen = np.asarray(episodes, dtype=np.int64).reshape(-1)
        starts, lengths = self.episode_starts[chosen], self.episode_lengths[chosen]
        counts = np.maximum(lengths - length + 1, 0)
        if not counts.any():
            longest = int(lengths.max(initial=0))
            raise DatasetError(
                f"no clip of {length} frames: the longest of {len(chosen)} episodes has {longest}"
            )
        # Position within its episode = position overall - clips of the episodes before.
        before = np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(starts, counts) + np.arange(counts.sum()) - before

    def clips(self, starts: NDArray[np.integer[Any]], length: int, stride: int = 1) -> Clips:
        """Copy clips out of the maps.

        Args:
            starts: ``(B,)`` first frames, from `clip_starts` of all frames that a clip reaches
                over, which are ``stride * (length - 1) + 1``.
            length: frames per clip, L.
            stride: from one frame of a clip to the next.

        Raises:
            IndexError: a clip would begin before the first frame or reach beyond the last.
        """
        starts = np.asarray(starts)
        span = stride * (length - 1) + 1
        if starts.size and (starts.min() < 0 or starts.max() > self.frames - span):
            raise IndexError(
                f"clips of {span} frames start in [0, {self.frames - span}], "
                f"got {starts.min()} to {starts.max()}"
            )
        frames = starts[:, None] + stride * np.arange(length)
        actions = np.asarray(self.actions)[frames]
        for later in range(1, stride):  # what acts after a clip is not looked for
            actions[:, :-1] += np.asarray(self.actions)[frames[:, :-1] + later]
        actions[:, :-1] /= stride
        return Clips(
            images={
                camera: cut(array, starts, span)[:, ::stride]
                for camera, array in self.images.items()
            },
            proprio=np.asarray(self.proprio)[frames],
            actions=actions,
        )


def split_episodes(
    n_episodes: int, held_out: float = 0.1, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose episodes to hold out; the same arguments give the same choice.

    Args:
        n_episodes: how many there are; at least 2.
        held_out: fraction to hold out; at least one episode is, and at least one is not.
        seed: of the choice.

    Returns:
        Sorted episode indices to train on, and sorted indices held out.

    Raises:
        DatasetError: too few episodes, or a fraction outside (0, 1).
    """
    if n_episodes < 2:
        raise DatasetError(f"{n_episodes} episode(s) cannot be split; record at least 2")
    if not 0 < held_out < 1:
        raise DatasetError(f"held_out must be between 0 and 1, got {held_out}")
    count = min(max(round(held_out * n_episodes), 1), n_episodes - 1)
    order = np.random.default_rng(seed).permutation(n_episodes)
    return np.sort(order[count:]), np.sort(order[:count])


def first_episodes(
    lengths: NDArray[np.int64], episodes: NDArray[np.int64], frames: float
) -> NDArray[np.int64]:
    """The first of some episodes that together have ``frames`` frames; all when there are fewer.

    Args:
        lengths: ``(N,)`` frames of each episode of the data set.
        episodes: indices to choose from, in their order.
        frames: at least so many, at least one episode; 0 for all.
    """
    if not frames:
        return episodes
    count = int(np.searchsorted(np.cumsum(lengths[episodes]), frames)) + 1
    return episodes[:count]
