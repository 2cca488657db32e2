"""What of a recording becomes what of a data set: the settings of ``foresee data import``.

`config/import.yaml` is the mapping of what `recorder_node` records, with every setting explained.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field
from typing import Literal

from world_model.data.spec import DatasetError, DatasetSpec
from world_model.data.units import FACTORS
from world_model.image_fit import DEFAULT_FIT, Fit

NS_PER_S = 1_000_000_000
# Of a period. The first camera's images are the frames, at even steps; those of another camera
# may lie half a period off all the time.
_FIRST_AGE, _OTHER_AGE = 0.5, 0.75


@dataclass(frozen=True)
class CameraMapping:
    """One camera.

    Attributes:
        topic: Image or CompressedImage topic; video of a LeRobot data set; name of a video file
            or folder of images.
        size: height and width to store, pixels; multiples of 16 to train on.
        fit: "crop" keeps proportions and cuts what is too much, "stretch" keeps all in view.
        max_age_s: largest time between a frame and the image shown in it; None for half the time
            between frames for the first camera, three quarters for others. Below one such time no
            image of the first camera is used twice.
        stamp: "header": the capture time in the message; "recorded": when the bag got it.
        delay_s: added to the stamps, for a clock that is known to be off.
    """

    topic: str
    size: tuple[int, int]
    fit: Fit = DEFAULT_FIT
    max_age_s: float | None = None
    stamp: Literal["header", "recorded"] = "header"
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits."""
        if min(self.size) < 16:
            raise DatasetError(f"size {list(self.size)} is below 16 pixels")
        if self.max_age_s is not None and self.max_age_s <= 0:
            raise DatasetError(f"max_age_s must be above 0, not {self.max_age_s}")


@dataclass(frozen=True)
class Signal:
    """Numbers of one topic, interpolated to the time of each frame.

    Attributes:
        topic: any topic of a bag; column of a LeRobot data set; name of a CSV file.
        fields: name in the data set to where the number is in the message, such as
            ``pose.position.x``, ``data[2]``, ``position[joint_1]``; see `world_model.data.fields`.
        joints: of a JointState, by name; each is stored as ``<joint>.<part>``.
        part: which of a joint's numbers.
        unit: of the recorded numbers; they are stored in SI.
        max_age_s: largest time between a frame and the nearest message.
        wrap: an angle in radians that jumps from pi to -pi; interpolated the short way round.
        stamp: "header": the stamp in the message; "recorded": when the bag got it, for messages
            without a header.
        delay_s: added to the stamps, for a clock that is known to be off.
    """

    topic: str
    fields: MappingType[str, str] = field(default_factory=dict)
    joints: tuple[str, ...] = ()
    part: Literal["position", "velocity", "effort"] = "position"
    unit: str = "1"
    max_age_s: float = 0.1
    wrap: bool = False
    stamp: Literal["header", "recorded"] = "header"
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits."""
        if bool(self.fields) == bool(self.joints):
            raise DatasetError(f"{self.topic}: give either fields or joints")
        if self.unit not in FACTORS:
            raise DatasetError(f"unit {self.unit!r} is not one of {', '.join(FACTORS)}")
        if self.max_age_s <= 0:
            raise DatasetError(f"max_age_s must be above 0, not {self.max_age_s}")

    @property
    def paths(self) -> dict[str, str]:
        """Name in the data set to where the number is in the message."""
        if self.joints:
            return {f"{joint}.{self.part}": f"{self.part}[{joint}]" for joint in self.joints}
        return dict(self.fields)


@dataclass(frozen=True)
class ActionSignal(Signal):
    """Commands of one topic: each holds until the next.

    Attributes:
        limits: lowest and highest command the robot allows, in ``unit``; for all, or by name.
        per_step: "mean": the average of what holds from this frame to the next, which is what an
            agent counts as applied; "first": the command that holds at the frame.
        hold_s: after this long without a command it no longer holds; None for never.
        silent: what then: "zero": the robot stops and the action is 0; "split": no frames;
            "hold": the last command holds for ever, as position targets do.
    """

    limits: tuple[float, float] | MappingType[str, tuple[float, float]] = field(
        default_factory=dict
    )
    per_step: Literal["first", "mean"] = "mean"
    hold_s: float | None = None
    silent: Literal["zero", "split", "hold"] = "hold"

    def __post_init__(self) -> None:
        """Check the limits."""
        super().__post_init__()
        for name in self.paths:
            low, high = self.limits_of(name)
            if low > high:
                raise DatasetError(f"{self.topic}: limits of {name!r} are the wrong way round")
        if self.silent != "hold" and (self.hold_s is None or self.hold_s <= 0):
            raise DatasetError(f"{self.topic}: silent: {self.silent} needs hold_s, above 0")

    def limits_of(self, name: str) -> tuple[float, float]:
        """Lowest and highest value of one of `paths`, in ``unit``."""
        if isinstance(self.limits, tuple):
            return self.limits
        if name not in self.limits:
            raise DatasetError(f"{self.topic}: limits of {name!r} are missing: [low, high]")
        return self.limits[name]


@dataclass(frozen=True)
class EpisodeRules:
    """Where episodes begin and end. Wherever something is missing for a frame, one ends.

    Attributes:
        duration_s: cut after this long; None: never (the whole must then fit into memory).
        min_s: shorter ones are left out.
        marker: topic that marks episodes. std_msgs/Bool: true begins one, false ends it and
            nothing is taken until the next. Any other: each message begins one; the text of a
            std_msgs/String becomes the task.
        every_image: take every image of the first camera as a frame, whatever its stamp: for
            what is at ``rate_hz`` already, such as an exported data set.
    """

    duration_s: float | None = 30.0
    min_s: float = 1.0
    marker: str | None = None
    every_image: bool = False

    def __post_init__(self) -> None:
        """Check the limits."""
        if self.duration_s is not None and not self.duration_s > 0:
            raise DatasetError(f"duration_s must be above 0, not {self.duration_s}")
        if self.min_s < 0:
            raise DatasetError(f"min_s must be at least 0, not {self.min_s}")


@dataclass(frozen=True)
class Mapping:
    """The whole mapping.

    Attributes:
        rate_hz: frames per second of the data set; not above that of the first camera.
        cameras: name in the data set to camera. Frames are images of the first one.
        proprio: readings of the robot; may be empty.
        actions: commands to the robot; empty for streams without actions.
        evaluation: true state, for probes and evaluation alone; no model ever sees it.
        episodes: where they begin and end.
        task: what was done, in words, where no marker says it.
        robot_type: name of the robot.
        env_id: Gymnasium id, when a simulation was recorded.
        seed: of that simulation.
    """

    rate_hz: float
    cameras: MappingType[str, CameraMapping]
    proprio: tuple[Signal, ...] = ()
    actions: tuple[ActionSignal, ...] = ()
    evaluation: tuple[Signal, ...] = ()
    episodes: EpisodeRules = field(default_factory=EpisodeRules)
    task: str = ""
    robot_type: str = "unknown"
    env_id: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the limits, those of the data set's specification included."""
        self.spec()

    @property
    def period_ns(self) -> int:
        """Time between two frames."""
        return round(NS_PER_S / self.rate_hz)

    def image_age_ns(self, camera: str) -> int:
        """Largest time between a frame and its image."""
        age_s = self.cameras[camera].max_age_s
        if age_s is not None:
            return round(age_s * NS_PER_S)
        is_first = camera == next(iter(self.cameras))
        return round((_FIRST_AGE if is_first else _OTHER_AGE) * self.period_ns)

    def signals(self) -> dict[str, Signal]:
        """Every signal by a key that says where it stands in the file: ``proprio[0]``."""
        groups = {"proprio": self.proprio, "actions": self.actions, "evaluation": self.evaluation}
        return {f"{g}[{i}]": s for g, signals in groups.items() for i, s in enumerate(signals)}

    def sources(self) -> dict[str, CameraMapping | Signal]:
        """Every camera by its name and every signal by its key."""
        return {**self.cameras, **self.signals()}

    def names(self, group: Literal["proprio", "actions", "evaluation"]) -> tuple[str, ...]:
        """Names of a group's numbers, in order."""
        signals: tuple[Signal, ...] = getattr(self, group)
        return tuple(name for signal in signals for name in signal.paths)

    def spec(self) -> DatasetSpec:
        """What the data set will hold, in SI units."""
        limits = [
            (FACTORS[signal.unit] * low, FACTORS[signal.unit] * high)
            for signal in self.actions
            for low, high in (signal.limits_of(name) for name in signal.paths)
        ]
        return DatasetSpec(
            fps=self.rate_hz,
            cameras={name: camera.size for name, camera in self.cameras.items()},
            proprio_names=self.names("proprio"),
            action_names=self.names("actions"),
            action_low=[low for low, _ in limits],
            action_high=[high for _, high in limits],
            evaluation_names=self.names("evaluation"),
            robot_type=self.robot_type,
            env_id=self.env_id,
            seed=self.seed,
            fits={name: camera.fit for name, camera in self.cameras.items()},
        )
