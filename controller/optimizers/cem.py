"""The cross-entropy method: refit mean and std to the best samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.base import Distribution, Sampling, finite_only

Array = NDArray[np.float32]


class CEM(Sampling):
    """Cross-entropy method with coloured noise, a floor under the std and kept elites.

    Reads ``elites``, ``kept_elites`` and ``std_floor`` of the settings.
    """

    def __init__(self, config: PlannerConfig, low: Array, high: Array) -> None:
        """Draw the noise and set the floor; see `Sampling`."""
        super().__init__(config, low, high)
        self._floor = (self._half_range * np.float32(config.std_floor)).reshape(-1)

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Fit the next distribution to the elites; see `Optimizer.update`."""
        drawn = len(samples)
        samples, costs = finite_only(samples, costs)
        count = len(samples)
        if count == 0:
            return distribution
        elites = max(min(2, count), self._elites(count, drawn))
        best = np.argpartition(costs, elites - 1)[:elites]
        best = best[costs[best].argsort()]
        rows = samples.reshape(count, -1).take(best, axis=0)
        share = np.float32(1.0 / elites)
        mean = np.add.reduce(rows, axis=0) * share
        if elites == 1:  # one sample says where to go, nothing about how far to look around
            std = distribution.std
        else:
            deviation = rows - mean
            std = np.sqrt(np.einsum("ij,ij->j", deviation, deviation) * share)
            std = np.maximum(std, self._floor).reshape(self._shape)
        kept = rows[: self._config.kept_elites].reshape(-1, *self._shape)
        return Distribution(mean.reshape(self._shape), std, kept)

    def _elites(self, count: int, drawn: int) -> int:
        """How many of ``count`` finite ones to fit to.

        The same share of what is left, or losing half the samples would blunt the selection.
        """
        return -(-self._config.elites * count // self._config.samples)  # rounded up
