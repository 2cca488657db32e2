"""Rollouts put to use: the state after committed actions, and futures that rest at the end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.types import NS_PER_S, ModelState, Rollouts, WorldModel

Array = NDArray[np.float32]


class _Rested(NamedTuple):
    """Rollouts that stand still from some step on."""

    latents: Array
    proprio: Array
    disagreement: Array | None


def imagine(model: WorldModel, state: ModelState, actions: Array, horizon: int) -> Rollouts:
    """Imagine the first steps and take it that nothing changes afterwards.

    Args:
        model: imagines.
        state: where to start.
        actions: ``(B, H, A)`` SI, zero from step ``horizon`` on.
        horizon: steps to imagine, 1 to H.

    Returns:
        Rollouts of all H steps.
    """
    if horizon >= actions.shape[1]:
        return model.rollout(state, actions)
    begun = model.rollout(state, np.ascontiguousarray(actions[:, :horizon]))
    seen = np.minimum(np.arange(actions.shape[1]), horizon - 1)
    disagreement: Array | None = getattr(begun, "disagreement", None)
    if disagreement is not None:
        disagreement = disagreement[:, seen]
    return _Rested(begun.latents[:, seen], begun.proprio[:, seen], disagreement)


def advance(model: WorldModel, state: ModelState, actions: Array) -> ModelState:
    """The state that the model expects after some actions.

    Args:
        model: imagines.
        state: where to start.
        actions: ``(M, A)`` SI, M at least 1.

    Returns:
        The state M steps later; not finite where the prediction is not.
    """
    rollouts = model.rollout(state, actions[None])
    size = len(state.latents)
    elapsed_ns = round(len(actions) * model.spec.model_dt_s * NS_PER_S)
    return ModelState(
        latents=np.concatenate([state.latents, rollouts.latents[0]])[-size:],
        proprio=np.concatenate([state.proprio, rollouts.proprio[0]])[-size:],
        actions=np.concatenate([state.actions, actions])[len(actions) :],
        stamp_ns=state.stamp_ns + elapsed_ns,
    )
