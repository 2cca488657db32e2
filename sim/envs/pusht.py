"""`foresee/PushT-v0`: push the T to where, and turned as, the goal image has it."""

from __future__ import annotations

import numpy as np

from sim.assets import TOOL_RADIUS_M
from sim.envs.table import TableEnv, Truth
from sim.robot import Box
from sim.tee import HEIGHT_M, RADIUS_M, TEE, UNIT_M

TOOL_HEIGHT_M = 0.03
# A box without height: the arm's own wall keeps the tool at this height.
BOX = Box(low=(0.28, -0.32, TOOL_HEIGHT_M), high=(0.70, 0.32, TOOL_HEIGHT_M))
MAX_SPEED_M_S = 0.25
BLOCK_LOW_M, BLOCK_HIGH_M = (0.41, -0.18), (0.57, 0.18)  # starts and goals of the T
MAX_ANGLE_RAD = np.radians(20.0)
# The field's threshold is 20 px for a bar of 120 px (and 20°): of this T, whose bar is 14 cm:
FIELD_RADIUS_M = 4 * UNIT_M * 20 / 120
_TRAVEL_M = (0.06, 0.20)  # from start to goal of the T
_TURN_RAD = np.pi / 2  # at most, to either side
_BEHIND = 0.5  # cosine: the goal's tool is this far round to the side away from the camera
_LOST_MARGIN_M = 0.0  # the T's centre further out than the tool can go


class PushTEnv(TableEnv):
    """Push a T along the table. Action ``(2,)``: tool velocity x, y, at most 0.25 m/s each.

    The T starts anywhere in the middle of the workspace, turned anyhow; its goal is 6 to 20 cm away
    and turned by up to 90°. The goal image shows it there, and the tool beside it, on the side it
    came from as far as the hand does not hide the T.
    Success is its centre of mass within `success_radius_m` of the goal and its angle within 20°.
    Told apart: ``success_position`` (whatever the angle), ``success_angle`` (wherever it is) and
    ``success_field_scale``, for which the centre must be within 2.3 cm: the field's 20 pixels, of a
    T whose bar is 120, for this T. The episode terminates, failed, when the T leaves the workspace.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        randomization: see `WorldEnv`.
        render_mode: None or "rgb_array".
    """

    box = BOX
    block = TEE
    tool_axes = ("tool.vx", "tool.vy")
    max_speed_m_s = MAX_SPEED_M_S
    success_radius_m = 0.04
    success_angle_rad = MAX_ANGLE_RAD

    _tool_start_m = _start_m = _goal_m = np.zeros(3)
    _start_yaw_rad = _goal_yaw_rad = 0.0

    def truth(self) -> Truth:
        """Positions ``(3,)`` m, world frame, of tool, T and the T's goal; their yaws in rad.

        `distance_m` is from T to goal along the table, `angle_rad` the turn that is left, 0 to π.
        """
        block, yaw_rad = self._world.block_pose()
        distance_m = float(np.linalg.norm((self._goal_m - block)[:2]))
        angle_rad = abs(wrapped(self._goal_yaw_rad - yaw_rad))
        turned = angle_rad <= self.success_angle_rad and not self._lost()
        near = distance_m <= self.success_radius_m and not self._lost()
        return {
            "tool_position_m": self._world.robot.tool_position(),
            "block_position_m": block,
            "block_yaw_rad": yaw_rad,
            "block_heading": np.array([np.cos(yaw_rad), np.sin(yaw_rad)]),
            "goal_position_m": self._goal_m.copy(),
            "goal_yaw_rad": self._goal_yaw_rad,
            "distance_m": distance_m,
            "angle_rad": angle_rad,
            "success": near and turned,
            "success_position": near,
            "success_angle": turned,
            "success_field_scale": turned and near and distance_m <= FIELD_RADIUS_M,
        }

    def _lost(self) -> bool:
        block, _ = self._world.block_pose()
        fallen = abs(block[2] - HEIGHT_M / 2) > 0.5 * HEIGHT_M
        return fallen or not self.box.contains((*block[:2], TOOL_HEIGHT_M), _LOST_MARGIN_M)

    def _place_goal(self, rng: np.random.Generator) -> None:
        height = HEIGHT_M / 2
        off_m = RADIUS_M + TOOL_RADIUS_M + 0.01
        self._start_m = np.array([*rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), height])
        self._start_yaw_rad = float(rng.uniform(-np.pi, np.pi))
        self._tool_start_m = self.box.sample(rng)
        while np.linalg.norm((self._tool_start_m - self._start_m)[:2]) < off_m:
            self._tool_start_m = self.box.sample(rng)
        travel_m = 0.0
        while not _TRAVEL_M[0] <= travel_m <= _TRAVEL_M[1]:
            self._goal_m = np.array([*rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), height])
            travel_m = float(np.linalg.norm(self._goal_m - self._start_m))
        turn_rad = float(rng.uniform(-_TURN_RAD, _TURN_RAD))
        self._goal_yaw_rad = wrapped(self._start_yaw_rad + turn_rad)
        self._world.place_block(self._goal_m, self._goal_yaw_rad)
        direction = (self._goal_m - self._start_m)[:2] / travel_m
        off = self._off_the_view(-direction)
        behind = np.array([*(self._goal_m[:2] + off_m * off), TOOL_HEIGHT_M])
        self._world.robot.place_tool(np.clip(behind, self.box.low, self.box.high))

    def _off_the_view(self, side: np.ndarray) -> np.ndarray:
        """The direction ``(2,)`` next to ``side (2,)`` from which the hand does not hide the T."""
        to_camera = np.subtract(self.camera.eye_m[:2], self._goal_m[:2])
        to_camera /= max(1e-6, float(np.linalg.norm(to_camera)))
        across = np.array([-to_camera[1], to_camera[0]])
        if side @ to_camera <= -_BEHIND:
            return side
        sign = 1.0 if side @ across >= 0 else -1.0
        return sign * np.sqrt(1 - _BEHIND**2) * across - _BEHIND * to_camera

    def _place_start(self) -> None:
        self._world.place_block(self._start_m, self._start_yaw_rad)
        self._world.robot.place_tool(self._tool_start_m)


def wrapped(angle_rad: float) -> float:
    """The same angle from -π to π."""
    return float((angle_rad + np.pi) % (2 * np.pi) - np.pi)
