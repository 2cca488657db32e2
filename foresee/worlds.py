"""Make simulated worlds by name and see them as the agent does."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import sim
from controller.types import NS_PER_S, Observation
from foresee.errors import UsageError, suggest

CAMERA = "scene"


def make_world(
    env_id: str,
    image_size: int = 64,
    randomization: Any = None,
    max_episode_steps: int | None = None,
) -> gymnasium.Env:
    """A foresee environment.

    Args:
        env_id: such as ``foresee/Reach-v0``.
        image_size: side of the square camera image in pixels.
        randomization: a `sim.randomization.Randomization`, or nothing.
        max_episode_steps: instead of the registered limit.

    Raises:
        UsageError: there is no environment of that name.
    """
    if env_id not in sim.ENV_IDS:
        raise UsageError(
            f"no environment {env_id!r}.{suggest(env_id, sim.ENV_IDS)} "
            f"There are: {', '.join(sim.ENV_IDS)}"
        )
    return gymnasium.make(
        env_id,
        image_size=image_size,
        camera=CAMERA,
        randomization=randomization,
        max_episode_steps=max_episode_steps,
    )


def observation_of(obs: dict[str, NDArray[Any]], time_s: float) -> Observation:
    """The part of an environment's observation that a robot's sensors give, stamped."""
    return Observation(
        stamp_ns=round(time_s * NS_PER_S),
        images={CAMERA: obs["image"]},
        proprio=np.asarray(obs["proprio"], np.float32),
    )
