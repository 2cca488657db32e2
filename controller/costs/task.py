"""The task: be where the goal is, in latent space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.costs.base import CostContext
from controller.types import Rollouts

Array = NDArray[np.float32]


class GoalCost:
    """Mean squared distance to the goal's latent, averaged over the horizon.

    Summed over the horizon rather than taken at its last step: it then pays to go there now. The
    weights of the steps sum to one, so the value means the same for every horizon.
    """

    name = "goal"

    def __init__(self, horizon: int, growth: float) -> None:
        """Set the weights of the steps.

        Args:
            horizon: H.
            growth: weight of each step relative to the one before, above 0.
        """
        # Relative to the step that weighs most: extreme growths then underflow and do not overflow.
        steps = np.arange(horizon) - (horizon - 1 if growth > 1.0 else 0)
        weights = np.float64(growth) ** steps
        self._weights = (weights / weights.sum()).astype(np.float32)

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``rollouts``; see `Cost`."""
        samples, horizon = rollouts.latents.shape[:2]
        goal = context.goal.latent.reshape(-1)
        difference = rollouts.latents.reshape(samples * horizon, -1) - goal
        squared = np.einsum("ij,ij->i", difference, difference).reshape(samples, horizon)
        return squared @ self._weights / np.float32(len(goal))
