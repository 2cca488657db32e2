"""Finds a camera that shows the same picture although the robot moves.

A driver that hangs often repeats its last picture under new stamps. Ages do not tell, and neither
does surprise while the robot moves little (`controller.surprise`); that not one bit changes does:
sensors are noisy, and a simulated camera that watches the robot sees it move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class _Shown:
    """Of a camera: its picture, when it was first seen, and where the robot was then."""

    picture: NDArray[np.uint8]
    first_ns: int
    place: NDArray[np.floating]


class FrozenCamera:
    """Tells since when a picture has been the same. Not thread-safe."""

    def __init__(self, moved_m: float) -> None:
        """Nothing was seen yet.

        Args:
            moved_m: after this way without a change a camera counts as frozen; 0 never does.
        """
        self._moved_m = moved_m
        self._shown: dict[str, _Shown] = {}

    def news_ns(
        self, stamp_ns: int, pictures: Mapping[str, NDArray[np.uint8]], place: NDArray[np.floating]
    ) -> int:
        """When the camera whose news is oldest last showed any.

        Args:
            stamp_ns: of the pictures.
            pictures: camera name to ``(H, W, 3)`` uint8; kept until they change.
            place: ``(3,)`` m, where the robot's tool is by its own readings.

        Returns:
            ``stamp_ns``; of a frozen camera, when its picture was first seen.
        """
        oldest_ns = stamp_ns
        for camera, picture in pictures.items():
            shown = self._shown.get(camera)
            if shown is None or not np.array_equal(shown.picture, picture):
                self._shown[camera] = _Shown(picture, stamp_ns, place)
                continue
            # Where it is now: a reading that was wrong once must not count for ever.
            moved_m = float(np.linalg.norm(place - shown.place))
            if self._moved_m and np.isfinite(moved_m) and moved_m > self._moved_m:
                oldest_ns = min(oldest_ns, shown.first_ns)
        return oldest_ns
