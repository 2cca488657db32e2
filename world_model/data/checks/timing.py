"""Gaps, a rate that is not the one declared, episodes too short to train on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from world_model.data.checks.evidence import Evidence
from world_model.data.findings import Finding

_GAP = 1.5  # frame intervals
_RATE_TOLERANCE = 0.05


def check_timing(evidence: Evidence) -> Iterator[Finding]:
    """Look at the capture times."""
    dt_s = evidence.spec.dt_s
    for episode in evidence.episodes:
        info, steps_s = episode.info, np.diff(episode.rows.stamps_ns) / 1e9
        if info.length < evidence.min_frames:
            yield Finding(
                "warning",
                "short",
                info.data_file,
                (info.index,),
                None,
                f"fewer frames than the {evidence.min_frames} of a training clip",
                "it is not trained on; record longer episodes or train with a shorter rollout",
            )
        if not len(steps_s):
            continue
        middle_s = float(np.median(steps_s))
        if abs(middle_s / dt_s - 1) > _RATE_TOLERANCE:
            yield Finding(
                "warning",
                "rate",
                info.data_file,
                (info.index,),
                None,
                f"frames are {1e3 * middle_s:.1f} ms apart, the data set says "
                f"{evidence.spec.fps:g} a second ({1e3 * dt_s:.1f} ms)",
                "import the recording again with the rate it has",
            )
            continue
        gaps = np.flatnonzero(steps_s > _GAP * dt_s)
        if len(gaps):
            lost = int(np.round(steps_s[gaps] / dt_s - 1).sum())
            yield Finding(
                "warning",
                "gap",
                info.data_file,
                (info.index,),
                int(gaps[0]) + 1,
                f"{len(gaps)} gap{'s'[: len(gaps) > 1]}, the longest {steps_s.max():.2f} s, "
                f"{lost} frames lost",
                "split the episode there: the model takes every step for "
                f"{1e3 * dt_s:.0f} ms (`foresee data import` splits at gaps)",
            )
