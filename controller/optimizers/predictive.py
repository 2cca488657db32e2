"""Predictive sampling (Howell et al. 2022): go where the best sample is, and look around there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.optimizers.base import Distribution, Sampling

Array = NDArray[np.float32]


class PredictiveSampling(Sampling):
    """The simplest search there is. Reads ``std_decay`` of the settings; the paper's has 1."""

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Take the best sample as the mean; see `Optimizer.update`."""
        costs = np.where(np.isfinite(costs), costs, np.inf)
        best = int(costs.argmin())
        if not np.isfinite(costs[best]):
            return distribution
        std = distribution.std * np.float32(self._config.std_decay)
        return Distribution(samples[best].copy(), std, self._none)
