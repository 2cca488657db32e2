"""Model-predictive path integral control: average all samples, weighted by their costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.optimizers.base import Distribution, Sampling, finite_only

Array = NDArray[np.float32]


class MPPI(Sampling):
    """Softmax-weighted mean; the std shrinks on a schedule and not with the samples.

    Reads ``temperature`` and ``std_decay`` of the settings.
    """

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Move the mean to the weighted samples; see `Optimizer.update`."""
        samples, costs = finite_only(samples, costs)
        count = len(samples)
        if count == 0:
            return distribution
        weights = softmax_weights(costs, self._config.temperature)
        mean = weights @ samples.reshape(count, -1)
        std = distribution.std * np.float32(self._config.std_decay)
        return Distribution(mean.reshape(self._shape), std, self._none)


def softmax_weights(costs: Array, temperature: float) -> Array:
    """``exp(-(cost - min) / (temperature * spread))``, normalised.

    The spread is median less minimum: unlike a std, one sample with a cost of 1e30 does not move it
    (with a std every other sample would then weigh the same).

    Args:
        costs: ``(B,)`` finite.
        temperature: relative to the spread, above 0.

    Returns:
        ``(B,)``, sums to one.
    """
    middle = len(costs) // 2
    above = costs - costs.min()
    spread = np.partition(above, middle)[middle]
    if spread <= 0.0:  # half of the samples or more share the least cost
        weights = (above <= 0.0).astype(np.float32)
    else:
        weights = np.exp(above / np.float32(-temperature * spread))
    return weights / weights.sum()
