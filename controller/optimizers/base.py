"""What every optimiser shares: the distribution it carries and how samples are drawn from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.noise import BLOCK, NoisePool

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Distribution:
    """Where the next samples come from.

    Attributes:
        mean: ``(K, A)`` knots, SI.
        std: ``(K, A)``, SI, above 0.
        kept: ``(E, K, A)`` knots, SI, to be tried again as they are.
    """

    mean: Array
    std: Array
    kept: Array


class Optimizer(Protocol):
    """Samples and updates; the loop around it belongs to the actor."""

    def start(self, mean: Array, kept: Array) -> Distribution:
        """The distribution of the first iteration.

        Args:
            mean: ``(K, A)`` knots, SI, finite.
            kept: ``(E, K, A)`` further candidates, SI, finite.
        """
        ...

    def count(self, samples: int, iteration: int) -> int:
        """How many samples to draw in iteration 0, 1, …, given those of the first one."""
        ...

    def sample(self, distribution: Distribution, rng: np.random.Generator, count: int) -> Array:
        """Draw ``(count, K, A)`` knots, SI, all within bounds."""
        ...

    def carried(self, distribution: Distribution) -> Array | None:
        """Knots ``(E, K, A)``, SI, that the search for the next plan should try too."""
        ...

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """The next distribution, from samples ``(B, K, A)`` and their costs ``(B,)``.

        Samples whose cost is not finite have no influence; when none is finite the distribution
        comes back unchanged.
        """
        ...


class Sampling:
    """Draws samples within bounds: the mean, then what is kept, then noise around the mean."""

    def __init__(self, config: PlannerConfig, low: Array, high: Array) -> None:
        """Draw the noise pool.

        Args:
            config: ``knots``, ``samples``, ``std`` and ``noise_beta`` are read here.
            low: ``(A,)`` lowest action, SI.
            high: ``(A,)`` highest action, SI.
        """
        self._config = config
        self._shape = (config.knots, len(low))
        low, high = np.broadcast_to(low, self._shape), np.broadcast_to(high, self._shape)
        self._half_range: Array = (high - low) / np.float32(2.0)
        self._std: Array = self._half_range * np.float32(config.std)
        self._low, self._high = low.reshape(-1), high.reshape(-1)
        # Bounds that all knots share are numbers: NumPy then clips in one piece, not row by row.
        shared = bool((low == low[0, 0]).all() and (high == high[0, 0]).all())
        self._clip_to = (low[0, 0], high[0, 0]) if shared else (self._low, self._high)
        self._pool = NoisePool(config.knots, self._shape[1], config.noise_beta, config.samples)
        self._none = np.zeros((0, *self._shape), np.float32)
        self._wide = np.empty((BLOCK, self._shape[0] * self._shape[1]), np.float32)  # for `sample`

    def start(self, mean: Array, kept: Array) -> Distribution:
        """The distribution of the first iteration; see `Optimizer.start`."""
        return Distribution(mean, self._std, kept)

    def count(self, samples: int, iteration: int) -> int:
        """All of them; see `Optimizer.count`."""
        return samples

    def carried(self, distribution: Distribution) -> Array | None:
        """Nothing; see `Optimizer.carried`."""
        return None

    def sample(self, distribution: Distribution, rng: np.random.Generator, count: int) -> Array:
        """Draw ``(count, K, A)`` knots, SI, all within bounds; see `Optimizer.sample`."""
        # One row per sample, and whole blocks of rows: NumPy is several times slower on short axes.
        blocks, size = -(-count // BLOCK), self._wide.shape[1]
        mean, block = distribution.mean.reshape(-1), self._wide
        block[:] = distribution.std.reshape(-1)
        noise = self._pool.read(rng, blocks * BLOCK)
        samples = noise.reshape(blocks, -1) * block.reshape(-1)
        block[:] = mean
        samples += block.reshape(-1)
        samples = samples.reshape(-1, size)[:count]
        kept = distribution.kept[: count - 1]
        samples[0] = mean
        samples[1 : 1 + len(kept)] = kept.reshape(len(kept), size)
        return self._within_bounds(samples).reshape(count, *self._shape)

    def _within_bounds(self, rows: Array) -> Array:
        """``(n, K*A)``, clipped in place."""
        low, high = self._clip_to
        np.maximum(rows, low, out=rows)
        return np.minimum(rows, high, out=rows)


def finite_only(samples: Array, costs: Array) -> tuple[Array, Array]:
    """The samples ``(B, K, A)`` whose cost is finite, and their costs ``(B,)``."""
    if math.isfinite(costs.dot(costs)):  # much sooner known than for each
        return samples, costs
    finite = np.isfinite(costs)
    return samples[finite], costs[finite]
