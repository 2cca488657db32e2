"""Makes a whole bag of one whose recorder was killed: every message up to the last chunk written.

Such a bag has no ``metadata.yaml`` and its MCAP file no index. It is read from the start for as
long as it makes sense and written anew; the new one takes its place.
"""

from __future__ import annotations

import fcntl
import shutil
import struct
import tempfile
from pathlib import Path
from typing import IO, Any

from mcap.exceptions import McapError
from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer, WriterError
from rosbags.typesys import Stores, get_typestore

from world_model.data.spec import DatasetError

# What the reader raises where a file ends in the middle of a record.
_CUT_OFF = (McapError, EOFError, struct.error, ValueError, OverflowError, MemoryError)


def unfinished(folder: Path) -> list[Path]:
    """MCAP files of a bag that was never finished; empty for a whole bag, or none."""
    if not folder.is_dir() or (folder / "metadata.yaml").exists():
        return []
    return sorted(folder.glob("*.mcap"))


def recover(folder: Path) -> int:
    """Make an unfinished bag whole, in its place.

    Returns:
        how many messages it has.

    Raises:
        DatasetError: it is still being recorded, nothing in it can be read, or there is no room.
    """
    draft = Path(tempfile.mkdtemp(prefix=".recover-", dir=folder.parent))
    try:
        count = 0
        writer = Writer(draft / folder.name, version=9, storage_plugin=StoragePlugin.MCAP)
        with writer:
            for path in unfinished(folder):
                with path.open("rb") as file:
                    _refuse_if_recording(file, path)
                    count += _copy(file, writer)
        if count == 0:
            raise DatasetError(f"{folder}: an unfinished bag without a single whole message")
        folder.rename(draft / "unfinished")
        (draft / folder.name).rename(folder)
    except (OSError, WriterError) as error:
        raise DatasetError(f"{folder}: unfinished bag, not recovered ({error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return count


def _refuse_if_recording(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DatasetError(f"{path}: is being recorded now; stop the recorder first") from error


def _copy(file: IO[bytes], writer: Writer) -> int:
    typestore = get_typestore(Stores.ROS2_JAZZY)
    schemas: dict[int, Schema] = {}
    connections: dict[int, Connection] = {}
    records: Any = StreamReader(file, record_size_limit=None).records
    count = 0
    while True:
        try:
            record = next(records)
        except (StopIteration, *_CUT_OFF):
            return count
        if isinstance(record, Schema):
            schemas[record.id] = record
        elif isinstance(record, Channel) and record.id not in connections:
            connections[record.id] = writer.add_connection(
                record.topic, schemas[record.schema_id].name, typestore=typestore
            )
        elif isinstance(record, Message):
            writer.write(connections[record.channel_id], record.log_time, record.data)
            count += 1
