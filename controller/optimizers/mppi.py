"""Model-predictive path integral control: average all samples, weighted by their costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.base import Distribution, Sampler
from controller.optimizers.noise import NoisePool

Array = NDArray[np.float32]


class MPPI:
    """Softmax-weighted mean; the std shrinks on a schedule and not with the samples."""

    def __init__(self, config: PlannerConfig, low: Array, high: Array) -> None:
        """Draw the noise pool.

        Args:
            config: ``knots``, ``samples``, ``std``, ``std_decay``, ``noise_beta`` and
                ``temperature`` are read.
            low: ``(A,)`` lowest action, SI.
            high: ``(A,)`` highest action, SI.
        """
        shape = (config.knots, len(low))
        low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
        self._config = config
        self._std = (high - low) / np.float32(2.0) * np.float32(config.std)
        pool = NoisePool(config.knots, shape[1], config.noise_beta, config.samples)
        self._sampler = Sampler(pool, low, high)
        self._none = np.zeros((0, *shape), np.float32)

    def start(self, mean: Array, kept: Array) -> Distribution:
        """The distribution of the first iteration; see `Optimizer.start`."""
        return Distribution(mean, self._std, kept)

    def count(self, samples: int, iteration: int) -> int:
        """All of them, see `Optimizer.count`."""
        return samples

    def carried(self, distribution: Distribution) -> Array | None:
        """Nothing, see `Optimizer.carried`."""
        return None

    def sample(self, distribution: Distribution, rng: np.random.Generator, count: int) -> Array:
        """Draw ``(count, K, A)`` knots, SI, within bounds; see `Optimizer.sample`."""
        return self._sampler.sample(distribution, rng, count)

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Move the mean to the weighted samples; see `Optimizer.update`."""
        finite = np.isfinite(costs)
        count = int(np.count_nonzero(finite))
        if count == 0:
            return distribution
        if count < len(costs):
            costs, samples = costs[finite], samples[finite]
        weights = softmax_weights(costs, self._config.temperature)
        mean = weights @ samples.reshape(count, -1)
        std = distribution.std * np.float32(self._config.std_decay)
        return Distribution(mean.reshape(distribution.mean.shape), std, self._none)


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
