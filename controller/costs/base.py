"""What every cost gets and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from controller.types import Goal, ModelState, Rollouts

Array = NDArray[np.float32]


@dataclass(frozen=True)
class CostContext:
    """What a cost may know beside the imagined futures.

    Attributes:
        goal: where to go.
        state: where the rollouts start from.
        previous_action: ``(A,)`` SI, in force until the first action of the rollouts.
    """

    goal: Goal
    state: ModelState
    previous_action: Array


class Cost(Protocol):
    """One term of what is minimised; lower is better."""

    @property
    def name(self) -> str:
        """What it is called in a plan's ``cost_terms``."""
        ...

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Array:
        """Judge B futures.

        Args:
            rollouts: what the model predicts.
            actions: ``(B, H, A)`` SI, what it predicts it for.
            context: goal, start and the action before.

        Returns:
            ``(B,)``; not finite where the prediction is not.
        """
        ...
