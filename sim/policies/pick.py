"""PickPlace: grasp, lift, carry and place with the truth, and exploration that does so often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim.envs.pick import BLOCK_HIGH_M, BLOCK_LOW_M, BLOCK_SIZE_M, MAX_SPEED_M_S
from sim.exploration import Explorer
from sim.gripper import MAX_SPEED_M_S as MAX_FINGER_SPEED_M_S
from sim.gripper import OPEN_M

Array = NDArray[np.float64]

_GAIN_HZ = 5.0
_ABOVE_M = 0.085  # tool height at which the fingers pass over a block
_GRASP_M = BLOCK_SIZE_M / 2
_CARRY_M = 0.10  # tool height on the way to the goal
_ALIGNED_M = 0.008
_THERE_M = 0.012
_CLOSE, _OPEN, _STAY = -MAX_FINGER_SPEED_M_S, MAX_FINGER_SPEED_M_S, 0.0


def pick_to_goal(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(4,)`` of grasping the block and placing it at the goal."""
    return pick_towards(info, info["goal_position_m"][:2], MAX_SPEED_M_S)


def pick_towards(info: Mapping[str, Any], place_m: Array, speed_m_s: float) -> NDArray[np.float32]:
    """The action ``(4,)`` that brings the block, through the air, to ``place_m (2,)``."""
    tool, block = info["tool_position_m"], info["block_position_m"]
    low = block[2] < _GRASP_M + 0.012
    there = bool(np.linalg.norm(place_m - block[:2]) < _THERE_M)
    if there and low:
        if info["gripper_m"] < OPEN_M - 0.004:
            return _action(np.zeros(3), _OPEN, speed_m_s)
        return _action(np.array([0.0, 0.0, _ABOVE_M + 0.035 - tool[2]]), _STAY, speed_m_s)
    if info["holding"]:
        return _action(_carry(tool, place_m + tool[:2] - block[:2]), _CLOSE, speed_m_s)
    aside = block - tool
    if np.linalg.norm(aside[:2]) > _ALIGNED_M and tool[2] > _GRASP_M + 0.012:
        # Over the block first: fingers that come from the side would push it away.
        over = np.array([*aside[:2], _ABOVE_M - tool[2]])
        if tool[2] < _ABOVE_M - 0.012:
            over[:2] *= 0.2
        return _action(over, _OPEN, speed_m_s)
    if np.linalg.norm(aside[:2]) > 2 * _ALIGNED_M:
        return _action(np.array([0.0, 0.0, _ABOVE_M - tool[2]]), _OPEN, speed_m_s)
    if abs(aside[2]) < 0.008:
        return _action(aside, _CLOSE, speed_m_s)
    return _action(aside, _OPEN, speed_m_s)


def _carry(tool: Array, place_m: Array) -> Array:
    """Where a tool that holds the block goes next ``(3,)``, relative: up, over, down."""
    to_place = place_m - tool[:2]
    if np.linalg.norm(to_place) < _THERE_M * 0.7:
        return np.array([*to_place, _GRASP_M - 0.002 - tool[2]])
    over = np.array([*to_place, _CARRY_M - tool[2]])
    if tool[2] < _CARRY_M - 0.03:
        over[:2] = 0.0
    return over


def _action(to_place: Array, finger_m_s: float, speed_m_s: float) -> NDArray[np.float32]:
    velocity = _GAIN_HZ * to_place
    velocity = velocity / max(1.0, float(np.abs(velocity).max()) / speed_m_s)
    return np.array([*velocity, finger_m_s], np.float32)


_MODES = {"noise": 0.15, "waypoint": 0.30, "rest": 0.03, "pick": 0.52}
_STEPS = (8, 25)  # how long one kind of motion lasts
_PICK_STEPS = (25, 60)
_SQUEEZE_SHARE = 0.6  # of noise and way points, hold what is held
_WALL_SHARE = 0.5  # of the way points that lie on a wall of the workspace


class PickExplorer(Explorer):
    """Noise, way points and rest with the hand open or closed, and picks to random places."""

    def __init__(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        super().__init__(env, rng)
        assert isinstance(env.action_space, gymnasium.spaces.Box)
        self._high = env.action_space.high
        self._way = "rest"
        self._finger_m_s = 0.0

    def action(self, info: Mapping[str, Any]) -> NDArray[np.float32]:
        """The next action ``(4,)`` in m/s, given the `info` of the last step or reset."""
        return np.clip(super().action(info), -self._high, self._high)

    def _wanted(self, info: Mapping[str, Any]) -> Array:
        if self._way == "pick":
            block = info["block_position_m"]
            if block[2] < 0.04 and np.linalg.norm(block[:2] - self._place_m[:2]) < 2 * _THERE_M:
                self._steps_left = min(self._steps_left, 8)  # let go, go up, then something else
            action = pick_towards(info, self._place_m[:2], self._top_speed_m_s)
            return action.astype(np.float64)
        wanted = np.zeros(4)
        if self._way == "waypoint":
            to_place = _GAIN_HZ * (self._place_m - info["tool_position_m"])
            wanted[:3] = np.clip(to_place, -self._top_speed_m_s, self._top_speed_m_s)
        wanted[3] = self._finger_m_s
        return wanted

    def _begin_piece(self, info: Mapping[str, Any]) -> None:
        rng = self._rng
        self._way = str(rng.choice(list(_MODES), p=list(_MODES.values())))
        self._steps_left = int(rng.integers(*(_PICK_STEPS if self._way == "pick" else _STEPS)))
        self._memory = float(rng.uniform(0.5, 0.95))
        self._top_speed_m_s = self._speed * float(rng.uniform(0.5, 1.0))
        self._noise_m_s = (0.06 if self._way == "pick" else 0.1) * self._speed
        self._place_m = self._box.sample(rng)
        squeezes = bool(info["holding"]) and rng.random() < _SQUEEZE_SHARE
        self._finger_m_s = _CLOSE if squeezes else float(rng.choice([_CLOSE, _STAY, _OPEN]))
        if self._way == "rest":
            self._noise_m_s = 0.0
            self._finger_m_s = _STAY
        elif self._way == "noise":
            self._noise_m_s = self._speed * float(rng.uniform(0.3, 1.0))
        elif self._way == "waypoint" and rng.random() < _WALL_SHARE:
            axis = rng.integers(3)
            self._place_m[axis] = rng.choice([self._box.low[axis], self._box.high[axis]])
        elif self._way == "pick":
            self._place_m = np.append(rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), 0.0)
