"""`foresee data check` and `foresee data show`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from foresee.errors import UsageError
from world_model.config import TrainConfig

if TYPE_CHECKING:
    from world_model.data.dataset import Dataset
    from world_model.data.findings import Finding


@dataclass
class CheckData:
    """Decode a data set and say what is wrong with it, one line each with what to do.

    Errors cost the episode (damaged, missing or not finite; time running backwards). Warnings
    should be looked at: gaps, frozen or black frames, jumps, saturated or constant actions, lag of
    the camera, wrong units or rate, short episodes. Exit status 1 when there is an error.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Data set folder."""
    min_frames: int = TrainConfig().clip_length
    """Frames that an episode needs to be trained on (context + rollout)."""
    fix_lag: Path | None = None
    """New folder for a copy whose actions are moved to where the camera shows their motion."""
    lag: int | None = None
    """With --fix-lag: frames to move by, if you know better than the estimate."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Check."""
        from world_model.data.check import check_dataset
        from world_model.data.select import shift_actions

        if self.lag is not None and self.fix_lag is None:
            raise UsageError("--lag is for --fix-lag")
        if self.min_frames < 1:
            raise UsageError(f"--min-frames must be at least 1, got {self.min_frames}")
        report = check_dataset(self.data, self.min_frames, progress=sys.stderr.isatty())
        summary: dict[str, Any] = {
            "path": str(self.data),
            "episodes": report.episodes,
            "frames": report.frames,
            "intact": report.intact,
            "errors": report.errors,
            "warnings": report.warnings,
            "lag_frames": {camera: round(lag.frames, 2) for camera, lag in report.lags.items()},
            "findings": [found.to_json() | {"line": found.line()} for found in report.findings],
            "failed": report.errors > 0,
        }
        if self.fix_lag is not None:
            lags = [round(lag.frames) for lag in report.lags.values()]
            if self.lag is None and len(set(lags)) != 1:
                raise UsageError(
                    f"{self.data}: the lag cannot be told from the data "
                    f"({'cameras differ' if lags else 'no correlation stands out'}); "
                    "give it with --lag"
                )
            shift = lags[0] if self.lag is None else self.lag
            if shift == 0:
                raise UsageError(f"{self.data}: command and image agree, there is no lag to fix")
            written = shift_actions(self.data, self.fix_lag, shift)
            summary["fixed"] = {
                "out": str(self.fix_lag),
                "shift_frames": shift,
                "frames": written.frames,
            }
        return summary

    def say(self, summary: dict[str, Any]) -> None:
        """Print the findings and a summary."""
        for found in summary["findings"]:
            print(found["line"])
        lags = ", ".join(f"{n} {v:+.1f}" for n, v in summary["lag_frames"].items())
        print(
            f"{summary['path']}: {summary['errors']} errors, {summary['warnings']} warnings; "
            f"{summary['intact']} of {summary['episodes']} episodes are intact "
            f"({summary['frames']} frames decoded or tried); camera behind command, in frames: "
            f"{lags or 'cannot be told'}"
        )
        if fixed := summary.get("fixed"):
            print(
                f"actions moved by {fixed['shift_frames']} frames, {fixed['frames']} frames kept: "
                f"{fixed['out']}"
            )


@dataclass
class ShowData:
    """Look at a data set: contact sheet and plots, a page for the browser, MCAP for Foxglove."""

    data: Annotated[Path, tyro.conf.Positional]
    """Data set folder."""
    out: Path | None = None
    """Folder for contact.png and plots.png (default runs/show/<name of the data set>)."""
    html: Path | None = None
    """Write one HTML file with videos, curves and findings, and no PNG unless --out is given."""
    mcap: Path | None = None
    """Write an MCAP file for Foxglove, and no PNG unless --out is given."""
    episodes: str | None = None
    """Episodes to show, like 0-9,12 (default 12 evenly spread; 40 for the page)."""
    json: Path | None = None
    """Write the summary here."""

    def run(self) -> dict[str, Any]:
        """Draw."""
        from world_model.data.check import check_dataset
        from world_model.data.intact import survey
        from world_model.data.select import Selection, parse_indices

        report = None
        if self.html is not None:
            report = check_dataset(self.data, TrainConfig().clip_length, sys.stderr.isatty())
        found = report.survey if report and report.survey else survey(self.data)
        dataset = found.dataset
        if not len(dataset):
            raise UsageError(f"{self.data}: no episode is intact; see `foresee data check`")
        chosen = None
        if self.episodes is not None:
            asked = parse_indices(self.episodes)
            Selection(asked).indices(len(dataset) + len(dataset.left_out))
            chosen = [p for p, info in enumerate(dataset.episodes) if info.index in asked]
            if not chosen:
                raise UsageError(f"{self.data}: the episodes asked for are damaged")
        written = self._write(dataset, chosen, report.findings if report else ())
        return {"data": str(self.data), "written": [str(path) for path in written]} | {
            "left_out": list(dataset.left_out)
        }

    def _write(
        self, dataset: Dataset, chosen: list[int] | None, findings: Sequence[Finding]
    ) -> list[Path]:
        """Write what was asked for."""
        from world_model.data.show import contact_sheet, plots, spread

        def places(at_most: int) -> list[int]:
            return spread(len(dataset), at_most) if chosen is None else chosen

        written = []
        folder = self.out
        if folder is None and self.html is None and self.mcap is None:
            folder = Path("runs/show") / self.data.resolve().name
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            contact_sheet(dataset, places(12), folder / "contact.png")
            plots(dataset, places(12), folder / "plots.png")
            written += [folder / "contact.png", folder / "plots.png"]
        if self.html is not None:
            from world_model.data.page import write_page

            self.html.parent.mkdir(parents=True, exist_ok=True)
            write_page(dataset, places(40), findings, self.html)
            written.append(self.html)
        if self.mcap is not None:
            from world_model.data.mcap import write_mcap

            self.mcap.parent.mkdir(parents=True, exist_ok=True)
            write_mcap(dataset, places(12), self.mcap)
            written.append(self.mcap)
        return written

    def say(self, summary: dict[str, Any]) -> None:
        """Print what was written."""
        for path in summary["written"]:
            print(path)
        if lost := summary["left_out"]:
            print(f"WARNING {len(lost)} damaged episodes are not shown; see `foresee data check`")
