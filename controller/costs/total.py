"""The weighted sum of all costs, with the share of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controller.config import ConfigError, CostConfig
from controller.costs.action import ActionCost, SmoothnessCost
from controller.costs.base import Cost, CostContext, Judgement
from controller.costs.critic import CriticCost
from controller.costs.guardrail import Guardrails
from controller.costs.task import GoalCost
from controller.costs.uncertainty import UncertaintyCost
from controller.types import CriticModel, Rollouts, WorldModel

Array = NDArray[np.float32]


class TotalCost:
    """A weighted sum of costs, and the guardrails that stand above it."""

    def __init__(
        self, terms: Sequence[tuple[Cost, float]], guardrails: Guardrails | None = None
    ) -> None:
        """Take the terms.

        Args:
            terms: costs with their weights; those of weight 0 are never evaluated.
            guardrails: limits; ``None`` for none.
        """
        self._guardrails = guardrails if guardrails is not None and guardrails.active else None
        self._terms = [(cost, np.float32(weight)) for cost, weight in terms if weight != 0.0]

    def __call__(self, rollouts: Rollouts, actions: Array, context: CostContext) -> Judgement:
        """Judge B futures.

        Args:
            rollouts: what the model predicts.
            actions: ``(B, H, A)`` SI.
            context: goal, start and the action before.

        Returns:
            The total, not finite wherever anything predicted is not, and the share of each term;
            of each guardrail how much it is violated.
        """
        # A model that predicts NaN readings is not believed about its latents either.
        # Zero times a finite number is zero, and NaN otherwise.
        proprio = rollouts.proprio.reshape(len(actions), -1)
        total = proprio @ np.zeros(proprio.shape[1], np.float32)
        shares = {}
        for cost, weight in self._terms:
            share = cost(rollouts, actions, context) * weight
            shares[cost.name] = share
            total += share
        if self._guardrails is None:
            return Judgement(total, shares)
        violations = self._guardrails(rollouts, context)
        worst = np.zeros(len(actions), np.float32)
        for violation in violations.values():
            worst = np.maximum(worst, violation)
        return Judgement(total, shares, worst, violations)


def build_cost(
    config: CostConfig,
    horizon: int,
    low: Array,
    high: Array,
    model: WorldModel | None = None,
    guardrails: Guardrails | None = None,
) -> TotalCost:
    """The costs that a configuration asks for.

    Args:
        config: the weights.
        horizon: H.
        low: ``(A,)`` lowest action, SI.
        high: ``(A,)`` highest action, SI.
        model: whose critic is asked, where it has one.
        guardrails: limits that stand above all costs.

    Raises:
        ConfigError: a cost needs what the model does not have.
    """
    terms: list[tuple[Cost, float]] = [
        (GoalCost(horizon, config.goal_growth), config.goal_weight),
        (ActionCost(horizon, low, high), config.action_weight),
        (SmoothnessCost(horizon, low, high), config.smoothness_weight),
    ]
    if config.critic_weight > 0:
        if not isinstance(model, CriticModel) or not model.has_critic:
            raise ConfigError(
                f"critic_weight is {config.critic_weight:g} and the model has no critic; train one "
                "with `foresee train-critic` or set the weight to 0"
            )
        terms.append((CriticCost(model, horizon, config.critic_steps), config.critic_weight))
    terms.append((UncertaintyCost(), config.uncertainty_weight))
    return TotalCost(terms, guardrails)
