"""A mobile base behind diff_drive_controller as a process sees it: late, sluggish, with odometry.

Two wheels on one axle, servos as those of `sim.fake_robot`, carry it over the floor of a square
room. It cannot go sideways, and what its odometry says is not quite where it is: the wheels slip,
above all at a wall. Not PyBullet; NumPy alone; time is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.arm_model import paint, project
from sim.camera import CameraSpec
from sim.fake_robot import FakeArm, ServoDynamics, Vector

ROOM_M = 2.0  # from the middle of the room to each of its walls
BODY_M = 0.17  # radius
_STEP_S = 0.01
_NOSE_M, _NOSE_AT_M = 0.07, 0.10  # radius; how far ahead of the middle
_HEIGHT_M = 0.1
_WALL = np.array([0.80, 0.79, 0.76])
_FLOOR = np.array([0.36, 0.38, 0.41])
_BODY = np.array([0.85, 0.38, 0.05])
_NOSE = np.array([0.10, 0.35, 0.95])


@dataclass(frozen=True)
class Wheels:
    """What carries the base; by default about those of a TurtleBot 4.

    Attributes:
        radius_m: of a wheel, above 0.
        separation_m: from one to the other, above 0.
        speed_rad_s: what a motor does at most, above 0.
        slip: share of their way that is lost on the floor, 0 to below 1.
    """

    radius_m: float = 0.03575
    separation_m: float = 0.233
    speed_rad_s: float = 12.9
    slip: float = 0.01

    def __post_init__(self) -> None:
        """Raise ValueError for what no base has."""
        for name in ("radius_m", "separation_m", "speed_rad_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.slip < 1:
            raise ValueError(f"slip must be from 0 to below 1, got {self.slip}")

    def speeds(self, forwards_m_s: float, turning_rad_s: float) -> Vector:
        """Left and right ``(2,)`` rad/s for a motion of the base."""
        aside_m_s = 0.5 * self.separation_m * turning_rad_s
        return np.array([forwards_m_s - aside_m_s, forwards_m_s + aside_m_s]) / self.radius_m

    def motion(self, wheels: Vector) -> tuple[float, float]:
        """Forwards (m) and about z (rad), or the same per second, of wheels ``(2,)`` that roll."""
        left_m, right_m = self.radius_m * wheels
        return 0.5 * (left_m + right_m), (right_m - left_m) / self.separation_m


class BaseReading(NamedTuple):
    """What encoders tell, and what a controller makes of it.

    Attributes:
        position: ``(2,)`` rad, left and right wheel.
        velocity: ``(2,)`` rad/s.
        pose: ``(3,)`` x m, y m, heading rad since it began, by odometry.
        forwards_m_s: by odometry.
        turning_rad_s: likewise.
    """

    position: Vector
    velocity: Vector
    pose: Vector
    forwards_m_s: float
    turning_rad_s: float


class FakeBase:
    """One base. Not thread-safe.

    Attributes:
        pose: ``(3,)`` x m, y m from the middle of the room, heading rad; the truth.
    """

    def __init__(
        self, start: Vector, wheels: Wheels, dynamics: ServoDynamics, now_s: float, seed: int = 0
    ) -> None:
        """At rest.

        Args:
            start: pose ``(3,)``.
            wheels: that carry it.
            dynamics: how they follow; its time-out is that of the controller.
            now_s: the time it begins at.
            seed: of the noise.
        """
        self.pose = _inside(np.array(start, np.float64))
        self._given = wheels
        endless, speed = np.full(2, np.inf), np.full(2, wheels.speed_rad_s)
        self._wheels = FakeArm(np.zeros(2), -endless, endless, speed, dynamics, now_s, seed)
        self._now_s = now_s
        self._read = np.zeros(2)
        self._odometry = np.zeros(3)

    def command(self, forwards_m_s: float, turning_rad_s: float, now_s: float) -> None:
        """A motion to keep until the time-out."""
        self._wheels.command_velocity(self._given.speeds(forwards_m_s, turning_rad_s), now_s)

    def advance(self, now_s: float) -> None:
        """Let time pass until ``now_s``."""
        while self._now_s < now_s - 1e-9:
            self._now_s += min(_STEP_S, now_s - self._now_s)
            before = self._wheels.position
            self._wheels.advance(self._now_s)
            rolled = (1.0 - self._given.slip) * (self._wheels.position - before)
            self.pose = _inside(_moved(self.pose, *self._given.motion(rolled)))

    def reading(self) -> BaseReading:
        """What there is to know of it without a look from outside."""
        position, velocity = self._wheels.reading()
        self._odometry = _moved(self._odometry, *self._given.motion(position - self._read))
        self._read = position
        return BaseReading(position, velocity, self._odometry, *self._given.motion(velocity))


def _moved(pose: Vector, forwards_m: float, turn_rad: float) -> Vector:
    """A pose after a short arc, taken as the straight line in the middle of its directions."""
    x_m, y_m, heading = pose
    middle = heading + 0.5 * turn_rad
    return np.array(
        [x_m + forwards_m * np.cos(middle), y_m + forwards_m * np.sin(middle), heading + turn_rad]
    )


def _inside(pose: Vector) -> Vector:
    """Not in a wall: it slides along, and the wheels slip."""
    reach_m = ROOM_M - BODY_M
    return np.append(np.clip(pose[:2], -reach_m, reach_m), pose[2])


def draw_base(pose: Vector, camera: CameraSpec, size: int) -> NDArray[np.uint8]:
    """What a camera that looks straight down sees: an orange disc with a blue spot in front.

    Args:
        pose: ``(3,)``, see `FakeBase`.
        camera: from where.
        size: height and width, pixels.

    Returns:
        ``(size, size, 3)`` uint8 RGB.
    """
    x_m, y_m, heading = pose
    nose_m = _NOSE_AT_M * np.array([np.cos(heading), np.sin(heading)])
    points = np.array(
        [
            [-ROOM_M, -ROOM_M, 0.0],
            [ROOM_M, ROOM_M, 0.0],
            [x_m, y_m, _HEIGHT_M],
            [x_m + nose_m[0], y_m + nose_m[1], _HEIGHT_M],
        ]
    )
    pixels, depth_m = project(points, camera, size)
    image = np.empty((size, size, 3), np.float32)
    image[:] = _WALL
    low, high = np.sort(np.round(pixels[:2]).clip(0, size).astype(int), axis=0)
    image[low[1] : high[1], low[0] : high[0]] = _FLOOR
    focal_px = camera.intrinsics(size)[0, 0]
    for place, away_m, radius_m, color in (
        (pixels[2], depth_m[2], BODY_M, _BODY),
        (pixels[3], depth_m[3], _NOSE_M, _NOSE),
    ):
        paint(image, place, place, radius_m * focal_px / away_m, color)
    return np.round(255.0 * image).astype(np.uint8)
