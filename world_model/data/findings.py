"""What is wrong with a data set: one line each, with the place and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning"]

RESTORE = "restore the file from a copy, or train on the rest with --skip-bad"
LEAVE_OUT = "leave it out with --skip-bad, or record it again"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        level: ``error`` for what cannot be trained on, ``warning`` for what should be looked at.
        kind: short name of the check, such as ``gap``.
        file: where, relative to the data set.
        episodes: indices of the episodes it concerns; none when it concerns the whole set.
        frame: number of the first frame it concerns, counted from the start of the (first)
            episode; None where it has no place in time.
        message: what is wrong.
        advice: what to do.
    """

    level: Level
    kind: str
    file: str
    episodes: tuple[int, ...]
    frame: int | None
    message: str
    advice: str

    def line(self) -> str:
        """The finding as one line."""
        place = self.file
        if self.episodes:
            place += f", episode{'s'[: len(self.episodes) > 1]} {ranges(self.episodes)}"
        if self.frame is not None:
            place += f", frame {self.frame}"
        return f"{self.level.upper():7} {place}: {self.message}; {self.advice}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def ranges(indices: Iterable[int]) -> str:
    """Indices in short: ``0-3, 7``."""
    parts: list[list[int]] = []
    for index in sorted(indices):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that differ in the episode alone as one; errors come first."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for found in findings:
        key = (found.level, found.kind, found.file, found.frame, found.message, found.advice)
        groups.setdefault(key, []).extend(found.episodes)
    together = [
        Finding(level, kind, file, tuple(sorted(set(episodes))), frame, message, advice)
        for (level, kind, file, frame, message, advice), episodes in groups.items()
    ]
    return sorted(together, key=lambda found: found.level != "error")
