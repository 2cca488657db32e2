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
        self._weights = _square_weights(horizon, low, high)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``actions``; see `Cost`."""
        return np.square(actions.reshape(len(actions), -1)) @ self._weights


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
        self._weights = _square_weights(horizon, low, high)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``actions``; see `Cost`."""
        size = actions.shape[2]
        flat = actions.reshape(-1)
        change = np.empty_like(flat)
        # In one piece over all samples, which is faster than row by row; where that subtracts the
        # end of one sample from the start of the next, the change from the action in force belongs.
        np.subtract(flat[size:], flat[:-size], out=change[size:])
        rows = change.reshape(len(actions), -1)
        np.subtract(actions[:, 0], context.previous_action, out=rows[:, :size])
        return np.square(rows, out=rows) @ self._weights


def _square_weights(horizon: int, low: Array, high: Array) -> Array:
    """``(H*A,)`` weights of squared SI actions in their mean square in halves of the range."""
    weights = (2.0 / (high - low)) ** 2 / (horizon * len(low))
    return np.tile(weights, horizon).astype(np.float32)
