"""What no plan may do, whatever it costs: the settings of the guardrails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.settings import require


@dataclass(frozen=True)
class Range:
    """Limits of one reading in its SI unit; ``None`` for no limit on that side."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError unless low is below high."""
        if self.low is not None and self.high is not None:
            require(self.low < self.high, f"low {self.low} must be below high {self.high}")


@dataclass(frozen=True)
class Box:
    """A box along the axes of the base frame, from corner to corner in m."""

    low_m: tuple[float, ...]
    high_m: tuple[float, ...]

    def __post_init__(self) -> None:
        """Raise ConfigError unless every side has a length."""
        sides = len(self.low_m) == len(self.high_m) > 0
        require(sides, f"low_m {self.low_m} and high_m {self.high_m} must be of the same axes")
        for low, high in zip(self.low_m, self.high_m, strict=True):
            require(low < high, f"low_m {self.low_m} must be below high_m {self.high_m}")


@dataclass(frozen=True)
class Sphere:
    """A ball in the base frame, m."""

    center_m: tuple[float, ...]
    radius_m: float

    def __post_init__(self) -> None:
        """Raise ConfigError unless it has a size."""
        require(self.radius_m > 0, f"radius_m must be above 0, not {self.radius_m}")


@dataclass(frozen=True)
class GuardrailConfig:
    """Limits on what the model predicts; a candidate that breaks one is out before any cost.

    Attributes:
        readings: by name of a reading of the model.
        position: names of the readings that are where the tool is, along the axes of the volumes.
        workspace: the tool stays in here; ``None`` for no such box.
        keep_out_boxes: the tool stays out of these.
        keep_out_spheres: and of these.
        margin_m: distance kept from all volumes, at least 0; what the model gets wrong over a
            horizon should fit into it.
    """

    readings: Mapping[str, Range] = field(default_factory=dict)
    position: tuple[str, ...] = ("tool.x", "tool.y", "tool.z")
    workspace: Box | None = None
    keep_out_boxes: tuple[Box, ...] = ()
    keep_out_spheres: tuple[Sphere, ...] = ()
    margin_m: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ConfigError: when a setting is out of its limits.
        """
        require(self.margin_m >= 0, f"margin_m must be at least 0, not {self.margin_m}")
        axes = len(self.position)
        boxes = (*self.keep_out_boxes, *([self.workspace] if self.workspace else []))
        for corner in (*(b.low_m for b in boxes), *(s.center_m for s in self.keep_out_spheres)):
            require(
                len(corner) == axes,
                f"{list(corner)} has {len(corner)} numbers, position has {axes}: "
                f"{', '.join(self.position)}",
            )

    @property
    def volumes(self) -> bool:
        """Whether anything depends on where the tool is."""
        return bool(self.workspace or self.keep_out_boxes or self.keep_out_spheres)
