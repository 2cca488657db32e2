"""What a training run leaves for people to look at: every step's losses, TensorBoard curves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from torch.utils.tensorboard import SummaryWriter

SHOWN_EVERY = 20  # steps between points of a curve


class Curves:
    """Writes ``losses.jsonl`` and the TensorBoard events of a run. Use it as a context manager."""

    def __init__(self, out: Path, step: int) -> None:
        """Go on in a folder after ``step`` steps; later points of a killed run are dropped."""
        self._out = out
        self._writer = SummaryWriter(out / "tensorboard", purge_step=step + 1)

    def __enter__(self) -> Curves:
        """Nothing to do."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what is left."""
        self._writer.close()

    def add_losses(self, step: int, losses: dict[str, float]) -> None:
        """One step's losses, by term."""
        with open(self._out / "losses.jsonl", "a") as file:
            file.write(json.dumps({"step": step, **losses}) + "\n")
        if step % SHOWN_EVERY == 0:
            for name, value in losses.items():
                self._writer.add_scalar(f"loss/{name}", value, step)

    def add_validation(self, report: dict[str, Any]) -> None:
        """What a validation found, with its ``step``."""
        for name, value in report.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"validation/{name}", value, report["step"])
            elif isinstance(value, dict):
                for inner, number in value.items():
                    self._writer.add_scalar(f"{name}/{inner}", number, report["step"])


def read_losses(out: Path) -> dict[int, dict[str, float]]:
    """Every step's losses of a run, by step; a step repeated after a kill counts once."""
    rows: Iterator[dict[str, float]] = map(
        json.loads, (out / "losses.jsonl").read_text().splitlines()
    )
    return {int(row.pop("step")): row for row in rows}
