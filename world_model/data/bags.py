"""Read ROS 2 bags, as `recorder_node` or ``ros2 bag record`` write them; needs no ROS."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.rosbag2 import ReaderError
from rosbags.typesys import Stores, get_typestore

from world_model.data.spec import DatasetError

# What rosbags was seen to raise on truncated files and flipped bytes: UnicodeDecodeError is a
# ValueError, MemoryError comes of a record that claims to be exabytes long.
_DAMAGE = (
    AnyReaderError,
    ReaderError,
    OSError,
    ValueError,
    OverflowError,
    LookupError,
    MemoryError,
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


def read_bag(path: str | Path, topics: Collection[str] = ()) -> Iterator[BagMessage]:
    """Read the messages of a bag in the order of their recording.

    Args:
        path: folder of the bag (MCAP or SQLite), or an ``.mcap`` file.
        topics: read these alone; all when empty.

    Yields:
        Messages, oldest first; one at a time, so that a bag may be larger than memory.

    Raises:
        DatasetError: there is no bag, it is damaged, or a topic is not in it; one line.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such bag")
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
            known = {connection.topic for connection in reader.connections}
            if missing := sorted(set(topics) - known):
                raise DatasetError(
                    f"{path}: topic {missing[0]!r} is not in the bag; it has {sorted(known)}"
                )
            chosen = [c for c in reader.connections if not topics or c.topic in topics]
            expected = sum(connection.msgcount for connection in chosen)
            count = 0
            # The reader takes an empty list for "all".
            for connection, stamp_ns, data in reader.messages(chosen) if chosen else ():
                message = reader.deserialize(data, connection.msgtype)
                yield BagMessage(connection.topic, stamp_ns, message)
                count += 1
            if count != expected:
                raise DatasetError(f"{path}: bag is damaged (holds {count} of {expected} messages)")
    except DatasetError:
        raise
    except _DAMAGE as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise DatasetError(
            f"{path}: bag cannot be read ({lines[0]}); a recorder that was killed leaves an "
            "unfinished bag, which `mcap recover` repairs"
        ) from error
