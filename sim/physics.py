"""What all simulated worlds share: a Bullet server, its time, its boxes and its pictures."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from sim.bullet import connect, pybullet
from sim.camera import CameraSpec, Image, render
from sim.randomization import Color, Scene

PHYSICS_HZ = 240
Shapes = tuple[int, int]  # Bullet's numbers of a collision shape and of a visual one


class Physics(abc.ABC):
    """A physics server of its own inside this process, advanced in steps of 1/240 s.

    A subclass adds its bodies in `__init__` and calls `_remember` last. Not thread safe: one thread
    at a time may call it.
    """

    def __init__(self) -> None:
        self._bullet = connect()
        self._bullet.setGravity(0.0, 0.0, -9.81)
        self._bullet.setTimeStep(1.0 / PHYSICS_HZ)
        self.scene = Scene()
        self._steps = 0

    @abc.abstractmethod
    def reset(self, scene: Scene) -> None:
        """Forget all that happened and put on the looks, friction and masses of ``scene``."""

    @abc.abstractmethod
    def _control(self) -> None:
        """Set motor targets; called before every physics step."""

    def step(self, count: int) -> None:
        """Advance by ``count`` physics steps, with the robot controlled as it goes."""
        for _ in range(count):
            self._control()
            self._bullet.stepSimulation()
            self._steps += 1

    def render(self, camera: CameraSpec, size: int) -> Image:
        """What a camera, as the scene has it, sees: ``(size, size, 3)`` uint8, RGB."""
        return render(self._bullet, self.scene.view(camera), size, self.scene.background)

    def save(self) -> int:
        """Remember where everything is, with contacts and motors, in memory; see `restore`."""
        return int(self._bullet.saveState())

    def restore(self, saved: int) -> None:
        """Go back to what `save` remembered. Time and commands stay: give a command next."""
        self._bullet.restoreState(saved)

    def forget(self, saved: int) -> None:
        """Free what `save` remembered."""
        self._bullet.removeState(saved)

    def close(self) -> None:
        """End the physics server."""
        if self._bullet.isConnected():
            self._bullet.disconnect()

    def _remember(self) -> None:
        # Bullet carries contact and motor impulses from step to step; going back to this state
        # makes an episode the same whatever was simulated before it.
        self._pristine: int = self._bullet.saveState()

    def _begin(self, scene: Scene) -> None:
        """Go back to what `_remember` saw."""
        self._bullet.restoreState(self._pristine)
        self._steps = 0
        self.scene = scene

    def _box_shapes(self, half_m: Sequence[float]) -> Shapes:
        kind = pybullet.GEOM_BOX
        return (
            self._bullet.createCollisionShape(kind, halfExtents=half_m),
            self._bullet.createVisualShape(kind, halfExtents=half_m),
        )

    def _add_body(self, shapes: Shapes, position_m: Sequence[float], mass_kg: float) -> int:
        return self._bullet.createMultiBody(mass_kg, *shapes, basePosition=position_m)

    def _paint(self, body: int, color: Color, link: int = -1) -> None:
        self._bullet.changeVisualShape(body, link, rgbaColor=(*color, 1.0))
