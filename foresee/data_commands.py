"""The sub-commands of `foresee data`: data sets in and out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass
class ExportData:
    """Write a data set, or a part of it, as a new LeRobotDataset v3 folder.

    The lerobot library loads what this writes. Numbers and stamps are copied exactly; images are
    encoded anew.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Data set folder."""
    out: Path
    """New folder."""
    episodes: str | None = None
    """Episodes to take, like 0-9,12; all by default."""
    cameras: tuple[str, ...] | None = None
    """Cameras to take; all by default."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Export."""
        from world_model.data.select import Selection, export_dataset, parse_indices

        episodes = None if self.episodes is None else parse_indices(self.episodes)
        written = export_dataset(self.data, self.out, Selection(episodes, self.cameras))
        return {"out": str(self.out), "episodes": written.episodes, "frames": written.frames}

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(f"{summary['frames']} frames in {summary['episodes']} episodes: {summary['out']}")


@dataclass
class Data:
    """Bring camera streams in and out: import, check, look at and export data sets."""


DATA_COMMANDS: dict[str, Callable[..., Any]] = {
    "export": ExportData,
}
