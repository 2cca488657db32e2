"""Which hand-written policy and which exploration belong to which environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim import scripted
from sim.exploration import Explorer
from sim.policies import pick, pusht, rooms

Action = NDArray[np.float32]
Policy = Callable[[Mapping[str, Any]], Action]

_SCRIPTED: dict[str, Policy] = {
    "foresee/Reach-v0": scripted.reach,
    "foresee/Push-v0": scripted.push_to_goal,
    "foresee/TwoRooms-v0": rooms.through_door,
    "foresee/PushT-v0": pusht.push_to_goal,
    "foresee/PickPlace-v0": pick.pick_to_goal,
}
_STRAIGHT: dict[str, Policy] = {"foresee/TwoRooms-v0": rooms.straight}
_EXPLORERS: dict[str, type[Explorer]] = {
    "foresee/TwoRooms-v0": rooms.RoomsExplorer,
    "foresee/PushT-v0": pusht.TeeExplorer,
    "foresee/PickPlace-v0": pick.PickExplorer,
}


def scripted_action(env_id: str, info: Mapping[str, Any]) -> Action:
    """The action ``(A,)`` of the hand-written policy, from the truth in `info`.

    Raises:
        ValueError: there is no policy for this environment.
    """
    if env_id not in _SCRIPTED:
        raise ValueError(f"no scripted policy for {env_id!r}")
    return _SCRIPTED[env_id](info)


def has_straight_line(env_id: str) -> bool:
    """Whether `straight_line_action` knows this environment: where it is not `scripted_action`."""
    return env_id in _STRAIGHT


def straight_line_action(env_id: str, info: Mapping[str, Any]) -> Action:
    """The action ``(A,)`` that heads for the goal whatever is between.

    Raises:
        ValueError: that has no sense in this environment, or is its scripted policy.
    """
    if env_id not in _STRAIGHT:
        raise ValueError(f"no straight line for {env_id!r}")
    return _STRAIGHT[env_id](info)


def make_explorer(env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> Explorer:
    """The exploration that belongs to an environment.

    Args:
        env: a `foresee/…` environment.
        rng: where its randomness comes from; the same one gives the same motion.
    """
    kind = _EXPLORERS.get(env.spec.id, Explorer) if env.spec else Explorer
    return kind(env, rng)
