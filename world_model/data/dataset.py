"""Read a data set folder: check that it is complete, decode single episodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from world_model.data import layout
from world_model.data.episodes import EpisodeInfo, check_hash, read_episodes
from world_model.data.spec import (
    DatasetError,
    DatasetSpec,
    Episode,
    check_episode,
    check_stamps,
    check_vectors,
)
from world_model.data.tables import integers, read_table, read_whole_groups, vectors
from world_model.data.video import decode_frames
from world_model.data.writer import DatasetWriter

__all__ = ["Dataset", "DatasetError", "DatasetSpec", "DatasetWriter", "Episode", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """An opened data set; made by `open_dataset`.

    Attributes:
        path: its folder.
        spec: what every frame holds.
        episodes: the episode table, in order.
        hashes: relative file name to SHA-256 as it was written; empty for sets that other
            software wrote.
        left_out: indices of the episodes that were found damaged and left out of ``episodes``.
    """

    path: Path
    spec: DatasetSpec
    episodes: tuple[EpisodeInfo, ...]
    hashes: Mapping[str, str]
    left_out: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.episodes)

    @property
    def frames(self) -> int:
        """Number of frames over all episodes."""
        return sum(info.length for info in self.episodes)

    def files(self) -> list[str]:
        """Return every parquet and video file the episodes use, relative, sorted."""
        names = {info.data_file for info in self.episodes}
        names |= {part.file for info in self.episodes for part in info.videos.values()}
        return sorted(names)

    def check_hash(self, name: str) -> str:
        """Compare a file with its hash as written, where that is known.

        Damage that a decoder paints over, or a changed number in a table, is found only here.

        Args:
            name: file name relative to the data set.

        Returns:
            The SHA-256 of the file, hexadecimal.

        Raises:
            DatasetError: the file is missing or is not what was written.
        """
        return check_hash(self.path / name, self.hashes.get(name))

    def episode(self, index: int) -> Episode:
        """Read and decode one episode, true state for evaluation included.

        Args:
            index: place of the episode in ``episodes``.

        Raises:
            IndexError: there is no such episode.
            DatasetError: its files are damaged or do not fit together.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: no episode {index}; there are {len(self)}")
        info = self.episodes[index]
        self.check_hash(info.data_file)
        rows = self.read_rows(info.data_file)[info.index]
        images = {}
        for camera, part in info.videos.items():
            video = self.path / part.file
            self.check_hash(part.file)
            decoded = decode_frames(video, part.first_frame, self.spec.fps)
            frames = list(islice(decoded, info.length))
            if len(frames) != info.length:
                raise DatasetError(
                    f"{video}: ends after frame {part.first_frame + len(frames)}, "
                    f"episode {index} needs {part.first_frame + info.length} frames"
                )
            images[camera] = np.stack(frames)
        episode = Episode(
            images=images,
            proprio=rows.proprio,
            actions=rows.actions,
            evaluation=rows.evaluation,
            task=info.task,
            stamps_ns=rows.stamps_ns,
        )
        check_episode(episode, self.spec, f"{self.path}: episode {index}")
        return episode

    def read_rows(
        self,
        data_file: str,
        refuse: Callable[[EpisodeInfo, DatasetError], None] | None = None,
        damaged: bool = False,
    ) -> dict[int, Rows]:
        """Read the rows of all episodes of one parquet file and check them.

        Args:
            data_file: relative name, one of `files`.
            refuse: is told of an episode whose rows are wrong, which is then left out; without
                it the first one raises.
            damaged: read what can be read of a damaged file.

        Returns:
            Episode index to its rows.

        Raises:
            DatasetError: the file is missing, damaged or does not fit the episode table.
        """
        path = self.path / data_file
        damaged = damaged or bool(self.left_out)
        table = read_whole_groups(path) if damaged else read_table(path)
        episode_index = integers(table, "episode_index", path)
        columns = {
            key: vectors(table, key, len(names), path)
            for key, names in layout.vector_columns(self.spec).items()
        }
        stamps = self._stamps(table, path)
        for key in (layout.PROPRIO, layout.ACTION, layout.EVALUATION):
            columns.setdefault(key, np.zeros((len(stamps), 0), dtype=np.float32))
        rows = {}
        for info in self.episodes:
            if info.data_file != data_file:
                continue
            try:
                rows[info.index] = _rows_of(info, episode_index, columns, stamps, path)
            except DatasetError as error:
                if refuse is None:
                    raise
                refuse(info, error)
        return rows

    def _stamps(self, table: pa.Table, path: Path) -> NDArray[np.int64]:
        """Return stamps; sets of other software have only the time since the episode began."""
        if layout.STAMP in table.column_names:
            return integers(table, layout.STAMP, path)
        return np.round(integers(table, "frame_index", path) * (1e9 / self.spec.fps)).astype(
            np.int64
        )


@dataclass(frozen=True)
class Rows:
    """What the parquet file holds of one episode; see `Episode` for shapes and units."""

    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]
    evaluation: NDArray[np.float32]
    stamps_ns: NDArray[np.int64]


def _rows_of(
    info: EpisodeInfo,
    episode_index: NDArray[np.int64],
    columns: Mapping[str, NDArray[np.float32]],
    stamps_ns: NDArray[np.int64],
    path: Path,
) -> Rows:
    """Cut one episode out of the columns of a file and check it."""
    name = f"{path}: episode {info.index}"
    at = np.flatnonzero(episode_index == info.index)
    if not len(at):
        raise DatasetError(f"{name}: its {info.length} rows are missing or cannot be read")
    if len(at) != info.length or (len(at) and at[-1] - at[0] + 1 != len(at)):
        raise DatasetError(
            f"{path}: {len(at)} rows of episode {info.index}, the episode table says {info.length}"
        )
    part = slice(int(at[0]), int(at[-1]) + 1)
    for key, values in columns.items():
        check_vectors(values[part], (info.length, values.shape[1]), f"{name}: {key}")
    check_stamps(stamps_ns[part], name)
    return Rows(
        proprio=columns[layout.PROPRIO][part],
        actions=columns[layout.ACTION][part],
        evaluation=columns[layout.EVALUATION][part],
        stamps_ns=stamps_ns[part],
    )


@dataclass(frozen=True)
class Info:
    """What ``meta/info.json`` says.

    Attributes:
        spec: what every frame holds.
        limits_declared: whether the action limits are the robot's, not just those seen.
        total: number of episodes that count.
        frames: number of frames in them.
        data_path: template of parquet file names.
        video_path: template of video file names.
        hashes: see `Dataset`.
    """

    spec: DatasetSpec
    limits_declared: bool
    total: int
    frames: int
    data_path: str
    video_path: str
    hashes: Mapping[str, str]


def open_dataset(path: str | Path) -> Dataset:
    """Open a LeRobotDataset v3 folder: read its tables and check that every file is there.

    Videos are decoded, and rows read, when they are asked for (`Dataset.episode`) or all at
    once by `world_model.data.cache.build_cache`.

    Raises:
        DatasetError: the folder is no data set, of another version, empty, or a file of it is
            missing or damaged; one line naming the file.
    """
    path = Path(path)
    info = read_info(path)
    for name in info.hashes:
        if name.startswith("meta/"):
            check_hash(path / name, info.hashes[name])
    episodes = read_episodes(path, info.spec, info.total, info.data_path, info.video_path)
    dataset = Dataset(path, info.spec, episodes, info.hashes)
    for name in (*dataset.files(), layout.TASKS):
        if not (path / name).is_file():
            raise DatasetError(f"{path / name}: file of the data set is missing")
    return dataset


def read_info(path: Path) -> Info:
    """Read ``meta/info.json``.

    Raises:
        DatasetError: the folder is no data set, of another version, or empty.
    """
    info_path = path / layout.INFO
    info = _read_json(info_path, path)
    version = info.get("codebase_version")
    if version != layout.VERSION:
        raise DatasetError(
            f"{info_path}: data set of version {version!r}; this reads {layout.VERSION!r} only"
        )
    extra = info.get("foresee") or {}
    try:
        read = Info(
            spec=DatasetSpec.from_info(extra) if "spec" in extra else _spec_from(info, path),
            limits_declared="spec" in extra,
            total=int(info["total_episodes"]),
            frames=int(info["total_frames"]),
            data_path=str(info["data_path"]),
            video_path=str(info["video_path"]),
            hashes=dict(extra.get("sha256", {})),
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else error
        raise DatasetError(f"{info_path}: {reason}") from error
    if read.total == 0:
        raise DatasetError(
            f"{path}: holds no episode; its recording ended before the first file was written"
        )
    return read


def _spec_from(info: Mapping[str, Any], path: Path) -> DatasetSpec:
    """Make the specification of a set that other software wrote; action limits are those seen."""
    columns = info["features"]
    limits: dict[str, Any] = {"min": (), "max": ()}
    if layout.ACTION in columns:
        limits = _read_json(path / layout.STATS, path)[layout.ACTION]
    return DatasetSpec(
        fps=float(info["fps"]),
        cameras={
            key.removeprefix(layout.IMAGES): (column["shape"][0], column["shape"][1])
            for key, column in columns.items()
            if column["dtype"] == "video"
        },
        proprio_names=element_names(columns, layout.PROPRIO),
        action_names=element_names(columns, layout.ACTION),
        action_low=limits["min"],
        action_high=limits["max"],
        robot_type=str(info.get("robot_type") or "unknown"),
    )


def element_names(columns: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names of a vector's numbers; LeRobot allows a list, a dict of lists, or none.

    Args:
        columns: ``features`` of ``info.json``.
        key: name of the column; one that is not there has no numbers.
    """
    if key not in columns:
        return ()
    column = columns[key]
    names = column.get("names")
    if isinstance(names, Mapping):
        names = [name for group in names.values() for name in group]
    if not names or len(names) != column["shape"][0]:
        names = [f"{key}.{index}" for index in range(column["shape"][0])]
    return tuple(str(name) for name in names)


def _read_json(path: Path, dataset: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "is no data set folder" if dataset.is_dir() else "no such data set folder"
        raise DatasetError(f"{dataset}: {what} ({path.name} is missing)") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: holds no JSON object")
    return values
