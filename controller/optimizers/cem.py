"""The cross-entropy method: refit mean and std to the best samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.base import Distribution, Sampler
from controller.optimizers.noise import NoisePool

Array = NDArray[np.float32]


class CEM:
    """Cross-entropy method with coloured noise, a floor under the std and kept elites."""

    def __init__(self, config: PlannerConfig, low: Array, high: Array) -> None:
        """Draw the noise pool.

        Args:
            config: ``knots``, ``samples``, ``std``, ``std_floor``, ``noise_beta``, ``elites`` and
                ``kept_elites`` are read.
            low: ``(A,)`` lowest action, SI.
            high: ``(A,)`` highest action, SI.
        """
        shape = (config.knots, len(low))
        low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
        half_range = (high - low) / np.float32(2.0)
        self._config = config
        self._std = half_range * np.float32(config.std)
        self._std_floor = half_range * np.float32(config.std_floor)
        pool = NoisePool(config.knots, shape[1], config.noise_beta, config.samples)
        self._sampler = Sampler(pool, low, high)

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
        """Fit the next distribution to the elites; see `Optimizer.update`."""
        finite = np.isfinite(costs)
        count = int(np.count_nonzero(finite))
        if count == 0:
            return distribution
        if count < len(costs):
            costs = np.where(finite, costs, np.inf)
        # The same share of what is left, or losing half the samples would blunt the selection.
        share = -(-self._config.elites * count // self._config.samples)  # rounded up
        elites = max(min(2, count), share)
        best = np.argpartition(costs, elites - 1)[:elites]
        best = best[np.argsort(costs[best])]
        rows = samples[best]
        flat = rows.reshape(elites, -1)
        mean = flat.mean(axis=0)
        if elites == 1:  # one sample says where to go, nothing about how far to look around
            std = distribution.std
        else:
            deviation = flat - mean
            std = np.sqrt(np.einsum("ij,ij->j", deviation, deviation) / np.float32(elites))
            std = np.maximum(std.reshape(distribution.mean.shape), self._std_floor)
        return Distribution(
            mean.reshape(distribution.mean.shape), std, rows[: self._config.kept_elites]
        )
