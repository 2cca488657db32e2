"""Camera and goal images brought to what the bundle expects, as its training data were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from world_model.bundle import ModelSpec
from world_model.image_fit import fit_image, fit_in_words


class ImageFitter:
    """Fits images and says once for each camera, and each size that it gives, what is done.

    Any thread may call it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Nothing was said yet.

        Args:
            say: is told in one line.
        """
        self._say = say
        self._said: set[str] = set()

    def __call__(
        self, spec: ModelSpec, camera: str, pixels: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """An image as the model expects it; one that has the size already is returned as it is.

        Args:
            spec: of the model.
            camera: which; of one that the model does not know, nothing is changed.
            pixels: ``(H, W, 3)`` uint8.

        Raises:
            ValueError: Pillow, which it needs, is not there.
        """
        size, given = spec.cameras.get(camera), (pixels.shape[0], pixels.shape[1])
        if size is None or given == size:
            return pixels
        fit = spec.fits[camera]
        done = f"camera {camera}: {fit_in_words(given, size, fit)} as on import"
        try:
            fitted = fit_image(pixels, size, fit)
        except ModuleNotFoundError as error:
            raise ValueError(f"{done}, which needs Pillow: pip install pillow") from error
        if done not in self._said:
            self._said.add(done)
            self._say(done)
        return fitted
