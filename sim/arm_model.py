"""Where the parts of an arm are, from its URDF, with Pinocchio; and a plain picture of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.camera import CameraSpec

Vector = NDArray[np.float64]

_DAMPING = 0.02  # of the least squares: bounds joint speeds near singular postures
_LINK_M, _STICK_M, _BALL_M = 0.045, 0.012, 0.022  # radii
_HAND_SHARE = 0.6  # of the way from the last joint to the tool
_SKY = np.array([0.55, 0.60, 0.66])
_TABLE = np.array([0.42, 0.44, 0.47])
_ARM = np.array([0.92, 0.92, 0.90])
_BALL = np.array([0.85, 0.38, 0.05])


class ArmModel:
    """Kinematics of one arm. Not thread-safe.

    Attributes:
        low: ``(N,)`` position limits, rad.
        high: likewise.
        speed: ``(N,)`` speed limits, rad/s.
    """

    def __init__(self, urdf: str, joints: Sequence[str], tool_frame: str) -> None:
        """Read a description; joints that are not named stay at zero.

        Raises:
            ValueError: not a URDF, or a joint or frame that is not in it.
        """
        import pinocchio as pin

        self._pin = pin
        try:
            whole = pin.buildModelFromXML(urdf)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"not a URDF: {' '.join(str(error).split())[:120]}") from error
        missing = [name for name in joints if not whole.existJointName(name)]
        if missing:
            raise ValueError(f"joint {missing[0]!r} is not in the robot's URDF")
        if not whole.existFrame(tool_frame):
            raise ValueError(f"frame {tool_frame!r} is not in the robot's URDF")
        locked = [i for i in range(1, whole.njoints) if whole.names[i] not in joints]
        self._model: Any = pin.buildReducedModel(whole, locked, pin.neutral(whole))
        self._data: Any = self._model.createData()
        # Ours may be in another order than those of the chain.
        self._index = np.array([self._model.getJointId(name) - 1 for name in joints])
        self._tool = self._model.getFrameId(tool_frame)
        self.low = self._model.lowerPositionLimit[self._index]
        self.high = self._model.upperPositionLimit[self._index]
        self.speed = self._model.velocityLimit[self._index]

    def tool_pose(self, joints: Vector) -> tuple[Vector, Vector]:
        """Position ``(3,)`` m and orientation ``(4,)`` x y z w of the tool in the base frame."""
        self._pin.framesForwardKinematics(self._model, self._data, self._ordered(joints))
        placement = self._data.oMf[self._tool]
        quaternion = self._pin.Quaternion(placement.rotation)
        return placement.translation.copy(), quaternion.coeffs().copy()

    def chain(self, joints: Vector) -> Vector:
        """Where the joints are and then the tool, ``(N + 2, 3)`` m; the base first."""
        tool, _ = self.tool_pose(joints)
        places = [self._data.oMi[i].translation for i in range(1, self._model.njoints)]
        return np.array([np.zeros(3), *places, tool])

    def joint_speeds(self, joints: Vector, velocity_m_s: Vector) -> Vector:
        """Joint speeds ``(N,)`` that move the tool ``(3,)`` m/s in the base frame, not turning."""
        jacobian = self._pin.computeFrameJacobian(
            self._model,
            self._data,
            self._ordered(joints),
            self._tool,
            self._pin.ReferenceFrame.LOCAL_WORLD_ALIGNED,
        )[:, self._index]
        task = np.concatenate([velocity_m_s, np.zeros(3)])
        square = jacobian @ jacobian.T + _DAMPING**2 * np.eye(6)
        speeds = jacobian.T @ np.linalg.solve(square, task)
        return speeds / max(1.0, float((np.abs(speeds) / self.speed).max()))

    def _ordered(self, joints: Vector) -> Vector:
        ordered = np.zeros(self._model.nq)
        ordered[self._index] = joints
        return ordered


def draw_arm(chain: Vector, camera: CameraSpec, size: int) -> NDArray[np.uint8]:
    """What a camera sees of an arm: light limbs before a table, an orange ball at the tool.

    Args:
        chain: ``(L, 3)`` m from the base to the tool, as `ArmModel.chain` gives it.
        camera: from where.
        size: height and width, pixels.

    Returns:
        ``(size, size, 3)`` uint8 RGB.
    """
    # Of the last piece the lower part is the stick, as bright as the ball at its end.
    hand = chain[-2] + _HAND_SHARE * (chain[-1] - chain[-2])
    points = np.vstack([chain[:-1], hand, chain[-1]])
    pixels, depth_m = project(points, camera, size)
    focal_px = camera.intrinsics(size)[0, 0]
    image = np.empty((size, size, 3), np.float32)
    image[: size // 4], image[size // 4 :] = _SKY, _TABLE
    last = len(points) - 2
    for k in range(last + 1):
        radius_m, color = (_STICK_M, _BALL) if k == last else (_LINK_M, _ARM * (1.0 - 0.03 * k))
        radius_px = radius_m * focal_px / (0.5 * (depth_m[k] + depth_m[k + 1]))
        paint(image, pixels[k], pixels[k + 1], radius_px, color)
    paint(image, pixels[-1], pixels[-1], _BALL_M * focal_px / depth_m[-1], _BALL)
    return np.round(255.0 * image).astype(np.uint8)


def paint(image: NDArray[np.float32], a: Vector, b: Vector, radius: float, color: Vector) -> None:
    """A thick line from pixel ``a`` to ``b``, its edge softened over one pixel."""
    low = np.clip(np.floor(np.minimum(a, b) - radius - 1), 0, image.shape[0]).astype(int)
    high = np.clip(np.ceil(np.maximum(a, b) + radius + 1), 0, image.shape[0]).astype(int)
    columns = np.arange(low[0], high[0])[None, :] + 0.5 - a[0]
    rows = np.arange(low[1], high[1])[:, None] + 0.5 - a[1]
    u, v = b - a
    along = np.clip((columns * u + rows * v) / max(u * u + v * v, 1e-9), 0.0, 1.0)
    away = np.hypot(columns - along * u, rows - along * v)
    share = np.clip(radius - away + 0.5, 0.0, 1.0)[..., None]
    part = image[low[1] : high[1], low[0] : high[0]]
    part += (share * (color - part)).astype(np.float32)


def project(points: Vector, camera: CameraSpec, size: int) -> tuple[Vector, Vector]:
    """Pixels ``(L, 2)`` and depths ``(L,)`` m of points ``(L, 3)``."""
    eye = np.array(camera.eye_m)
    forward = np.array(camera.target_m) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, camera.up)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    seen = (points - eye) @ np.array([right, down, forward]).T
    depth_m = np.maximum(seen[:, 2], 0.05)
    focal = camera.intrinsics(size)[0, 0]
    return focal * seen[:, :2] / depth_m[:, None] + 0.5 * size, depth_m
