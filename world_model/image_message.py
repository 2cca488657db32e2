"""Pixels of ``sensor_msgs/Image``, from a live message or one read from a bag. NumPy alone."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Encoding to channels and where red, green and blue are among them.
ENCODINGS: dict[str, tuple[int, tuple[int, int, int]]] = {
    "rgb8": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
}


class ImageMessage(Protocol):
    """The fields of ``sensor_msgs/Image`` that say where its pixels are."""

    encoding: str
    height: int
    width: int
    step: int

    @property
    def data(self) -> object:
        """``height * step`` bytes in a buffer."""
        ...


def image_to_array(message: ImageMessage) -> NDArray[np.uint8]:
    """Image message to ``(H, W, 3)`` uint8 RGB; rows may be padded.

    Raises:
        ValueError: unknown encoding, or width, height, step and data that do not fit together.
    """
    if message.encoding not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ValueError(f"image encoding {message.encoding!r} is not one of {known}")
    channels, order = ENCODINGS[message.encoding]
    height, width, step = int(message.height), int(message.width), int(message.step)
    if height < 1 or width < 1:
        raise ValueError(f"image is {width}×{height} pixels")
    if step < width * channels:
        raise ValueError(
            f"image step {step} is below {width}×{channels} bytes ({message.encoding})"
        )
    data = np.frombuffer(message.data, np.uint8)  # type: ignore[call-overload]
    if len(data) != height * step:
        raise ValueError(f"image holds {len(data)} bytes, expected {height}×{step}")
    rows = data.reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(pixels[:, :, list(order)])
