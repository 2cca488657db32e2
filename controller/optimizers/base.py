"""What every optimiser shares: the distribution it carries and how samples are drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller.optimizers.noise import NoisePool

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


class Sampler:
    """Draws samples within bounds: the mean, then what is kept, then noise around the mean."""

    def __init__(self, pool: NoisePool, low: Array, high: Array) -> None:
        """Take the noise and the bounds.

        Args:
            pool: noise for K knots of A actions.
            low: ``(K, A)`` lowest knot values, SI.
            high: ``(K, A)`` highest knot values, SI.
        """
        self._pool = pool
        self._low = low.reshape(-1)
        self._high = high.reshape(-1)

    def sample(self, distribution: Distribution, rng: np.random.Generator, count: int) -> Array:
        """Draw ``(count, K, A)`` knots, SI, all within bounds; see `Optimizer.sample`."""
        shape = distribution.mean.shape
        # One row per sample: NumPy is several times slower on short inner axes such as A.
        samples = self._pool.read(rng, count) * distribution.std.reshape(-1)
        samples += distribution.mean.reshape(-1)
        kept = distribution.kept[: count - 1]
        samples[0] = distribution.mean.reshape(-1)
        samples[1 : 1 + len(kept)] = kept.reshape(len(kept), samples.shape[1])
        np.maximum(samples, self._low, out=samples)
        np.minimum(samples, self._high, out=samples)
        return samples.reshape(count, *shape)
