"""Plain folders of videos or images with CSV files as recordings.

Each episode is a folder (or the source itself is the only one)::

    episode_000/
      scene.mp4        a camera: a video, or a folder of images by name, 2 before 10
      scene.csv        optional: when each frame was captured, in a column stamp_s or stamp_ns
      data.csv         any numbers: a column stamp_s or stamp_ns, and columns of any name
      task.txt         optional: what was done, in words

The mapping calls cameras ``scene`` and tables ``data.csv``; paths of fields are column names.
Where a camera has no table of stamps: images whose names are numbers of 12 digits or more are
stamped so, in nanoseconds; otherwise frame i was captured at the stamp of row i of ``data.csv``,
if there are as many; and without ``data.csv`` a video has the times that are in the file, images
come at ``rate_hz``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from world_model.data.images import decode_still
from world_model.data.mapping import Mapping as ImportMapping
from world_model.data.spec import DatasetError
from world_model.data.streams import NS_PER_S, Item, Marker, Stream, make_stream
from world_model.data.video import decode_frames, frame_times_ns

_STILLS = (".png", ".jpg", ".jpeg")
_VIDEOS = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v")
_DATA = "data.csv"
_STAMP_DIGITS = 12
_NUMBER = re.compile(r"((?<!\d)(?<!\d\.)\d+)")


def find_folders(path: Path, mapping: ImportMapping) -> Sequence[FolderRecording]:
    """The episodes in a folder: those sub-folders that have the first camera, or the folder.

    Raises:
        DatasetError: there is none.
    """
    first = next(iter(mapping.cameras.values())).topic
    folders = [path] if _find(path, first) else sorted(p for p in path.iterdir() if _find(p, first))
    if not folders:
        raise DatasetError(
            f"{path}: neither bags nor a LeRobot data set, and no {first} (video or folder of "
            "images) in it or in its sub-folders; docs/data.md shows how files must lie"
        )
    return [FolderRecording(folder, mapping) for folder in folders]


class FolderRecording:
    """One folder; see `world_model.data.streams.Recording`."""

    def __init__(self, path: Path, mapping: ImportMapping) -> None:
        """Read nothing but the task yet."""
        self.name = str(path)
        task = path / "task.txt"
        self.task = task.read_text(encoding="utf-8").strip() if task.is_file() else ""
        self._path, self._mapping = path, mapping
        self._tables: dict[str, pa.Table] = {}

    def index(self) -> dict[str, Stream]:
        """Stamps of images and rows."""
        streams = {}
        for camera, source in self._mapping.cameras.items():
            stamps = self._image_stamps(source.topic)
            streams[camera] = make_stream(f"{self.name}: {source.topic}", stamps, source.delay_s)
        for key, signal in self._mapping.signals().items():
            stamps = self._stamps(signal.topic)
            streams[key] = make_stream(f"{self.name}: {signal.topic}", stamps, signal.delay_s)
        return streams

    def markers(self) -> list[Marker]:
        """None: an episode is a folder."""
        return []

    def read(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[Item]:
        """Decode the images wanted and take the rows wanted."""
        signals = self._mapping.signals()
        for key, ordinals in wanted.items():
            if key not in signals:
                yield from self._images(key, ordinals)
                continue
            columns = [
                self._column(signals[key].topic, path) for path in signals[key].paths.values()
            ]
            values = np.stack(columns, axis=1)
            for ordinal in ordinals.tolist():
                yield Item(key, ordinal, values[ordinal])

    def _images(self, camera: str, ordinals: NDArray[np.int64]) -> Iterator[Item]:
        path = self._camera(self._mapping.cameras[camera].topic)
        if path.is_dir():
            stills = _stills(path)
            for ordinal in ordinals.tolist():
                try:
                    pixels = decode_still(stills[ordinal].read_bytes())
                except (ValueError, OSError) as error:
                    raise DatasetError(f"{stills[ordinal]}: {error}") from error
                yield Item(camera, ordinal, pixels)
            return
        left = set(ordinals.tolist())
        for ordinal, pixels in enumerate(islice(decode_frames(path), int(ordinals.max()) + 1)):
            if ordinal in left:
                left.remove(ordinal)
                yield Item(camera, ordinal, pixels)
        if left:
            raise DatasetError(f"{path}: ends before frame {min(left)}")

    def _image_stamps(self, topic: str) -> NDArray[np.int64]:
        """When each image of a camera was captured; the module's text says how that is known."""
        path = self._camera(topic)
        names = [p.stem for p in _stills(path)] if path.is_dir() else []
        times = frame_times_ns(path) if path.is_file() else np.zeros(len(names), np.int64)
        if (self._path / f"{path.stem}.csv").is_file():
            stamps = self._stamps(f"{path.stem}.csv")
        elif names and all(n.isdigit() and len(n) >= _STAMP_DIGITS for n in names):
            return np.array([int(n) for n in names], np.int64)
        elif (self._path / _DATA).is_file():
            stamps = self._stamps(_DATA)
        elif names:
            return np.arange(len(names), dtype=np.int64) * self._mapping.period_ns
        else:
            return times
        if len(stamps) != len(times):
            raise DatasetError(
                f"{path}: {len(times)} images for {len(stamps)} stamps; say in {path.stem}.csv "
                "(column stamp_s) when each was captured"
            )
        return stamps

    def _camera(self, topic: str) -> Path:
        path = _find(self._path, topic)
        if path is None:
            raise DatasetError(f"{self._path}: no video and no folder of images named {topic!r}")
        return path

    def _table(self, topic: str) -> pa.Table:
        path = self._path / topic
        if topic not in self._tables:
            try:
                self._tables[topic] = pyarrow.csv.read_csv(path)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).splitlines()[0]
                raise DatasetError(f"{path}: table cannot be read ({reason})") from error
        return self._tables[topic]

    def _stamps(self, topic: str) -> NDArray[np.int64]:
        names = self._table(topic).column_names
        if "stamp_ns" in names:
            return self._column(topic, "stamp_ns").astype(np.int64)
        if "stamp_s" in names:
            return np.round(self._column(topic, "stamp_s") * NS_PER_S).astype(np.int64)
        raise DatasetError(f"{self._path / topic}: no column stamp_s or stamp_ns, only {names}")

    def _column(self, topic: str, name: str) -> NDArray[Any]:
        table = self._table(topic)
        if name not in table.column_names:
            raise DatasetError(
                f"{self._path / topic}: no column {name!r}, there are {table.column_names}"
            )
        column = table[name]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise DatasetError(f"{self._path / topic}: column {name!r} holds {column.type}")
        return column.to_numpy()


def _find(folder: Path, topic: str) -> Path | None:
    """The video or folder of images of a camera; None when there is none."""
    candidates = [folder / topic, *(folder / f"{topic}{suffix}" for suffix in _VIDEOS)]
    for path in candidates:
        if (path.is_file() and path.suffix in _VIDEOS) or (path.is_dir() and _stills(path)):
            return path
    return None


def _stills(folder: Path) -> list[Path]:
    """The images of a folder in the order of their names: 2.png before 10.png."""
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in _STILLS), key=_place)


def _place(still: Path) -> tuple[list[str | int], str]:
    """What a file is sorted by: text and numbers in turn; digits after a decimal point are text."""
    parts = _NUMBER.split(still.stem)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], still.name
