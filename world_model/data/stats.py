"""Statistics of a data set's columns, gathered episode by episode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RunningStats:
    """Sums from which mean and std of the columns of any number of rows follow.

    Attributes:
        count: rows so far.
        low: ``(width,)`` smallest value.
        high: ``(width,)`` largest value.
        total: ``(width,)`` sum.
        squares: ``(width,)`` sum of squares.
    """

    count: int
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[Any], scale: float = 1.0) -> RunningStats:
        """Return the statistics of ``scale * rows``, rows being ``(n, width)``."""
        values = rows.astype(np.float64) * scale
        return cls(
            count=len(values),
            low=values.min(axis=0),
            high=values.max(axis=0),
            total=values.sum(axis=0),
            squares=np.square(values).sum(axis=0),
        )

    def __add__(self, other: RunningStats) -> RunningStats:
        """Return the statistics of both sets of rows together."""
        return RunningStats(
            count=self.count + other.count,
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
            total=self.total + other.total,
            squares=self.squares + other.squares,
        )

    @property
    def mean(self) -> NDArray[np.float64]:
        """``(width,)`` mean."""
        return self.total / self.count

    @property
    def std(self) -> NDArray[np.float64]:
        """``(width,)`` standard deviation (of the rows, not corrected for sampling)."""
        return np.sqrt(np.maximum(self.squares / self.count - np.square(self.mean), 0.0))

    def to_sums(self) -> dict[str, Any]:
        """Return the sums as JSON types, exact."""
        sums = {"low": self.low, "high": self.high, "total": self.total, "squares": self.squares}
        return {"count": self.count} | {key: values.tolist() for key, values in sums.items()}

    @classmethod
    def from_sums(cls, values: Mapping[str, Any]) -> RunningStats:
        """Read what `to_sums` gave."""
        names = ("low", "high", "total", "squares")
        return cls(count=values["count"], **{name: np.array(values[name]) for name in names})

    def to_json(self, is_image: bool) -> dict[str, Any]:
        """Return LeRobot's ``stats.json`` entry; images have shape (3, 1, 1), values 0 to 1."""
        values = {"min": self.low, "max": self.high, "mean": self.mean, "std": self.std}
        shape = (-1, 1, 1) if is_image else (-1,)
        entry: dict[str, Any] = {key: v.reshape(shape).tolist() for key, v in values.items()}
        return entry | {"count": [self.count]}
