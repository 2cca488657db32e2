"""PushT: where to push a T so that it comes to a pose, with the truth, and exploration with it.

A push through the outline moves a slowly sliding body along the normal n and turns it by the
torque of that force, in the ratio that an ellipsoidal limit surface gives (Goyal, Ruina &
Papadopoulos 1991; Lynch & Mason 1996): Δx = k·n, Δθ = k·(p × n) / c², for a contact at p from the
centre of friction and c the body's ratio of torque to force. The policy pushes where one such push
brings the T nearest to the goal for the way that the tool has to go to get there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim import tee
from sim.assets import TOOL_RADIUS_M
from sim.envs.pusht import BLOCK_HIGH_M, BLOCK_LOW_M, BOX, MAX_SPEED_M_S, wrapped
from sim.exploration import Explorer

Array = NDArray[np.float64]

_TORQUE_ARM_M = 0.045  # c above
_ANGLE_WEIGHT_M = 0.10  # a radian counts as much as this distance
_WAY_WEIGHT = 0.12  # a metre of way of the tool costs as much as this much distance of the T
_LONGEST_M = 0.05  # push planned at once
_BEFORE_M = 0.008  # where a push begins, off the outline
_KEEP_M = 0.003  # kept on the way round
_ROUND_M = 0.014  # off the corners on the way round
_DONE_M = 0.012  # weighted distance that is good enough
_GAIN_HZ = 5.0


def push_to_goal(info: Mapping[str, Any]) -> NDArray[np.float32]:
    """The action ``(2,)`` that brings the T towards its goal pose."""
    return push_towards(info, info["goal_position_m"][:2], info["goal_yaw_rad"], MAX_SPEED_M_S)


def push_towards(
    info: Mapping[str, Any], place_m: Array, yaw_rad: float, speed_m_s: float
) -> NDArray[np.float32]:
    """The action ``(2,)`` that brings the T towards ``place_m (2,)``, turned by ``yaw_rad``.

    It pushes at most at ``speed_m_s``; on the way to a push it is as fast as it can.
    """
    block, yaw = info["block_position_m"][:2], float(info["block_yaw_rad"])
    turn = _rotation(yaw)
    tool = turn.T @ (info["tool_position_m"][:2] - block)
    wanted = turn.T @ (place_m - block)
    angle = wrapped(yaw_rad - yaw)
    left = np.hypot(np.linalg.norm(wanted), _ANGLE_WEIGHT_M * angle)
    if left < _DONE_M:
        return np.zeros(2, np.float32)
    places, normals = tee.contacts(TOOL_RADIUS_M)
    arms = places[:, 0] * normals[:, 1] - places[:, 1] * normals[:, 0]
    turns = _ANGLE_WEIGHT_M * arms / _TORQUE_ARM_M**2
    pushes = (normals @ wanted + turns * _ANGLE_WEIGHT_M * angle) / (1.0 + turns**2)
    pushes = np.clip(pushes, 0.0, _LONGEST_M)
    after = np.hypot(
        np.linalg.norm(wanted - pushes[:, None] * normals, axis=1),
        _ANGLE_WEIGHT_M * angle - turns * pushes,
    )
    starts = places - (TOOL_RADIUS_M + _BEFORE_M) * normals
    reachable = _inside(block + starts @ turn.T)
    lengths, steps = tee.way(tool, starts, TOOL_RADIUS_M + _ROUND_M, TOOL_RADIUS_M + _KEEP_M)
    touching, asides = _touching(tool, places, normals)
    lengths = np.where(touching, asides, lengths)
    gain = np.where(reachable & (pushes > 0), left - after - _WAY_WEIGHT * lengths, -np.inf)
    best = int(gain.argmax())
    if not np.isfinite(gain[best]):
        return _limited(_GAIN_HZ * (np.mean([BLOCK_LOW_M, BLOCK_HIGH_M], 0) - block), speed_m_s)
    if touching[best]:
        return _limited(turn @ _push(tool, places[best], normals[best], pushes[best]), speed_m_s)
    step = _GAIN_HZ * (steps[best] - tool)
    # Way points in between are passed at full speed.
    step *= max(1.0, 0.6 * MAX_SPEED_M_S / max(1e-6, float(np.abs(step).max())))
    return _limited(turn @ step, MAX_SPEED_M_S)


def _touching(tool: Array, places: Array, normals: Array) -> tuple[NDArray[np.bool_], Array]:
    """At which places ``(N,)`` a push may go on or begin, and how far aside the tool is, m."""
    offset = tool - places
    ahead = (offset * normals).sum(1) + TOOL_RADIUS_M  # 0 where the ball touches
    aside = np.abs(offset[:, 0] * normals[:, 1] - offset[:, 1] * normals[:, 0])
    near = (ahead > -_BEFORE_M - 0.004) & (ahead < 0.01)
    return near & (aside < 0.006), aside


def _push(tool: Array, place: Array, normal: Array, push_m: float) -> Array:
    """Velocity ``(2,)`` in the T's frame: on along the normal, and back to the place itself."""
    aside = tool - place
    aside -= (aside @ normal) * normal
    return (_GAIN_HZ * push_m + 0.03) * normal - _GAIN_HZ * aside


def _inside(points: Array) -> NDArray[np.bool_]:
    margin = 0.002
    low, high = np.array(BOX.low[:2]) + margin, np.array(BOX.high[:2]) - margin
    return np.all((points > low) & (points < high), axis=1)


def _rotation(yaw_rad: float) -> Array:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array([[cos, -sin], [sin, cos]])


def _limited(velocity: Array, speed: float) -> NDArray[np.float32]:
    """The same direction, no component above ``speed``."""
    return (velocity / max(1.0, float(np.abs(velocity).max()) / speed)).astype(np.float32)


_MODES = {"noise": 0.20, "waypoint": 0.15, "rest": 0.05, "pose": 0.27, "poke": 0.33}
_STEPS = (8, 25)  # how long one kind of motion lasts
_PUSH_STEPS = (15, 45)
_WALL_SHARE = 0.4  # of the way points that lie on a wall of the workspace


class TeeExplorer(Explorer):
    """Noise, way points, rest, pushes towards random poses, and pokes at random places."""

    def __init__(self, env: gymnasium.Env[Any, Any], rng: np.random.Generator) -> None:
        super().__init__(env, rng)
        self._way = "rest"
        self._yaw_rad = 0.0
        self._contact = 0

    def _wanted(self, info: Mapping[str, Any]) -> Array:
        if self._way in ("pose", "poke"):
            push = (
                push_towards(info, self._place_m[:2], self._yaw_rad, self._top_speed_m_s)
                if self._way == "pose"
                else poke(info, self._contact, self._top_speed_m_s)
            )
            if not push.any():
                self._steps_left = 0  # it is there, or must not be pushed further
            return push.astype(np.float64)
        if self._way == "waypoint":
            to_place = (self._place_m - info["tool_position_m"])[:2]
            return np.clip(_GAIN_HZ * to_place, -self._top_speed_m_s, self._top_speed_m_s)
        return np.zeros(2)

    def _begin_piece(self, info: Mapping[str, Any]) -> None:
        rng = self._rng
        self._way = str(rng.choice(list(_MODES), p=list(_MODES.values())))
        block = info["block_position_m"][:2]
        if self._way == "poke" and not _central(block):
            self._way = "pose"  # bring it back before it is lost
        pushes = self._way in ("pose", "poke")
        self._steps_left = int(rng.integers(*(_PUSH_STEPS if pushes else _STEPS)))
        self._memory = float(rng.uniform(0.5, 0.95))
        self._top_speed_m_s = self._speed * float(rng.uniform(0.5, 1.0))
        self._noise_m_s = (0.1 if pushes else 0.15) * self._speed
        self._place_m = self._box.sample(rng)
        if self._way == "rest":
            self._noise_m_s = 0.0
        elif self._way == "noise":
            self._noise_m_s = self._speed * float(rng.uniform(0.3, 1.0))
        elif self._way == "waypoint" and rng.random() < _WALL_SHARE:
            axis = rng.integers(2)
            self._place_m[axis] = rng.choice([self._box.low[axis], self._box.high[axis]])
        elif self._way == "pose":
            self._place_m = np.append(rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), 0.0)
            turn = rng.uniform(-np.pi / 2, np.pi / 2)
            self._yaw_rad = wrapped(float(info["block_yaw_rad"] + turn))
        elif self._way == "poke":
            self._contact = int(rng.integers(len(tee.contacts(TOOL_RADIUS_M)[0])))


def poke(info: Mapping[str, Any], contact: int, speed_m_s: float) -> NDArray[np.float32]:
    """The action ``(2,)`` that pushes at one place of `tee.contacts`, wherever that leads."""
    block = info["block_position_m"][:2]
    if not _central(block):
        return np.zeros(2, np.float32)
    turn = _rotation(float(info["block_yaw_rad"]))
    tool = turn.T @ (info["tool_position_m"][:2] - block)
    places, normals = tee.contacts(TOOL_RADIUS_M)
    place, normal = places[contact], normals[contact]
    if _touching(tool, place[None], normal[None])[0][0]:
        return _limited(turn @ _push(tool, place, normal, _LONGEST_M), speed_m_s)
    start = (place - (TOOL_RADIUS_M + _BEFORE_M) * normal)[None]
    _, steps = tee.way(tool, start, TOOL_RADIUS_M + _ROUND_M, TOOL_RADIUS_M + _KEEP_M)
    return _limited(turn @ (2 * _GAIN_HZ * (steps[0] - tool)), MAX_SPEED_M_S)


def _central(block_m: Array) -> bool:
    low, high = np.array(BLOCK_LOW_M) - 0.03, np.array(BLOCK_HIGH_M) + 0.03
    return bool(((block_m > low) & (block_m < high)).all())
