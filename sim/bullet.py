"""PyBullet without its greetings: it prints to the process's own output on import and connect."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Send what compiled code prints to nowhere. `contextlib.redirect_stdout` does not reach it."""
    flush = ctypes.CDLL(None).fflush
    flush(None)
    saved = [os.dup(stream) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        yield
    finally:
        flush(None)
        for stream, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


with _silence():
    import pybullet
    from pybullet_utils.bullet_client import BulletClient


def connect() -> BulletClient:
    """A new physics world inside this process, without a window."""
    with _silence():
        return BulletClient(pybullet.DIRECT)


__all__ = ["BulletClient", "connect", "pybullet"]
