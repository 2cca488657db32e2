"""LeRobotDataset v3 on disk: where files lie, what their columns are, files replaced whole.

`benchmarks/lerobot_load.py` checks with the lerobot library itself that it reads the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from world_model.data.spec import DatasetSpec

VERSION = "v3.0"
FILES_PER_CHUNK = 1000

INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
# Of an import: what it did, and what it left out.
REPORT = "meta/import.json"
SKIPPED = "meta/skipped.json"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

PROPRIO = "observation.state"
ACTION = "action"
EVALUATION = "evaluation"
STAMP = "stamp_ns"
IMAGES = "observation.images."


def video_key(camera: str) -> str:
    """Return LeRobot's name of a camera's video."""
    return IMAGES + camera


def features(spec: DatasetSpec) -> dict[str, Any]:
    """Return LeRobot's description of every column and video."""
    video_info = {"video.codec": "h264", "video.pix_fmt": "yuv444p", "has_audio": False}
    columns: dict[str, Any] = {
        video_key(camera): {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {**video_info, "video.fps": spec.fps},
        }
        for camera, (height, width) in spec.cameras.items()
    }
    for key, names in vector_columns(spec).items():
        columns[key] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    columns["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for key in (STAMP, "frame_index", "episode_index", "index", "task_index"):
        columns[key] = {"dtype": "int64", "shape": [1], "names": None}
    return columns


def vector_columns(spec: DatasetSpec) -> dict[str, tuple[str, ...]]:
    """Return column name to the names of its numbers, for the float32 columns there are."""
    columns = {
        PROPRIO: spec.proprio_names,
        ACTION: spec.action_names,
        EVALUATION: spec.evaluation_names,
    }
    return {key: names for key, names in columns.items() if names}


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file beside its place and move it there, so that no half file is ever seen.

    Args:
        path: the file; its folder is made.
        write: writes to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(values, indent=2, allow_nan=False)
    write_whole(path, lambda temporary: _write_text(temporary, text + "\n"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
