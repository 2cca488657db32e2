"""Decode a data set once into memory-mapped arrays beside it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.data import layout
from world_model.data.clips import Cache, Clips, split_episodes
from world_model.data.dataset import Dataset, open_dataset
from world_model.data.spec import DatasetError
from world_model.data.video import decode_frames

__all__ = ["Cache", "Clips", "build_cache", "split_episodes"]

FOLDER = ".cache"
MARKER = "finished.json"
FORMAT = 1


def build_cache(dataset_path: str | Path, progress: bool = True) -> Cache:
    """Open the cache of a data set, decoding the data set into it if that was not done yet.

    The cache is the folder ``.cache`` in the data set; it may be removed at any time. It counts
    only once complete: a build that was killed is started over. Every video is decoded to its
    end, every file compared with its hash as written, every reading checked. Of several
    processes one builds and the others wait.

    Args:
        dataset_path: folder of the data set.
        progress: show a progress bar and the size before building.

    Raises:
        DatasetError: the data set is damaged, or the disk is full; one line naming the file.
    """
    dataset = open_dataset(dataset_path)
    folder = dataset.path / FOLDER
    if (cache := _open(dataset, folder)) is not None:
        return cache
    try:
        with _lock(dataset.path / f"{FOLDER}.lock"):
            # Another process may have built it while this one waited.
            if (cache := _open(dataset, folder)) is None:
                _build(dataset, folder, progress)
                cache = _open(dataset, folder)
    except OSError as error:
        raise DatasetError(
            f"{folder}: cannot build the cache ({error.strerror or error}); "
            f"it needs {_megabytes(dataset):.0f} MB in a folder that can be written"
        ) from error
    if cache is None:
        raise DatasetError(f"{dataset.path}: data set changed while its cache was built")
    return cache


def _arrays(dataset: Dataset) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
    """Return file name to type and shape of every array in the cache."""
    spec, frames = dataset.spec, dataset.frames
    arrays: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
        f"images.{camera}.u8": (np.uint8, (frames, *size, 3))
        for camera, size in spec.cameras.items()
    }
    for name, names in (
        ("proprio", spec.proprio_names),
        ("actions", spec.action_names),
        ("evaluation", spec.evaluation_names),
    ):
        arrays[f"{name}.f32"] = (np.float32, (frames, len(names)))
    return arrays


def _nbytes(kind: type[np.generic], shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) * np.dtype(kind).itemsize


def _megabytes(dataset: Dataset) -> float:
    return sum(_nbytes(kind, shape) for kind, shape in _arrays(dataset).values()) / 1e6


def _signature(dataset: Dataset) -> dict[str, list[int]]:
    """Return size and time of change of every file: whether the set is still the one cached."""
    signature = {}
    for name in dataset.files():
        status = (dataset.path / name).stat()
        signature[name] = [status.st_size, status.st_mtime_ns]
    return signature


def _marker(dataset: Dataset) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "spec": json.loads(json.dumps(dataset.spec.to_json())),
        "lengths": [info.length for info in dataset.episodes],
        "files": _signature(dataset),
    }


def _open(dataset: Dataset, folder: Path) -> Cache | None:
    """Map the cache; None when there is none or it is of another state of the data set."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        dataset_hash = marker.pop("dataset_hash")
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    if marker != _marker(dataset):
        return None
    maps: dict[str, Any] = {}
    for name, (kind, shape) in _arrays(dataset).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != _nbytes(kind, shape):
            return None
        # An empty file cannot be mapped.
        empty = 0 in shape
        maps[name] = np.zeros(shape, kind) if empty else np.memmap(path, kind, "r", shape=shape)
    lengths = np.array([info.length for info in dataset.episodes], dtype=np.int64)
    return Cache(
        spec=dataset.spec,
        images={camera: maps[f"images.{camera}.u8"] for camera in dataset.spec.cameras},
        proprio=maps["proprio.f32"],
        actions=maps["actions.f32"],
        evaluation=maps["evaluation.f32"],
        episode_starts=np.cumsum(lengths) - lengths,
        episode_lengths=lengths,
        dataset_hash=dataset_hash,
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(dataset: Dataset, folder: Path, progress: bool) -> None:
    needed, free = _megabytes(dataset), shutil.disk_usage(dataset.path).free / 1e6
    if needed > free:
        raise DatasetError(
            f"{dataset.path}: the cache needs {needed:.0f} MB, the disk has {free:.0f} MB left"
        )
    if progress:
        tqdm.write(f"{dataset.path}: decoding {dataset.frames} frames, cache of {needed:.0f} MB")
    marker = _marker(dataset)
    dataset_hash = _check_hashes(dataset)
    partial = folder.with_name(f"{FOLDER}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _fill(dataset, partial, progress)
        layout.write_json(partial / MARKER, {**marker, "dataset_hash": dataset_hash})
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_hashes(dataset: Dataset) -> str:
    """Compare every file with its hash as written; return the hash of them all."""
    summary = hashlib.sha256(json.dumps(dataset.spec.to_json(), sort_keys=True).encode())
    for name in dataset.files():
        summary.update(f"{name} {dataset.check_hash(name)}\n".encode())
    return summary.hexdigest()


def _fill(dataset: Dataset, folder: Path, progress: bool) -> None:
    """Decode everything into the files of the cache."""
    maps = {
        name: _create(folder / name, kind, shape)
        for name, (kind, shape) in _arrays(dataset).items()
    }
    lengths = [info.length for info in dataset.episodes]
    starts = np.cumsum([0, *lengths])
    for data_file in sorted({info.data_file for info in dataset.episodes}):
        for index, rows in dataset.read_rows(data_file).items():
            part = slice(starts[index], starts[index + 1])
            maps["proprio.f32"][part] = rows.proprio
            maps["actions.f32"][part] = rows.actions
            maps["evaluation.f32"][part] = rows.evaluation
    total = dataset.frames * len(dataset.spec.cameras)
    with tqdm(total=total, unit=" frames", desc="cache", disable=not progress) as bar:
        for camera in dataset.spec.cameras:
            files = sorted({info.videos[camera].file for info in dataset.episodes})
            for file in files:
                _fill_video(dataset, camera, file, maps[f"images.{camera}.u8"], starts, bar)
    for array in maps.values():
        if isinstance(array, np.memmap):
            array.flush()


def _create(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """Make a file-backed array whose space on disk is reserved.

    Without the reservation a disk that fills up kills the process (SIGBUS) instead of raising.
    """
    size = _nbytes(kind, shape)
    with path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)
    return np.memmap(path, kind, mode="r+", shape=shape) if size else np.zeros(shape, kind)


def _fill_video(
    dataset: Dataset,
    camera: str,
    file: str,
    images: NDArray[np.uint8],
    starts: NDArray[np.int64],
    bar: tqdm[Any],
) -> None:
    """Decode one video file to its end into the places of its episodes."""
    infos = [info for info in dataset.episodes if info.videos[camera].file == file]
    expected = max(info.videos[camera].first_frame + info.length for info in infos)
    target = np.full(expected, -1, dtype=np.int64)
    for info in infos:
        first = info.videos[camera].first_frame
        target[first : first + info.length] = starts[info.index] + np.arange(info.length)
    path = dataset.path / file
    count = 0
    for frame in decode_frames(path):
        if frame.shape != images.shape[1:]:
            raise DatasetError(
                f"{path}: frames are {frame.shape[:2]}, the data set says {images.shape[1:3]}"
            )
        if count < expected and target[count] >= 0:
            images[target[count]] = frame
            bar.update()
        count += 1
    if count != expected:
        raise DatasetError(
            f"{path}: holds {count} frames, its {len(infos)} episodes need {expected}"
        )
