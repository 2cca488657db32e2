"""What the robots that stand in for hardware have in common: their time, and cameras that draw."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ros_nodes import qos
from ros_nodes.convert import array_to_image, camera_info

_JPEG_QUALITY = 95


class Beat:
    """A robot's own thread, which lets its time run."""

    def __init__(self, rate_hz: float, tick: Callable[[float, int], None]) -> None:
        """Time stands still until `start`.

        Args:
            rate_hz: how often a second ``tick`` is called.
            tick: with monotonic time and the number of the tick, from 0.
        """
        self._period_s = 1.0 / rate_hz
        self._tick = tick
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="robot", daemon=True)

    def start(self) -> None:
        """Let time run."""
        self._thread.start()

    def stop(self) -> None:
        """Stop time."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        number = 0
        deadline_s = time.monotonic() + self._period_s
        while not self._ending.is_set():
            time.sleep(max(0.0, deadline_s - time.monotonic()))
            now_s = time.monotonic()
            self._tick(now_s, number)
            number += 1
            deadline_s = max(deadline_s + self._period_s, now_s)  # after a pause it does not race


class DrawnCamera:
    """The topics of one camera."""

    def __init__(
        self, node: Node, name: str, matrix: NDArray[np.float64], compressed: bool
    ) -> None:
        """Create them.

        Args:
            node: whose they are.
            name: of the camera.
            matrix: K ``(3, 3)``, pixels.
            compressed: JPEG on ``<name>/image_raw/compressed`` instead of ``<name>/image_raw``.
        """
        self._frame_id = f"{name}_optical_frame"
        self._matrix = matrix
        self._compressed = compressed
        kind, topic = Image, f"{name}/image_raw"
        if compressed:
            kind, topic = CompressedImage, f"{topic}/compressed"
        self._images = node.create_publisher(kind, topic, qos.SENSOR)
        self._infos = node.create_publisher(CameraInfo, f"{name}/camera_info", qos.SENSOR)

    def publish(self, pixels: NDArray[np.uint8], stamp_ns: int) -> None:
        """Send a picture ``(H, W, 3)`` uint8 RGB that was taken at a stamp."""
        message = array_to_image(pixels, stamp_ns, self._frame_id)
        self._infos.publish(camera_info(self._matrix, message))
        self._images.publish(_as_jpeg(message, pixels) if self._compressed else message)


def _as_jpeg(image: Image, pixels: NDArray[np.uint8]) -> CompressedImage:
    from PIL import Image as Picture

    content = io.BytesIO()
    # Colours at full resolution: at 64 px half of it would be half of what there is to see.
    Picture.fromarray(pixels).save(content, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    # What image_transport writes there.
    message = CompressedImage(header=image.header, format="rgb8; jpeg compressed bgr8")
    message.data = content.getvalue()
    return message
