"""What may differ from one episode to the next besides positions: looks, friction and mass."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sim.camera import CameraSpec

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """One concrete look and feel of the world; the defaults are the nominal one.

    Attributes:
        background, table, arm, hand, tool, block: colours, RGB from 0 to 1.
        friction: lateral friction coefficient of block, table and tool.
        block_mass_kg: mass of the block.
        camera_shift_m: offset of the camera, world frame.
        camera_turn_rad: rotation vector of the viewing direction, world frame.
        light_shift: added to the direction towards the light.
    """

    background: Color = (0.55, 0.62, 0.58)
    table: Color = (0.36, 0.40, 0.44)
    arm: Color = (0.93, 0.93, 0.90)
    hand: Color = (0.32, 0.32, 0.31)
    tool: Color = (0.95, 0.30, 0.05)
    block: Color = (0.10, 0.35, 0.95)
    friction: float = 0.5
    block_mass_kg: float = 0.2
    camera_shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    camera_turn_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)
    light_shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def view(self, camera: CameraSpec) -> CameraSpec:
        """The camera as this scene has it."""
        eye = np.add(camera.eye_m, self.camera_shift_m)
        gaze = np.subtract(camera.target_m, camera.eye_m)
        # Angles are a few degrees: the small-angle rotation is exact enough for a look.
        gaze = gaze + np.cross(self.camera_turn_rad, gaze)
        up = np.add(camera.up, np.cross(self.camera_turn_rad, camera.up))
        light = np.add(camera.light, self.light_shift)
        return dataclasses.replace(
            camera,
            eye_m=_triple(eye),
            target_m=_triple(eye + gaze),
            up=_triple(up),
            light=_triple(light),
        )


@dataclass(frozen=True)
class Randomization:
    """How far scenes depart from the nominal one; the defaults are not at all.

    Attributes:
        camera_position_m: the camera moves by up to this along each axis; 0 to 0.2.
        camera_rotation_rad: and turns by up to this about each axis; 0 to 0.2.
        light_direction: each component of the light's direction changes by up to this; 0 to 0.5.
        color: each RGB component of each colour changes by up to this; 0 to 1.
        friction: lowest and highest friction coefficient; both above 0, at most 2.
        block_mass_kg: lowest and highest mass of the block; both above 0, at most 2 kg.
        exact: every departure is as large as it may be, and only its direction is drawn: the camera
            moves by that distance and turns by that angle, each RGB component changes up or down,
            friction and mass are the lowest or the highest. For saying what so much does.
    """

    camera_position_m: float = 0.0
    camera_rotation_rad: float = 0.0
    light_direction: float = 0.0
    color: float = 0.0
    friction: tuple[float, float] = (Scene.friction, Scene.friction)
    block_mass_kg: tuple[float, float] = (Scene.block_mass_kg, Scene.block_mass_kg)
    exact: bool = False

    def __post_init__(self) -> None:
        """Check the limits.

        Raises:
            ValueError: a value is outside them.
        """
        limits = {
            "camera_position_m": 0.2,
            "camera_rotation_rad": 0.2,
            "light_direction": 0.5,
            "color": 1.0,
        }
        for name, highest in limits.items():
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value <= highest:
                raise ValueError(f"randomization.{name} is {value!r}; give 0 to {highest}")
        if not isinstance(self.exact, bool):
            raise ValueError(f"randomization.exact is {self.exact!r}; give true or false")
        for name in ("friction", "block_mass_kg"):
            value = getattr(self, name)
            if (
                not isinstance(value, tuple)
                or len(value) != 2
                or not all(_is_number(end) for end in value)
                or not 0.0 < value[0] <= value[1] <= 2.0
            ):
                raise ValueError(
                    f"randomization.{name} is {value!r}; give [lowest, highest], above 0, at most 2"
                )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Randomization:
        """Build it from plain values, as YAML has them.

        Raises:
            ValueError: an unknown name, or a value outside its limits.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(str(name), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
                raise ValueError(f"randomization has no {name!r}; {hint}")
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)

    @classmethod
    def from_yaml(cls, path: Path) -> Randomization:
        """Read it from a YAML file such as `config/randomization.yaml`.

        Raises:
            ValueError: not YAML, an unknown name or a value outside its limits; says which file.
        """
        try:
            values = yaml.safe_load(path.read_text()) or {}
            if not isinstance(values, dict):
                raise ValueError("expected `name: value` lines")
            return cls.from_mapping(values)
        except (ValueError, yaml.YAMLError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())}") from error

    def draw(self, rng: np.random.Generator) -> Scene:
        """A scene at random."""

        def around(color: Color) -> Color:
            change = rng.uniform(-self.color, self.color, 3)
            if self.exact:
                change = np.copysign(self.color, change)
            return _triple(np.clip(np.add(color, change), 0.0, 1.0))

        def within(size: float) -> tuple[float, float, float]:
            if not self.exact:
                return _triple(rng.uniform(-size, size, 3))
            direction = rng.normal(size=3)
            return _triple(size * direction / np.linalg.norm(direction))

        def between(limits: tuple[float, float]) -> float:
            return float(rng.choice(limits) if self.exact else rng.uniform(*limits))

        return Scene(
            background=around(Scene.background),
            table=around(Scene.table),
            arm=around(Scene.arm),
            hand=around(Scene.hand),
            tool=around(Scene.tool),
            block=around(Scene.block),
            friction=between(self.friction),
            block_mass_kg=between(self.block_mass_kg),
            camera_shift_m=within(self.camera_position_m),
            camera_turn_rad=within(self.camera_rotation_rad),
            light_shift=within(self.light_direction),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))
