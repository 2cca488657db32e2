"""Single images for goals: from a file, or a frame of a recorded episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from world_model.data.dataset import open_dataset
from world_model.data.images import decode_still
from world_model.data.spec import DatasetError


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8 RGB.

    Raises:
        DatasetError: there is none, or it is no image; one line.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f"{path}: no such image file")
    try:
        return decode_still(path.read_bytes())
    except ValueError as error:
        raise DatasetError(f"{path}: {error}; give a PNG or JPEG") from error


def read_frame(dataset: str | Path, episode: int, frame: int) -> dict[str, NDArray[np.uint8]]:
    """One frame of a recorded episode, ``(H, W, 3)`` uint8 RGB for each camera.

    Args:
        dataset: its folder.
        episode: index, at least 0.
        frame: index; negative counts from the end.

    Raises:
        DatasetError: the data set cannot be read, or has no such episode or frame.
    """
    data = open_dataset(dataset)
    if not 0 <= episode < len(data):
        raise DatasetError(f"{dataset}: no episode {episode}; it has 0 to {len(data) - 1}")
    images = data.episode(episode).images
    length = len(next(iter(images.values())))
    if not -length <= frame < length:
        raise DatasetError(
            f"{dataset}: episode {episode} has no frame {frame}; it has 0 to {length - 1}"
        )
    return {camera: np.array(frames[frame]) for camera, frames in images.items()}
