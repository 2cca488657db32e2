"""What every cost gets and gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

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


class Judgement(NamedTuple):
    """What all costs together say of B futures.

    Attributes:
        costs: ``(B,)``, lower is better; not finite where anything predicted is not.
        shares: the weighted share of each term by name, each ``(B,)``.
        violation: ``(B,)`` size of the worst violation of a guardrail, 0 where none is violated;
            ``None`` when there are no guardrails. Whatever the costs say, a future that violates
            none comes before one that does.
        violations: of each guardrail by name, each ``(B,)``; below 0 where so much room is left.
    """

    costs: Array
    shares: dict[str, Array]
    violation: Array | None = None
    violations: Mapping[str, Array] = MappingProxyType({})


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
