"""What all environments share: spaces, time, observation, goal image."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from sim.camera import CameraSpec, Image, named_camera
from sim.physics import PHYSICS_HZ, Physics
from sim.randomization import Randomization, Scene

Observation = dict[str, NDArray[Any]]
Truth = dict[str, Any]

_RENDER_SIZE = 256
_IMAGES = ("image", "goal_image")


class WorldEnv(gymnasium.Env[Any, Any], abc.ABC):
    """A robot with a goal image, seen by one camera or several.

    Observation: `image` and `goal_image` ``(S, S, 3)`` uint8 RGB, and `image.<name>` and
    `goal_image.<name>` of each further camera; `proprio` ``(P,)`` float32, named by
    `proprio_names`. Action: ``(A,)`` float32, named by `action_names`; what is outside the
    limits is clipped to them. `info` is the truth, for evaluation alone: it has `distance_m` and
    `success`, and names beginning with ``success_`` for stricter or partial success.

    `step` is `command`, `advance` by `control_dt_s`, `observe`. A robot node that needs finer time
    calls these three itself and gets the same motion.

    Args:
        action_names: one for each number of an action.
        action_limits: largest absolute value of each number of an action.
        image_size: height and width of the images, pixels.
        camera: name of one of `cameras`.
        more_cameras: names of further ones; `camera_names` has all.
        randomization: how scenes differ between episodes; a mapping is read by
            `Randomization.from_mapping`; None for the nominal scene always.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: no such camera, size or randomization.
    """

    metadata = {  # noqa: RUF012 - as Gymnasium declares it
        "render_modes": ["rgb_array"],
        "render_fps": 10,
    }
    control_dt_s = 0.1
    success_radius_m: float
    success_angle_rad: float | None = None  # where success asks for an angle as well
    action_space: gymnasium.spaces.Box
    cameras: Mapping[str, CameraSpec]
    proprio_names: tuple[str, ...]
    robot_type: str  # recorded with the data
    _world: Physics  # a subclass makes it when the options are known to be good

    def __init__(
        self,
        *,
        action_names: tuple[str, ...],
        action_limits: Sequence[float],
        image_size: int,
        camera: str,
        more_cameras: Sequence[str],
        randomization: Randomization | Mapping[str, Any] | None,
        render_mode: str | None,
    ) -> None:
        self.camera = named_camera(self.cameras, camera)
        for name in more_cameras:
            named_camera(self.cameras, name)
        self.camera_names = (camera, *more_cameras)
        if not 16 <= image_size <= 1024:
            raise ValueError(f"image_size is {image_size}; give 16 to 1024 pixels")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; give None or 'rgb_array'")
        if isinstance(randomization, Mapping):
            randomization = Randomization.from_mapping(randomization)
        self.action_names = action_names
        self.image_size = image_size
        self.render_mode = render_mode
        self._randomization = randomization
        self._advanced_s = 0.0
        self._steps_done = 0
        self._goal_images: dict[str, Image] = {}
        self._subgoal_images: list[dict[str, Image]] = []
        images = gymnasium.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        suffixes = ("", *(f".{name}" for name in self.camera_names[1:]))
        self.observation_space = gymnasium.spaces.Dict(
            {
                **{f"{kind}{suffix}": images for suffix in suffixes for kind in _IMAGES},
                "proprio": gymnasium.spaces.Box(
                    -np.inf, np.inf, (len(self.proprio_names),), np.float32
                ),
            }
        )
        limits = np.array(action_limits, np.float32)
        self.action_space = gymnasium.spaces.Box(-limits, limits, dtype=np.float32)

    @abc.abstractmethod
    def truth(self) -> Truth:
        """Where things really are, for evaluation alone; the `info` of `step` and `reset`."""

    @abc.abstractmethod
    def proprio(self) -> NDArray[np.float32]:
        """The readings ``(P,)`` of `proprio_names`. Cheap: renders nothing."""

    @abc.abstractmethod
    def _command(self, action: NDArray[np.float64]) -> None:
        """Give an action ``(A,)``, finite and within its limits, to the robot."""

    @abc.abstractmethod
    def _place_goal(self, rng: np.random.Generator) -> None:
        """Choose start and goal, and arrange the world as it is when the goal is reached."""

    @abc.abstractmethod
    def _place_start(self) -> None:
        """Arrange the world for the start that `_place_goal` chose."""

    def _stages(self) -> Iterator[None]:
        """Arrange the world as it is at each stage on the way from start to goal; none here."""
        return iter(())

    def _lost(self) -> bool:
        """Whether the goal can no longer be reached."""
        return False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Truth]:
        """Start an episode; the same seed gives the same frames, whatever was before."""
        super().reset(seed=seed)
        scene = Scene()
        if self._randomization is not None:
            # Drawn apart: a seed has the same start and goal whatever they look like.
            scene = self._randomization.draw(self.np_random.spawn(1)[0])
        self._world.reset(scene)
        self._place_goal(self.np_random)
        self._goal_images = self._images("goal_image")
        self._subgoal_images = [self._images("goal_image") for _ in self._stages()]
        self._place_start()
        self._advanced_s = 0.0
        self._steps_done = 0
        return self.observe(), self.truth()

    def step(self, action: NDArray[np.float32]) -> tuple[Observation, float, bool, bool, Truth]:
        """Apply one action for `control_dt_s`. The reward is minus the distance to the goal."""
        self.command(action)
        self.advance(self.control_dt_s)
        truth = self.truth()
        return self.observe(), -truth["distance_m"], self._lost(), False, truth

    def command(self, action: Sequence[float] | NDArray[np.float32]) -> None:
        """Set the action ``(A,)`` that holds until the next command.

        Raises:
            ValueError: wrong length, or not finite.
        """
        values = np.asarray(action, np.float64)
        if values.shape != (len(self.action_names),):
            raise ValueError(
                f"action has shape {values.shape}; give ({len(self.action_names)},): "
                f"{', '.join(self.action_names)}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"action is {values.tolist()}; give finite numbers")
        self._command(
            np.clip(values, self.action_space.low, self.action_space.high, dtype=np.float64)
        )

    def advance(self, dt_s: float) -> None:
        """Let time pass. What is not a whole physics step is carried over to the next call."""
        self._advanced_s += dt_s
        steps = round(self._advanced_s * PHYSICS_HZ)
        self._world.step(steps - self._steps_done)
        self._steps_done = steps

    def observe(self) -> Observation:
        """What the robot's sensors say now."""
        goals = {name: image.copy() for name, image in self._goal_images.items()}
        return {**self._images("image"), **goals, "proprio": self.proprio()}

    def subgoals(self) -> list[dict[str, Image]]:
        """Goal images, named as in an observation, of the stages before the goal; often none.

        A goal image shows an end and not a way. Where it can be come to by a wrong way, as a block
        that is to be lifted can be pushed there, a person shows the way by several.
        """
        return [
            {name: image.copy() for name, image in stage.items()} for stage in self._subgoal_images
        ]

    def view(self, camera: str) -> Image:
        """What one of the world's `cameras` sees now: ``(S, S, 3)`` uint8, RGB.

        Raises:
            ValueError: there is none of that name.
        """
        return self._world.render(named_camera(self.cameras, camera), self.image_size)

    @property
    def physics(self) -> Physics:
        """The world itself, without the task."""
        return self._world

    def render(self) -> Image | None:
        """A larger image ``(256, 256, 3)`` of the same view, for people."""
        if self.render_mode is None:
            return None
        return self._world.render(self.camera, _RENDER_SIZE)

    def close(self) -> None:
        """End the physics server."""
        self._world.close()

    def _images(self, kind: str) -> dict[str, Image]:
        """The view of each camera, by its name in an observation."""
        images = {kind: self._world.render(self.camera, self.image_size)}
        return images | {f"{kind}.{name}": self.view(name) for name in self.camera_names[1:]}
