"""Bring a camera image to the size that a model sees: on import and on the robot the same way.

The one place where an image changes its size. NumPy alone where nothing is to be done; Pillow (of
the `data` extra) is imported where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Fit = Literal["crop", "stretch"]
FITS: tuple[Fit, ...] = get_args(Fit)
# Of an import that does not say, and so of data sets and bundles that do not.
DEFAULT_FIT: Fit = "crop"


def fits_of(cameras: Mapping[str, object], said: Mapping[str, Fit]) -> dict[str, Fit]:
    """How images of every camera are fitted, where it is said of some.

    Raises:
        ValueError: it is said in a word that is not known.
    """
    fits = {name: said.get(name, DEFAULT_FIT) for name in cameras}
    for name, fit in fits.items():
        if fit not in FITS:
            raise ValueError(f"fit {fit!r} of camera {name!r} is not one of {', '.join(FITS)}")
    return fits


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
    from PIL import Image

    box = (0.0, 0.0, float(width), float(height))
    if fit == "crop":
        kept_height = min(height, width * size[0] / size[1])
        kept_width = min(width, height * size[1] / size[0])
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        box = (left, top, left + kept_width, top + kept_height)
    # Averaging over what a pixel covers where the picture shrinks, as a coarser camera would.
    resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)


def fit_in_words(given: tuple[int, int], size: tuple[int, int], fit: Fit) -> str:
    """What `fit_image` does to an image of ``given`` height and width, for a log."""
    scaled = "enlarged" if given[0] < size[0] or given[1] < size[1] else "scaled"
    if given[0] * size[1] != given[1] * size[0]:  # other proportions
        scaled = f"cropped and {scaled}" if fit == "crop" else f"stretched and {scaled}"
    return f"{given[1]}x{given[0]}, {scaled} to {size[1]}x{size[0]}"
