"""Ctrl-C at a moment of our choosing: never in the middle of a training step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class HeldInterrupt:
    """While it is entered, the first Ctrl-C only sets `requested`; the second interrupts at once.

    Where nobody listens to Ctrl-C it does nothing: outside the main thread, and in a process that
    ignores it (started in the background of a shell).
    """

    def __init__(self) -> None:
        """Nothing is held before it is entered."""
        self.requested = False
        self._previous: Any = None
        self._holds = False

    def __enter__(self) -> HeldInterrupt:
        """Take over SIGINT."""
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and callable(signal.getsignal(signal.SIGINT)):
            self._previous = signal.signal(signal.SIGINT, self._take)
            self._holds = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give SIGINT back."""
        self._give_back()

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._give_back()

    def _give_back(self) -> None:
        if self._holds:
            self._holds = False
            signal.signal(signal.SIGINT, self._previous)
