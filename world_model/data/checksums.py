"""Checksums of single episodes: what a damaged file still holds whole.

The SHA-256 of a file says that it is damaged, not where. A data set written here therefore keeps,
in its episode table, one CRC-32 for each frame of each video (of the coded picture) and one for
the numbers of each episode.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from world_model.data import layout
from world_model.data.spec import DatasetError
from world_model.data.video import reason

CHECKSUMS = "foresee/crc32/"
ROWS = CHECKSUMS + "rows"


def video_column(camera: str) -> str:
    """Name of the column of the episode table that holds the checksums of a camera's frames."""
    return CHECKSUMS + layout.video_key(camera)


def rows_checksum(columns: Mapping[str, NDArray[np.generic]]) -> int:
    """Checksum of the numbers of one episode, by column name."""
    value = 0
    for name in sorted(columns):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(np.ascontiguousarray(columns[name]).tobytes(), value)
    return value


def frame_checksums(path: Path) -> Iterator[int]:
    """Checksums of the coded pictures of a video in order; nothing is decoded.

    Raises:
        DatasetError: the file cannot be read on; what came before is as it says.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            head = zlib.crc32(stream.codec_context.extradata or b"")
            for packet in container.demux(stream):
                if packet.pts is not None:
                    yield zlib.crc32(bytes(packet), zlib.crc32(str(packet.pts).encode(), head))
    except (av.FFmpegError, OSError, IndexError) as error:
        raise DatasetError(f"{path}: video cannot be read ({reason(error)})") from error
