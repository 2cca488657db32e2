"""Coloured noise, drawn once and then only read.

Drawing noise is most of the time of a lean sampling planner, so a pool is drawn when the planner is
built and every iteration reads a stretch of it that its generator picks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_POOL_SEED = 20240229

BLOCK = 8  # rows are worked on so many at a time: NumPy is slower on many short ones


def coloured_noise(
    rng: np.random.Generator, count: int, knots: int, actions: int, beta: float
) -> Array:
    """Gaussian noise with power spectrum ``1/f**beta`` along the knots.

    Args:
        rng: where it comes from.
        count: number of sequences.
        knots: K, length of each.
        actions: A, independent channels.
        beta: 0 is white; larger is smoother.

    Returns:
        ``(count, K, A)`` float32, mean 0 and std 1 at every knot.
    """
    # A spectrum makes a periodic sequence; of one twice as long, a half shows no period.
    length = 2 * knots
    frequency = np.fft.rfftfreq(length)
    frequency[0] = frequency[1]
    scale = frequency ** (-beta / 2)
    white = np.fft.rfft(rng.standard_normal((count, actions, length)), axis=-1)
    coloured = np.fft.irfft(white * scale, n=length, axis=-1)[..., :knots]
    weights = np.full(len(scale), 2.0)
    weights[[0, -1]] = 1.0
    std = np.sqrt((weights * scale**2).sum() / length)
    return np.ascontiguousarray(coloured.transpose(0, 2, 1) / std, np.float32)


class NoisePool:
    """A fixed pool of noise; the same for the same shape and colour, whoever builds it."""

    def __init__(self, knots: int, actions: int, beta: float, count: int) -> None:
        """Draw the pool.

        Args:
            knots: K.
            actions: A.
            beta: colour, see `coloured_noise`.
            count: the most that will be asked for at once, not yet rounded up to whole blocks.
        """
        rng = np.random.default_rng(_POOL_SEED)
        self._size = max(8192, 8 * count)
        pool = coloured_noise(rng, self._size + count + BLOCK - 1, knots, actions, beta)
        self._pool = pool.reshape(len(pool), knots * actions)

    def read(self, rng: np.random.Generator, count: int) -> Array:
        """A stretch of the pool that the generator picks.

        Args:
            rng: picks where.
            count: at most the ``count`` the pool was built for, rounded up to whole blocks.

        Returns:
            ``(count, K*A)``, a view: do not write to it.
        """
        start = int(rng.integers(self._size))
        return self._pool[start : start + count]
