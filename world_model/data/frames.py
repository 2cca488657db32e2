"""Camera frames by number: in one memory-mapped file, or in the files of several data sets."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Pages of a mapped file count as memory of the process until it gives them back. The system keeps
# them for as long as it has room, so that taking them again costs microseconds.
_GIVE_BACK_BYTES = 256 << 20


class Frames(Protocol):
    """T frames ``(H, W, 3)`` uint8, RGB, read by number."""

    @property
    def shape(self) -> tuple[int, ...]:
        """``(T, H, W, 3)``."""

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - any NumPy index
        """Frames as NumPy would index them along the first axis."""


class FrameFile:
    """Frames of one file, memory mapped and read-only; resident memory stays under 0.3 GB.

    Safe to read from several threads.

    Args:
        path: file of ``prod(shape)`` bytes.
        shape: ``(T, H, W, 3)``.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        """Map the file."""
        self.shape = shape
        self._used = 0
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self._array = np.frombuffer(self._map, np.uint8).reshape(shape)

    def __len__(self) -> int:
        """Return T."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - any NumPy index
        """Frames as NumPy would index them, copied."""
        return self._count(np.array(self._array[index]))

    def clips(self, starts: NDArray[np.integer[Any]], length: int) -> NDArray[np.uint8]:
        """``(B, L, H, W, 3)``: L frames from each of the B starts, copied."""
        out = np.empty((len(starts), length, *self.shape[1:]), np.uint8)
        for row, start in enumerate(starts.tolist()):
            out[row] = self._array[start : start + length]
        return self._count(out)

    def _count(self, read: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Give the pages back after a while of reading."""
        self._used += read.nbytes
        if self._used > _GIVE_BACK_BYTES:
            self._used = 0
            self._map.madvise(mmap.MADV_DONTNEED)
        return read


class JoinedFrames:
    """The frames of several sources, one after the other.

    Args:
        parts: sources with frames of one size.
    """

    def __init__(self, parts: Sequence[Frames]) -> None:
        """Lay them end to end."""
        self._parts = tuple(parts)
        lengths = [part.shape[0] for part in self._parts]
        self._starts = np.cumsum([0, *lengths])
        self.shape = (sum(lengths), *self._parts[0].shape[1:])

    def __len__(self) -> int:
        """Return T."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - any NumPy index
        """Frames as NumPy would index them along the first axis."""
        numbers = np.arange(len(self))[index]
        flat = np.atleast_1d(numbers).reshape(-1)
        out = np.empty((len(flat), *self.shape[1:]), np.uint8)
        which = self._of(flat)
        for part in np.unique(which):
            mine = which == part
            out[mine] = self._parts[part][flat[mine] - self._starts[part]]
        return out.reshape(*np.shape(numbers), *self.shape[1:])

    def clips(self, starts: NDArray[np.integer[Any]], length: int) -> NDArray[np.uint8]:
        """``(B, L, H, W, 3)``: L frames from each of the B starts; no clip spans two sources."""
        out = np.empty((len(starts), length, *self.shape[1:]), np.uint8)
        which = self._of(np.asarray(starts))
        for part in np.unique(which):
            mine = which == part
            out[mine] = cut(self._parts[part], starts[mine] - self._starts[part], length)
        return out

    def _of(self, numbers: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Which source each frame is in."""
        return np.searchsorted(self._starts, numbers, side="right") - 1


def cut(frames: Frames, starts: NDArray[np.integer[Any]], length: int) -> NDArray[np.uint8]:
    """``(B, L, H, W, 3)``: L frames from each of B starts."""
    if isinstance(frames, FrameFile | JoinedFrames):
        return frames.clips(starts, length)
    return np.asarray(frames[starts[:, None] + np.arange(length)])
