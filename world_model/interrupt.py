"""Ctrl-C and SIGTERM at a moment of our choosing: never in the middle of a training step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class HeldInterrupt:
    """While it is entered, the first Ctrl-C only sets `requested`; the second interrupts at once.

    SIGTERM, with which service managers and `timeout` end a process, sets `requested` too, however
    often it comes: `timeout` sends it twice, and who does not want to wait has SIGKILL. A Ctrl-C
    after it interrupts at once.

    Nothing is held outside the main thread, nor a signal that the process ignores (Ctrl-C, when it
    was started in the background of a shell).
    """

    def __init__(self) -> None:
        """Nothing is held before it is entered."""
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> HeldInterrupt:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            if callable(signal.getsignal(signal.SIGINT)):
                self._hold(signal.SIGINT)
            # Where nobody listens to this one it ends the process: that is what is to wait.
            if signal.getsignal(signal.SIGTERM) not in (signal.SIG_IGN, None):
                self._hold(signal.SIGTERM)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number in tuple(self._previous):
            self._give_back(number)

    def _hold(self, number: signal.Signals) -> None:
        self._previous[number] = signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._give_back(signal.SIGINT)

    def _give_back(self, number: signal.Signals) -> None:
        if number in self._previous:
            signal.signal(number, self._previous.pop(number))
