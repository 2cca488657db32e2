"""Ctrl-C in the middle of a training run."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from world_model.curves import Curves


@contextmanager
def interrupted_at(step: int) -> Iterator[None]:
    """Within it, a training run gets Ctrl-C when it has made so many steps."""
    add = Curves.add_losses

    def add_and_interrupt(curves: Curves, at: int, losses: dict[str, float]) -> None:
        add(curves, at, losses)
        if at == step:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Curves, "add_losses", add_and_interrupt)
            yield
    finally:
        signal.signal(signal.SIGINT, before)
