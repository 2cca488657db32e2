"""Where the axes of a robot are by now, told by readings that are late and noisy."""

from __future__ import annotations

from collections import deque

import numpy as np

from controller.braking import Vector

_RECENT_S = 2.0


class Tracker:
    """What was commanded over the last moments, to hold late readings against.

    A reading says where the axes were. Where they are now follows from it by what was commanded
    since; the difference between the two at the time of the reading is the error. Not thread-safe.
    """

    def __init__(self, kept_s: float = 1.0) -> None:
        """Remember ``kept_s`` seconds."""
        self._kept_s = kept_s
        # (time, position less the shift of that moment): a shift is then one addition
        self._commanded: deque[tuple[float, Vector]] = deque()
        self._shift: Vector | float = 0.0
        # (time, shift, way commanded along each axis since `clear`)
        self._corrections: deque[tuple[float, Vector | float, Vector | float]] = deque()
        self._way: Vector | float = 0.0

    def clear(self) -> None:
        """Forget all of it."""
        self._commanded.clear()
        self._corrections.clear()
        self._shift = self._way = 0.0

    def note(self, time_s: float, position: Vector) -> None:
        """Commanded to be at ``position (N,)`` at a monotonic time, a later one each call."""
        unshifted = position - self._shift
        if self._commanded:
            self._way = self._way + np.abs(unshifted - self._commanded[-1][1])
        self._commanded.append((time_s, unshifted))
        self._corrections.append((time_s, self._shift, self._way))
        for kept, seconds in ((self._commanded, self._kept_s), (self._corrections, _RECENT_S)):
            while kept[0][0] < time_s - seconds:
                kept.popleft()

    def shift(self, change: Vector) -> None:
        """All that was commanded was really ``change (N,)`` farther on."""
        self._shift = self._shift + change

    def taken_back(self) -> tuple[Vector, Vector]:
        """What `shift` came to in the last two seconds, and the way commanded in it: ``(N,)`` each.

        A robot that stands still while it is told to move has all of the way taken back, little
        by little, and its `error` never grows.
        """
        if not self._corrections:
            return np.zeros(1), np.zeros(1)
        _, shift, way = self._corrections[0]
        return np.abs(self._shift - shift), np.asarray(self._way - way)

    def error(self, time_s: float, reading: Vector) -> Vector | None:
        """How much farther on than commanded ``(N,)`` a reading of that time is.

        Returns:
            ``None`` where nothing is known of that time.
        """
        if not self._commanded or time_s < self._commanded[0][0]:
            return None
        late_s, late = self._commanded[-1]
        for early_s, early in reversed(self._commanded):
            if early_s <= time_s:
                break
            late_s, late = early_s, early
        share = min(1.0, (time_s - early_s) / (late_s - early_s)) if late_s > early_s else 0.0
        return np.asarray(reading - (early + share * (late - early) + self._shift))
