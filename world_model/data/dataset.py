"""Read a data set folder: check that it is complete, decode single episodes."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    check_vectors,
)
from world_model.data.tables import integers, read_table, vectors
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
    """

    path: Path
    spec: DatasetSpec
    episodes: tuple[EpisodeInfo, ...]
    hashes: Mapping[str, str]

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
            index: number of the episode.

        Raises:
            IndexError: there is no such episode.
            DatasetError: its files are damaged or do not fit together.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path}: no episode {index}; there are {len(self)}")
        info = self.episodes[index]
        self.check_hash(info.data_file)
        rows = self.read_rows(info.data_file)[index]
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

    def read_rows(self, data_file: str) -> dict[int, Rows]:
        """Read the rows of all episodes of one parquet file and check them.

        Args:
            data_file: relative name, one of `files`.

        Returns:
            Episode index to its rows.

        Raises:
            DatasetError: the file is missing, damaged or does not fit the episode table.
        """
        path = self.path / data_file
        table = read_table(path)
        episode_index = integers(table, "episode_index", path)
        columns = {
            key: vectors(table, key, len(names), path)
            for key, names in layout.vector_columns(self.spec).items()
        }
        stamps = self._stamps(table, path)
        rows = {}
        for info in self.episodes:
            if info.data_file != data_file:
                continue
            at = np.flatnonzero(episode_index == info.index)
            if len(at) != info.length or (len(at) and at[-1] - at[0] + 1 != len(at)):
                raise DatasetError(
                    f"{path}: {len(at)} rows of episode {info.index}, "
                    f"the episode table says {info.length}"
                )
            part = slice(int(at[0]), int(at[-1]) + 1)
            for key, values in columns.items():
                check_vectors(
                    values[part],
                    (info.length, values.shape[1]),
                    f"{path}: episode {info.index}: {key}",
                )
            evaluation = columns.get(layout.EVALUATION)
            if evaluation is None:
                evaluation = np.zeros((len(episode_index), 0), dtype=np.float32)
            rows[info.index] = Rows(
                proprio=columns[layout.PROPRIO][part],
                actions=columns[layout.ACTION][part],
                evaluation=evaluation[part],
                stamps_ns=stamps[part],
            )
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


def open_dataset(path: str | Path) -> Dataset:
    """Open a LeRobotDataset v3 folder: read its tables and check that every file is there.

    Videos are decoded, and rows read, when they are asked for (`Dataset.episode`) or all at
    once by `world_model.data.cache.build_cache`.

    Raises:
        DatasetError: the folder is no data set, of another version, empty, or a file of it is
            missing or damaged; one line naming the file.
    """
    path = Path(path)
    info_path = path / layout.INFO
    info = _read_json(info_path, path)
    version = info.get("codebase_version")
    if version != layout.VERSION:
        raise DatasetError(
            f"{info_path}: data set of version {version!r}; this reads {layout.VERSION!r} only"
        )
    extra = info.get("foresee") or {}
    try:
        spec = DatasetSpec.from_json(extra["spec"]) if "spec" in extra else _spec_from(info, path)
        total = int(info["total_episodes"])
        data_path, video_path = str(info["data_path"]), str(info["video_path"])
        hashes = dict(extra.get("sha256", {}))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else error
        raise DatasetError(f"{info_path}: {reason}") from error
    if total == 0:
        raise DatasetError(
            f"{path}: holds no episode; its recording ended before the first file was written"
        )
    for name in hashes:
        if name.startswith("meta/"):
            check_hash(path / name, hashes[name])
    episodes = read_episodes(path, spec, total, data_path, video_path)
    dataset = Dataset(path, spec, episodes, hashes)
    for name in (*dataset.files(), layout.TASKS):
        if not (path / name).is_file():
            raise DatasetError(f"{path / name}: file of the data set is missing")
    return dataset


def _spec_from(info: Mapping[str, Any], path: Path) -> DatasetSpec:
    """Make the specification of a set that other software wrote; action limits are those seen."""
    stats = _read_json(path / layout.STATS, path)
    columns = info["features"]
    return DatasetSpec(
        fps=float(info["fps"]),
        cameras={
            key.removeprefix(layout.IMAGES): (column["shape"][0], column["shape"][1])
            for key, column in columns.items()
            if column["dtype"] == "video"
        },
        proprio_names=_names(columns[layout.PROPRIO], layout.PROPRIO),
        action_names=_names(columns[layout.ACTION], layout.ACTION),
        action_low=stats[layout.ACTION]["min"],
        action_high=stats[layout.ACTION]["max"],
        robot_type=str(info.get("robot_type") or "unknown"),
    )


def _names(column: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names of a vector's numbers; LeRobot allows a list, a dict of lists, or none."""
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
