"""Decode a whole data set and say what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from world_model.data import layout
from world_model.data.checks.evidence import Collector, Evidence
from world_model.data.checks.images import check_images
from world_model.data.checks.lag import Lag, check_lag, estimate_lag
from world_model.data.checks.numbers import check_numbers
from world_model.data.checks.timing import check_timing
from world_model.data.dataset import read_info
from world_model.data.findings import Finding, merged
from world_model.data.intact import Survey, survey
from world_model.data.spec import DatasetError

CHECKS = (check_timing, check_images, check_numbers, check_lag)


@dataclass(frozen=True)
class Report:
    """What was found.

    Attributes:
        findings: errors first; an error costs its episodes.
        episodes: how many there are.
        frames: how many there are.
        intact: episodes without an error.
        lags: camera to how far the motion seen lags behind the command, in frames; cameras where
            it cannot be told are not in it.
        evidence: what the checks looked at; None when nothing could be read.
        survey: which episodes are intact; None when nothing could be read.
    """

    findings: tuple[Finding, ...]
    episodes: int
    frames: int
    intact: int
    lags: dict[str, Lag]
    evidence: Evidence | None
    survey: Survey | None

    @property
    def errors(self) -> int:
        """Number of errors."""
        return sum(found.level == "error" for found in self.findings)

    @property
    def warnings(self) -> int:
        """Number of warnings."""
        return sum(found.level == "warning" for found in self.findings)


def check_dataset(path: str | Path, min_frames: int, progress: bool = False) -> Report:
    """Decode everything and look at it; memory grows by some tens of bytes a frame.

    Args:
        path: data set folder.
        min_frames: frames that an episode needs to be trained on.
        progress: show a progress bar.

    Raises:
        DatasetError: there is no data set at ``path``.
    """
    path = Path(path)
    collector = Collector()
    try:
        info = read_info(path)
        found = survey(path, collector, progress)
    except DatasetError as error:
        if not (path / layout.INFO).is_file():
            raise
        message = str(error).removeprefix(f"{path / layout.INFO}: ")
        finding = Finding(
            "error", "damaged", layout.INFO, (), None, message, "restore the file from a copy"
        )
        return Report((finding,), 0, 0, 0, {}, None, None)
    evidence = collector.evidence(
        info.spec, info.limits_declared, found.dataset.episodes, min_frames
    )
    findings = [*found.findings, *(f for check in CHECKS for f in check(evidence))]
    lags = {camera: estimate_lag(evidence, camera) for camera in info.spec.cameras}
    return Report(
        findings=tuple(merged(findings)),
        episodes=info.total,
        frames=info.frames,
        intact=len(found.dataset),
        lags={camera: lag for camera, lag in lags.items() if lag is not None},
        evidence=evidence,
        survey=found,
    )
