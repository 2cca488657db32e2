"""A robot that stopped because it was surprised waits until it no longer is."""

from __future__ import annotations

CALM_S = 0.5
_CALM_FRAMES = 3  # in a row, however far apart
_LONGEST_CALM_S = 30.0
_AGAIN_S = 10.0


class SurpriseHold:
    """Keeps surprise at the stop level until it was below the slow one for a while.

    A robot that stands sees less that surprises it, and would creep on at once. Where it is
    surprised again within 10 s of going on, the while is twice as long as before, up to 30 s: a
    camera that lies about motion alone gets it no further than some short starts. Not thread-safe.
    """

    def __init__(self, slow: float, stop: float, calm_s: float = CALM_S) -> None:
        """Not surprised yet.

        Args:
            slow: surprise from which on the robot slows down; 0 for never.
            stop: at which it stops, above ``slow``.
            calm_s: for so long it must be below ``slow`` before the robot goes on, the first time.
        """
        self._slow, self._stop, self._first_calm_s = slow, stop, calm_s
        self._calm_s = calm_s
        self._let_go_s = float("-inf")
        self._stopped_s: float | None = None  # when it last was not calm, if it stopped since
        self._calm_frames = 0

    def counts(self, surprise: float | None, now_s: float) -> float:
        """The surprise to go by: the one given, at least the stop level while it is held.

        Args:
            surprise: at the newest frame; ``None`` where nothing can be said of it, which stops
                nobody and is no calm either.
            now_s: monotonic.
        """
        if surprise is None:
            if self._stopped_s is None:
                return 0.0
            surprise = self._slow
        if not self._slow:
            return surprise
        # `not surprise < stop` and not `surprise >= stop`: NaN stops too.
        held = self._stopped_s is not None
        if not surprise < (self._slow if held else self._stop):
            if not held:
                again = now_s - self._let_go_s < _AGAIN_S
                longer_s = min(2.0 * self._calm_s, _LONGEST_CALM_S)
                self._calm_s = longer_s if again else self._first_calm_s
            self._stopped_s, self._calm_frames = now_s, 0
        elif self._stopped_s is not None:
            self._calm_frames += 1
            calm_s = now_s - self._stopped_s
            if calm_s >= self._calm_s and self._calm_frames >= _CALM_FRAMES:
                self._stopped_s, self._let_go_s = None, now_s
        return surprise if self._stopped_s is None else max(surprise, self._stop)
