"""What the environments with an arm at a table share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.camera import TABLE_CAMERAS
from sim.envs.base import Truth, WorldEnv
from sim.randomization import Randomization
from sim.robot import JOINT_NAMES, Box
from sim.world import BlockShape, World

__all__ = ["PROPRIO_NAMES", "TableEnv", "Truth"]

PROPRIO_NAMES = (
    *(f"{name}.position" for name in JOINT_NAMES),
    *(f"{name}.velocity" for name in JOINT_NAMES),
    *(f"tool.{axis}" for axis in "xyz"),
)
_VELOCITIES = ("tool.vx", "tool.vy", "tool.vz")


class TableEnv(WorldEnv):
    """A Panda on a table, commanded by tool velocity in m/s, world frame.

    Args:
        box: where the tool may go.
        block: what is on the table, if anything is.
        action_names: the axes of the tool's velocity that an action sets; the others stay zero.
        max_speed_m_s: limit of each component of an action.
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        randomization: see `WorldEnv`.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: no such camera, size or randomization.
    """

    cameras = TABLE_CAMERAS
    proprio_names = PROPRIO_NAMES
    robot_type = "panda"
    _world: World

    def __init__(
        self,
        *,
        box: Box,
        block: BlockShape | None,
        action_names: tuple[str, ...],
        max_speed_m_s: float,
        image_size: int,
        camera: str,
        randomization: Randomization | Mapping[str, Any] | None,
        render_mode: str | None,
    ) -> None:
        self.box = box
        self._axes = [_VELOCITIES.index(name) for name in action_names]
        super().__init__(
            action_names=action_names,
            action_limits=[max_speed_m_s] * len(action_names),
            image_size=image_size,
            camera=camera,
            randomization=randomization,
            render_mode=render_mode,
        )
        self._world = World(box, block)

    def proprio(self) -> NDArray[np.float32]:
        """The readings ``(17,)`` of `proprio_names`: rad, rad/s, m. Cheap: renders nothing."""
        positions, velocities = self._world.robot.joint_states()
        tool = self._world.robot.tool_position()
        return np.concatenate([positions, velocities, tool]).astype(np.float32)

    def _command(self, action: NDArray[np.float64]) -> None:
        velocity = np.zeros(3)
        velocity[self._axes] = action
        self._world.robot.set_tool_velocity(velocity)
