"""Decode a data set into flat files, in steps that survive a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.data import layout
from world_model.data.dataset import Dataset
from world_model.data.episodes import EpisodeInfo
from world_model.data.spec import DatasetError
from world_model.data.video import decode_frames

JOURNAL = "decoded.json"
JOURNAL_EVERY_S = 1.0
# Unused frames between two episodes are decoded and dropped when they are fewer than this.
_WORTH_A_SEEK = 100
_NUMBERS = ("proprio", "actions", "evaluation")


class Arrays(NamedTuple):
    """File name to type and shape of what `decode_dataset` writes."""

    kinds: dict[str, type[np.generic]]
    shapes: dict[str, tuple[int, ...]]

    def nbytes(self, name: str) -> int:
        """Size of one file."""
        return int(np.prod(self.shapes[name])) * np.dtype(self.kinds[name]).itemsize

    @property
    def total(self) -> int:
        """Size of all files in bytes."""
        return sum(map(self.nbytes, self.kinds))


def arrays_of(dataset: Dataset, images: int | None = None) -> Arrays:
    """The files that a data set is decoded into: T rows of numbers, T frames of each camera.

    Args:
        dataset: the data set.
        images: frames of each camera if they are not T.
    """
    spec, frames = dataset.spec, dataset.frames
    kept = frames if images is None else images
    shapes: dict[str, tuple[int, ...]] = {
        images_name(camera): (kept, *size, 3) for camera, size in spec.cameras.items()
    }
    kinds: dict[str, type[np.generic]] = dict.fromkeys(shapes, np.uint8)
    for name, names in (
        ("proprio", spec.proprio_names),
        ("actions", spec.action_names),
        ("evaluation", spec.evaluation_names),
    ):
        shapes[f"{name}.f32"] = (frames, len(names))
        kinds[f"{name}.f32"] = np.float32
    return Arrays(kinds, shapes)


def images_name(camera: str) -> str:
    """Name of the file with the frames of a camera."""
    return f"images.{camera}.u8"


def reserve(path: Path, size: int) -> None:
    """Make a file whose space on disk is taken already, unless it is there.

    Raises:
        OSError: the disk has no room for it.
    """
    if path.is_file() and path.stat().st_size == size:
        return
    with path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)


def decode_dataset(dataset: Dataset, folder: Path, progress: bool) -> None:
    """Decode everything into the files of `arrays_of`; goes on where a killed call ended.

    A video is decoded to its end. What is done is noted in a journal, and only after it is on
    the disk. Memory is that of one frame and one parquet file.

    Args:
        dataset: what to decode; the caller makes sure that ``folder`` is of the same state of it.
        folder: has the files, their space reserved.
        progress: show a progress bar.

    Raises:
        DatasetError: the data set is damaged; one line naming the file.
    """
    lengths = [info.length for info in dataset.episodes]
    starts = np.cumsum([0, *lengths])
    place = {info.index: int(start) for info, start in zip(dataset.episodes, starts, strict=False)}
    write_rows(dataset, folder, place)
    for name in _NUMBERS:  # what counts once all is decoded must be on the disk, as frames are
        with (folder / f"{name}.f32").open("r+b") as numbers:
            os.fdatasync(numbers.fileno())
    journal = Journal(folder / JOURNAL)
    videos = [
        (camera, file)
        for camera in dataset.spec.cameras
        for file in sorted({info.videos[camera].file for info in dataset.episodes})
    ]
    total = dataset.frames * len(dataset.spec.cameras)
    with tqdm(total=total, unit=" frames", desc="cache", disable=not progress) as bar:
        for camera, file in videos:
            _decode_video(dataset, camera, file, folder, place, journal, bar)


class Journal:
    """How many frames of each video are decoded and on the disk."""

    def __init__(self, path: Path) -> None:
        """Read it, if there is one."""
        self._path = path
        self._noted_s = time.monotonic()
        try:
            self._done: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._done = {}

    def done(self, video: str) -> int:
        """Frames of a video that are done, from its first."""
        return self._done.get(video, 0)

    def note(self, video: str, frames: int, file: IO[bytes], at_once: bool = False) -> None:
        """Note frames that were written to ``file``, at most once a second."""
        if not at_once and time.monotonic() - self._noted_s < JOURNAL_EVERY_S:
            return
        os.fdatasync(file.fileno())
        self._done[video] = frames
        layout.write_json(self._path, self._done)
        self._noted_s = time.monotonic()


def write_rows(dataset: Dataset, folder: Path, place: dict[int, int]) -> None:
    """Write the numbers of every episode from row ``place[index]``; memory of one parquet file."""
    for data_file in sorted({info.data_file for info in dataset.episodes}):
        for index, rows in dataset.read_rows(data_file).items():
            for name in _NUMBERS:
                values: NDArray[np.float32] = getattr(rows, name)
                with (folder / f"{name}.f32").open("r+b") as file:
                    file.seek(place[index] * values.shape[1] * 4)
                    file.write(np.ascontiguousarray(values, np.float32).data)


def decode_episode(dataset: Dataset, info: EpisodeInfo, folder: Path, row: int) -> None:
    """Decode the frames of one episode into rows ``[row, row + length)``; memory of one frame.

    Args:
        dataset: that it is of.
        info: the episode.
        folder: has the files of `arrays_of`.
        row: where its first frame goes.

    Raises:
        DatasetError: a video is damaged; one line naming the file.
    """
    for camera, part in info.videos.items():
        last = part.first_frame + info.length
        shape = (*dataset.spec.cameras[camera], 3)
        with (folder / images_name(camera)).open("r+b") as out:
            out.seek(row * int(np.prod(shape)))
            for number, frame in _numbered(dataset, part.file, part.first_frame, last, None):
                _check_shape(frame, shape, dataset.path / part.file, number)
                out.write(np.ascontiguousarray(frame).data)


def _check_shape(frame: NDArray[np.uint8], shape: tuple[int, ...], path: Path, number: int) -> None:
    if frame.shape != shape:
        raise DatasetError(
            f"{path}: frames are {frame.shape[:2]}, the data set says {shape[:2]}", number
        )


def _decode_video(
    dataset: Dataset,
    camera: str,
    file: str,
    folder: Path,
    place: dict[int, int],
    journal: Journal,
    bar: tqdm[Any],
) -> None:
    """Decode one video into the places of its episodes."""
    infos = [info for info in dataset.episodes if info.videos[camera].file == file]
    end = max(info.videos[camera].first_frame + info.length for info in infos)
    target = np.full(end, -1, dtype=np.int64)
    for info in infos:
        first = info.videos[camera].first_frame
        target[first : first + info.length] = place[info.index] + np.arange(info.length)
    shape = (*dataset.spec.cameras[camera], 3)
    size = int(np.prod(shape))
    done = journal.done(file)
    bar.update(int((target[:done] >= 0).sum()))
    if done >= end:
        return
    path = dataset.path / file
    with (folder / images_name(camera)).open("r+b", buffering=0) as out:
        # What lies between the intact episodes of a damaged set may not be decodable.
        for first, last in _stretches(infos, camera, 0 if dataset.left_out else _WORTH_A_SEEK):
            for number, frame in _numbered(dataset, file, max(first, done), last, end):
                _check_shape(frame, shape, path, number)
                if target[number] >= 0:
                    out.seek(int(target[number]) * size)
                    out.write(np.ascontiguousarray(frame).data)
                    bar.update()
                journal.note(file, number + 1, out)
        journal.note(file, end, out, at_once=True)


def _stretches(infos: Sequence[EpisodeInfo], camera: str, unused: int) -> list[tuple[int, int]]:
    """Stretches ``[first, last)`` of a video to decode, with at most ``unused`` frames between."""
    parts = sorted((info.videos[camera].first_frame, info.length) for info in infos)
    stretches = [(0, 0)]
    for first, length in parts:
        if first - stretches[-1][1] > unused:
            stretches.append((first, first))
        stretches[-1] = (stretches[-1][0], max(stretches[-1][1], first + length))
    return stretches


def _numbered(
    dataset: Dataset, file: str, first: int, last: int, end: int | None
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames ``[first, last)`` of a video with their numbers.

    Raises:
        DatasetError: there are fewer; or there are more than ``end`` in all, if it is given and no
            hash says that the file is the one written.
    """
    if first >= last:
        return
    path = dataset.path / file
    number = first
    frames = decode_frames(path, first, dataset.spec.fps)
    for frame in islice(frames, last - first):
        yield number, frame
        number += 1
    if number < last:
        raise DatasetError(
            f"{path}: holds {number} frames, its episodes need {end or last}", number
        )
    if last == end and file not in dataset.hashes and not dataset.left_out:
        more = sum(1 for _ in frames)
        if more:
            raise DatasetError(f"{path}: holds {end + more} frames, its episodes need {end}", end)
