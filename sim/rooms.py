"""Two rooms, a wall with a door between them, and a mobile base: physics without any task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.bullet import pybullet
from sim.physics import Physics, Shapes
from sim.randomization import Scene

Array = NDArray[np.float64]

HALF_SIZE_M = 2.0  # of the square floor between the outer walls
WALL_THICKNESS_M = 0.12
DOOR_WIDTH_M = 0.80
BASE_RADIUS_M = 0.20
_BASE_HEIGHT_M = 0.12
_WALL_HEIGHT_M = 0.16
_PIECE_M = 3.0  # a piece of the wall beside the door; what is too long is outside the rooms
_MASS_KG = 20.0
_ACCELERATION_M_S2 = 6.0  # which the wheels can give, and so the force on a wall: 120 N


class Rooms(Physics):
    """A holonomic base, as one with omnidirectional wheels, in a square of 4 m × 4 m.

    The wall stands across x, from one outer wall to the other; the base cannot turn. It keeps to
    the commanded velocity as well as its wheels can, and slides along what it runs into.
    """

    def __init__(self) -> None:
        super().__init__()
        size, half_t = HALF_SIZE_M, WALL_THICKNESS_M / 2
        height = _WALL_HEIGHT_M / 2
        floor = self._box_shapes((size + 1.0, size + 1.0, 0.05))
        self._floor = self._add_body(floor, (0.0, 0.0, -0.05), mass_kg=0.0)
        across = self._box_shapes((half_t, size + 2 * half_t, height))
        along = self._box_shapes((size + 2 * half_t, half_t, height))
        outer = size + half_t
        self._walls = [
            self._add_body(across, (-outer, 0.0, height), mass_kg=0.0),
            self._add_body(across, (outer, 0.0, height), mass_kg=0.0),
            self._add_body(along, (0.0, -outer, height), mass_kg=0.0),
            self._add_body(along, (0.0, outer, height), mass_kg=0.0),
        ]
        piece = self._box_shapes((half_t, _PIECE_M / 2, height))
        self._pieces = [self._add_body(piece, (0.0, y, height), mass_kg=0.0) for y in (-9.0, 9.0)]
        self._base = self._add_base()
        self._command_m_s = np.zeros(2)
        # Friction would make a base that runs along a wall stick to it; wheels and bumpers do not.
        for body in (*self._walls, *self._pieces):
            self._bullet.changeDynamics(body, -1, lateralFriction=0.0, restitution=0.0)
        self._remember()

    def reset(self, scene: Scene) -> None:
        """Forget all that happened and put on looks and mass of ``scene``.

        Floor, walls and base have the colours of table, arm and tool; the base with the tool's
        colour is as heavy as ever: friction and block mass of a scene have no meaning here.
        """
        self._begin(scene)
        self._paint(self._floor, scene.table)
        for body in (*self._walls, *self._pieces):
            self._paint(body, scene.arm)
        self._paint(self._base, scene.tool, link=1)
        self._command_m_s = np.zeros(2)

    def place_wall(self, x_m: float, door_y_m: float) -> None:
        """Put the wall at ``x_m`` with the middle of its door at ``door_y_m``."""
        offset_m = DOOR_WIDTH_M / 2 + _PIECE_M / 2
        for body, y_m in zip(self._pieces, (door_y_m - offset_m, door_y_m + offset_m), strict=True):
            self._bullet.resetBasePositionAndOrientation(
                body, (x_m, y_m, _WALL_HEIGHT_M / 2), (0.0, 0.0, 0.0, 1.0)
            )

    def place_base(self, position_m: Sequence[float] | Array) -> None:
        """Put the base at rest with its centre at ``position_m (2,)``."""
        for joint in (0, 1):
            self._bullet.resetJointState(self._base, joint, float(position_m[joint]), 0.0)
        self._command_m_s = np.zeros(2)

    def set_base_velocity(self, velocity_m_s: Sequence[float] | Array) -> None:
        """The velocity ``(2,)`` in m/s, world frame, to keep from now on."""
        self._command_m_s = np.array(velocity_m_s, np.float64)

    def base_state(self) -> tuple[Array, Array]:
        """Position ``(2,)`` m and velocity ``(2,)`` m/s of the base, world frame."""
        states = self._bullet.getJointStates(self._base, (0, 1))
        return np.array([s[0] for s in states]), np.array([s[1] for s in states])

    def _control(self) -> None:
        self._bullet.setJointMotorControlArray(
            self._base,
            (0, 1),
            self._bullet.VELOCITY_CONTROL,
            targetVelocities=self._command_m_s.tolist(),
            forces=[_MASS_KG * _ACCELERATION_M_S2] * 2,
        )

    def _add_base(self) -> int:
        """Two sliding joints: along x a massless-looking carriage, on it along y the base."""
        shapes = self._disc_shapes()
        body: int = self._bullet.createMultiBody(
            baseMass=0.0,
            basePosition=(0.0, 0.0, _BASE_HEIGHT_M / 2 + 0.005),
            linkMasses=(0.01, _MASS_KG),
            linkCollisionShapeIndices=(-1, shapes[0]),
            linkVisualShapeIndices=(-1, shapes[1]),
            linkPositions=((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
            linkOrientations=((0.0, 0.0, 0.0, 1.0),) * 2,
            linkInertialFramePositions=((0.0, 0.0, 0.0),) * 2,
            linkInertialFrameOrientations=((0.0, 0.0, 0.0, 1.0),) * 2,
            linkParentIndices=(0, 1),
            linkJointTypes=(self._bullet.JOINT_PRISMATIC,) * 2,
            linkJointAxis=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
        )
        for link in (0, 1):
            self._bullet.changeDynamics(body, link, linearDamping=0.0, jointDamping=0.0)
        return body

    def _disc_shapes(self) -> Shapes:
        kind = pybullet.GEOM_CYLINDER
        return (
            self._bullet.createCollisionShape(kind, radius=BASE_RADIUS_M, height=_BASE_HEIGHT_M),
            self._bullet.createVisualShape(kind, radius=BASE_RADIUS_M, length=_BASE_HEIGHT_M),
        )
