"""Where the axes of a robot are by now, told by readings that are late and noisy."""

from __future__ import annotations

from collections import deque

import numpy as np

from controller.braking import Vector


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

    def clear(self) -> None:
        """Forget all of it."""
        self._commanded.clear()
        self._shift = 0.0

    def note(self, time_s: float, position: Vector) -> None:
        """Commanded to be at ``position (N,)`` at a monotonic time, a later one each call."""
        self._commanded.append((time_s, position - self._shift))
        while self._commanded[0][0] < time_s - self._kept_s:
            self._commanded.popleft()

    def shift(self, change: Vector) -> None:
        """All that was commanded was really ``change (N,)`` farther on."""
        self._shift = self._shift + change

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
