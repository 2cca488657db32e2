"""A table with a Panda on it, and a block where the task has one: physics without any task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.bullet import connect, pybullet
from sim.camera import CameraSpec, Image, render
from sim.randomization import Scene
from sim.robot import Box, Panda

Array = NDArray[np.float64]

PHYSICS_HZ = 240
BLOCK_SIZE_M = 0.06
_STEPS_PER_CONTROL = 2  # the arm's velocity control runs at 120 Hz
_TABLE_M = (0.35, 0.0, -0.05)  # its centre; the top is at height zero
_TABLE_HALF_M = (0.75, 0.80, 0.05)


class World:
    """Physics, robot and things, advanced in steps of 1/240 s.

    Each world is a physics server of its own inside this process. Not thread safe: one thread at a
    time may call it.

    Args:
        box: where the tool may go.
        with_block: whether there is a block on the table.
    """

    def __init__(self, box: Box, with_block: bool) -> None:
        self._bullet = connect()
        self._bullet.setGravity(0.0, 0.0, -9.81)
        self._bullet.setTimeStep(1.0 / PHYSICS_HZ)
        self.robot = Panda(self._bullet, box)
        self._table = self._add_box(self._box_shapes(_TABLE_HALF_M), _TABLE_M, mass_kg=0.0)
        half = BLOCK_SIZE_M / 2
        self._block_shapes = self._box_shapes((half, half, half)) if with_block else None
        self._block: int | None = None
        self.scene = Scene()
        self._steps = 0
        # Bullet carries contact and motor impulses from step to step; going back to this state,
        # with a new block, makes an episode the same whatever was simulated before it.
        self._pristine: int = self._bullet.saveState()

    def reset(self, scene: Scene) -> None:
        """Forget all that happened and put on the looks, friction and masses of ``scene``."""
        if self._block is not None:
            self._bullet.removeBody(self._block)
        self._bullet.restoreState(self._pristine)
        self._steps = 0
        self.scene = scene
        robot = self.robot
        for name, link in robot.links.items():
            color = {"tool": scene.tool, "panda_hand": scene.hand}.get(name, scene.arm)
            self._bullet.changeVisualShape(robot.body, link, rgbaColor=(*color, 1.0))
        self._bullet.changeVisualShape(self._table, -1, rgbaColor=(*scene.table, 1.0))
        self._bullet.changeDynamics(self._table, -1, lateralFriction=scene.friction)
        self._bullet.changeDynamics(robot.body, robot.links["tool"], lateralFriction=scene.friction)
        if self._block_shapes is not None:
            place = (0.45, 0.0, BLOCK_SIZE_M / 2)
            self._block = self._add_box(self._block_shapes, place, scene.block_mass_kg)
            self._bullet.changeVisualShape(self._block, -1, rgbaColor=(*scene.block, 1.0))
            self._bullet.changeDynamics(self._block, -1, lateralFriction=scene.friction)

    def step(self, count: int) -> None:
        """Advance by ``count`` physics steps, with the robot controlled at 120 Hz."""
        for _ in range(count):
            if self._steps % _STEPS_PER_CONTROL == 0:
                self.robot.control()
            self._bullet.stepSimulation()
            self._steps += 1

    def render(self, camera: CameraSpec, size: int) -> Image:
        """What a camera, as the scene has it, sees: ``(size, size, 3)`` uint8, RGB."""
        return render(self._bullet, self.scene.view(camera), size, self.scene.background)

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

    def close(self) -> None:
        """End the physics server."""
        if self._bullet.isConnected():
            self._bullet.disconnect()

    def _box_shapes(self, half_m: Sequence[float]) -> tuple[int, int]:
        kind = pybullet.GEOM_BOX
        return (
            self._bullet.createCollisionShape(kind, halfExtents=half_m),
            self._bullet.createVisualShape(kind, halfExtents=half_m),
        )

    def _add_box(self, shapes: tuple[int, int], position_m: Sequence[float], mass_kg: float) -> int:
        return self._bullet.createMultiBody(mass_kg, *shapes, basePosition=position_m)
