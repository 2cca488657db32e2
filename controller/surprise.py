"""How far what is seen is from what was predicted, in multiples of what is usual."""

from __future__ import annotations

from collections import deque

import numpy as np

from controller.memory import CommandMemory
from controller.perception import Frame, model_state
from controller.types import NS_PER_S, ModelState, WorldModel

_REMEMBERED = 200  # energies that say what is usual
_ENOUGH = 10
_UNUSUAL = 4.0  # times the usual: not a measure of what is usual


class Surprise:
    """Predicts the next frame and compares. Not thread-safe.

    The energy is the mean squared difference of the latent seen and the latent predicted one step
    of the model before from the commands applied since; the surprise is that over the median of the
    last energies, so that one threshold fits every model. What was a surprise does not count as
    usual, so a lasting change of the scene remains one.
    """

    def __init__(self, model: WorldModel) -> None:
        """Nothing is usual yet."""
        self.model = model
        self._before: ModelState | None = None
        self._usual: deque[float] = deque(maxlen=_REMEMBERED)

    def see(self, frames: tuple[Frame, ...], commands: CommandMemory) -> float:
        """Compare the newest frame with what was expected of it.

        Args:
            frames: as perceived, oldest first, at least one.
            commands: applied.

        Returns:
            the surprise; 0 while too little was seen to say, infinite for what is not finite.
        """
        spec, before = self.model.spec, self._before
        state = model_state(spec, frames, commands)
        self._before = state
        if before is None:
            return 0.0
        steps = (state.stamp_ns - before.stamp_ns) / (spec.model_dt_s * NS_PER_S)
        if not 0.5 < steps < 1.5:
            return 0.0  # a gap, or a camera faster than the model
        action = commands.mean(before.stamp_ns, state.stamp_ns)
        predicted = self.model.rollout(before, action[None, None]).latents[0, 0]
        energy = float(np.mean((predicted - state.latents[-1]) ** 2, dtype=np.float64))
        if not np.isfinite(energy):
            return float("inf")
        usual = float(np.median(self._usual)) if len(self._usual) >= _ENOUGH else 0.0
        surprise = energy / usual if usual > 0.0 else 0.0
        if surprise < _UNUSUAL:
            self._usual.append(energy)
        return surprise
