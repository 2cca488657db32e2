"""The episode table: which rows and which frames of which files make an episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from world_model.data import layout
from world_model.data.checksums import CHECKSUMS
from world_model.data.spec import DatasetError, DatasetSpec
from world_model.data.tables import read_table


@dataclass(frozen=True)
class VideoPart:
    """Where the frames of an episode lie: ``[first_frame, first_frame + length)`` of a file."""

    file: str
    first_frame: int


@dataclass(frozen=True)
class EpisodeInfo:
    """One row of the episode table.

    Attributes:
        index: number of the episode.
        length: frames in it.
        task: what was done, in words.
        data_file: parquet file with its rows, relative to the data set.
        videos: camera name to where its frames are.
        checksums: column of `world_model.data.checksums` to what it says; empty for sets that
            other software wrote.
    """

    index: int
    length: int
    task: str
    data_file: str
    videos: Mapping[str, VideoPart]
    checksums: Mapping[str, Any] = field(default_factory=dict)


def check_hash(path: Path, expected: str | None) -> str:
    """Return the SHA-256 of a file, which must be the expected one where that is given.

    Raises:
        DatasetError: the file is missing, or is not what was written.
    """
    try:
        digest = layout.sha256(path)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: file of the data set is missing") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    if expected not in (None, digest):
        raise DatasetError(
            f"{path}: file is corrupt (its SHA-256 is not the one written); "
            "restore it or record the data set again"
        )
    return digest


def read_episodes(
    path: Path, spec: DatasetSpec, total: int, data_path: str, video_path: str
) -> tuple[EpisodeInfo, ...]:
    """Read the episode table; rows beyond ``total`` are of a write that was never finished.

    Args:
        path: folder of the data set.
        spec: names the cameras whose videos are looked up.
        total: number of episodes that count.
        data_path: template of parquet file names, from ``info.json``.
        video_path: template of video file names, from ``info.json``.

    Raises:
        DatasetError: a row is missing or not usable.
    """
    return read_episode_table(path, _videos(spec), spec.fps, total, data_path, video_path)


def read_episode_table(
    path: Path, videos: Mapping[str, str], fps: float, total: int, data_path: str, video_path: str
) -> tuple[EpisodeInfo, ...]:
    """Read the episode table of any LeRobotDataset; see `read_episodes`.

    Args:
        path: folder of the data set.
        videos: camera name to the name of its video in the table.
        fps: frames per second.
        total: number of episodes that count.
        data_path: template of parquet file names.
        video_path: template of video file names.
    """
    found: dict[int, EpisodeInfo] = {}
    for file in episode_files(path):
        found |= _read_file(file, videos, fps, data_path, video_path)
    missing = [index for index in range(total) if index not in found]
    if missing:
        raise DatasetError(
            f"{path / 'meta/episodes'}: no row for episode {missing[0]} of {total}; "
            "a parquet file is missing"
        )
    return tuple(found[index] for index in range(total))


def _videos(spec: DatasetSpec) -> dict[str, str]:
    return {camera: layout.video_key(camera) for camera in spec.cameras}


def episode_files(path: Path) -> list[Path]:
    """The files of the episode table that are there, in order."""
    return sorted((path / "meta/episodes").glob("chunk-*/file-*.parquet"))


def read_episode_file(
    file: Path, spec: DatasetSpec, data_path: str, video_path: str
) -> dict[int, EpisodeInfo]:
    """Read one file of the episode table; arguments as of `read_episodes`.

    Raises:
        DatasetError: it is missing, damaged or not usable.
    """
    return _read_file(file, _videos(spec), spec.fps, data_path, video_path)


def _read_file(
    file: Path, videos: Mapping[str, str], fps: float, data_path: str, video_path: str
) -> dict[int, EpisodeInfo]:
    table = read_table(file)
    try:
        rows = [_episode_info(row, videos, fps, data_path, video_path) for row in table.to_pylist()]
    except (LookupError, TypeError, ValueError) as error:
        raise DatasetError(f"{file}: episode table is not usable ({error!r})") from error
    return {row.index: row for row in rows}


def _episode_info(
    row: Mapping[str, Any], keys: Mapping[str, str], fps: float, data_path: str, video_path: str
) -> EpisodeInfo:
    if row["length"] < 1:
        raise ValueError(f"length of episode {row['episode_index']} is {row['length']}")
    videos = {}
    for camera, key in keys.items():
        file = video_path.format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        videos[camera] = VideoPart(file, round(row[f"videos/{key}/from_timestamp"] * fps))
    return EpisodeInfo(
        index=int(row["episode_index"]),
        length=int(row["length"]),
        task=str(row["tasks"][0]),
        data_file=data_path.format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        ),
        videos=videos,
        checksums={key: value for key, value in row.items() if key.startswith(CHECKSUMS)},
    )
