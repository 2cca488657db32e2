"""Improved CEM (Pinneri et al. 2020): fewer samples later, elites that outlive the plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.optimizers.base import Distribution
from controller.optimizers.cem import CEM

Array = NDArray[np.float32]


class ICEM(CEM):
    """What the paper adds to CEM, beside the coloured noise and kept elites that CEM has here.

    Each iteration draws ``sample_decay`` times the samples of the one before, but at least twice
    the elites; mean and std move by 1 - ``momentum`` of the way; the elites of a plan are tried
    again in the search for the next one, moved by the time that passed.
    """

    def count(self, samples: int, iteration: int) -> int:
        """Fewer in every iteration; see `Optimizer.count`."""
        fewest = min(2 * self._config.elites, samples)
        return max(round(samples * self._config.sample_decay**iteration), fewest)

    def carried(self, distribution: Distribution) -> Array | None:
        """The kept elites; see `Optimizer.carried`."""
        return distribution.kept

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Move towards the fit to the elites; see `Optimizer.update`."""
        fit = super().update(distribution, samples, costs)
        if fit is distribution:
            return distribution
        old, new = np.float32(self._config.momentum), np.float32(1.0 - self._config.momentum)
        mean = old * distribution.mean + new * fit.mean
        return Distribution(mean, old * distribution.std + new * fit.std, fit.kept)

    def _elites(self, count: int, drawn: int) -> int:
        """As many in every iteration, however few were drawn; at most half of them."""
        return -(-min(self._config.elites, drawn // 2) * count // drawn)
