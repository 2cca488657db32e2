"""A table with a Panda on it, and a block where the task has one: physics without any task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.assets import FINGER_LINKS
from sim.bullet import pybullet
from sim.physics import PHYSICS_HZ, Physics, Shapes
from sim.randomization import Scene
from sim.robot import Box, Panda

Array = NDArray[np.float64]

BLOCK_SIZE_M = 0.06
_STEPS_PER_CONTROL = 2  # the arm's velocity control runs at 120 Hz
_GIVE_WAY_N = 10.0  # force on the hand from below
_HOLDING_N = 0.5  # of each finger
_TABLE_M = (0.35, 0.0, -0.05)  # its centre; the top is at height zero
_TABLE_HALF_M = (0.75, 0.80, 0.05)


@dataclass(frozen=True)
class BlockShape:
    """A rigid thing made of upright boxes, all of the same height.

    Attributes:
        boxes: for each one its half size ``(x, y)`` and the place ``(x, y)`` of its centre, m, in a
            frame whose origin is the centre of mass.
        height_m: of all boxes.
    """

    boxes: tuple[tuple[tuple[float, float], tuple[float, float]], ...]
    height_m: float


CUBE = BlockShape((((BLOCK_SIZE_M / 2, BLOCK_SIZE_M / 2), (0.0, 0.0)),), BLOCK_SIZE_M)


class World(Physics):
    """Table, robot and things.

    Args:
        box: where the tool may go.
        block: what is on the table, if anything is.
        gripper: whether the arm has two fingers instead of a stick.
    """

    def __init__(self, box: Box, block: BlockShape | None = None, gripper: bool = False) -> None:
        super().__init__()
        self.robot = Panda(self._bullet, box, gripper)
        self._table = self._add_body(self._box_shapes(_TABLE_HALF_M), _TABLE_M, mass_kg=0.0)
        self._block_height_m = block.height_m if block else 0.0
        self._block_shapes = self._block_shape(block) if block else None
        self._block: int | None = None
        self._remember()

    def reset(self, scene: Scene) -> None:
        """Forget all that happened and put on the looks, friction and masses of ``scene``."""
        if self._block is not None:
            self._bullet.removeBody(self._block)
        # A new block: an old one would bring the impulses of its contacts with it.
        self._begin(scene)
        robot = self.robot
        colors = dict.fromkeys(("tool", *FINGER_LINKS), scene.tool) | {"panda_hand": scene.hand}
        for name, link in robot.links.items():
            color = colors.get(name, scene.arm)
            self._paint(robot.body, color, link)
        self._paint(self._table, scene.table)
        self._bullet.changeDynamics(self._table, -1, lateralFriction=scene.friction)
        self._bullet.changeDynamics(robot.body, robot.links["tool"], lateralFriction=scene.friction)
        if robot.gripper is not None:
            robot.gripper.reset()
        if self._block_shapes is not None:
            place = (0.45, 0.0, self._block_height_m / 2)
            self._block = self._add_body(self._block_shapes, place, scene.block_mass_kg)
            self._paint(self._block, scene.block)
            self._bullet.changeDynamics(self._block, -1, lateralFriction=scene.friction)

    def _control(self) -> None:
        if self._steps % _STEPS_PER_CONTROL == 0:
            dt_s = _STEPS_PER_CONTROL / PHYSICS_HZ
            self.robot.control(dt_s, give_way=self._pressed())

    def holds_block(self) -> bool:
        """Whether both fingers press on the block."""
        assert self.robot.gripper is not None
        return all(
            any(point[9] > _HOLDING_N for point in self._bullet.getContactPoints(*pair))
            for pair in (
                (self.robot.body, self._block, link, -1) for link in self.robot.gripper.links
            )
        )

    def _pressed(self) -> bool:
        """Whether the hand stands on the block: pressed on, it would be shot out under it.

        A real arm of this kind stops by itself at such forces. The stick moves along the table.
        """
        if self.robot.gripper is None or self._block is None:
            return False
        points = self._bullet.getContactPoints(self.robot.body, self._block)
        return bool(sum(point[9] * point[7][2] for point in points) > _GIVE_WAY_N)

    def block_pose(self) -> tuple[Array, float]:
        """Centre of the block ``(3,)`` m in the world frame, and its yaw in rad."""
        position, orientation = self._bullet.getBasePositionAndOrientation(self._block)
        return np.array(position), float(self._bullet.getEulerFromQuaternion(orientation)[2])

    def place_block(self, position_m: Sequence[float] | Array, yaw_rad: float) -> None:
        """Put the block at rest with its centre at ``position_m (3,)``."""
        self._bullet.resetBasePositionAndOrientation(
            self._block,
            [float(value) for value in position_m],
            self._bullet.getQuaternionFromEuler((0.0, 0.0, yaw_rad)),
        )
        self._bullet.resetBaseVelocity(self._block, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))

    def _block_shape(self, block: BlockShape) -> Shapes:
        halves = [(*half, block.height_m / 2) for half, _ in block.boxes]
        if len(halves) == 1:
            return self._box_shapes(halves[0])
        many = {
            "shapeTypes": [pybullet.GEOM_BOX] * len(halves),
            "halfExtents": halves,
        }
        places = [(*centre, 0.0) for _, centre in block.boxes]
        return (
            self._bullet.createCollisionShapeArray(**many, collisionFramePositions=places),
            self._bullet.createVisualShapeArray(**many, visualFramePositions=places),
        )
