"""Camera images as they come: messages and files to pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from world_model.image_message import image_to_array


def decode_message(message: Any) -> NDArray[np.uint8]:  # noqa: ANN401 - a ROS message
    """Pixels of a ``sensor_msgs`` Image or CompressedImage: ``(H, W, 3)`` uint8, RGB.

    Raises:
        ValueError: an encoding that is no colour image of 8 bits, or damaged data.
    """
    if hasattr(message, "encoding"):
        return image_to_array(message)
    return decode_still(bytes(message.data))


def decode_still(data: bytes) -> NDArray[np.uint8]:
    """Pixels of a JPEG, PNG or other still image file: ``(H, W, 3)`` uint8, RGB.

    Raises:
        ValueError: it is none, or is damaged or cut off.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("RGB", "RGBA", "L", "LA", "P"):
                raise ValueError(f"image of mode {image.mode} is no colour image of 8 bits")
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"image cannot be decoded ({str(error).splitlines()[0]})") from error
