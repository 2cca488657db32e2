"""The energy of what was seen against what was predicted, and how large it is when all is well.

The energy of one pair of latents is their mean squared difference, as in training and in the
controller's cost of a goal. How large that may be depends on the model and on how many steps ahead
was predicted, so a bundle carries quantiles from episodes that it was not trained on: against them
a robot can tell a surprise from everyday error. NumPy alone: a robot needs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
FIELD = "energy"  # of the manifest
_SUSPECTED = 0.99


def energy(observed: NDArray[np.floating], predicted: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean squared difference of latents.

    Args:
        observed: ``(..., N, D)``, encoded from what the cameras saw.
        predicted: ``(..., N, D)``, imagined for the same instants; leading axes broadcast.

    Returns:
        ``(...)`` at least 0; 0 only where the two agree.

    Raises:
        ValueError: the latents are not of one shape.
    """
    if observed.shape[-2:] != predicted.shape[-2:]:
        raise ValueError(
            f"latents of {observed.shape[-2:]} cannot be held against {predicted.shape[-2:]}"
        )
    difference = np.asarray(observed, np.float64) - np.asarray(predicted, np.float64)
    return np.square(difference).mean((-2, -1))


def least_energy(
    observed: NDArray[np.floating], outcomes: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Energy of the outcome that fits best.

    ``F(x, y) = min_z E(x, y, z)`` of LeCun 2022, "A Path Towards Autonomous Machine Intelligence",
    section 4.2.

    Args:
        observed: ``(..., N, D)``.
        outcomes: ``(..., K, N, D)``, of `OnnxWorldModel.outcomes`.

    Returns:
        ``(...)``, of a single outcome what `energy` gives.
    """
    return energy(observed[..., None, :, :], outcomes).min(-1)


@dataclass(frozen=True)
class EnergyQuantiles:
    """Quantiles of the energy of predictions on held-out episodes, by steps ahead.

    Attributes:
        levels: L ascending shares in (0, 1).
        quantiles: for each k = 1 … K steps ahead L ascending energies, each exceeded by
            ``1 - level`` of the held-out predictions.
        clips: predictions judged for each k.
        episodes: held-out episodes they come from.
        covered: for each of `levels`, the share of one-step energies of one half of the episodes
            that lies within the quantile of the other half: how far the figures can be trusted.
    """

    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    clips: int
    episodes: int
    covered: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: levels or energies are not finite, not ascending or not as many.
        """
        levels, values = np.array(self.levels, np.float64), np.array(self.quantiles, np.float64)
        if levels.ndim != 1 or values.ndim != 2 or values.shape[1:] != levels.shape:
            raise ValueError(f"energy quantiles {values.shape} do not fit levels {levels.shape}")
        if not levels.size or not values.size or not 0 < levels[0] <= levels[-1] < 1:
            raise ValueError("energy levels must lie between 0 and 1 and there must be some")
        if not np.isfinite(values).all() or values.min() < 0:
            raise ValueError("energy quantiles must be finite and at least 0")
        if (np.diff(levels) <= 0).any() or (np.diff(values) < 0).any():
            raise ValueError("energy levels and quantiles must ascend")

    @property
    def steps(self) -> int:
        """K, the most steps ahead there are quantiles for."""
        return len(self.quantiles)

    def threshold(self, level: float = _SUSPECTED, steps: int = 1) -> float:
        """The energy that a share ``level`` of held-out predictions stays within.

        Args:
            level: between the first and the last of `levels`; between two it is interpolated.
            steps: how far ahead was predicted, 1 to `steps`.

        Raises:
            ValueError: there is no quantile for that.
        """
        if not self.levels[0] <= level <= self.levels[-1]:
            raise ValueError(
                f"level {level} is not within {self.levels[0]} to {self.levels[-1]}, which is what "
                "the held-out data tell"
            )
        return float(np.interp(level, self.levels, self._of(steps)))

    def rank(self, value: float, steps: int = 1) -> float:
        """The share of held-out predictions whose energy was smaller: 0 to 1.

        Between quantiles it is interpolated; below the first it is 0, above the last 1, and it is
        1 for what is not finite.
        """
        row = self._of(steps)
        if not np.isfinite(value) or value > row[-1]:
            return 1.0
        return float(np.interp(value, row, self.levels, left=0.0))

    def surprise(self, value: float, steps: int = 1, level: float = _SUSPECTED) -> float:
        """An energy in units of what is rarely exceeded: above 1 is worth slowing down for.

        Infinite for what is not finite.
        """
        if not np.isfinite(value):
            return float("inf")
        return value / max(self.threshold(level, steps), float(np.finfo(np.float32).tiny))

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "definition": "mean squared difference of latents, held-out episodes",
            "levels": list(self.levels),
            "quantiles": [list(row) for row in self.quantiles],
            "clips": self.clips,
            "episodes": self.episodes,
            "covered": list(self.covered),
        }

    def _of(self, steps: int) -> tuple[float, ...]:
        if not 1 <= steps <= self.steps:
            raise ValueError(f"there are energy quantiles for 1 to {self.steps} steps, not {steps}")
        return self.quantiles[steps - 1]


def quantiles_from(manifest: Mapping[str, Any]) -> EnergyQuantiles | None:
    """The quantiles in a bundle's manifest; None for a bundle from before there were any.

    Raises:
        ValueError, KeyError, TypeError: the field is malformed.
    """
    if FIELD not in manifest:
        return None
    entry = manifest[FIELD]
    return EnergyQuantiles(
        levels=tuple(float(v) for v in entry["levels"]),
        quantiles=tuple(tuple(float(v) for v in row) for row in entry["quantiles"]),
        clips=int(entry["clips"]),
        episodes=int(entry["episodes"]),
        covered=tuple(float(v) for v in entry.get("covered", ())),
    )


def calibrate(
    energies: NDArray[np.float64],
    episodes: NDArray[np.int64],
    levels: Sequence[float] = LEVELS,
) -> EnergyQuantiles:
    """Quantiles of energies that were measured on held-out episodes.

    Clips of one episode resemble each other, so the check of coverage leaves whole episodes out.

    Args:
        energies: ``(B, K)``, B clips, k steps ahead in column k - 1.
        episodes: ``(B,)``, the episode each clip is from.
        levels: ascending shares.

    Raises:
        ValueError: nothing is there, or something is not finite.
    """
    energies = np.asarray(energies, np.float64)
    if not energies.size or not np.isfinite(energies).all():
        raise ValueError("the energies on held-out episodes are not all finite, or there are none")
    known = np.unique(episodes)
    covered: tuple[float, ...] = ()
    if len(known) > 1:
        first = np.isin(episodes, known[::2])
        one, other = energies[first, 0], energies[~first, 0]
        within = [
            0.5 * ((other <= np.quantile(one, q)).mean() + (one <= np.quantile(other, q)).mean())
            for q in levels
        ]
        covered = tuple(round(float(v), 4) for v in within)
    # Of float32 precision, so that the manifest is not longer than it means.
    table = np.quantile(energies, levels, axis=0).T
    rows = tuple(tuple(float(f"{v:.6g}") for v in row) for row in table)
    return EnergyQuantiles(tuple(levels), rows, len(energies), len(known), covered)
