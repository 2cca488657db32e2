"""`foresee/PickPlace-v0`: grasp the block, lift it, and put it where the goal image has it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sim.envs.table import TableEnv, Truth
from sim.gripper import OPEN_M
from sim.robot import Box
from sim.world import BlockShape

BLOCK_SIZE_M = 0.05
BLOCK = BlockShape((((BLOCK_SIZE_M / 2, BLOCK_SIZE_M / 2), (0.0, 0.0)),), BLOCK_SIZE_M)
BOX = Box(low=(0.34, -0.22, 0.02), high=(0.64, 0.22, 0.26))
MAX_SPEED_M_S = 0.25
BLOCK_LOW_M, BLOCK_HIGH_M = (0.41, -0.16), (0.58, 0.16)  # starts and goals of the block
LIFTED_M = 0.04  # free height under a block that counts as lifted
_REACHED_M = 0.03  # from tool to block
_TRAVEL_M = (0.08, 0.25)  # from start to goal of the block
_YAW_RAD = np.radians(15.0)  # at most, at the start; the fingers straighten it
_TOOL_START_LOW_M = 0.10
_GOAL_TOOL_M = 0.12  # height of the empty hand above the goal
_CARRIED_M = 0.10  # height of the block's middle on the way
_HELD_M = BLOCK_SIZE_M / 2 - 0.0005  # of a finger from the middle
_ON_TABLE_M = 0.012  # higher up it does not lie on the table
_LOST_MARGIN_M = 0.03  # further out of the tool's box it cannot be grasped


class PickPlaceEnv(TableEnv):
    """Pick a block up and place it.

    Action ``(4,)``: tool velocity x, y, z, at most 0.25 m/s each, and the speed at which each
    finger opens, at most 0.1 m/s; below zero they close. The fingers hold by friction, with 20 N.
    The hand cannot turn; the block's yaw is up to 15°.

    The goal is on the table, 8 to 25 cm away; the goal image shows the block there, straight, and
    the open hand above it. Success is to have *placed* it at the end: within `success_radius_m` of
    the goal, on the table, let go, after it was lifted; a block that was only pushed there does not
    count. Stages are told apart, each True from when it was first reached: ``success_reach`` (tool
    within 3 cm of the block), ``success_grasp`` (held by both fingers), ``success_lift`` (held,
    4 cm above the table). The episode terminates, failed, when the block leaves the workspace.

    The goal image alone can be come to by pushing. `subgoals` shows the way: the open hand above
    the block, the block held, held in the air above its goal, and held on it.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        randomization: see `WorldEnv`.
        render_mode: None or "rgb_array".
    """

    box = BOX
    block = BLOCK
    tool_axes = ("tool.vx", "tool.vy", "tool.vz")
    max_speed_m_s = MAX_SPEED_M_S
    gripper = True
    success_radius_m = 0.04

    _tool_start_m = _start_m = _goal_m = np.zeros(3)
    _start_yaw_rad = 0.0
    _reached = _grasped = _lifted = False

    def advance(self, dt_s: float) -> None:
        """Let time pass, and take note of the stages that were reached."""
        super().advance(dt_s)
        block, _ = self._world.block_pose()
        tool = self._world.robot.tool_position()
        self._reached |= bool(np.linalg.norm(block - tool) <= _REACHED_M)
        held = self._world.holds_block()
        self._grasped |= held
        self._lifted |= held and bool(block[2] - BLOCK_SIZE_M / 2 >= LIFTED_M)

    def truth(self) -> Truth:
        """Positions ``(3,)`` m, world frame, of tool, block and the block's goal; block yaw in rad.

        `gripper_m` is the distance of a finger from the middle, `holding` 1 when both press on the
        block, `distance_m` from block to goal.
        """
        block, yaw_rad = self._world.block_pose()
        holding = self._world.holds_block()
        distance_m = float(np.linalg.norm(self._goal_m - block))
        resting = block[2] - BLOCK_SIZE_M / 2 <= _ON_TABLE_M and not holding and not self._lost()
        assert self._world.robot.gripper is not None
        return {
            "tool_position_m": self._world.robot.tool_position(),
            "gripper_m": self._world.robot.gripper.state()[0],
            "block_position_m": block,
            "block_yaw_rad": yaw_rad,
            "holding": float(holding),
            "goal_position_m": self._goal_m.copy(),
            "distance_m": distance_m,
            "success": bool(distance_m <= self.success_radius_m and resting and self._lifted),
            "success_reach": self._reached,
            "success_grasp": self._grasped,
            "success_lift": self._lifted,
        }

    def _lost(self) -> bool:
        block, _ = self._world.block_pose()
        fallen = block[2] < 0.25 * BLOCK_SIZE_M
        low, high = np.add(self.box.low, -_LOST_MARGIN_M), np.add(self.box.high, _LOST_MARGIN_M)
        return bool(fallen or (block[:2] < low[:2]).any() or (block > high).any())

    def _place_goal(self, rng: np.random.Generator) -> None:
        height = BLOCK_SIZE_M / 2
        self._start_m = np.array([*rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), height])
        self._start_yaw_rad = float(rng.uniform(-_YAW_RAD, _YAW_RAD))
        low = (*self.box.low[:2], _TOOL_START_LOW_M)
        self._tool_start_m = rng.uniform(low, self.box.high)
        travel_m = 0.0
        while not _TRAVEL_M[0] <= travel_m <= _TRAVEL_M[1]:
            self._goal_m = np.array([*rng.uniform(BLOCK_LOW_M, BLOCK_HIGH_M), height])
            travel_m = float(np.linalg.norm(self._goal_m - self._start_m))
        self._world.place_block(self._goal_m, 0.0)
        self._world.robot.place_tool([*self._goal_m[:2], _GOAL_TOOL_M])

    def _stages(self) -> Iterator[None]:
        above, held = (*self._start_m[:2], _GOAL_TOOL_M), self._start_m
        over = np.array([*self._goal_m[:2], _CARRIED_M])
        assert self._world.robot.gripper is not None
        for block, yaw_rad, tool, finger_m in (
            (self._start_m, self._start_yaw_rad, above, OPEN_M),
            (held, 0.0, held, _HELD_M),
            (over, 0.0, over, _HELD_M),
            (self._goal_m, 0.0, self._goal_m, _HELD_M),
        ):
            self._world.place_block(block, yaw_rad)
            self._world.robot.place_tool(tool)
            self._world.robot.gripper.place(finger_m)
            yield

    def _place_start(self) -> None:
        assert self._world.robot.gripper is not None
        self._world.robot.gripper.place(OPEN_M)
        self._world.place_block(self._start_m, self._start_yaw_rad)
        self._world.robot.place_tool(self._tool_start_m)
        self._reached = self._grasped = self._lifted = False
