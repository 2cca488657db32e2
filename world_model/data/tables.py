"""Parquet tables: read them whole, take columns out of them as NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from world_model.data.spec import DatasetError


def read_table(path: Path) -> pa.Table:
    """Read a parquet file whole.

    Raises:
        DatasetError: it is missing or damaged.
    """
    try:
        return pq.read_table(path, partitioning=None, memory_map=False)
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: file of the data set is missing") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: parquet file is damaged ({_reason(error)})") from error


def read_whole_groups(path: Path) -> pa.Table:
    """Read the row groups of a damaged parquet file that can be read; a group is an episode here.

    Raises:
        DatasetError: it is missing, or none can be read.
    """
    groups: list[pa.Table] = []
    try:
        file = pq.ParquetFile(path)
        for index in range(file.num_row_groups):
            try:
                groups.append(file.read_row_group(index))
            except (pa.ArrowException, OSError):
                continue
        return pa.concat_tables(groups)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path}: parquet file is damaged ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].split("': ")[-1]


def _column(table: pa.Table, key: str, path: Path) -> pa.ChunkedArray:
    if key not in table.column_names:
        raise DatasetError(f"{path}: column {key!r} is missing, there are {table.column_names}")
    return table.column(key)


def integers(table: pa.Table, key: str, path: Path) -> NDArray[np.int64]:
    """Return a column of whole numbers as ``(T,)``; `DatasetError` when it is none."""
    column = _column(table, key, path)
    if column.null_count or not pa.types.is_integer(column.type):
        raise DatasetError(f"{path}: column {key!r} holds {column.type}, expected int64")
    return column.to_numpy().astype(np.int64, copy=False)


def vectors(table: pa.Table, key: str, width: int, path: Path) -> NDArray[np.float32]:
    """Return a column of vectors as ``(T, width)``; `DatasetError` when it is none."""
    try:
        values = vectors_from_arrow(_column(table, key, path))
    except DatasetError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DatasetError(f"{path}: column {key!r}: {reason}") from error
    if values.shape[1] != width:
        raise DatasetError(
            f"{path}: column {key!r} holds vectors of {values.shape[1]}, the data set says {width}"
        )
    return values


def vectors_to_arrow(values: NDArray[np.float32]) -> pa.Array:
    """Return ``(T, width)`` as an Arrow column of vectors (LeRobot: of numbers when width is 1)."""
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    width = values.shape[1]
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def vectors_from_arrow(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Return an Arrow column of vectors or numbers as ``(T, width)`` float32.

    Raises:
        DatasetError: the column holds something else, nothing in places, or uneven vectors.
    """
    length = len(column)
    if column.null_count:
        raise DatasetError(f"{column.null_count} of {length} values are missing")
    kind = column.type
    is_list = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    number = kind.value_type if is_list else kind
    if not (pa.types.is_floating(number) or pa.types.is_integer(number)):
        raise DatasetError(f"holds {kind}, expected vectors of float32")
    flat = column.combine_chunks().flatten() if is_list else column.combine_chunks()
    values = flat.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    if length == 0 or len(values) % length:
        raise DatasetError(f"{len(values)} numbers in {length} rows do not make vectors")
    if pa.types.is_list(kind):
        lengths = column.combine_chunks().value_lengths().to_numpy(zero_copy_only=False)
        if (lengths != lengths[0]).any():
            raise DatasetError("vectors differ in length")
    return values.reshape(length, -1)
