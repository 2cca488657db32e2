"""How many frames after a command the camera shows it: the peak of a cross-correlation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from world_model.data.checks.evidence import Evidence
from world_model.data.findings import Finding

_LONGEST_S = 1.0
_LONGEST = 15
_WEAKEST = 0.2  # correlation at the peak below which nothing is said

Signal = NDArray[np.float64]


@dataclass(frozen=True)
class Lag:
    """Where the correlation of commanded and seen motion peaks.

    Attributes:
        frames: motion seen after the command; 0 when ``actions[t]`` moves frame t to frame t + 1,
            a fraction where the peak lies between two frames.
        correlation: at the peak, Pearson's.
    """

    frames: float
    correlation: float


def estimate_lag(evidence: Evidence, camera: str) -> Lag | None:
    """Correlate how fast the robot is told to move with how much the image changes.

    The command is taken for a velocity or for a position, whichever explains more.

    Returns:
        None where no peak stands out: no actions, or a camera that does not see them.
    """
    if not evidence.episodes or not evidence.spec.action_names:
        return None
    motion = [episode.pictures[camera].motion for episode in evidence.episodes]
    scale = np.concatenate([e.rows.actions for e in evidence.episodes]).std(axis=0) + 1e-12
    best: Lag | None = None
    for as_position in (False, True):
        commanded = []
        for episode in evidence.episodes:
            actions = episode.rows.actions.astype(np.float64) / scale
            if as_position:
                actions = np.diff(actions, axis=0, prepend=actions[:1])
            commanded.append(np.sqrt((actions[:-1] ** 2).mean(axis=1)))
        longest = min(_LONGEST, max(2, round(_LONGEST_S * evidence.spec.fps)))
        found = _peak(commanded, motion, longest)
        if found is not None and (best is None or found.correlation > best.correlation):
            best = found
    return best


def check_lag(evidence: Evidence) -> Iterator[Finding]:
    """Warn where command and image are not of the same frame."""
    for camera in evidence.spec.cameras:
        lag = estimate_lag(evidence, camera)
        if lag is None or round(lag.frames) == 0:
            continue
        after = "after" if lag.frames > 0 else "before"
        first = evidence.episodes[0].info
        yield Finding(
            "warning",
            "lag",
            first.videos[camera].file,
            tuple(episode.info.index for episode in evidence.episodes),
            None,
            f"camera {camera!r} shows motion {abs(lag.frames):.1f} frames "
            f"({abs(lag.frames) * 1e3 * evidence.spec.dt_s:.0f} ms) {after} its command "
            f"(correlation {lag.correlation:.2f})",
            "write a corrected data set with `foresee data check … --fix-lag NEW`",
        )


def _peak(one: Sequence[Signal], other: Sequence[Signal], longest: int) -> Lag | None:
    """Lag of ``other`` behind ``one`` at which they correlate best, over all episodes together."""
    lags = np.arange(-longest, longest + 1)
    values = np.array([_correlation(one, other, int(lag)) for lag in lags])
    if not np.isfinite(values).any():
        return None
    at = int(np.nanargmax(values))
    if values[at] < _WEAKEST or at in (0, len(lags) - 1):
        return None
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if np.isfinite(bend) and bend < 0 else 0.0
    return Lag(float(lags[at] + shift), float(middle))


def _correlation(one: Sequence[Signal], other: Sequence[Signal], lag: int) -> float:
    """Pearson's correlation of ``one[t]`` with ``other[t + lag]``, episode means taken off."""
    xs, ys = [], []
    for a, b in zip(one, other, strict=True):
        if len(a) < abs(lag) + 3:
            continue
        x, y = (a[: len(a) - lag], b[lag:]) if lag >= 0 else (a[-lag:], b[: len(b) + lag])
        xs.append(x - x.mean())
        ys.append(y - y.mean())
    if not xs:
        return float("nan")
    x, y = np.concatenate(xs), np.concatenate(ys)
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")
