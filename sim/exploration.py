"""Motion for data collection: it covers the workspace, its walls, and contact with the block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim.scripted import push_towards

Mode = Literal["noise", "waypoint", "rest", "push"]
_FREE_MODES: dict[Mode, float] = {"noise": 0.45, "waypoint": 0.50, "rest": 0.05}
_CONTACT_MODES: dict[Mode, float] = {"noise": 0.20, "waypoint": 0.15, "rest": 0.05, "push": 0.60}
_SEGMENT_STEPS = (8, 25)  # how long one kind of motion lasts
_WALL_SHARE = 0.25  # of the way points that lie on a wall of the workspace
_PUSH_M = (0.08, 0.30)
_GAIN_HZ = 4.0


class Explorer:
    """Scripted exploration: pieces of coloured noise, way points, rest, and pushes.

    Speeds and noise differ from piece to piece, so that slow and fast motion are both in the data.
    It reads the truth in `info`: it is the simulator's own script, not an agent.

    Args:
        env: a `foresee/…` environment.
        rng: where its randomness comes from; the same one gives the same motion.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        space = env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        self._speed: float = float(space.high[0])
        self._axes: int = space.shape[0]
        self._box = env.unwrapped.box  # type: ignore[attr-defined]
        self._rng = rng
        self._steps_left = 0
        self._noise = np.zeros(self._axes)

    def action(self, info: Mapping[str, Any]) -> NDArray[np.float32]:
        """The next action ``(A,)`` in m/s, given the `info` of the last step or reset."""
        if self._steps_left == 0:
            self._begin_piece(info)
        self._steps_left -= 1
        self._noise = self._memory * self._noise + np.sqrt(
            1 - self._memory**2
        ) * self._rng.standard_normal(self._axes)
        velocity = self._wanted(info) + self._noise_m_s * self._noise
        return np.clip(velocity, -self._speed, self._speed).astype(np.float32)

    def _wanted(self, info: Mapping[str, Any]) -> NDArray[np.float64]:
        if self._mode == "push":
            return push_towards(info, self._place_m[:2], self._top_speed_m_s).astype(np.float64)
        if self._mode == "waypoint":
            to_place = (self._place_m - info["tool_position_m"])[: self._axes]
            return np.clip(_GAIN_HZ * to_place, -self._top_speed_m_s, self._top_speed_m_s)
        return np.zeros(self._axes)

    def _begin_piece(self, info: Mapping[str, Any]) -> None:
        rng = self._rng
        modes = _CONTACT_MODES if "block_position_m" in info else _FREE_MODES
        self._mode: Mode = rng.choice(list(modes), p=list(modes.values()))
        self._steps_left = int(rng.integers(*_SEGMENT_STEPS))
        self._memory = float(rng.uniform(0.5, 0.95))  # of the noise from one step to the next
        self._top_speed_m_s = self._speed * float(rng.uniform(0.3, 1.0))
        self._noise_m_s = 0.1 * self._speed
        self._place_m = self._box.sample(rng)
        if self._mode == "rest":
            self._noise_m_s = 0.0
        elif self._mode == "noise":
            self._noise_m_s = self._speed * float(rng.uniform(0.3, 1.0))
        elif self._mode == "waypoint" and rng.random() < _WALL_SHARE:
            axis = rng.integers(self._axes)
            self._place_m[axis] = rng.choice([self._box.low[axis], self._box.high[axis]])
        elif self._mode == "push":
            # Through the block towards a random inner place: it comes back from the edge.
            block = info["block_position_m"]
            toward = self._place_m - block
            toward[2] = 0.0
            toward /= max(1e-6, float(np.linalg.norm(toward)))
            self._place_m = np.clip(
                block + rng.uniform(*_PUSH_M) * toward, self._box.low, self._box.high
            )
            self._steps_left *= 2  # getting behind the block takes its time
