"""What every source of recordings offers to the import: streams with stamps, read in two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from world_model.data.spec import DatasetError

NS_PER_S = 1_000_000_000
# Messages overtake each other by milliseconds; a stamp that goes back further is a clock set anew.
LARGEST_REORDERING_NS = NS_PER_S


@dataclass(frozen=True)
class Stream:
    """When the messages of one stream were captured; 16 bytes a message.

    Attributes:
        name: recording and topic, for people.
        stamps_ns: ``(n,)`` int64, strictly increasing.
        ordinals: ``(n,)`` int64: which message, counted as recorded, has that stamp.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    ordinals: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self.stamps_ns)

    @property
    def period_ns(self) -> float:
        """Median time between messages; NaN for fewer than two."""
        return float(np.median(np.diff(self.stamps_ns))) if len(self) > 1 else float("nan")

    @property
    def dropped(self) -> int:
        """Messages missing from a steady rate: a gap of three periods lacks two."""
        if len(self) < 3:
            return 0
        periods = np.diff(self.stamps_ns) / self.period_ns
        return int((np.round(periods[periods > 1.5]) - 1).sum())


class Marker(NamedTuple):
    """From ``start_ns`` on frames belong to an episode (with its task), or to none."""

    start_ns: int
    recording: bool
    task: str


class Item(NamedTuple):
    """One message read in the second pass.

    Attributes:
        key: which camera or signal: a key of `Recording.index`.
        ordinal: which message of it.
        value: ``(H, W, 3)`` uint8 of a camera; ``(F,)`` float64 of a signal, None if it says
            nothing.
    """

    key: str
    ordinal: int
    value: NDArray[Any] | None


class Recording(Protocol):
    """One recording: a bag, an episode of a data set, a folder.

    Attributes:
        name: for people and errors.
        task: what was done, where the recording knows.
    """

    name: str
    task: str

    def index(self) -> Mapping[str, Stream]:
        """First pass: camera names and signal keys of the mapping to their streams."""
        ...

    def markers(self) -> list[Marker]:
        """Episode markers in the order of time; asked for after `index`."""
        ...

    def read(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[Item]:
        """Second pass: the messages wanted, by key and ordinals (sorted), in any order."""
        ...


def make_stream(name: str, stamps: NDArray[np.int64], delay_s: float = 0.0) -> Stream:
    """Sort stamps; of several messages with one stamp the first counts.

    Args:
        name: recording and topic, for errors.
        stamps: ``(n,)`` in the order of recording.
        delay_s: added to them.

    Raises:
        DatasetError: stamps are missing (all zero), or the clock was set back on the way.
    """
    stamps = np.asarray(stamps, dtype=np.int64)
    if len(stamps) > 1 and not stamps.any():
        raise DatasetError(
            f"{name}: no message has a stamp (all are 0); use the time of recording instead with "
            "stamp: recorded"
        )
    back = np.flatnonzero(np.diff(stamps) < -LARGEST_REORDERING_NS)
    if len(back):
        jump_s = (stamps[back[0]] - stamps[back[0] + 1]) / NS_PER_S
        raise DatasetError(
            f"{name}: time goes back by {jump_s:.1f} s at message {back[0] + 1} of {len(stamps)}; "
            "split the recording there, or use stamp: recorded"
        )
    ordered, ordinals = np.unique(stamps, return_index=True)
    return Stream(name, ordered + round(delay_s * NS_PER_S), ordinals.astype(np.int64))
