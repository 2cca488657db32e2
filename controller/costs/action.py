"""Actions cost something: size and change, both in halves of the action range."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.costs.base import CostContext
from controller.types import Rollouts

Array = NDArray[np.float32]


class ActionCost:
    """Mean square of the action over horizon and axes: 0 at rest, 1 at full speed on all axes."""

    name = "action"

    def __init__(self, horizon: int, low: Array, high: Array) -> None:
        """Set the scale.

        Args:
            horizon: H.
            low: ``(A,)`` lowest action, SI.
            high: ``(A,)`` highest action, SI.
        """
        self._scale = _per_half_range(horizon, low, high)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``actions``; see `Cost`."""
        scaled = actions.reshape(len(actions), -1) * self._scale
        return np.einsum("ij,ij->i", scaled, scaled) / np.float32(len(self._scale))


class SmoothnessCost:
    """Mean square of the change from one step's action to the next, the one in force included."""

    name = "smoothness"

    def __init__(self, horizon: int, low: Array, high: Array) -> None:
        """Set the scale.

        Args:
            horizon: H.
            low: ``(A,)`` lowest action, SI.
            high: ``(A,)`` highest action, SI.
        """
        self._scale = _per_half_range(horizon, low, high)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``actions``; see `Cost`."""
        flat = actions.reshape(len(actions), -1)
        width = actions.shape[2]
        change = np.empty_like(flat)
        np.subtract(flat[:, :width], context.previous_action, out=change[:, :width])
        np.subtract(flat[:, width:], flat[:, :-width], out=change[:, width:])
        change *= self._scale
        return np.einsum("ij,ij->i", change, change) / np.float32(len(self._scale))


def _per_half_range(horizon: int, low: Array, high: Array) -> Array:
    """``(H*A,)`` factors from SI to halves of the action range."""
    return np.tile(np.float32(2.0) / (high - low), horizon).astype(np.float32)
