"""Makes a whole bag of one whose recorder was killed: every message up to the last chunk written.

Such a bag has no ``metadata.yaml`` and its MCAP file no index. It is read from the start for as
long as it makes sense and written anew. The new file takes the place of the old one, which stays
beside it as ``NAME.mcap.unfinished``: what comes after damage in the middle is in that one alone.
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
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore

from world_model.data.spec import DatasetError

# What the reader raises where a file ends in the middle of a record, and on records that were
# changed: a LookupError is a message of a topic that was never announced.
_CUT_OFF = (
    McapError,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
    MemoryError,
    LookupError,
)


def unfinished(folder: Path) -> Path | None:
    """The MCAP file of a bag that `recorder_node` never finished; None for any other folder.

    Files of another recorder are left alone: nothing says whether it still writes them.
    """
    file = folder / f"{folder.resolve().name}.mcap"
    return file if file.is_file() and not (folder / "metadata.yaml").exists() else None


def recover(folder: Path) -> int:
    """Make an unfinished bag whole, in its place.

    Returns:
        how many messages it has; 0 when there was nothing to do.

    Raises:
        DatasetError: it is still being recorded, nothing in it can be read, or there is no room.
    """
    file = unfinished(folder)
    if file is None:
        return 0
    draft: Path | None = None
    try:
        draft = Path(tempfile.mkdtemp(prefix=".recover-", dir=folder))
        made = draft / file.stem
        with (
            file.open("rb") as content,
            Writer(made, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
        ):
            _refuse_if_recording(content, file)
            count = _copy(content, writer)
        if count == 0:
            raise DatasetError(f"{folder}: an unfinished bag without a single whole message")
        kept = file.with_name(f"{file.name}.unfinished")
        if not kept.exists():
            file.rename(kept)
        (made / file.name).replace(file)
        (made / "metadata.yaml").rename(folder / "metadata.yaml")
    except (OSError, WriterError, TypesysError) as error:
        raise DatasetError(f"{folder}: unfinished bag, not recovered ({error})") from error
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return count


def _refuse_if_recording(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise DatasetError(f"{path}: is being recorded now; stop the recorder first") from error


def _copy(file: IO[bytes], writer: Writer) -> int:
    """Copy every message up to the first record that makes no sense; return how many."""
    types = get_typestore(Stores.EMPTY)  # as they were recorded, known here or not
    schemas: dict[int, Schema] = {}
    connections: dict[int, Connection] = {}
    records: Any = StreamReader(file, validate_crcs=True, record_size_limit=None).records
    count = 0
    while True:
        try:
            record = next(records)
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel) and record.id not in connections:
                schema = schemas[record.schema_id]
                types.register(get_types_from_msg(schema.data.decode(), schema.name))
                connections[record.id] = writer.add_connection(
                    record.topic, schema.name, typestore=types
                )
            elif isinstance(record, Message):
                writer.write(connections[record.channel_id], record.log_time, record.data)
                count += 1
        except (StopIteration, *_CUT_OFF):
            return count
