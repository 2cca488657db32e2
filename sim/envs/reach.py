"""`foresee/Reach-v0`: move the tool to where the goal image has it."""

from __future__ import annotations

import numpy as np

from sim.envs.table import TableEnv, Truth
from sim.robot import Box

BOX = Box(low=(0.30, -0.25, 0.05), high=(0.60, 0.25, 0.35))
MAX_SPEED_M_S = 0.25
_MIN_TRAVEL_M = 0.10
_WALL_DISTANCE_M = 0.01  # of starts and goals: the arm slows down close to a wall


class ReachEnv(TableEnv):
    """Reach a place in space. Action ``(3,)``: tool velocity, at most 0.25 m/s along each axis.

    Start and goal are uniform in the workspace, at least 10 cm apart. Success is the tool within
    `success_radius_m` of the goal; the episode goes on, so that what counts is the end of it.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        randomization: see `TableEnv`.
        render_mode: None or "rgb_array".
    """

    box = BOX
    tool_axes = ("tool.vx", "tool.vy", "tool.vz")
    max_speed_m_s = MAX_SPEED_M_S
    success_radius_m = 0.03

    _start_m = _goal_m = np.zeros(3)

    def truth(self) -> Truth:
        """Tool and goal position ``(3,)`` m in the world frame, their distance, success."""
        tool = self._world.robot.tool_position()
        distance_m = float(np.linalg.norm(self._goal_m - tool))
        return {
            "tool_position_m": tool,
            "goal_position_m": self._goal_m.copy(),
            "distance_m": distance_m,
            "success": distance_m <= self.success_radius_m,
        }

    def _place_goal(self, rng: np.random.Generator) -> None:
        low = np.add(self.box.low, _WALL_DISTANCE_M)
        high = np.subtract(self.box.high, _WALL_DISTANCE_M)
        self._start_m = self._goal_m = rng.uniform(low, high)
        while np.linalg.norm(self._goal_m - self._start_m) < _MIN_TRAVEL_M:
            self._goal_m = rng.uniform(low, high)
        self._world.robot.place_tool(self._goal_m)

    def _place_start(self) -> None:
        self._world.robot.place_tool(self._start_m)
