"""Cameras of the simulated world: where they stand and how they are rendered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.bullet import BulletClient, pybullet

Vector = tuple[float, float, float]
Image = NDArray[np.uint8]

_NEAR_M, _FAR_M = 0.1, 4.0
# The renderer has no antialiasing; without any, small motions do not show at 64 px.
_SUPERSAMPLING = 2


@dataclass(frozen=True)
class CameraSpec:
    """A pinhole camera at a fixed place, with the light its images are taken in.

    Attributes:
        eye_m: where it is, world frame.
        target_m: the point in the middle of its image, world frame.
        up: the direction that is up in its image, world frame.
        fov_deg: full opening angle, the same in height and width.
        light: direction towards the light, world frame.
    """

    eye_m: Vector
    target_m: Vector
    up: Vector = (0.0, 0.0, 1.0)
    fov_deg: float = 40.0
    light: Vector = (0.4, -0.6, 1.0)

    def intrinsics(self, size: int) -> NDArray[np.float64]:
        """The matrix K ``(3, 3)`` of a ``size`` × ``size`` image, in pixels."""
        focal = 0.5 * size / np.tan(np.radians(self.fov_deg) / 2)
        centre = 0.5 * size
        return np.array([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]])


# "scene" was chosen among 20 poses by fitting a small CNN from one 64 px image to tool position:
# mean error 3.3, 3.3, 3.1 mm along x, y, z from 2 000 images, the best worst axis, and the block is
# hidden least often. From straight ahead x is twice as bad; closer up the arm leaves the picture.
TABLE_CAMERAS: dict[str, CameraSpec] = {
    "scene": CameraSpec(eye_m=(1.10, -0.74, 0.80), target_m=(0.50, -0.05, 0.20), fov_deg=42.0),
    "front": CameraSpec(eye_m=(1.45, 0.0, 0.75), target_m=(0.40, 0.0, 0.18)),
    "top": CameraSpec(eye_m=(0.45, 0.0, 1.60), target_m=(0.45, 0.0, 0.0), up=(1.0, 0.0, 0.0)),
}


# Its picture is the floor of the two rooms, wall to wall: 6.5 cm a pixel at 64 px.
ROOM_CAMERAS: dict[str, CameraSpec] = {
    "scene": CameraSpec(
        eye_m=(0.0, 0.0, 3.4), target_m=(0.0, 0.0, 0.0), up=(0.0, 1.0, 0.0), fov_deg=62.9
    ),
}


def named_camera(cameras: Mapping[str, CameraSpec], name: str) -> CameraSpec:
    """The camera of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in cameras:
        raise ValueError(f"no camera {name!r}; there are: {', '.join(cameras)}")
    return cameras[name]


def render(bullet: BulletClient, camera: CameraSpec, size: int, background: Vector) -> Image:
    """What the camera sees now: ``(size, size, 3)`` uint8, RGB.

    The software renderer: it needs no display and gives the same bytes on every run.

    Args:
        bullet: the physics world to look at.
        camera: from where.
        size: height and width, pixels.
        background: colour of where nothing is, RGB from 0 to 1.
    """
    pixels = size * _SUPERSAMPLING
    _, _, rgba, depth, _ = bullet.getCameraImage(
        pixels,
        pixels,
        bullet.computeViewMatrix(camera.eye_m, camera.target_m, camera.up),
        bullet.computeProjectionMatrixFOV(camera.fov_deg, 1.0, _NEAR_M, _FAR_M),
        lightDirection=camera.light,
        lightAmbientCoeff=0.55,
        lightDiffuseCoeff=0.45,
        lightSpecularCoeff=0.0,
        shadow=0,
        renderer=pybullet.ER_TINY_RENDERER,
        flags=pybullet.ER_NO_SEGMENTATION_MASK,
    )
    # A PyBullet built without NumPy gives a flat tuple, one built with it an array.
    fine = np.asarray(rgba, np.uint8).reshape(pixels, pixels, 4)[..., :3].astype(np.uint16)
    # The renderer leaves it white, which would hide a white arm.
    empty = np.asarray(depth, np.float32).reshape(pixels, pixels) >= 1.0
    fine[empty] = np.multiply(background, 255).astype(np.uint16)
    rows = fine[0::2] + fine[1::2]
    return ((rows[:, 0::2] + rows[:, 1::2] + 2) // 4).astype(np.uint8)
