"""TwoRooms: through the door, straight at the goal, and exploration of both rooms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim.envs.rooms import MAX_SPEED_M_S
from sim.exploration import Explorer
from sim.rooms import BASE_RADIUS_M, DOOR_WIDTH_M, WALL_THICKNESS_M

Array = NDArray[np.float64]

_GAIN_HZ = 3.0  # speed per distance left, below the speed limit
_BESIDE_M = BASE_RADIUS_M + WALL_THICKNESS_M / 2 + 0.03  # from wall to a base that is clear of it
_AIM_M = 0.5 * (DOOR_WIDTH_M / 2 - BASE_RADIUS_M)  # how far off the middle of the door is fine
_MODES = {"noise": 0.20, "waypoint": 0.10, "door": 0.35, "post": 0.30, "rest": 0.05}
_POST_M = (0.0, 0.9)  # how far from the middle of the door the base runs at the wall
_STEPS = (5, 20)  # how long one kind of motion lasts
_DOOR_STEPS = (20, 35)


def through_door(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(2,)`` towards the goal by way of the door."""
    return _towards(info, drive_to(info, info["goal_position_m"][:2]), MAX_SPEED_M_S)


def straight(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(2,)`` towards the goal as the crow flies."""
    return _towards(info, info["goal_position_m"][:2], MAX_SPEED_M_S)


def drive_to(info: Mapping[str, Any], place_m: Array) -> Array:
    """The next way point ``(2,)`` of a base that wants to be at ``place_m (2,)``."""
    base, door = info["base_position_m"][:2], info["door_position_m"][:2]
    side = 1.0 if place_m[0] > door[0] else -1.0
    ahead_m = side * (base[0] - door[0])  # negative in the other room
    if ahead_m > _BESIDE_M - 0.02:
        return place_m
    beyond = door + np.array([side * _BESIDE_M, 0.0])
    if abs(base[1] - door[1]) < _AIM_M or ahead_m > -0.5 * _BESIDE_M:
        return beyond
    return door - np.array([side * _BESIDE_M, 0.0])


def _towards(info: Mapping[str, Any], place_m: Array, speed_m_s: float) -> NDArray[np.float32]:
    velocity = _GAIN_HZ * (place_m - info["base_position_m"][:2])
    # The same direction, no component above the speed.
    return (velocity / max(1.0, float(np.abs(velocity).max()) / speed_m_s)).astype(np.float32)


class RoomsExplorer(Explorer):
    """Coloured noise, straight ways, rest, ways through the door, and runs at its posts.

    Without the runs hardly anything in the data says that half a base beside the opening is not
    through it, and a planner finds what a model was never told.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        super().__init__(env, rng)
        self._way = "rest"
        self._run_up_m = 0.0

    def _wanted(self, info: Mapping[str, Any]) -> Array:
        place = self._place_m[:2]
        if self._way == "door":
            return _towards(info, drive_to(info, place), self._top_speed_m_s).astype(np.float64)
        if self._way == "post":
            return self._towards_wall(info)
        if self._way == "waypoint":
            return _towards(info, place, self._top_speed_m_s).astype(np.float64)
        return np.zeros(2)

    def _towards_wall(self, info: Mapping[str, Any]) -> Array:
        """Straight at the wall, at the height of the way point; to that height first."""
        base, wall_x = info["base_position_m"][:2], info["door_position_m"][0]
        side = 1.0 if base[0] > wall_x else -1.0
        beyond = side == np.sign(self._place_m[0] - wall_x)  # it came through: on to the place
        aligned = abs(base[1] - self._place_m[1]) < 0.05
        before = np.array([wall_x + side * (_BESIDE_M + self._run_up_m), self._place_m[1]])
        goal = self._place_m[:2] if beyond or aligned else before
        return _towards(info, goal, self._top_speed_m_s).astype(np.float64)

    def _begin_piece(self, info: Mapping[str, Any]) -> None:
        rng = self._rng
        self._way = str(rng.choice(list(_MODES), p=list(_MODES.values())))
        self._steps_left = int(rng.integers(*(_DOOR_STEPS if self._way == "door" else _STEPS)))
        self._memory = float(rng.uniform(0.5, 0.95))
        self._top_speed_m_s = self._speed * float(rng.uniform(0.4, 1.0))
        self._noise_m_s = 0.15 * self._speed
        self._place_m = self._box.sample(rng)
        if self._way == "rest":
            self._noise_m_s = 0.0
        elif self._way == "noise":
            self._noise_m_s = self._speed * float(rng.uniform(0.3, 1.0))
        elif self._way == "post":
            self._noise_m_s *= 0.3
            self._run_up_m = float(rng.uniform(0.0, 0.5))
            self._top_speed_m_s = self._speed
            wall_x, door_y = info["door_position_m"][:2]
            side = 1.0 if info["base_position_m"][0] > wall_x else -1.0
            off_m = float(rng.choice([-1.0, 1.0]) * rng.uniform(*_POST_M))
            limit = float(self._box.high[1])
            self._place_m[:2] = wall_x - 0.8 * side, np.clip(door_y + off_m, -limit, limit)
        elif self._way == "door":
            # A place in the other room.
            wall_x, base_x = info["door_position_m"][0], info["base_position_m"][0]
            while (self._place_m[0] > wall_x) == (base_x > wall_x):
                self._place_m = self._box.sample(rng)
