"""`foresee replay`: the plans of a log once more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass
class Replay:
    """Make every plan of a log again, bit for bit, or say which input is not the same.

    Exits with 1 when a plan differs. Logs come from `foresee run --log` and from agent_node.
    """

    log: Annotated[Path, tyro.conf.Positional]
    """Log of plans (MCAP)."""
    bundle: Path | None = None
    """The model, when it is no longer where the log says."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Replay."""
        from foresee.replay import replay

        return replay(self.log, self.bundle)

    def say(self, summary: dict[str, Any]) -> None:
        """Print what came of it."""
        print(f"{summary['identical']} of {summary['plans']} plans are the same bit for bit")
        for line in summary["differences"]:
            print(f"  {line}")
        for line in summary["changed"]:
            print(f"not as it was: {line}")
        if summary["failed"] and not summary["changed"]:
            print("libraries, processor and bundle are as they were")
