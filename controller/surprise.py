"""How far what is seen is from what was predicted, in units of what is rare when all is well."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from controller.memory import AppliedCommand, CommandMemory
from controller.perception import Frame, model_state
from controller.types import NS_PER_S, Array, ModelState, WorldModel

# In steps of the model:
_LEAST = 0.75  # nearer frames are not held against each other
_LATE = 0.25  # nor are those that are farther apart by more than this than K
_SUSTAINED = 1.25  # what is gone sooner, one odd image, is no surprise
_FEWEST = 2  # frames, where they are farther apart than that


class Surprise:
    """Predicts the newest frame from some steps before and compares. Not thread-safe.

    The energy is the mean squared difference of the latent seen and the latent predicted from K
    steps of the model before, or from as many as there are, with the commands applied since; a
    frozen image differs from that by more with every step the robot moves. The surprise is that
    energy over the one rarely exceeded, the smallest of the last step. A robot that stands still
    in front of a frozen image is nothing to be surprised at.

    Frames may come at any rate. Where they are not a whole number of steps apart, what was expected
    lies between two predictions, as far along as the frame does in time.
    """

    def __init__(self, model: WorldModel, rare: Sequence[float]) -> None:
        """Nothing was seen yet.

        Args:
            model: predicts.
            rare: energies rarely exceeded by predictions 1 … K steps ahead, each above 0; none for
                a model of which that is not known, and neither is its surprise ever.
        """
        self.model = model
        self._rare = tuple(rare)
        self._step_ns = round(model.spec.model_dt_s * NS_PER_S)
        self._states: list[ModelState] = []  # of the last K steps, oldest first
        self._commands = CommandMemory.empty(len(model.spec.action_names))  # since the first
        self._seen: list[tuple[int, float]] = []  # stamp of a frame, its energy over the rare one

    def see(self, frames: tuple[Frame, ...], commands: CommandMemory) -> float | None:
        """Compare the newest frame with what was expected of it.

        Args:
            frames: as perceived, oldest first, at least one.
            commands: applied.

        Returns:
            the surprise: above 1 is rare; infinite for what is not finite; ``None`` where it is
            not known, because too little was seen: at the start, after a gap, or of frames that are
            all more than K steps apart.
        """
        if not self._rare:
            return None
        now_ns = frames[-1].stamp_ns
        if self._states and now_ns < self._states[-1].stamp_ns:  # another clock
            self._states, self._seen = [], []
        oldest_ns = now_ns - round((len(self._rare) + _LATE) * self._step_ns)
        # A frame of the same stamp as the last takes its place.
        self._states = [s for s in self._states if oldest_ns <= s.stamp_ns < now_ns]
        self._seen = [s for s in self._seen if oldest_ns <= s[0] < now_ns]
        self._take(commands, oldest_ns)
        state = model_state(self.model.spec, frames, commands)
        self._states.append(state)
        steps = (now_ns - self._states[0].stamp_ns) / self._step_ns
        if steps >= _LEAST:
            expected = self._expected(self._states[0], now_ns)
            energy = float(np.mean((expected - state.latents[-1]) ** 2, dtype=np.float64))
            if not np.isfinite(energy):
                return float("inf")
            rare = np.interp(steps, np.arange(1, len(self._rare) + 1), self._rare)
            self._seen.append((now_ns, energy / float(rare)))
        if len(self._seen) < _FEWEST:
            return None
        since_ns = min(now_ns - round(_SUSTAINED * self._step_ns), self._seen[-_FEWEST][0])
        return min(surprise for stamp_ns, surprise in self._seen if stamp_ns >= since_ns)

    def _take(self, commands: CommandMemory, oldest_ns: int) -> None:
        """Remember them for longer than the agent does, who needs those of a context alone."""
        if not self._states:
            self._commands = commands
            return
        news = map(AppliedCommand, commands.stamps_ns.tolist(), commands.actions)
        self._commands = self._commands.extended(tuple(news), oldest_ns)

    def _expected(self, start: ModelState, now_ns: int) -> Array:
        """What is to be seen now by the model and the commands since ``start``: ``(N, D)``."""
        ends_ns = [*range(start.stamp_ns, now_ns, self._step_ns), now_ns]
        actions = [self._commands.mean(*span) for span in itertools.pairwise(ends_ns)]
        predicted = self.model.rollout(start, np.stack(actions)[None]).latents[0]
        before = predicted[-2] if len(predicted) > 1 else start.latents[-1]
        share = (now_ns - ends_ns[-2]) / self._step_ns
        return before + np.float32(share) * (predicted[-1] - before)
