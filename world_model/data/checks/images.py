"""Frames that are black or blank, cameras that stand still while the robot moves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from world_model.data.checks.evidence import EpisodeEvidence, Evidence, stretches
from world_model.data.findings import Finding

_DARK = 10.0  # mean level
_BLANK = 2.0  # std of the levels
_FROZEN_S = 0.5
_MOVED = 0.05  # of the range of a reading


def check_images(evidence: Evidence) -> Iterator[Finding]:
    """Look at the frames."""
    for episode in evidence.episodes:
        for camera in episode.pictures:
            yield from _blank(episode, camera)
            yield from _frozen(episode, camera, evidence)


def _blank(episode: EpisodeEvidence, camera: str) -> Iterator[Finding]:
    pictures = episode.pictures[camera]
    dark = (pictures.brightness < _DARK) & (pictures.contrast < 2 * _BLANK)
    for name, flags in (
        ("black", dark),
        ("blank", ~dark & (pictures.contrast < _BLANK)),
    ):
        if flags.any():
            yield Finding(
                "warning",
                name,
                episode.info.videos[camera].file,
                (episode.info.index,),
                int(np.flatnonzero(flags)[0]),
                f"{int(flags.sum())} {name} frames",
                "look whether the lens was covered or the driver lost them; leave the episode out",
            )


def _frozen(episode: EpisodeEvidence, camera: str, evidence: Evidence) -> Iterator[Finding]:
    still = episode.pictures[camera].changed == 0
    at_least = max(3, round(_FROZEN_S * evidence.spec.fps))
    found = []
    for first, last in stretches(still, at_least):
        readings = episode.rows.proprio[first : last + 1]
        span = np.where(evidence.proprio_span > 0, evidence.proprio_span, np.inf)
        if readings.size and (np.ptp(readings, axis=0) > _MOVED * span).any():
            found.append((first, last))
    if found:
        frames = sum(last - first for first, last in found)
        yield Finding(
            "warning",
            "frozen",
            episode.info.videos[camera].file,
            (episode.info.index,),
            found[0][0] + 1,
            f"{frames} frames do not change while the readings do",
            "the camera hung: leave the episode out, or look for lost frames in the driver",
        )
