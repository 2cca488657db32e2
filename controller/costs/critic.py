"""The critic: steps still to go, as learned in hindsight from where the data went."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.costs.base import CostContext
from controller.types import CriticModel, Rollouts

Array = NDArray[np.float32]


class CriticCost:
    """Mean of the critic's steps to the goal over some steps of the horizon.

    Unlike a distance of latents it knows ways: for a block that is to be pushed, behind it is
    nearer to the goal than in front of it.
    """

    name = "critic"

    def __init__(self, model: CriticModel, horizon: int, steps: int) -> None:
        """Choose where to ask.

        Args:
            model: has the critic.
            horizon: H.
            steps: how many steps of the horizon are judged, evenly spread, the last one always;
                more than H are H.
        """
        self._model = model
        count = min(steps, horizon)
        self._asked = np.ceil(np.arange(1, count + 1) * horizon / count).astype(np.intp) - 1

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``rollouts``; see `Cost`."""
        latents = rollouts.latents[:, self._asked]
        steps = self._model.critic(latents.reshape(-1, *latents.shape[2:]), context.goal.latent)
        return steps.reshape(len(latents), -1).mean(axis=1)
