"""Ways to damage a data set, as recordings are damaged in practice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

VIDEO = "videos/observation.images.scene/chunk-000/file-000.mp4"
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def forget_hashes(path: Path) -> None:
    """Make it a set that carries no hashes, as those of other software."""
    edit_info(path, lambda info: info["foresee"].update(sha256={}))


def edit_info(path: Path, change: Callable[[dict], object]) -> None:
    file = path / "meta/info.json"
    info = json.loads(file.read_text())
    change(info)
    file.write_text(json.dumps(info))


def rewrite(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(file, partitioning=None)), file)


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    file.write_bytes(content)


def put(column: str, row: int, index: int, value: float) -> Callable[[pa.Table], pa.Table]:
    """Put a value into a column of vectors."""

    def change(table: pa.Table) -> pa.Table:
        values = np.stack(table.column(column).to_pylist()).astype(np.float32)
        values[row, index] = value
        arrow = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return table.set_column(table.column_names.index(column), column, arrow)

    return change


def put_stamp(row: int, add_ns: int) -> Callable[[pa.Table], pa.Table]:
    """Move one stamp in time."""

    def change(table: pa.Table) -> pa.Table:
        stamps = table.column("stamp_ns").to_numpy().copy()
        stamps[row] += add_ns
        at = table.column_names.index("stamp_ns")
        return table.set_column(at, "stamp_ns", pa.array(stamps))

    return change
