"""How far what is seen is from what was predicted, in units of what is rare when all is well."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from controller.memory import CommandMemory
from controller.perception import Frame, model_state
from controller.types import NS_PER_S, Array, ModelState, WorldModel

_SUSTAINED = 2  # frames: one odd image is none yet


class Surprise:
    """Predicts the newest frame from some steps before and compares. Not thread-safe.

    The energy is the mean squared difference of the latent seen and the latent predicted from K
    steps of the model before, or from as many as there are, with the commands applied since; a
    frozen image differs from that by more with every step the robot moves. The surprise is that
    energy over the one rarely exceeded, the smallest of the last two frames. A robot that stands
    still in front of a frozen image is nothing to be surprised at.
    """

    def __init__(self, model: WorldModel, rare: Sequence[float]) -> None:
        """Nothing was seen yet.

        Args:
            model: predicts.
            rare: energies rarely exceeded by predictions 1 … K steps ahead, each above 0; none for
                a model of which that is not known, which never is surprised.
        """
        self.model = model
        self._rare = tuple(rare)
        self._states: deque[ModelState] = deque(maxlen=len(self._rare) + 1)
        self._actions: deque[Array] = deque(maxlen=len(self._rare))  # between those
        self._last: deque[float] = deque(maxlen=_SUSTAINED)

    def see(self, frames: tuple[Frame, ...], commands: CommandMemory) -> float:
        """Compare the newest frame with what was expected of it.

        Args:
            frames: as perceived, oldest first, at least one.
            commands: applied.

        Returns:
            the surprise: above 1 is rare; 0 while too little was seen to say, as after a gap;
            infinite for what is not finite.
        """
        if not self._rare:
            return 0.0
        spec = self.model.spec
        state = model_state(spec, frames, commands)
        if self._states:
            before_ns = self._states[-1].stamp_ns
            steps = (state.stamp_ns - before_ns) / (spec.model_dt_s * NS_PER_S)
            if 0.5 < steps < 1.5:
                self._actions.append(commands.mean(before_ns, state.stamp_ns))
            else:  # a gap, or a camera faster than the model
                for memory in (self._states, self._actions, self._last):
                    memory.clear()
        self._states.append(state)
        ahead = len(self._actions)
        if not ahead:
            return 0.0
        actions = np.stack(self._actions)[None]
        predicted = self.model.rollout(self._states[0], actions).latents[0, -1]
        energy = float(np.mean((predicted - state.latents[-1]) ** 2, dtype=np.float64))
        if not np.isfinite(energy):
            return float("inf")
        self._last.append(energy / self._rare[ahead - 1])
        return min(self._last) if len(self._last) == _SUSTAINED else 0.0
