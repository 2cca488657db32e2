"""Two fingers that close on things with a limited force, and hold them by friction."""

from __future__ import annotations

from collections.abc import Mapping

from sim.assets import FINGER_LINKS
from sim.bullet import BulletClient

OPEN_M = 0.04  # from the middle to each finger
MAX_SPEED_M_S = 0.1  # of each finger
_FORCE_N = 20.0  # of each finger, as the joint's limit in the robot's description
_AHEAD_M = 0.008  # of the wanted position before the measured one: what makes it squeeze
_FRICTION = 1.0  # rubber; it multiplies with the thing's own coefficient
_TURNING_FRICTION = 0.02  # a held thing does not swing about the line between the fingers


class Gripper:
    """The Panda's fingers, commanded by the speed at which they open.

    What is commanded moves a wanted position, which the fingers follow with at most 20 N: a thing
    between them stays squeezed when the speed goes back to zero.

    Args:
        bullet: the physics world.
        body: the robot.
        links: its links by name; the fingers' joints have the links' numbers.
    """

    def __init__(self, bullet: BulletClient, body: int, links: Mapping[str, int]) -> None:
        self._bullet = bullet
        self._body = body
        self.links = tuple(links[name] for name in FINGER_LINKS)
        self._speed_m_s = 0.0
        self._wanted_m = OPEN_M
        # One motor drives both fingers of the real hand: they mirror each other.
        gear = bullet.createConstraint(
            body,
            self.links[0],
            body,
            self.links[1],
            bullet.JOINT_GEAR,
            (1, 0, 0),
            (0,) * 3,
            (0,) * 3,
        )
        bullet.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50)
        for link in self.links:
            bullet.changeDynamics(
                body, link, lateralFriction=_FRICTION, spinningFriction=_TURNING_FRICTION
            )
        self.reset()

    def reset(self) -> None:
        """Open, at rest."""
        self.place(OPEN_M)

    def place(self, position_m: float) -> None:
        """Put each finger so far from the middle, m, at rest, without waiting."""
        self._speed_m_s = 0.0
        self._wanted_m = position_m
        for link in self.links:
            self._bullet.resetJointState(self._body, link, position_m, 0.0)

    def set_speed(self, speed_m_s: float) -> None:
        """How fast each finger opens from now on, m/s; below zero it closes."""
        self._speed_m_s = speed_m_s

    def control(self, dt_s: float) -> None:
        """Give the motors their targets; ``dt_s`` is the time to the next call."""
        position_m = self.state()[0]
        wanted = self._wanted_m + self._speed_m_s * dt_s
        if self._speed_m_s:
            # Not further ahead than it takes to squeeze: opening again then begins at once.
            wanted = min(max(wanted, position_m - _AHEAD_M), position_m + _AHEAD_M)
        self._wanted_m = min(max(wanted, 0.0), OPEN_M)
        self._bullet.setJointMotorControlArray(
            self._body,
            self.links,
            self._bullet.POSITION_CONTROL,
            targetPositions=(self._wanted_m, self._wanted_m),
            forces=(_FORCE_N, _FORCE_N),
        )

    def state(self) -> tuple[float, float]:
        """Distance of a finger from the middle, m, and its speed, m/s; the mean of the two."""
        states = self._bullet.getJointStates(self._body, self.links)
        return (states[0][0] + states[1][0]) / 2, (states[0][1] + states[1][1]) / 2
