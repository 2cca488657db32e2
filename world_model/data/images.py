"""Camera images as they come, brought to the size that a data set holds."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from world_model.image_message import image_to_array

Fit = Literal["crop", "stretch"]


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


def fit_image(pixels: NDArray[np.uint8], size: tuple[int, int], fit: Fit) -> NDArray[np.uint8]:
    """Resize with antialiasing; a picture that has the size already is returned as it is.

    Args:
        pixels: ``(H, W, 3)`` uint8.
        size: height and width wanted.
        fit: "crop" cuts the longer side equally at both ends, so that shapes keep their
            proportions; "stretch" keeps everything in view and bends the proportions.

    Returns:
        ``(*size, 3)`` uint8.
    """
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        kept_height = min(height, width * size[0] / size[1])
        kept_width = min(width, height * size[1] / size[0])
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        box = (left, top, left + kept_width, top + kept_height)
    # Averaging over what a pixel covers where the picture shrinks, as a coarser camera would.
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)
