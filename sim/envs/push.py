"""`foresee/Push-v0`: push the block to where the goal image has it."""

from __future__ import annotations

import numpy as np

from sim.assets import TOOL_RADIUS_M
from sim.envs.table import TableEnv, Truth
from sim.robot import Box
from sim.world import BLOCK_SIZE_M, CUBE

TOOL_HEIGHT_M = 0.03
# A box without height: the arm's own wall keeps the tool at this height.
BOX = Box(low=(0.30, -0.30, TOOL_HEIGHT_M), high=(0.66, 0.30, TOOL_HEIGHT_M))
MAX_SPEED_M_S = 0.25
MAX_ANGLE_RAD = np.radians(15.0)  # of ``success_with_yaw``
_BLOCK_LOW_M, _BLOCK_HIGH_M = (0.37, -0.21), (0.59, 0.21)  # starts and goals of the block
_TRAVEL_M = (0.06, 0.25)  # from start to goal of the block
_CLEARANCE_M = 0.09  # between the centres of tool and block at the start
_LOST_MARGIN_M = 0.03  # further out of the tool's box, the block cannot be pushed back


class PushEnv(TableEnv):
    """Push a block along the table. Action ``(2,)``: tool velocity x, y, at most 0.25 m/s each.

    The block starts anywhere, turned anyhow, and its goal is 6 to 25 cm away. The goal image shows
    it there with its yaw of the start, and the tool behind it as a straight push would leave it.
    Success is the block's centre within `success_radius_m` of the goal, whatever its yaw; told
    apart are ``success_25mm`` and ``success_with_yaw``, for which it must also be turned as in the
    goal image to within 15°. The episode terminates, failed, when the block leaves the workspace.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        randomization: see `TableEnv`.
        render_mode: None or "rgb_array".
    """

    box = BOX
    block = CUBE
    tool_axes = ("tool.vx", "tool.vy")
    max_speed_m_s = MAX_SPEED_M_S
    success_radius_m = 0.04

    _tool_start_m = _block_start_m = _goal_m = np.zeros(3)
    _block_start_yaw_rad = 0.0

    def truth(self) -> Truth:
        """Positions ``(3,)`` m, world frame, of tool, block and the block's goal; block yaw in rad.

        `distance_m` is from block to goal along the table, `angle_rad` the turn that is left to
        the yaw of the goal image, 0 to 45° because a cube looks the same after a quarter turn.
        """
        block, yaw_rad = self._world.block_pose()
        distance_m = float(np.linalg.norm((self._goal_m - block)[:2]))
        quarter = np.pi / 2
        angle_rad = abs((self._block_start_yaw_rad - yaw_rad + quarter / 2) % quarter - quarter / 2)
        success = distance_m <= self.success_radius_m and not self._lost()
        return {
            "tool_position_m": self._world.robot.tool_position(),
            "block_position_m": block,
            "block_yaw_rad": yaw_rad,
            "goal_position_m": self._goal_m.copy(),
            "distance_m": distance_m,
            "angle_rad": float(angle_rad),
            "success": success,
            "success_25mm": success and distance_m <= 0.025,
            "success_with_yaw": success and bool(angle_rad <= MAX_ANGLE_RAD),
        }

    def _lost(self) -> bool:
        block, _ = self._world.block_pose()
        fallen = abs(block[2] - BLOCK_SIZE_M / 2) > 0.5 * BLOCK_SIZE_M
        return fallen or not self.box.contains((*block[:2], TOOL_HEIGHT_M), _LOST_MARGIN_M)

    def _place_goal(self, rng: np.random.Generator) -> None:
        height = BLOCK_SIZE_M / 2
        self._block_start_m = np.array([*rng.uniform(_BLOCK_LOW_M, _BLOCK_HIGH_M), height])
        self._block_start_yaw_rad = float(rng.uniform(-np.pi / 4, np.pi / 4))
        self._tool_start_m = self.box.sample(rng)
        while np.linalg.norm((self._tool_start_m - self._block_start_m)[:2]) < _CLEARANCE_M:
            self._tool_start_m = self.box.sample(rng)
        travel_m = 0.0
        while not _TRAVEL_M[0] <= travel_m <= _TRAVEL_M[1]:
            self._goal_m = np.array([*rng.uniform(_BLOCK_LOW_M, _BLOCK_HIGH_M), height])
            travel_m = float(np.linalg.norm(self._goal_m - self._block_start_m))
        self._world.place_block(self._goal_m, self._block_start_yaw_rad)
        direction = (self._goal_m - self._block_start_m)[:2] / travel_m
        gap_m = contact_distance_m(direction, self._block_start_yaw_rad)
        behind = np.array([*(self._goal_m[:2] - gap_m * direction), TOOL_HEIGHT_M])
        self._world.robot.place_tool(np.clip(behind, self.box.low, self.box.high))

    def _place_start(self) -> None:
        self._world.place_block(self._block_start_m, self._block_start_yaw_rad)
        self._world.robot.place_tool(self._tool_start_m)


def contact_distance_m(direction: np.ndarray, block_yaw_rad: float) -> float:
    """Distance between the centres of tool and block, touching, seen along ``direction (2,)``."""
    cos, sin = np.cos(block_yaw_rad), np.sin(block_yaw_rad)
    along = max(
        abs(cos * direction[0] + sin * direction[1]), abs(cos * direction[1] - sin * direction[0])
    )
    return float(BLOCK_SIZE_M / 2 / along + TOOL_RADIUS_M)
