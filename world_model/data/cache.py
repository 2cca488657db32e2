"""Decode a data set once into memory-mapped arrays beside it."""

from __future__ import annotations

import fcntl
import hashlib
import json
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
from world_model.data.decode import Arrays, arrays_of, decode_dataset, images_name, reserve
from world_model.data.frames import FrameFile
from world_model.data.intact import survey
from world_model.data.spec import DatasetError

__all__ = ["Cache", "Clips", "build_cache", "split_episodes"]

FOLDER = ".cache"
BEGUN = "begun.json"
MARKER = "finished.json"
FORMAT = 2


def build_cache(dataset_path: str | Path, progress: bool = True, skip_bad: bool = False) -> Cache:
    """Open the cache of a data set, decoding the data set into it if that was not done yet.

    The cache is the folder ``.cache`` in the data set; it may be removed at any time. It counts
    only once complete; a build that was killed is gone on with. Every video is decoded to its
    end, every file compared with its hash as written, every reading checked. Of several
    processes one builds and the others wait. Building and reading stay under 1 GB of memory,
    however long the data set.

    Args:
        dataset_path: folder of the data set.
        progress: show a progress bar and the size before building.
        skip_bad: use what is intact of a damaged data set, and say how much was left out.

    Raises:
        DatasetError: the data set is damaged, or the disk is full; one line naming the file.
    """
    return cache_of(open_for_cache(dataset_path, progress, skip_bad), progress)


def open_for_cache(path: str | Path, progress: bool = True, skip_bad: bool = False) -> Dataset:
    """Open a data set, or what is intact of it; arguments and errors of `build_cache`."""
    return _open_intact(path, progress) if skip_bad else open_dataset(path)


def cache_of(dataset: Dataset, progress: bool = True) -> Cache:
    """Open or build the cache of an opened data set; arguments and errors of `build_cache`."""
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
            f"it needs {arrays_of(dataset).total / 1e6:.0f} MB in a folder that can be written"
        ) from error
    if cache is None:
        raise DatasetError(f"{dataset.path}: data set changed while its cache was built")
    return cache


def _open_intact(path: str | Path, progress: bool) -> Dataset:
    """Open a data set without its damaged episodes; say what is wrong and what was left out."""
    found = survey(path, progress=progress)
    for finding in found.findings:
        tqdm.write(finding.line())
    tqdm.write(found.summary())
    if not found.dataset.episodes:
        raise DatasetError(f"{found.dataset.path}: no episode is intact")
    return found.dataset


def _signature(dataset: Dataset) -> dict[str, list[int]]:
    """Return size and time of change of every file: whether the set is still the one cached."""
    signature = {}
    for name in dataset.files():
        status = (dataset.path / name).stat()
        signature[name] = [status.st_size, status.st_mtime_ns]
    return signature


def _held(dataset: Dataset) -> dict[str, Any]:
    """The specification of what is held; how images came to their size changes none of it."""
    return {name: value for name, value in dataset.spec.to_json().items() if name != "fits"}


def _places(dataset: Dataset) -> dict[str, Any]:
    """Where every episode lies, in a set whose episode table no hash vouches for; else nothing."""
    if dataset.hashes:
        return {}
    places = [
        [
            info.data_file,
            {name: [part.file, part.first_frame] for name, part in info.videos.items()},
        ]
        for info in dataset.episodes
    ]
    return {"places": places}


def _marker(dataset: Dataset) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "spec": json.loads(json.dumps(_held(dataset))),
        "lengths": [info.length for info in dataset.episodes],
        "left_out": list(dataset.left_out),
        "files": _signature(dataset),
        **_places(dataset),
    }


def _open(dataset: Dataset, folder: Path) -> Cache | None:
    """Map the cache; None when there is none or it is of another state of the data set."""
    marker = _read_json(folder / MARKER) or {}
    dataset_hash = marker.pop("dataset_hash", None)
    if dataset_hash is None or marker != _marker(dataset):
        return None
    arrays = arrays_of(dataset)
    for name in arrays.kinds:
        path = folder / name
        if not path.is_file() or path.stat().st_size != arrays.nbytes(name):
            return None
    lengths = np.array([info.length for info in dataset.episodes], dtype=np.int64)
    return Cache(
        spec=dataset.spec,
        images={
            camera: FrameFile(folder / images_name(camera), arrays.shapes[images_name(camera)])
            for camera in dataset.spec.cameras
        },
        proprio=map_numbers(folder / "proprio.f32", arrays),
        actions=map_numbers(folder / "actions.f32", arrays),
        evaluation=map_numbers(folder / "evaluation.f32", arrays),
        episode_starts=np.cumsum(lengths) - lengths,
        episode_lengths=lengths,
        dataset_hash=dataset_hash,
        left_out=dataset.left_out,
    )


def map_numbers(path: Path, arrays: Arrays) -> NDArray[np.float32]:
    """Map a file of numbers, one of `arrays_of`."""
    shape = arrays.shapes[path.name]
    if not shape[1]:  # an empty file cannot be mapped
        return np.zeros(shape, np.float32)
    return np.memmap(path, np.float32, "r", shape=shape)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that the system frees when the process ends, however it ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(dataset: Dataset, folder: Path, progress: bool) -> None:
    """Decode into a folder beside, which a later call goes on with, and move it into place."""
    arrays = arrays_of(dataset)
    marker = _marker(dataset)
    partial = folder.with_name(f"{FOLDER}.partial")
    if _read_json(partial / BEGUN) != marker:
        shutil.rmtree(partial, ignore_errors=True)
    taken = sum(file.stat().st_size for file in partial.glob("*.*"))
    needed, free = arrays.total - taken, shutil.disk_usage(dataset.path).free
    if needed > free:
        raise DatasetError(
            f"{dataset.path}: the cache needs {needed / 1e6:.0f} MB, the disk has "
            f"{free / 1e6:.0f} MB left; free some, or train with a smaller --cache-gb"
        )
    if progress:
        going_on = "going on with" if partial.exists() else "decoding"
        tqdm.write(
            f"{dataset.path}: {going_on} {dataset.frames} frames, "
            f"cache of {arrays.total / 1e6:.0f} MB"
        )
    dataset_hash = check_hashes(dataset)
    try:
        partial.mkdir(exist_ok=True)
        for name in arrays.kinds:
            reserve(partial / name, arrays.nbytes(name))
        layout.write_json(partial / BEGUN, marker)
        decode_dataset(dataset, partial, progress)
        layout.write_json(partial / MARKER, {**marker, "dataset_hash": dataset_hash})
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (DatasetError, OSError):
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_hashes(dataset: Dataset) -> str:
    """Compare every file with its hash as written; return the hash of them all."""
    summary = hashlib.sha256(json.dumps(_held(dataset), sort_keys=True).encode())
    for name in dataset.files():
        summary.update(f"{name} {dataset.check_hash(name)}\n".encode())
    if places := _places(dataset):
        summary.update(json.dumps([places, [i.length for i in dataset.episodes]]).encode())
    if dataset.left_out:
        summary.update(f"without {list(dataset.left_out)}\n".encode())
    return summary.hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None
