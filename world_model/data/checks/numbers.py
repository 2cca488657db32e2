"""Actions at their limits or constant, readings that jump, numbers in another unit."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from world_model.data.checks.evidence import EpisodeEvidence, Evidence
from world_model.data.findings import Finding

_SATURATED = 0.5  # share of an episode's frames
_JUMP = 8.0  # times the 99th percentile of the steps
_MOVED = 0.05
# Ratios that give a wrong unit away, with what was probably written for what.
_RATIOS = ((180 / math.pi, "degrees for radians"), (1000.0, "milli-units"), (100.0, "centimetres"))
_LARGEST_RAD = 4 * math.pi
_LARGEST_M = 20.0


def check_numbers(evidence: Evidence) -> Iterator[Finding]:
    """Look at actions and readings."""
    if not evidence.episodes:
        return
    yield from _limits(evidence)
    yield from _constant(evidence)
    yield from _jumps(evidence)
    yield from _units(evidence)


def _limits(evidence: Evidence) -> Iterator[Finding]:
    spec = evidence.spec
    low, high = np.array(spec.action_low), np.array(spec.action_high)
    span = high - low
    for column, name in enumerate(spec.action_names):
        if span[column] <= 0:
            continue
        edge = 1e-3 * span[column]
        at_limit, beyond = [], []
        for episode in evidence.episodes:
            values = episode.rows.actions[:, column]
            hit = (values <= low[column] + edge) | (values >= high[column] - edge)
            if hit.mean() > _SATURATED:
                at_limit.append(episode)
            if (values < low[column] - edge).any() or (values > high[column] + edge).any():
                beyond.append(episode)
        if at_limit:
            yield _of(
                at_limit,
                "saturated",
                None,
                f"action {name} is at its limit in more than half of the frames",
                "nothing can be learned of what lies between: record gentler motion too",
            )
        if beyond and evidence.limits_declared:
            values = np.concatenate([episode.rows.actions[:, column] for episode in beyond])
            ratio = float(np.abs(values).max() / max(abs(low[column]), abs(high[column])))
            yield _of(
                beyond,
                "limits",
                int(np.argmax(np.abs(beyond[0].rows.actions[:, column]))),
                f"action {name} reaches {ratio:.3g} times its limit{_unit(ratio)}",
                "correct the limits or the unit and import again",
            )


def _constant(evidence: Evidence) -> Iterator[Finding]:
    spec = evidence.spec
    actions = np.concatenate([episode.rows.actions for episode in evidence.episodes])
    for column, name in enumerate(spec.action_names):
        if np.ptp(actions[:, column]) == 0:
            yield _of(
                list(evidence.episodes),
                "constant",
                None,
                f"action {name} never changes",
                "leave it out of the actions, or look whether its commands were recorded",
            )
    if not actions.shape[1] or not np.ptp(actions, axis=0).any():
        return
    span = np.where(evidence.proprio_span > 0, evidence.proprio_span, np.inf)
    still = [
        episode
        for episode in evidence.episodes
        if not np.ptp(episode.rows.actions, axis=0).any()
        and (np.ptp(episode.rows.proprio, axis=0) > _MOVED * span).any()
    ]
    if still:
        yield _of(
            still,
            "constant",
            None,
            "no action changes while the robot moves",
            "the commands were not recorded, or somebody else moved it: leave it out",
        )


def _jumps(evidence: Evidence) -> Iterator[Finding]:
    """Steps of a reading far beyond those it otherwise makes."""
    steps = [np.abs(np.diff(episode.rows.proprio, axis=0)) for episode in evidence.episodes]
    together = np.concatenate(steps)
    if not together.size:
        return
    usual = np.percentile(together, 99, axis=0)
    smallest = np.maximum(_JUMP * usual, _MOVED * evidence.proprio_span)
    for episode, own in zip(evidence.episodes, steps, strict=True):
        for column, name in enumerate(evidence.spec.proprio_names):
            at = np.flatnonzero(own[:, column] > smallest[column])
            if not len(at) or smallest[column] == 0:
                continue
            size = float(own[at[0], column])
            turn = abs(size - 2 * math.pi) < 0.3
            yield _of(
                [episode],
                "jump",
                int(at[0]) + 1,
                f"{name} jumps by {size:.3g} in one frame ({len(at)} such in the episode, the "
                f"usual step is at most {usual[column]:.2g})",
                "an angle that wraps: unwrap it before it is recorded"
                if turn
                else "look whether the sensor or a dropped message did it; leave the episode out",
            )


def _units(evidence: Evidence) -> Iterator[Finding]:
    """Values no robot reaches in SI, and velocities that are not the change of their position."""
    names = evidence.spec.proprio_names
    values = np.concatenate([episode.rows.proprio for episode in evidence.episodes])
    largest = np.abs(values).max(axis=0)
    for column, name in enumerate(names):
        is_angle = any(word in name for word in ("joint", "angle", "yaw", "pitch", "roll"))
        is_rate = any(word in name for word in ("velocity", "speed", "effort", "force", "torque"))
        if is_rate:
            continue
        limit = _LARGEST_RAD if is_angle else _LARGEST_M
        if name.rsplit(".", 1)[-1] in ("x", "y", "z", "position") and largest[column] > limit:
            unit = "rad" if is_angle else "m"
            guess = "degrees" if is_angle else "millimetres"
            yield _of(
                list(evidence.episodes),
                "units",
                None,
                f"{name} reaches {largest[column]:.4g}, which is no {unit}: {guess}?",
                f"give its unit in the import configuration, so that it is stored in {unit}",
            )
    for position, name in enumerate(names):
        rate_name = name.removesuffix(".position") + ".velocity"
        if not name.endswith(".position") or rate_name not in names:
            continue
        ratio = _slope(evidence, position, names.index(rate_name))
        if ratio is not None and not 1 / 3 < ratio < 3:
            yield _of(
                list(evidence.episodes),
                "units",
                None,
                f"{rate_name} is {ratio:.3g} times the change of {name} per second{_unit(ratio)}",
                "give both the same unit, or correct the rate of the data set",
            )


def _slope(evidence: Evidence, position: int, velocity: int) -> float | None:
    """How many times its position's change a velocity is; None where it does not follow it."""
    moved: list[NDArray[np.floating]] = []
    said: list[NDArray[np.floating]] = []
    for episode in evidence.episodes:
        rows = episode.rows.proprio.astype(np.float64)
        moved.append(np.diff(rows[:, position]) * evidence.spec.fps)
        said.append((rows[1:, velocity] + rows[:-1, velocity]) / 2)
    x, y = np.concatenate(moved), np.concatenate(said)
    if x.std() == 0 or y.std() == 0 or abs(np.corrcoef(x, y)[0, 1]) < 0.7:
        return None
    return float((x @ y) / (x @ x))


def _unit(ratio: float) -> str:
    """A guess at the unit behind a ratio."""
    for factor, guess in _RATIOS:
        if abs(math.log(max(ratio, 1e-12) / factor)) < 0.2:
            return f" ({guess}?)"
        if abs(math.log(max(ratio, 1e-12) * factor)) < 0.2:
            return f" (the other way round of {guess}?)"
    return ""


def _of(
    episodes: list[EpisodeEvidence], kind: str, frame: int | None, message: str, advice: str
) -> Finding:
    """A warning about some episodes; the file named is that of the first."""
    return Finding(
        "warning",
        kind,
        episodes[0].info.data_file,
        tuple(episode.info.index for episode in episodes),
        frame,
        message,
        advice,
    )
