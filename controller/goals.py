"""Where goals come from, and a course of them: when one counts as reached and the next begins.

Reading an image file or a recorded frame is not done here: the configurator is given a function
for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.settings import require
from controller.types import NS_PER_S, Goal

Array = NDArray[np.float32]


@dataclass(frozen=True)
class GoalConfig:
    """One goal of a task, from exactly one source, and when to go on from it.

    Attributes:
        image: image file; ``{camera}`` in it stands for the camera's name where there are several.
        camera: the cameras' present view when the goal's turn comes.
        data: data set folder, for a frame of a recorded episode.
        episode: of the data set, at least 0.
        frame: of the episode; negative counts from its end.
        reached_distance: it is reached when the mean squared distance of the latents is at most
            this, above 0; ``None`` never goes on by distance.
        dwell_s: for so long it must stay so, at least 0.
        timeout_s: go on after this time, reached or not, above 0; ``None`` never does.
    """

    image: str | None = None
    camera: bool = False
    data: str | None = None
    episode: int = 0
    frame: int = -1
    reached_distance: float | None = None
    dwell_s: float = 0.0
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        sources = (self.image is not None) + self.camera + (self.data is not None)
        require(sources == 1, f"a goal has one of image, camera and data, this has {sources}")
        require(self.episode >= 0, f"episode must be at least 0, not {self.episode}")
        require_going_on(self.reached_distance, self.dwell_s, self.timeout_s)

    @property
    def source(self) -> str:
        """In words, for logs."""
        if self.camera:
            return "camera view"
        if self.image is not None:
            return f"image {self.image}"
        return f"{self.data} episode {self.episode} frame {self.frame}"


def require_going_on(
    reached_distance: float | None, dwell_s: float, timeout_s: float | None
) -> None:
    """Check when to go on from a goal; what each means and its limits: `GoalConfig`.

    Raises:
        ConfigError: when one is out of its limits.
    """
    require(dwell_s >= 0, f"dwell_s must be at least 0, not {dwell_s}")
    for name, value in (("reached_distance", reached_distance), ("timeout_s", timeout_s)):
        require(value is None or value > 0, f"{name} must be above 0 or null, not {value}")


@dataclass(frozen=True)
class Waypoint:
    """A goal and when to go on from it; ``goal`` is ``None`` for the view when its turn comes.

    The other fields are those of `GoalConfig`.
    """

    goal: Goal | None
    reached_distance: float | None = None
    dwell_s: float = 0.0
    timeout_s: float | None = None


@dataclass(frozen=True)
class Course:
    """Goals one after the other; the last one is kept.

    Attributes:
        waypoints: at least one.
        index: of the goal in force.
        since_ns: stamp at which it came into force; ``None`` until a frame is seen.
        near_since_ns: since when the robot has been near it without a break; ``None`` when not.
    """

    waypoints: tuple[Waypoint, ...]
    index: int = 0
    since_ns: int | None = None
    near_since_ns: int | None = None

    @property
    def goal(self) -> Goal | None:
        """The goal in force; ``None`` before the view that is to be it was seen."""
        return self.waypoints[self.index].goal

    def restarted(self) -> Course:
        """The goal in force, its times counted from the next frame on: the clock is another one."""
        return replace(self, since_ns=None, near_since_ns=None)

    def advanced(self, latent: Array, stamp_ns: int) -> Course:
        """The course once this was seen.

        Args:
            latent: ``(N, D)`` of the newest frame.
            stamp_ns: its stamp.
        """
        course = self
        if course.since_ns is None:
            course = course._enter(course.index, latent, stamp_ns)
        point = course.waypoints[course.index]
        assert point.goal is not None
        near_since_ns = None
        if point.reached_distance is not None:
            distance = float(np.square(latent - point.goal.latent).mean())
            if distance <= point.reached_distance:
                near_since_ns = stamp_ns if course.near_since_ns is None else course.near_since_ns
        course = replace(course, near_since_ns=near_since_ns)
        stayed = near_since_ns is not None and _past(near_since_ns, point.dwell_s, stamp_ns)
        assert course.since_ns is not None
        late = point.timeout_s is not None and _past(course.since_ns, point.timeout_s, stamp_ns)
        if (stayed or late) and course.index + 1 < len(course.waypoints):
            return course._enter(course.index + 1, latent, stamp_ns)
        return course

    def _enter(self, index: int, latent: Array, stamp_ns: int) -> Course:
        point = self.waypoints[index]
        waypoints = self.waypoints
        if point.goal is None:
            seen = replace(point, goal=Goal(latent, "camera view"))
            waypoints = (*waypoints[:index], seen, *waypoints[index + 1 :])
        return Course(waypoints, index, stamp_ns)


def _past(since_ns: int, duration_s: float, stamp_ns: int) -> bool:
    return stamp_ns - since_ns >= round(duration_s * NS_PER_S)
