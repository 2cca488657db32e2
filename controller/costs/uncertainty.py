"""Uncertainty: stay where the model knows what it is doing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.costs.base import CostContext
from controller.settings import ConfigError
from controller.types import Rollouts

Array = NDArray[np.float32]


class UncertaintyCost:
    """Mean over the horizon of how much the heads of the model disagree (as in PETS, MoDem-V2).

    Rollouts of a model with several heads carry ``disagreement (B, H)``, the variance of their
    predictions.
    """

    name = "uncertainty"

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge ``rollouts``; see `Cost`.

        Raises:
            ConfigError: the model says nothing about it.
        """
        disagreement: Array | None = getattr(rollouts, "disagreement", None)
        if disagreement is None:
            raise ConfigError(
                "uncertainty_weight is above 0 and the model's predictions carry no disagreement; "
                "use a model with several heads or set the weight to 0"
            )
        mean: Array = disagreement.mean(axis=1)
        return mean
