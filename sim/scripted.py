"""Hand-written policies that know the truth: the floor that a learned agent is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.envs.push import MAX_SPEED_M_S as MAX_PUSH_SPEED_M_S
from sim.envs.push import contact_distance_m
from sim.envs.reach import MAX_SPEED_M_S as MAX_REACH_SPEED_M_S

_GAIN_HZ = 5.0  # speed per distance left, below the speed limit
_ORBIT_M = 0.085  # distance of the tool from the block's centre on the way round it
_APPROACH_M = 0.015  # how far behind the block a push begins
_ALIGNED_M = 0.012  # sideways error with which a push may begin
_DONE_M = 0.008

Array = NDArray[np.float64]


def reach(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(3,)`` in m/s straight to the goal of Reach."""
    to_goal = info["goal_position_m"] - info["tool_position_m"]
    return _limited(_GAIN_HZ * to_goal, MAX_REACH_SPEED_M_S)


def push_to_goal(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(2,)`` in m/s of Push: round the block, then through it towards the goal."""
    return push_towards(info, info["goal_position_m"][:2], MAX_PUSH_SPEED_M_S)


def push_towards(info: Mapping[str, Any], place_m: Array, speed_m_s: float) -> NDArray[np.float32]:
    """The action ``(2,)`` that pushes the block towards ``place_m (2,)``."""
    tool, block = info["tool_position_m"][:2], info["block_position_m"][:2]
    to_place = place_m - block
    left_m = float(np.linalg.norm(to_place))
    if left_m < _DONE_M:
        return np.zeros(2, np.float32)
    forward = to_place / left_m
    side = np.array([-forward[1], forward[0]])
    gap_m = contact_distance_m(forward, info["block_yaw_rad"])
    offset = tool - block
    ahead_m, aside_m = float(offset @ forward), float(offset @ side)
    touching = ahead_m < -0.8 * gap_m and np.hypot(ahead_m, aside_m) < gap_m + 2 * _APPROACH_M
    if touching and abs(aside_m) < (2 * _ALIGNED_M if ahead_m > -gap_m - 0.003 else _ALIGNED_M):
        # Steer towards the line through the block's centre, or the push turns the block instead.
        advance = _limited(np.array([_GAIN_HZ * left_m + 0.02]), speed_m_s)[0]
        return _limited(advance * forward - _GAIN_HZ * aside_m * side, speed_m_s)
    return _limited(_GAIN_HZ * (_way_behind(offset, forward, gap_m) + block - tool), speed_m_s)


def _way_behind(offset: Array, forward: Array, gap_m: float) -> Array:
    """Next way point ``(2,)``, relative to the block, for a tool at ``offset (2,)``."""
    goal = -(gap_m + _APPROACH_M) * forward
    bearing = np.arctan2(offset[1], offset[0])
    turn = np.arctan2(goal[1], goal[0]) - bearing
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    if abs(turn) < 0.5:
        return goal
    bearing += np.clip(turn, -0.7, 0.7)
    return max(_ORBIT_M, gap_m + 0.01) * np.array([np.cos(bearing), np.sin(bearing)])


def _limited(velocity: Array, speed: float) -> NDArray[np.float32]:
    """The same direction, no component above ``speed``."""
    return (velocity / max(1.0, float(np.abs(velocity).max()) / speed)).astype(np.float32)
