"""Read ROS 2 bags, as `recorder_node` or ``ros2 bag record`` write them; needs no ROS."""

from __future__ import annotations

import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import apsw
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.reader import DirectoryReader
from rosbags.rosbag2.storage_mcap import McapReader
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
from rosbags.typesys import Stores, TypesysError, get_typestore

from world_model.data.recover import recover
from world_model.data.spec import DatasetError

if sys.version_info >= (3, 14):  # as rosbags has it
    from compression.zstd import ZstdError
else:
    from backports.zstd import ZstdError

# What rosbags raises on truncated files and flipped bytes: UnicodeDecodeError is a ValueError,
# MemoryError comes of a record that claims to be exabytes long, RuntimeError of lz4, TypeError and
# AttributeError of a file that ends where one more byte is expected and of settings that are none,
# TypesysError of types.
_DAMAGE = (
    AnyReaderError,
    ReaderError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    AttributeError,
    AssertionError,
    TypesysError,
    struct.error,
    apsw.Error,
    ZstdError,
)


class BagMessage(NamedTuple):
    """One recorded message.

    Attributes:
        topic: its topic.
        stamp_ns: when it was *recorded*; the capture time of an image is in its header.
        message: the fields of the ROS message as attributes; numeric arrays are NumPy arrays.
    """

    topic: str
    stamp_ns: int
    message: Any


class RawMessage(NamedTuple):
    """One recorded message, not taken apart; `Bag.deserialize` does that."""

    topic: str
    stamp_ns: int
    data: bytes
    kind: str


class Bag:
    """An open bag; use it as a context manager. Not thread-safe.

    Args:
        path: folder of the bag (MCAP or SQLite), or an ``.mcap`` or ``.db3`` file. A folder whose
            recorder was killed is made whole first.

    Raises:
        DatasetError: there is no bag, or it is damaged; one line.
    """

    def __init__(self, path: str | Path) -> None:
        """Open it."""
        self.path = Path(path)
        if not self.path.exists():
            raise DatasetError(f"{self.path}: no such bag")
        recover(self.path)
        self._open = ExitStack()
        with self._damage():
            reader = AnyReader([self.path], default_typestore=get_typestore(Stores.ROS2_JAZZY))
            self._reader = self._open.enter_context(reader)

    def __enter__(self) -> Bag:
        """Return the bag itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._open.close()

    @property
    def topics(self) -> dict[str, tuple[str, int]]:
        """Topic to type, such as ``sensor_msgs/msg/Image``, and number of messages."""
        topics: dict[str, tuple[str, int]] = {}
        for connection in self._reader.connections:
            _, count = topics.get(connection.topic, ("", 0))
            topics[connection.topic] = (connection.msgtype, count + connection.msgcount)
        return topics

    def has_header(self, topic: str) -> bool:
        """Whether the messages of a topic begin with a ``std_msgs/Header``, and so with a stamp."""
        with self._damage():
            fields = self._reader.typestore.fielddefs[self.topics[topic][0]][1]
        return bool(fields) and fields[0][0] == "header"

    def set_back_ns(self) -> int:
        """How far the time of recording goes back on the way; `raw` sorts, and does not show it.

        By the messages of an SQLite file; by the chunks of an MCAP file that share a topic, so that
        what lies in one chunk, half a second of `recorder_node`, counts as one time.
        """
        with self._damage():
            reader: Any = self._reader.readers[0]
            storage = reader.storage
            several = isinstance(storage, DirectoryReader)
            parts: list[Any] = storage.storages if several else [storage]
            return max(map(_set_back_ns, parts), default=0)

    def raw(
        self,
        topics: Collection[str] = (),
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """Read messages in the order of their recording, one at a time.

        Args:
            topics: read these alone; all when empty.
            start_ns: leave out what was recorded before.
            stop_ns: leave out what was recorded then or later.

        Raises:
            DatasetError: the bag is damaged, or a topic is not in it; one line.
        """
        known = {connection.topic for connection in self._reader.connections}
        if missing := sorted(set(topics) - known):
            raise DatasetError(
                f"{self.path}: topic {missing[0]!r} is not in the bag; it has {sorted(known)}"
            )
        chosen = [c for c in self._reader.connections if not topics or c.topic in topics]
        if not chosen:  # the reader takes an empty list for "all"
            return
        expected = sum(connection.msgcount for connection in chosen)
        count = 0
        messages = self._reader.messages(chosen, start_ns, stop_ns)
        while True:
            with self._damage():
                item = next(messages, None)
            if item is None:
                break
            connection, stamp_ns, data = item
            yield RawMessage(connection.topic, stamp_ns, data, connection.msgtype)
            count += 1
        if start_ns is None and stop_ns is None and count != expected:
            raise DatasetError(
                f"{self.path}: bag is damaged (holds {count} of {expected} messages)"
            )

    def deserialize(self, raw: RawMessage) -> Any:  # noqa: ANN401 - a ROS message
        """The fields of a message as attributes.

        Raises:
            DatasetError: it is damaged.
        """
        with self._damage():
            return self._reader.deserialize(raw.data, raw.kind)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        """Tell what the reader raises on damage as one line."""
        try:
            yield
        except DatasetError:
            raise
        except _DAMAGE as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise DatasetError(
                f"{self.path}: bag cannot be read ({lines[0]}); a recorder that was killed leaves "
                "an unfinished bag, which `mcap recover` repairs"
            ) from error


def read_bag(path: str | Path, topics: Collection[str] = ()) -> Iterator[BagMessage]:
    """Read the messages of a bag in the order of their recording.

    Args:
        path: folder of the bag (MCAP or SQLite), or an ``.mcap`` or ``.db3`` file.
        topics: read these alone; all when empty.

    Yields:
        Messages, oldest first; one at a time, so that a bag may be larger than memory.

    Raises:
        DatasetError: there is no bag, it is damaged, or a topic is not in it; one line.
    """
    with Bag(path) as bag:
        for raw in bag.raw(topics):
            yield BagMessage(raw.topic, raw.stamp_ns, bag.deserialize(raw))


def header_stamp_ns(data: bytes) -> int:
    """The stamp of a serialised message that begins with a ``std_msgs/Header``.

    CDR: four bytes say how, the second of them whether the low byte comes first; then seconds and
    nanoseconds.
    """
    seconds, nanoseconds = struct.unpack_from("<iI" if data[1] & 1 else ">iI", data, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


_SET_BACK = """
SELECT max(newest - timestamp) FROM (
    SELECT timestamp, max(timestamp) OVER (PARTITION BY topic_id ORDER BY id) AS newest
    FROM messages
)
"""


def _set_back_ns(storage: McapReader | Sqlite3Reader) -> int:
    if isinstance(storage, Sqlite3Reader):
        assert storage.dbconn is not None
        found: Any = storage.dbconn.execute(_SET_BACK).fetchone()
        return int(found[0] or 0)
    back_ns, newest = 0, dict[int, int]()
    for chunk in sorted(storage.chunks, key=lambda chunk: chunk.chunk_start_offset):
        begin, end = chunk.message_start_time, chunk.message_end_time
        for channel in chunk.message_index_offsets:
            back_ns = max(back_ns, newest.get(channel, begin) - begin)
            newest[channel] = max(newest.get(channel, end), end)
    return back_ns
