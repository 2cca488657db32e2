"""Which errors are the user's to mend, and how they are told."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable


class UsageError(ValueError):
    """Something the user asked for that cannot be done; the message says what to do instead."""


def is_told(error: Exception) -> bool:
    """True for an error class of ours: its message is written for the user.

    Any other exception is a fault of the program and keeps its traceback.
    """
    package = type(error).__module__.split(".")[0]
    return package in ("foresee", "world_model", "controller", "sim", "ros_nodes")


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence that asks "Did you mean …?" when something known is close; else nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def fail(message: str) -> int:
    """Print one line on stderr and give the exit status for a user's error."""
    print("foresee: " + " ".join(message.split()), file=sys.stderr)
    return 2
