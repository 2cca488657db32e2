"""Names for what a node writes: never over what is there."""

from __future__ import annotations

from pathlib import Path


def free_path(path: Path) -> Path:
    """The path itself or, where something is there already, the first free of ``name-2``, ….

    A node that was started again goes on beside what it has written, never over it.
    """
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
