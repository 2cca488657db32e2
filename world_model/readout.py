"""What can be read out of latents: which true quantities, and how well. NumPy alone.

A linear readout says what planning by latent distance can use; a small network
(`world_model.decoder`) says what is there at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from world_model.bundle import unit_of

Floats = NDArray[np.floating]
_LEAST_STD = {"m": 0.002, "rad": 0.01}  # what varies less holds nothing to read
_TURN = 2 * np.pi


@dataclass(frozen=True)
class Linear:
    """A ridge regression: ``(B, D)`` to ``(B, E)``."""

    weights: Floats
    mean_x: Floats
    mean_y: Floats

    def __call__(self, latents: Floats) -> Floats:
        """``(B, D)`` to ``(B, E)``."""
        return (latents - self.mean_x) @ self.weights + self.mean_y


def fit_linear(latents: Floats, targets: Floats, ridge: float = 1e-3) -> Linear:
    """Fit ``targets (B, E)`` on ``latents (B, D)``; ``ridge`` is relative to the mean variance."""
    mean_x, mean_y = latents.mean(0), targets.mean(0)
    x, y = latents - mean_x, targets - mean_y
    penalty = ridge * (x**2).sum() / x.shape[1] + 1e-9
    if x.shape[1] <= len(x):
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    else:  # the same by the smaller system
        weights = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return Linear(weights, mean_x, mean_y)


@dataclass(frozen=True)
class Quantity:
    """Something true about a frame that a probe should find.

    Attributes:
        name: of the reading or evaluation signal.
        column: which of the values it is.
        period: an angle comes round after this many rad; 0 for what is not an angle. A cube looks
            the same after a quarter turn, so of its yaw only the remainder can be seen.
    """

    name: str
    column: int
    period: float = 0.0

    @property
    def title(self) -> str:
        """Its name, for an angle with what it comes round after."""
        return self.name if not self.period else f"{self.name} mod {np.degrees(self.period):.0f}°"

    @property
    def unit(self) -> str:
        """SI unit."""
        return unit_of(self.name)

    @property
    def width(self) -> int:
        """Numbers that a probe is given for it: 1, or cosine and sine."""
        return 2 if self.period else 1

    def encode(self, values: Floats) -> Floats:
        """Values ``(B, M)`` of all signals to what a probe is fitted on, ``(B, width)``."""
        given = values[:, self.column].astype(np.float64)
        if not self.period:
            return given[:, None]
        angle = given * (_TURN / self.period)
        return np.stack([np.cos(angle), np.sin(angle)], 1)

    def error(self, read: Floats, values: Floats) -> Floats:
        """Absolute error ``(B,)``, SI, of what a probe read ``(B, width)``."""
        given = values[:, self.column].astype(np.float64)
        if not self.period:
            return np.abs(read[:, 0] - given)
        angle = np.arctan2(read[:, 1], read[:, 0]) * (self.period / _TURN)
        return np.abs((angle - given + self.period / 2) % self.period - self.period / 2)


@dataclass(frozen=True)
class Score:
    """How well a quantity was read on held-out frames.

    Attributes:
        r2: share of the variance explained; of an angle, of its cosine and sine.
        median: median absolute error, SI.
        p95: 95 % of the errors are within this, SI.
    """

    r2: float
    median: float
    p95: float


def quantities(names: Sequence[str], values: Floats) -> list[Quantity]:
    """What to look for in a latent among signals ``values (B, M)``.

    Left out is what one frame cannot show (velocities), what has no unit and what hardly varies.
    """
    found = []
    for column, name in enumerate(names):
        least = _LEAST_STD.get(unit_of(name))
        if least is None or values[:, column].std() < least:
            continue
        if name.endswith("yaw"):
            found += [Quantity(name, column, _TURN), Quantity(name, column, _TURN / 4)]
        else:
            found.append(Quantity(name, column))
    return found


def encode_all(wanted: Sequence[Quantity], values: Floats) -> Floats:
    """Every quantity's numbers side by side, ``(B, E)``."""
    return np.concatenate([quantity.encode(values) for quantity in wanted], axis=1)


def judge(
    readout: Callable[[Floats], Floats], wanted: Sequence[Quantity], latents: Floats, values: Floats
) -> list[Score]:
    """How well a readout of `encode_all` does, one score for each quantity.

    Args:
        readout: ``(B, D)`` to ``(B, E)``.
        wanted: what it was fitted on, in this order.
        latents: ``(B, D)`` of held-out frames.
        values: ``(B, M)`` of the same frames.
    """
    read, scores, first = readout(latents), [], 0
    for quantity in wanted:
        mine = read[:, first : first + quantity.width]
        first += quantity.width
        truth = quantity.encode(values)
        error = quantity.error(mine, values)
        total = np.square(truth - truth.mean(0)).sum()
        r2 = 1 - np.square(mine - truth).sum() / total if total > 1e-12 else float("nan")
        median, p95 = np.percentile(error, [50, 95])
        scores.append(Score(float(r2), float(median), float(p95)))
    return scores
