"""The newest camera frames and goal images, handed from the executor's thread to the planner's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from ros_nodes.convert import decode_image, image_to_array, stamp_to_ns

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSet:
    """One image of every camera.

    Attributes:
        stamp_ns: capture time of the oldest of them.
        images: camera name to ``(H, W, 3)`` uint8 RGB.
    """

    stamp_ns: int
    images: Mapping[str, Pixels]


class LatestImages:
    """Keeps only the newest images; a planner that is late skips frames and never queues them.

    `put_frame` and `put_goal` are called by one thread, `wait` by another, `close` by any.
    """

    def __init__(
        self,
        cameras: Collection[str],
        max_skew_ns: int,
        fit: Callable[[str, Pixels], Pixels] = lambda _, pixels: pixels,
    ) -> None:
        """Start empty and open.

        Args:
            cameras: names; a set is complete when each of them has an image.
            max_skew_ns: frames further apart than this are not one observation.
            fit: brings the image of a camera, of a message, to the size that is wanted.
        """
        self._cameras = frozenset(cameras)
        self._max_skew_ns = max_skew_ns
        self._fit = fit
        self._changed = threading.Condition()
        self._frames: dict[str, tuple[int, Pixels]] = {}
        self._goals: dict[str, tuple[int, Pixels]] = {}
        self._new_frame = False
        self._given_ns: int | None = None  # stamp of the last frames that `wait` gave
        self._new_goal = False
        self._closed = False

    def put_frame(self, camera: str, message: Image | CompressedImage) -> None:
        """Take in a camera frame; wakes `wait` when the set is complete and there is news of it.

        With cameras that are triggered together, the frame of the first makes a set with the old
        one of the second, which was given already: `wait` sleeps on until the second is there too.

        One that is here already, told by its stamp, is passed over.

        Raises:
            ValueError: the message does not hold what it says; nothing changes then.
        """
        stamp_ns = stamp_to_ns(message.header.stamp)
        if stamp_ns and stamp_ns == self._frames.get(camera, (0, None))[0]:
            return  # the same, raw or compressed: planned from twice, the next would have to wait
        # By the thread that hears: the planner is to find the newest frame ready.
        taken = stamp_ns, self._fit(camera, decode_image(message))
        with self._changed:
            self._frames[camera] = taken
            stamps = [stamp_ns for stamp_ns, _ in self._frames.values()]
            together = max(stamps) - min(stamps) <= self._max_skew_ns
            waits = min(stamps) == self._given_ns and taken[0] > min(stamps)
            if together and not waits and self._frames.keys() == self._cameras:
                self._new_frame = True
                self._changed.notify()

    def put_goal(self, camera: str, message: Image) -> None:
        """Take in a goal image; it goes out with the next frames.

        Raises:
            ValueError: the message does not hold what it says; nothing changes then.
        """
        pixels = self._fit(camera, image_to_array(message))
        taken = stamp_to_ns(message.header.stamp), pixels
        with self._changed:
            self._goals[camera] = taken
            self._new_goal = self._goals.keys() == self._cameras

    def put_goal_images(self, images: Mapping[str, Pixels], stamp_ns: int) -> None:
        """Take in a whole goal, ``(H, W, 3)`` uint8 RGB for each camera.

        Raises:
            ValueError: a camera has none.
        """
        missing = sorted(self._cameras - images.keys())
        if missing:
            raise ValueError(f"no image for camera {missing[0]!r}")
        with self._changed:
            self._goals = {camera: (stamp_ns, images[camera]) for camera in self._cameras}
            self._new_goal = True

    def goal_from_frames(self, since_ns: int) -> bool:
        """Make what the cameras see now the goal; False when one has shown nothing since then."""
        with self._changed:
            stamps = [stamp_ns for stamp_ns, _ in self._frames.values()]
            if self._frames.keys() != self._cameras or min(stamps, default=since_ns) < since_ns:
                return False
            self._goals = dict(self._frames)
            self._new_goal = True
            return True

    def wait(self) -> tuple[ImageSet, ImageSet | None] | None:
        """Wait for frames that `wait` has not given yet.

        Returns:
            the frames, and the goal if it is new; ``None`` when closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._new_frame or self._closed)
            if self._closed:
                return None
            goal = _image_set(self._goals) if self._new_goal else None
            self._new_frame = self._new_goal = False
            frames = _image_set(self._frames)
            self._given_ns = frames.stamp_ns
            return frames, goal

    def open(self) -> None:
        """Let `wait` wait again. The last goal, if any, counts as new."""
        with self._changed:
            self._closed = False
            self._new_goal = self._goals.keys() == self._cameras

    def close(self) -> None:
        """Let `wait` return ``None`` from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _image_set(taken: Mapping[str, tuple[int, Pixels]]) -> ImageSet:
    return ImageSet(
        stamp_ns=min(stamp_ns for stamp_ns, _ in taken.values()),
        images={camera: pixels for camera, (_, pixels) in taken.items()},
    )
