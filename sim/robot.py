"""The Panda arm, commanded by the velocity of its tool as MoveIt Servo commands a real one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.assets import ARM_LINKS, TOOL_LINK, panda_urdf
from sim.bullet import BulletClient
from sim.gripper import Gripper

Array = NDArray[np.float64]

JOINT_NAMES = tuple(f"panda_joint{index}" for index in range(1, 8))
HOME_RAD = np.array([0.0, -0.6, 0.0, -2.4, 0.0, 1.8, np.pi / 4])
_MAX_TORQUE_NM = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # of the real arm
_MAX_SPEED_RAD_S = np.array([2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61])
_POINTING_DOWN = (1.0, 0.0, 0.0, 0.0)  # quaternion x, y, z, w of the tool in the world
_DAMPING = 0.01  # of the least squares: bounds joint speeds near singular postures
_ROTATION_GAIN_HZ = 8.0
_POSTURE_GAIN_HZ = 5.0
_GIVE_WAY_M_S = 0.05
_WALL_GAIN_HZ = 10.0  # the speed towards a wall is at most this times the distance to it


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in the world frame, metres."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]

    def sample(self, rng: np.random.Generator) -> Array:
        """A uniform random point ``(3,)``."""
        return rng.uniform(self.low, self.high)

    def contains(self, point: Sequence[float] | Array, margin_m: float = 0.0) -> bool:
        """Whether ``point (3,)`` is inside the box grown by ``margin_m`` (shrunk if negative)."""
        return all(
            low - margin_m <= value <= high + margin_m
            for low, value, high in zip(self.low, point, self.high, strict=True)
        )


class Panda:
    """A Franka Panda that keeps its stick pointing down and its tool inside a box.

    The arm has seven joints for six task dimensions. The seventh is spent on staying near
    `HOME_RAD`, so that posture, and with it the camera image, is a function of tool position.

    Args:
        bullet: the physics world to live in.
        box: where the tool may go; it slows down in front of the walls and stops at them.
        gripper: whether it has two fingers instead of the stick; the tool is then where they grasp.
    """

    def __init__(self, bullet: BulletClient, box: Box, gripper: bool = False) -> None:
        self._bullet = bullet
        self.box = box
        self.body: int = bullet.loadURDF(str(panda_urdf(gripper)), useFixedBase=True)
        self._joints: list[int] = []
        self.links: dict[str, int] = {ARM_LINKS[0]: -1}
        for index in range(bullet.getNumJoints(self.body)):
            joint = bullet.getJointInfo(self.body, index)
            self.links[joint[12].decode()] = index
            if joint[1].decode() in JOINT_NAMES:
                self._joints.append(index)
        self._tool = self.links[TOOL_LINK]
        self._command_m_s = np.zeros(3)
        self._low = np.array(box.low)
        self._high = np.array(box.high)
        self.gripper = Gripper(bullet, self.body, self.links) if gripper else None
        self._moving_joints = len(self._joints) + (2 if gripper else 0)
        self._set_posture(HOME_RAD)

    def set_tool_velocity(self, velocity_m_s: Sequence[float] | Array) -> None:
        """The velocity ``(3,)`` in m/s, world frame, to keep from now on."""
        self._command_m_s = np.array(velocity_m_s, np.float64)

    def control(self, dt_s: float, give_way: bool = False) -> None:
        """Turn the commanded tool velocity into joint motor targets; call it at 60–120 Hz.

        Args:
            dt_s: time to the next call.
            give_way: go up whatever is commanded, as an arm does that feels too large a force.
        """
        if self.gripper is not None:
            self.gripper.control(dt_s)
        joints, _ = self.joint_states()
        position, orientation = self._tool_pose()
        velocity = np.clip(
            self._command_m_s,
            _WALL_GAIN_HZ * (self._low - position),
            _WALL_GAIN_HZ * (self._high - position),
        )
        if give_way:
            velocity[2] = max(velocity[2], _GIVE_WAY_M_S)
        speeds = self._joint_speeds(joints, orientation, velocity)
        self._bullet.setJointMotorControlArray(
            self.body,
            self._joints,
            self._bullet.VELOCITY_CONTROL,
            targetVelocities=speeds.tolist(),
            forces=_MAX_TORQUE_NM,
        )

    def joint_states(self) -> tuple[Array, Array]:
        """Joint positions ``(7,)`` rad and velocities ``(7,)`` rad/s, in order of `JOINT_NAMES`."""
        states = self._bullet.getJointStates(self.body, self._joints)
        return np.array([s[0] for s in states]), np.array([s[1] for s in states])

    def tool_position(self) -> Array:
        """Centre of the ball at the end of the tool, ``(3,)`` m in the world frame."""
        return np.array(self._tool_pose()[0])

    def place_tool(self, position_m: Sequence[float] | Array) -> None:
        """Put the arm, at rest, into the posture that has the tool at ``position_m (3,)``.

        Raises:
            ValueError: the arm does not reach it.
        """
        target = np.array(position_m, np.float64)
        joints = HOME_RAD
        for _ in range(300):
            self._set_posture(joints)
            position, orientation = self._tool_pose()
            error = target - position
            # A step of 1/8 s with the gains of `control` ends where the moving arm would settle.
            speeds = self._joint_speeds(joints, orientation, 8.0 * error)
            joints = joints + speeds / 8.0
            if np.abs(speeds).max() < 1e-4:
                break
        self._set_posture(joints)
        missed_m = float(np.linalg.norm(target - self.tool_position()))
        if missed_m > 1e-3:
            raise ValueError(f"the Panda does not reach {target.tolist()}: {missed_m:.3f} m short")
        self.set_tool_velocity(np.zeros(3))

    def _joint_speeds(
        self, joints: Array, orientation: Sequence[float], velocity_m_s: Array
    ) -> Array:
        """Damped least squares for the tool, and the posture in what it leaves free."""
        turn = self._bullet.getDifferenceQuaternion(orientation, _POINTING_DOWN)
        sign = 2.0 if turn[3] >= 0 else -2.0
        task = np.concatenate(
            [velocity_m_s, np.multiply(turn[:3], sign * _ROTATION_GAIN_HZ)], dtype=np.float64
        )
        zeros = [0.0] * self._moving_joints
        # Where the fingers are does not matter to the tool.
        positions = [*joints.tolist(), *zeros[7:]]
        linear, angular = self._bullet.calculateJacobian(
            self.body, self._tool, [0.0, 0.0, 0.0], positions, zeros, zeros
        )
        jacobian = np.array(linear + angular)[:, :7]
        left, gains, right = np.linalg.svd(jacobian)
        tracking = right[:6].T @ (gains / (gains**2 + _DAMPING**2) * (left.T @ task))
        free = right[6]  # the one motion of the joints that does not move the tool
        drift = float(np.clip(free @ (HOME_RAD - joints) * _POSTURE_GAIN_HZ, -1.0, 1.0))
        speeds = tracking + drift * free
        # All joints slow down together: the tool then stays on its line.
        return speeds / max(1.0, float((np.abs(speeds) / _MAX_SPEED_RAD_S).max()))

    def _tool_pose(self) -> tuple[Array, tuple[float, float, float, float]]:
        state = self._bullet.getLinkState(self.body, self._tool, computeForwardKinematics=1)
        return np.array(state[0]), state[1]

    def _set_posture(self, joints: Array) -> None:
        for index, value in zip(self._joints, joints, strict=True):
            self._bullet.resetJointState(self.body, index, float(value), 0.0)
