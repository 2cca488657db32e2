"""The simulator in place of the world model: what is planned when nothing is imagined wrong."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from controller.types import ModelState
from foresee.worlds import core_of, world_for
from world_model.runtime import ModelSpec, OnnxWorldModel, Rollouts

Array = NDArray[np.float32]


class TrueSimulator:
    """A world model that does not learn: it tries every candidate in a copy of the world.

    Encoder and critic are the bundle's, so that the costs are those of the agent; every imagined
    frame is rendered and encoded. A `controller.types.WorldModel`.

    Args:
        model: of the bundle.
        env_id: the world; its copy must be told what happens by `begin` and `follow`. One without
            a gripper, whose wanted position is not part of what a world saves.
    """

    def __init__(self, model: OnnxWorldModel, env_id: str) -> None:
        self._model = model
        self._world = world_for(env_id, model.spec)
        self._core = core_of(self._world)
        if any(name.startswith("gripper") for name in self._core.action_names):
            raise ValueError(f"{env_id} has a gripper, which the copy would not put back")

    @property
    def spec(self) -> ModelSpec:
        """The bundle's."""
        return self._model.spec

    @property
    def has_critic(self) -> bool:
        """Whether the bundle has one."""
        return self._model.has_critic

    def critic(self, latents: Array, goal: Array) -> Array:
        """The bundle's."""
        return self._model.critic(latents, goal)

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        """The bundle's."""
        return self._model.encode(images)

    def begin(self, seed: int) -> None:
        """The episode of ``seed`` begins."""
        self._world.reset(seed=seed)

    def follow(self, action: Array) -> None:
        """The world did ``action (A,)`` for a step."""
        self._core.command(action)
        self._core.advance(self._core.control_dt_s)

    def rollout(self, state: ModelState, actions: Array) -> Rollouts:
        """What becomes of ``actions (B, H, A)``; ``state`` is not needed, the copy has it."""
        saved = self._core.physics.save()
        count, horizon = actions.shape[:2]
        latents, proprio = [], []
        for candidate in actions:
            for action in candidate:
                self.follow(action)
                latents.append(self.encode({n: self._core.view(n) for n in self.spec.cameras}))
                proprio.append(self._core.proprio())
            self._core.physics.restore(saved)
        self._core.physics.forget(saved)
        return Rollouts(
            np.stack(latents).reshape(count, horizon, *self.spec.latent_shape),
            np.stack(proprio).reshape(count, horizon, -1),
        )

    def close(self) -> None:
        """End the copy."""
        self._world.close()
