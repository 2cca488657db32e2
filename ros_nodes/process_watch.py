"""Whether another node's process runs, seen from the same machine and never wrongly.

A node says who it is on a latched topic; whoever depends on it looks at that process in every tick,
which takes some 20 µs. A lease of DDS liveliness of 60 ms was measured beside it: on two loaded
cores it lapsed once a second without anybody having died.
"""

from __future__ import annotations

import os
from pathlib import Path

_STATE, _START = 0, 19  # fields after the name in /proc/<pid>/stat
_STANDS_STILL = ("T", "t")
_DEAD = ("Z", "X")


def identity() -> str:
    """This process, in words that name no other: machine since boot, process, and its start."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.getpid()} {_fields(os.getpid())[_START]}"


class ProcessWatch:
    """Looks at the process that an `identity` names. Any thread may ask."""

    def __init__(self, identity_of: str) -> None:
        """Whom to look at.

        Raises:
            ValueError: not an identity.
        """
        words = identity_of.split()
        if len(words) != 3 or not words[1].isdigit():
            raise ValueError(f"{identity_of!r} does not name a process")
        boot, pid, self._start = words
        self._pid = int(pid)
        self.here = identity().split()[0] == boot and self._is_the_one()

    def state(self) -> str:
        """``runs``, ``stands still`` or ``gone``; ``runs`` of one on another machine."""
        if not self.here:
            return "runs"
        try:
            fields = _fields(self._pid)
        except OSError:
            return "gone"
        if fields[_START] != self._start or fields[_STATE] in _DEAD:
            return "gone"
        return "stands still" if fields[_STATE] in _STANDS_STILL else "runs"

    def _is_the_one(self) -> bool:
        try:
            return _fields(self._pid)[_START] == self._start
        except OSError:
            return False


def _fields(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()
