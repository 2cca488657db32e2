"""Gradient descent: finite differences through the model, from several starts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.config import ConfigError, PlannerConfig
from controller.optimizers.base import Distribution, Sampling

Array = NDArray[np.float32]

_DIFFERENCE = 0.05  # to either side, in halves of the action range
_FIRST, _SECOND = 0.8, 0.95  # Adam's memory; short, as searches are


@dataclass(frozen=True)
class Descent(Distribution):
    """A distribution and where each of P descents is.

    Attributes:
        points: ``(P, K*A)`` SI.
        first: ``(P, K*A)`` Adam's mean of the gradient.
        second: ``(P, K*A)`` Adam's mean of its square.
        steps: done.
    """

    points: Array
    first: Array
    second: Array
    steps: int


class GradientDescent(Sampling):
    """Adam (Kingma & Ba 2015) on central differences, in halves of the action range.

    Each descent needs 2KA + 1 samples an iteration; there are as many as ``samples`` allows. The
    first begins at the mean, the next at what is kept, the others at samples around the mean. The
    step begins at ``gradient_step`` and shrinks evenly to nothing over ``iterations``.
    """

    def __init__(self, config: PlannerConfig, low: Array, high: Array) -> None:
        """Set the differences; see `Sampling`.

        Raises:
            ConfigError: when the samples do not suffice for one descent.
        """
        super().__init__(config, low, high)
        size = self._low.size
        self._block = 2 * size + 1
        if config.samples < self._block:
            raise ConfigError(
                f"samples must be at least {self._block} for the gradient of {config.knots} knots "
                f"of {len(low)} actions, not {config.samples}"
            )
        scale = self._half_range.reshape(-1)
        offsets = np.diag(scale * np.float32(_DIFFERENCE))
        self._offsets = np.concatenate([np.zeros((1, size), np.float32), offsets, -offsets])
        self._scale = scale

    def count(self, samples: int, iteration: int) -> int:
        """Whole descents, at least one; see `Optimizer.count`."""
        return max(samples // self._block, 1) * self._block

    def sample(self, distribution: Distribution, rng: np.random.Generator, count: int) -> Array:
        """Each point and its neighbours, then noise; see `Optimizer.sample`."""
        rows = super().sample(distribution, rng, count).reshape(count, -1)
        descents = count // self._block
        points = rows[:descents].copy()
        if isinstance(distribution, Descent):
            going = distribution.points[:descents]
            points[: len(going)] = going
        around = points[:, None] + self._offsets
        rows[: descents * self._block] = around.reshape(-1, rows.shape[1])
        return self._within_bounds(rows).reshape(count, *self._shape)

    def update(self, distribution: Distribution, samples: Array, costs: Array) -> Distribution:
        """Take one step down from each point; see `Optimizer.update`."""
        descents = len(samples) // self._block
        size = self._low.size
        used = descents * self._block
        if descents == 0 or not np.isfinite(costs).any():
            return distribution
        blocks = samples[:used].reshape(descents, self._block, size)
        judged = costs[:used].reshape(descents, self._block)
        slope = self._slope(blocks, judged)
        first: Array = np.zeros_like(slope)
        second: Array = np.zeros_like(slope)
        steps = 0
        if isinstance(distribution, Descent) and len(distribution.points) == descents:
            first, second, steps = distribution.first, distribution.second, distribution.steps
        first = first + np.float32(1.0 - _FIRST) * (slope - first)
        second = second + np.float32(1.0 - _SECOND) * (slope * slope - second)
        rate = self._config.gradient_step * max(1.0 - steps / self._config.iterations, 0.0)
        steps += 1
        root = np.sqrt(second / np.float32(1.0 - _SECOND**steps))
        root[root <= 0.0] = np.inf
        step = first / np.float32(1.0 - _FIRST**steps) / root
        moved = self._within_bounds(blocks[:, 0] - np.float32(rate) * step * self._scale)
        centres = np.where(np.isfinite(judged[:, 0]), judged[:, 0], np.inf)
        # A point that is out begins again at the best there is.
        everywhere = np.where(np.isfinite(costs), costs, np.inf)
        astray = np.isinf(centres)
        moved[astray] = samples.reshape(len(samples), -1)[int(everywhere.argmin())]
        first[astray], second[astray] = 0.0, 0.0
        if astray.all():
            centres[:] = 0.0
        best = moved[int(centres.argmin())].reshape(self._shape)
        return Descent(best, distribution.std, self._none, moved, first, second, steps)

    def _slope(self, blocks: Array, costs: Array) -> Array:
        """Slopes ``(P, K*A)`` at points and their neighbours ``(P, 2KA+1, K*A)``; 0 if unknown."""
        axis = np.arange(self._low.size)
        up, down = axis + 1, axis + 1 + self._low.size
        # What lies between two neighbours after clipping; a difference of 0 is no difference.
        at_up, at_down = blocks[:, up, axis], blocks[:, down, axis]
        cost_up, cost_down = costs[:, up], costs[:, down]
        # A neighbour that is out gives way to the point itself.
        for at, cost in ((at_up, cost_up), (at_down, cost_down)):
            out = ~np.isfinite(cost)
            at[out] = blocks[:, 0][out]
            cost[out] = np.broadcast_to(costs[:, :1], out.shape)[out]
        distance = (at_up - at_down) / self._scale
        distance[distance <= 0.0] = np.inf
        slope: Array = (cost_up - cost_down) / distance
        return np.where(np.isfinite(slope), slope, np.float32(0.0))
