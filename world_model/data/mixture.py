"""What one training run reads: one data set, or several mixed with weights."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from world_model.data.cache import cache_of, open_for_cache
from world_model.data.clips import Cache, first_episodes, split_episodes
from world_model.data.decode import arrays_of
from world_model.data.frames import JoinedFrames
from world_model.data.spec import DatasetError, DatasetSpec
from world_model.data.stream import Bound, Stream


@dataclass(frozen=True)
class Mixture:
    """One or several data sets as one cache, split into training and held-out episodes.

    A context manager that ends the stream, where there is one.

    Attributes:
        cache: all frames, the data sets one after the other.
        fit: episodes to train on.
        held_out: episodes kept back; the same share of each data set.
        parts: for each data set, those of its episodes that are trained on.
        weights: for each data set, the share of the clips that come from it; they sum to 1.
        stream: decides what can be drawn when the cache is larger than it may be.
    """

    cache: Cache
    fit: NDArray[np.int64]
    held_out: NDArray[np.int64]
    parts: tuple[NDArray[np.int64], ...]
    weights: tuple[float, ...]
    stream: Stream | None = None

    def __enter__(self) -> Mixture:
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Remove what was streamed."""
        if self.stream is not None:
            self.stream.close()

    def clip_starts(self, length: int) -> tuple[NDArray[np.int64], ...]:
        """For each data set, every frame at which a training clip can start.

        Raises:
            DatasetError: no episode of a data set is long enough.
        """
        return tuple(self.cache.clip_starts(length, part) for part in self.parts)

    def episodes_seen(self, step: int) -> NDArray[np.int64]:
        """Training episodes that can be read after ``step`` steps; a stream has some of them."""
        return self.fit if self.stream is None else self.stream.episodes(step - 1)

    def draw(
        self, starts: Sequence[NDArray[np.int64]], count: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Draw ``count`` of the `clip_starts`, from each data set by its weight."""
        if len(starts) == 1:
            return rng.choice(starts[0], count)
        which = rng.choice(len(starts), count, p=self.weights)
        position = rng.random(count)
        lengths = np.array([len(part) for part in starts])[which]
        chosen = np.minimum((position * lengths).astype(np.int64), lengths - 1)
        return np.array([starts[w][c] for w, c in zip(which, chosen, strict=True)], np.int64)


def open_mixture(
    paths: Path | Sequence[Path],
    weights: Sequence[float] = (),
    held_out: float = 0.1,
    seed: int = 0,
    progress: bool = True,
    skip_bad: bool = False,
    bound: Bound | None = None,
    train_frames: int = 0,
) -> Mixture:
    """Open data sets for training; of each the same share of episodes is held out.

    Args:
        paths: one data set folder or several; they must agree in cameras, readings, actions and
            rate.
        weights: one positive number for each data set; by default each counts by its frames.
        held_out: see `split_episodes`.
        seed: of the choice of the episodes held out.
        progress: see `build_cache`.
        skip_bad: see `build_cache`.
        bound: stream the data set if its cache would be larger.
        train_frames: train on the first so many frames alone, in whole episodes, of each data set
            in proportion; 0 for all. What is held out is the same for any number. Not of a stream.

    Raises:
        DatasetError: a data set cannot be read or does not fit the first one, or the weights are
            not one positive number for each.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    if weights and len(weights) != len(paths):
        raise DatasetError(f"{len(weights)} data weights for {len(paths)} data sets; give each one")
    if not all(np.isfinite(weight) and weight > 0 for weight in weights):
        raise DatasetError(f"data weights must be positive numbers, got {list(weights)}")
    datasets = [open_for_cache(path, progress, skip_bad) for path in paths]
    if bound is not None and sum(arrays_of(one).total for one in datasets) > bound.nbytes:
        if len(datasets) > 1:
            raise DatasetError(
                f"{len(datasets)} data sets together are larger than --cache-gb, and only one can "
                "be streamed; give one --data or a larger --cache-gb"
            )
        stream = Stream(datasets[0], bound, held_out, seed, progress)
        return Mixture(stream.cache, stream.fit, stream.held_out, (stream.fit,), (1.0,), stream)
    caches = [cache_of(dataset, progress) for dataset in datasets]
    splits = [split_episodes(len(cache.episode_starts), held_out, seed) for cache in caches]
    there = sum(
        int(cache.episode_lengths[train].sum())
        for cache, (train, _) in zip(caches, splits, strict=True)
    )
    fit, kept, first = [], [], 0
    for cache, (train, held) in zip(caches, splits, strict=True):
        wanted = train_frames * int(cache.episode_lengths[train].sum()) / there
        fit.append(first_episodes(cache.episode_lengths, train, wanted) + first)
        kept.append(held + first)
        first += len(cache.episode_starts)
    shares = np.array(weights or [cache.frames for cache in caches], np.float64)
    return Mixture(
        cache=caches[0] if len(caches) == 1 else _join(caches, paths),
        fit=np.concatenate(fit),
        held_out=np.concatenate(kept),
        parts=tuple(fit),
        weights=tuple((shares / shares.sum()).tolist()),
    )


def _join(caches: Sequence[Cache], paths: Sequence[Path]) -> Cache:
    """Lay caches end to end; the numbers are copied into memory, the frames are not."""
    spec = caches[0].spec
    for cache, path in zip(caches[1:], paths[1:], strict=True):
        spec = _common(spec, cache.spec, f"{path}: cannot be mixed with {paths[0]}")
    with_truth = all(cache.spec.evaluation_names == spec.evaluation_names for cache in caches)
    offsets = np.cumsum([0, *(cache.frames for cache in caches)])
    summary = hashlib.sha256("\n".join(cache.dataset_hash for cache in caches).encode())
    return Cache(
        spec=spec if with_truth else dataclasses.replace(spec, evaluation_names=()),
        images={
            camera: JoinedFrames([cache.images[camera] for cache in caches])
            for camera in spec.cameras
        },
        proprio=np.concatenate([cache.proprio for cache in caches]),
        actions=np.concatenate([cache.actions for cache in caches]),
        evaluation=np.concatenate([cache.evaluation for cache in caches])
        if with_truth
        else np.zeros((offsets[-1], 0), np.float32),
        episode_starts=np.concatenate(
            [c.episode_starts + offset for c, offset in zip(caches, offsets, strict=False)]
        ),
        episode_lengths=np.concatenate([cache.episode_lengths for cache in caches]),
        dataset_hash=summary.hexdigest(),
        left_out=tuple(index for cache in caches for index in cache.left_out),
    )


def _common(one: DatasetSpec, other: DatasetSpec, name: str) -> DatasetSpec:
    """The specification of both together.

    Raises:
        DatasetError: they differ in what a model sees or does.
    """
    for field in ("cameras", "fits", "proprio_names", "action_names", "fps"):
        a, b = getattr(one, field), getattr(other, field)
        if a != b:
            raise DatasetError(f"{name}: its {field} are {b}, not {a}")
    return dataclasses.replace(
        one,
        action_low=np.minimum(one.action_low, other.action_low).tolist(),
        action_high=np.maximum(one.action_high, other.action_high).tolist(),
        robot_type=one.robot_type if one.robot_type == other.robot_type else "several",
        env_id=one.env_id if one.env_id == other.env_id else None,
        seed=None,
    )
