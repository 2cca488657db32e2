"""What a robot arm must not touch: itself, keep-out volumes, and the walls of its workspace."""

from __future__ import annotations

from dataclasses import dataclass

from controller.limits import Box, Sphere


@dataclass(frozen=True)
class Body:
    """A sphere that is part of the robot.

    Attributes:
        frame: of the URDF, that it is fixed to.
        center_m: in that frame.
        radius_m: its size.
    """

    frame: str
    center_m: tuple[float, float, float]
    radius_m: float

    def __post_init__(self) -> None:
        """Raise ValueError unless it has a size."""
        if not self.radius_m > 0:
            raise ValueError(f"body at {self.frame}: radius must be above 0, got {self.radius_m}")


@dataclass(frozen=True)
class Surroundings:
    """Where a robot may be. All in `base_frame`, see `controller.kinematics.Kinematics`.

    Attributes:
        workspace: the tool stays in here; ``None`` for no such box.
        keep_out_spheres: every body stays out of these.
        keep_out_boxes: and of these.
        bodies: what of the robot can touch, tool and elbow among it. Where none is given, the tool
            alone keeps out.
        margin_m: room kept between any two, and to the walls.
        apart: bodies whose joints are at most so many apart cannot touch each other.
    """

    workspace: Box | None = None
    keep_out_spheres: tuple[Sphere, ...] = ()
    keep_out_boxes: tuple[Box, ...] = ()
    bodies: tuple[Body, ...] = ()
    margin_m: float = 0.01
    apart: int = 2

    def __post_init__(self) -> None:
        """Raise ValueError for a margin that cannot be meant."""
        if not 0.0 <= self.margin_m < 1.0:
            raise ValueError(f"margin_m must be from 0 to 1, got {self.margin_m}")
