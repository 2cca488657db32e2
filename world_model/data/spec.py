"""What a data set holds: its specification, one episode, and the one error users can meet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.image_fit import Fit, fits_of


class DatasetError(ValueError):
    """A data set, or an episode for it, that cannot be used; one line saying what and where.

    Attributes:
        frame: number of the first bad frame in its episode, or in its video file; None where the
            fault has no place in time.
    """

    def __init__(self, message: str, frame: int | None = None) -> None:
        """Say it in one line."""
        super().__init__(message)
        self.frame = frame


@dataclass(frozen=True)
class DatasetSpec:
    """What every frame of a data set holds. Vectors are float32 in SI units, images RGB uint8.

    Attributes:
        fps: frames per second; one frame, one proprio reading and one action per ``1 / fps`` s.
        cameras: camera name to image size ``(height, width)`` in pixels.
        proprio_names: P names in order, each with what it measures (``panda_joint1.position``);
            empty for a camera alone.
        action_names: A names in order (``tool.vx``); empty for streams without actions.
        action_low: A lowest actions the robot was allowed, SI.
        action_high: A highest actions the robot was allowed, SI.
        evaluation_names: E names of the true state, for evaluation alone; may be empty.
        robot_type: name of the robot, as LeRobot writes it.
        env_id: Gymnasium id of the environment that was recorded, None for a real robot.
        seed: seed the recording started from, None where there is none.
        fits: camera name to how its images of another size were brought to this one on import, and
            are to be; of cameras that it does not say, as an import does by default.

    Raises:
        DatasetError: from the constructor, when a field is out of its limits.
    """

    fps: float
    cameras: Mapping[str, tuple[int, int]]
    proprio_names: tuple[str, ...]
    action_names: tuple[str, ...]
    action_low: Sequence[float]
    action_high: Sequence[float]
    evaluation_names: tuple[str, ...] = ()
    robot_type: str = "unknown"
    env_id: str | None = None
    seed: int | None = None
    fits: Mapping[str, Fit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Bring sequences (NumPy arrays, JSON lists) to plain tuples, then check them."""
        cameras = {name: (int(h), int(w)) for name, (h, w) in self.cameras.items()}
        object.__setattr__(self, "cameras", cameras)
        for name in ("proprio_names", "action_names", "evaluation_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("action_low", "action_high"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        self._check()
        try:
            object.__setattr__(self, "fits", fits_of(cameras, self.fits))
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def _check(self) -> None:
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise DatasetError(f"fps must be a positive number, got {self.fps}")
        if not self.cameras:
            raise DatasetError("a data set needs at least one camera")
        for camera, size in self.cameras.items():
            if not camera or "/" in camera or min(size) < 1:
                raise DatasetError(f"camera {camera!r} of size {size} cannot be stored")
        for name in ("proprio_names", "action_names", "evaluation_names"):
            names = getattr(self, name)
            if len(set(names)) != len(names):
                raise DatasetError(f"{name} holds a name twice: {names}")
        sizes = {len(self.action_names), len(self.action_low), len(self.action_high)}
        if len(sizes) != 1:
            raise DatasetError("action_names, action_low and action_high differ in length")
        if not all(
            math.isfinite(low) and math.isfinite(high) and low <= high
            for low, high in zip(self.action_low, self.action_high, strict=True)
        ):
            raise DatasetError(
                f"action limits must be finite with low <= high, got {self.action_low} "
                f"and {self.action_high}"
            )

    @property
    def dt_s(self) -> float:
        """Time between two frames in seconds."""
        return 1.0 / self.fps

    def to_json(self) -> dict[str, Any]:
        """Return the specification as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DatasetSpec:
        """Read what `to_json` wrote.

        Raises:
            DatasetError: a field is missing, unknown or out of its limits.
        """
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise DatasetError(f"unknown fields in the data set specification: {unknown}")
        try:
            return cls(**values)
        except (TypeError, AttributeError) as error:
            raise DatasetError(f"data set specification is not usable: {error}") from error

    @classmethod
    def from_info(cls, extra: Mapping[str, Any]) -> DatasetSpec:
        """Read the specification in what foresee keeps in ``info.json``.

        Args:
            extra: has ``spec`` and, of an import, ``origin``, which alone said how images were
                fitted before the specification did.

        Raises:
            DatasetError: see `from_json`.
        """
        values = dict(extra["spec"])
        if "fits" not in values and (origin := extra.get("origin")):
            cameras = origin.get("mapping", {}).get("cameras", {})
            values["fits"] = {name: camera["fit"] for name, camera in cameras.items()}
        return cls.from_json(values)


@dataclass(frozen=True)
class Episode:
    """One uninterrupted recording of T frames; ``actions[t]`` acted from frame t to frame t+1.

    Attributes:
        images: camera name to ``(T, H, W, 3)`` uint8, RGB.
        proprio: ``(T, P)`` float32, SI.
        actions: ``(T, A)`` float32, SI; the last one is what was applied after the last frame.
        evaluation: ``(T, E)`` float32, SI: true state for evaluation alone.
        task: what was done, in words.
        stamps_ns: ``(T,)`` int64 capture times, strictly increasing.
    """

    images: Mapping[str, NDArray[np.uint8]]
    proprio: NDArray[np.float32]
    actions: NDArray[np.float32]
    evaluation: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0), dtype=np.float32)
    )
    task: str = ""
    stamps_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        """Return T, the number of frames."""
        return len(self.proprio)


def check_episode(episode: Episode, spec: DatasetSpec, name: str) -> None:
    """Check that an episode is what the specification says, and finite.

    Args:
        episode: what to check.
        spec: what it must be.
        name: how to call the episode in the error (``episode 12``).

    Raises:
        DatasetError: a camera, shape, type or value is wrong; names the first bad frame.
    """
    length = len(episode)
    if length < 2:
        raise DatasetError(f"{name}: {length} frames; an episode needs at least 2")
    if set(episode.images) != set(spec.cameras):
        raise DatasetError(
            f"{name}: cameras {sorted(episode.images)}, the data set has {sorted(spec.cameras)}"
        )
    for camera, (height, width) in spec.cameras.items():
        frames = episode.images[camera]
        if frames.dtype != np.uint8 or frames.shape != (length, height, width, 3):
            raise DatasetError(
                f"{name}: images of camera {camera!r} are {frames.dtype} {frames.shape}, "
                f"expected uint8 {(length, height, width, 3)}"
            )
    for label, values, width in (
        ("proprio", episode.proprio, len(spec.proprio_names)),
        ("actions", episode.actions, len(spec.action_names)),
        ("evaluation", episode.evaluation, len(spec.evaluation_names)),
    ):
        if label == "evaluation" and width == 0 and values.size == 0:
            continue
        check_vectors(values, (length, width), f"{name}: {label}")
    stamps = episode.stamps_ns
    if stamps.shape != (length,) or not np.issubdtype(stamps.dtype, np.integer):
        raise DatasetError(
            f"{name}: stamps_ns are {stamps.dtype} {stamps.shape}, expected int64 {(length,)}"
        )
    check_stamps(stamps, name)


def check_stamps(stamps_ns: NDArray[np.integer[Any]], name: str) -> None:
    """Check that capture times ``(T,)`` increase.

    Raises:
        DatasetError: one line with the first frame that is not later than the one before it.
    """
    if (bad := np.flatnonzero(np.diff(stamps_ns) <= 0)).size:
        frame = int(bad[0]) + 1
        raise DatasetError(f"{name}: stamps_ns do not increase at frame {frame}", frame)


def check_vectors(values: NDArray[Any], shape: tuple[int, int], name: str) -> None:
    """Check shape, float type and finiteness of ``(T, width)`` readings.

    Raises:
        DatasetError: one line; for a value that is not finite, the frame.
    """
    if values.shape != shape or not np.issubdtype(values.dtype, np.floating):
        raise DatasetError(f"{name} are {values.dtype} {values.shape}, expected float32 {shape}")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        frame = int(bad[0])
        raise DatasetError(f"{name} are not finite (NaN or infinite) at frame {frame}", frame)
