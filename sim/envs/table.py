"""What the environments with an arm at a table share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.assets import FINGER_JOINTS
from sim.camera import TABLE_CAMERAS
from sim.envs.base import Truth, WorldEnv
from sim.gripper import MAX_SPEED_M_S as MAX_FINGER_SPEED_M_S
from sim.randomization import Randomization
from sim.robot import JOINT_NAMES, Box
from sim.world import BlockShape, World

__all__ = ["PROPRIO_NAMES", "TableEnv", "Truth"]

PROPRIO_NAMES = (
    *(f"{name}.position" for name in JOINT_NAMES),
    *(f"{name}.velocity" for name in JOINT_NAMES),
    *(f"tool.{axis}" for axis in "xyz"),
)
GRIPPER_PROPRIO_NAMES = tuple(f"{FINGER_JOINTS[0]}.{what}" for what in ("position", "velocity"))
GRIPPER_ACTION = "gripper.v"
_VELOCITIES = ("tool.vx", "tool.vy", "tool.vz")


class TableEnv(WorldEnv):
    """A Panda on a table, commanded by tool velocity in m/s, world frame.

    Attributes:
        box: where the tool may go.
        block: what is on the table, if anything is.
        tool_axes: the axes of the tool's velocity that an action sets; the others stay zero.
        max_speed_m_s: limit of each of them.
        gripper: whether the arm has fingers; the last number of an action is then the speed at
            which each of them opens, and the readings end with position and velocity of one.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.TABLE_CAMERAS`.
        more_cameras: names of further ones, see `WorldEnv`.
        randomization: see `WorldEnv`.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: no such camera, size or randomization.
    """

    cameras = TABLE_CAMERAS
    proprio_names = PROPRIO_NAMES
    robot_type = "panda"
    box: Box
    block: BlockShape | None = None
    tool_axes: tuple[str, ...]
    max_speed_m_s: float
    gripper = False
    _world: World

    def __init__(
        self,
        image_size: int = 64,
        camera: str = "scene",
        more_cameras: Sequence[str] = (),
        randomization: Randomization | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._axes = [_VELOCITIES.index(name) for name in self.tool_axes]
        names, limits = self.tool_axes, [self.max_speed_m_s] * len(self.tool_axes)
        if self.gripper:
            names = (*names, GRIPPER_ACTION)
            limits.append(MAX_FINGER_SPEED_M_S)
            self.proprio_names = (*PROPRIO_NAMES, *GRIPPER_PROPRIO_NAMES)
        super().__init__(
            action_names=names,
            action_limits=limits,
            image_size=image_size,
            camera=camera,
            more_cameras=more_cameras,
            randomization=randomization,
            render_mode=render_mode,
        )
        self._world = World(self.box, self.block, self.gripper)

    def proprio(self) -> NDArray[np.float32]:
        """The readings of `proprio_names`: rad, rad/s, m, m/s. Cheap: renders nothing."""
        positions, velocities = self._world.robot.joint_states()
        tool = self._world.robot.tool_position()
        gripper = self._world.robot.gripper
        fingers = () if gripper is None else gripper.state()
        return np.concatenate([positions, velocities, tool, fingers]).astype(np.float32)

    def _command(self, action: NDArray[np.float64]) -> None:
        velocity = np.zeros(3)
        velocity[self._axes] = action[: len(self._axes)]
        self._world.robot.set_tool_velocity(velocity)
        if self._world.robot.gripper is not None:
            self._world.robot.gripper.set_speed(float(action[-1]))
