"""Write episodes as a LeRobotDataset v3 folder that is valid whenever writing stops."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from world_model.data import layout
from world_model.data.checksums import ROWS, frame_checksums, rows_checksum, video_column
from world_model.data.spec import DatasetError, DatasetSpec, Episode, check_episode
from world_model.data.stats import RunningStats
from world_model.data.tables import vectors_to_arrow
from world_model.data.video import encode_frames, write_video
from world_model.data.written import Written, read_written


@dataclass(frozen=True)
class _Encoded:
    """One episode, ready to be written: nothing can fail on its account any more."""

    packets: Mapping[str, list[av.Packet]]
    table: pa.Table
    rows_checksum: int
    task: str
    stats: Mapping[str, RunningStats]


class DatasetWriter:
    """Write a new data set; use it as a context manager.

    Episodes are encoded as they come and kept in memory (under 1 kB a frame at 64 px) until
    ``frames_per_file`` frames are there. Then video, table and, last, ``meta/info.json`` are
    written, each replaced whole: whatever ends the process, the folder is a valid data set of
    the episodes written until then. Leaving the ``with`` block writes what is left, after an
    exception or Ctrl-C too; an episode is in the set whole or not at all.

    Not thread-safe: one thread adds.

    Args:
        path: folder to make; may exist if it is empty.
        spec: what every episode holds.
        frames_per_file: frames after which files are written and new ones begun. Less memory
            and less to lose when killed, against more files.
        origin: where the episodes come from, as JSON types; kept in ``info.json``.
        resume: go on with a folder that was begun with the same specification and origin; what
            was written before it ended is kept.

    Raises:
        DatasetError: the folder holds something already, cannot be made, or cannot be resumed.
    """

    def __init__(
        self,
        path: str | Path,
        spec: DatasetSpec,
        frames_per_file: int = 2000,
        origin: Mapping[str, Any] | None = None,
        resume: bool = False,
    ) -> None:
        """Make the folder and write an ``info.json`` of no episodes."""
        if frames_per_file < 1:
            raise DatasetError(f"frames_per_file must be at least 1, got {frames_per_file}")
        self.path = Path(path)
        self.spec = spec
        self._frames_per_file = frames_per_file
        self._pending: list[_Encoded] = []
        self._origin = origin
        self._written = Written()
        self._tasks: dict[str, int] = {}
        if resume and (self.path / layout.INFO).is_file():
            self._written = read_written(self.path, spec, origin)
            self._tasks = dict(self._written.tasks)
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            occupied = any(self.path.iterdir())
        except OSError as error:
            raise DatasetError(
                f"{self.path}: cannot make the data set folder ({error.strerror})"
            ) from error
        if occupied:
            raise DatasetError(
                f"{self.path}: folder is not empty; choose a new one or remove it first"
            )
        self._write_info(self._written)

    def __enter__(self) -> DatasetWriter:
        """Return the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what was added, whatever ended the block."""
        self.flush()

    @property
    def episodes(self) -> int:
        """Episodes added so far."""
        return self._written.episodes + len(self._pending)

    @property
    def frames(self) -> int:
        """Frames added so far."""
        return self._written.frames + self._pending_frames

    @property
    def stats(self) -> Mapping[str, RunningStats]:
        """Column to the statistics of all episodes added so far."""
        return self._merged_stats()

    @property
    def _pending_frames(self) -> int:
        return sum(encoded.table.num_rows for encoded in self._pending)

    def add(self, episode: Episode) -> None:
        """Check and encode one episode; write files when enough frames are there.

        Raises:
            DatasetError: the episode is not what the specification says, or the disk is full.
        """
        name = f"{self.path}: episode {self.episodes}"
        check_episode(episode, self.spec, name)
        first = self._pending_frames
        packets = {
            camera: encode_frames(episode.images[camera], self.spec.fps, first)
            for camera in self.spec.cameras
        }
        # One append: an interrupt falls before it or after it, never inside an episode.
        self._pending.append(
            _Encoded(
                packets,
                self._table(episode),
                rows_checksum(_numbers(episode)),
                episode.task,
                self._episode_stats(episode),
            )
        )
        if self._pending_frames >= self._frames_per_file:
            self.flush()

    def flush(self) -> None:
        """Write the episodes added since the last file; afterwards they survive anything.

        Raises:
            DatasetError: the files cannot be written (disk full, folder removed).
        """
        if not self._pending:
            return
        try:
            self._write_files()
        except OSError as error:
            raise DatasetError(
                f"{self.path}: cannot write the data set ({error.strerror or error}); "
                f"the {self._written.episodes} episodes written before remain usable"
            ) from error

    def _table(self, episode: Episode) -> pa.Table:
        """Return the rows of an episode; the task's number is filled in here too."""
        length = len(episode)
        vectors = self._vectors(episode)
        frame_index = np.arange(length, dtype=np.int64)
        columns = {key: vectors_to_arrow(vectors[key]) for key in layout.vector_columns(self.spec)}
        columns["timestamp"] = pa.array((frame_index / self.spec.fps).astype(np.float32))
        columns[layout.STAMP] = pa.array(episode.stamps_ns.astype(np.int64))
        columns["frame_index"] = pa.array(frame_index)
        columns["episode_index"] = pa.array(np.full(length, self.episodes, dtype=np.int64))
        columns["index"] = pa.array(frame_index + self.frames)
        task_index = self._tasks.setdefault(episode.task, len(self._tasks))
        columns["task_index"] = pa.array(np.full(length, task_index, dtype=np.int64))
        return pa.table(columns)

    def _vectors(self, episode: Episode) -> dict[str, NDArray[np.float32]]:
        """Return column name to the vectors of an episode."""
        return {
            layout.PROPRIO: episode.proprio,
            layout.ACTION: episode.actions,
            layout.EVALUATION: episode.evaluation,
        }

    def _episode_stats(self, episode: Episode) -> dict[str, RunningStats]:
        vectors = self._vectors(episode)
        stats = {key: RunningStats.of(vectors[key]) for key in layout.vector_columns(self.spec)}
        for camera in self.spec.cameras:
            # Every tenth frame, as LeRobot does: images change slowly, statistics hardly at all.
            pixels: NDArray[Any] = episode.images[camera][::10].reshape(-1, 3)
            stats[layout.video_key(camera)] = RunningStats.of(pixels, scale=1 / 255)
        return stats

    def _write_files(self) -> None:
        """Write what is pending; done again from the start if it was interrupted anywhere."""
        chunk_index, file_index = divmod(self._written.files, layout.FILES_PER_CHUNK)
        place = {"chunk_index": chunk_index, "file_index": file_index}
        hashes = dict(self._written.hashes)
        checksums = {}
        for camera, size in self.spec.cameras.items():
            name = layout.VIDEO.format(video_key=layout.video_key(camera), **place)
            packets = [p for encoded in self._pending for p in encoded.packets[camera]]
            write = partial(write_video, packets=packets, size=size, fps=self.spec.fps)
            layout.write_whole(self.path / name, write)
            hashes[name] = layout.sha256(self.path / name)
            checksums[camera] = list(frame_checksums(self.path / name))
        name = layout.DATA.format(**place)
        tables = [encoded.table for encoded in self._pending]
        layout.write_whole(self.path / name, lambda path: _write_groups(path, tables))
        hashes[name] = layout.sha256(self.path / name)
        name = layout.EPISODES.format(**place)
        rows = pa.Table.from_pylist(self._episode_rows(place, checksums))
        layout.write_whole(self.path / name, lambda path: pq.write_table(rows, path))
        hashes[name] = layout.sha256(self.path / name)
        written = Written(
            files=self._written.files + 1,
            episodes=self.episodes,
            frames=self.frames,
            hashes=hashes,
            stats=self._merged_stats(),
            tasks=dict(self._tasks),
        )
        self._write_tasks()
        layout.write_json(
            self.path / layout.STATS,
            {
                key: stats.to_json(is_image=key.startswith(layout.IMAGES))
                for key, stats in written.stats.items()
            },
        )
        self._write_info(written)
        self._written, self._pending = written, []

    def _merged_stats(self) -> dict[str, RunningStats]:
        merged = dict(self._written.stats)
        for encoded in self._pending:
            for key, stats in encoded.stats.items():
                merged[key] = merged[key] + stats if key in merged else stats
        return merged

    def _episode_rows(
        self, place: Mapping[str, int], checksums: Mapping[str, list[int]]
    ) -> list[dict[str, Any]]:
        """Return the rows of ``meta/episodes`` for the pending episodes.

        Args:
            place: of the files they are in.
            checksums: camera to those of every frame in its video file.
        """
        rows = []
        start = 0
        for number, encoded in enumerate(self._pending):
            length = encoded.table.num_rows
            row: dict[str, Any] = {
                "episode_index": self._written.episodes + number,
                "tasks": [encoded.task],
                "length": length,
                "dataset_from_index": self._written.frames + start,
                "dataset_to_index": self._written.frames + start + length,
                ROWS: encoded.rows_checksum,
            }
            for part in ("data", "meta/episodes"):
                row |= {f"{part}/{key}": value for key, value in place.items()}
            for camera in self.spec.cameras:
                part = f"videos/{layout.video_key(camera)}"
                row |= {f"{part}/{key}": value for key, value in place.items()}
                row[f"{part}/from_timestamp"] = start / self.spec.fps
                row[f"{part}/to_timestamp"] = (start + length) / self.spec.fps
                row[video_column(camera)] = checksums[camera][start : start + length]
            rows.append(row)
            start += length
        return rows

    def _write_tasks(self) -> None:
        """Write the task table; LeRobot reads it with pandas and wants the task as the index."""
        table = pa.table(
            {
                "task_index": pa.array(list(self._tasks.values()), pa.int64()),
                "task": pa.array(list(self._tasks), pa.string()),
            }
        )
        described = [
            {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy}
            | {"metadata": None}
            for name, kind, numpy in (
                ("task_index", "int64", "int64"),
                ("task", "unicode", "object"),
            )
        ]
        pandas = {"index_columns": ["task"], "column_indexes": [], "columns": described}
        table = table.replace_schema_metadata({"pandas": json.dumps(pandas)})
        layout.write_whole(self.path / layout.TASKS, lambda path: pq.write_table(table, path))

    def _write_info(self, written: Written) -> None:
        """Write ``meta/info.json``, which says how many episodes count: the commit."""
        fps = self.spec.fps
        layout.write_json(
            self.path / layout.INFO,
            {
                "codebase_version": layout.VERSION,
                "robot_type": self.spec.robot_type,
                "total_episodes": written.episodes,
                "total_frames": written.frames,
                "total_tasks": len(self._tasks),
                "chunks_size": layout.FILES_PER_CHUNK,
                "data_files_size_in_mb": 100,
                "video_files_size_in_mb": 200,
                "fps": int(fps) if fps == int(fps) else fps,
                "splits": {"train": f"0:{written.episodes}"},
                "data_path": layout.DATA,
                "video_path": layout.VIDEO,
                "features": layout.features(self.spec),
                # What LeRobot has no field for; its loader reads past it.
                "foresee": {
                    "spec": self.spec.to_json(),
                    "sha256": dict(written.hashes),
                    "sums": written.sums(),
                    "origin": self._origin,
                },
            },
        )


def _numbers(episode: Episode) -> dict[str, NDArray[Any]]:
    """The numbers of an episode by column, as a reader gets them back."""
    return {
        layout.PROPRIO: episode.proprio.astype(np.float32, copy=False),
        layout.ACTION: episode.actions.astype(np.float32, copy=False),
        layout.EVALUATION: episode.evaluation.astype(np.float32, copy=False),
        layout.STAMP: episode.stamps_ns.astype(np.int64, copy=False),
    }


def _write_groups(path: Path, tables: list[pa.Table]) -> None:
    """Write one parquet row group per episode, so that one episode is read without the rest."""
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
