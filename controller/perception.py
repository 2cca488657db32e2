"""Perception: from what the sensors said to the state the world model starts from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.memory import CommandMemory
from controller.types import (
    NS_PER_S,
    Goal,
    ModelSpec,
    ModelState,
    Observation,
    ObservationError,
    WorldModel,
)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """One perceived observation.

    Attributes:
        stamp_ns: capture time.
        latent: ``(N, D)``.
        proprio: ``(P,)`` SI.
    """

    stamp_ns: int
    latent: Array
    proprio: Array


def check_images(images: Mapping[str, NDArray[np.uint8]], spec: ModelSpec) -> None:
    """Check images against what the model expects.

    Args:
        images: camera name to ``(H, W, 3)`` uint8.
        spec: the model's.

    Raises:
        ObservationError: for a missing or unknown camera, a wrong size or type; one line.
    """
    cameras = spec.cameras
    for name in images:
        if name not in cameras:
            known = ", ".join(sorted(cameras))
            raise ObservationError(f"camera '{name}' is not one of the model's ({known})")
    for name, (height, width) in cameras.items():
        if name not in images:
            raise ObservationError(f"there is no image of camera '{name}'")
        image = images[name]
        if image.shape != (height, width, 3):
            got = "x".join(str(size) for size in image.shape)
            raise ObservationError(
                f"camera '{name}' gave an image of {got}, "
                f"the model expects {height}x{width}x3 (height, width, RGB)"
            )
        if image.dtype != np.uint8:
            raise ObservationError(f"camera '{name}' gave {image.dtype} pixels instead of uint8")


def check_observation(observation: Observation, spec: ModelSpec) -> None:
    """Check an observation against what the model expects.

    Args:
        observation: to be checked.
        spec: the model's.

    Raises:
        ObservationError: for wrong images, a wrong number of readings or one that is not finite.
    """
    check_images(observation.images, spec)
    expected = (len(spec.proprio_names),)
    if observation.proprio.shape != expected:
        raise ObservationError(
            f"proprio has shape {observation.proprio.shape}, the model expects {expected}"
        )
    finite = np.isfinite(observation.proprio)
    if not finite.all():
        name = spec.proprio_names[int(np.argmin(finite))]
        value = observation.proprio[int(np.argmin(finite))]
        raise ObservationError(f"reading '{name}' is {value}: it must be finite")


def encode_goal(
    model: WorldModel,
    images: Mapping[str, NDArray[np.uint8]],
    source: str = "",
    valid_until_ns: int | None = None,
) -> Goal:
    """The goal that cameras see in these images; see `Agent.set_goal` in `controller.agent`.

    Raises:
        ObservationError: when the images do not fit the model.
    """
    check_images(images, model.spec)
    latent = np.array(model.encode(images), np.float32)
    if not np.isfinite(latent).all():
        raise ObservationError("the encoder gave a latent that is not finite for the goal")
    return Goal(latent, source, valid_until_ns)


def perceive(
    model: WorldModel, frames: tuple[Frame, ...], observation: Observation
) -> tuple[Frame, ...]:
    """Encode an observation and put it behind the earlier ones.

    Args:
        model: encodes.
        frames: what was perceived before, oldest first.
        observation: not older than the last of ``frames``; of the same stamp, it replaces it.

    Returns:
        The frames that a context may need, oldest first.

    Raises:
        ObservationError: when the observation does not fit the model, goes back in time or its
            latent is not finite.
    """
    spec = model.spec
    check_observation(observation, spec)
    stamp_ns = observation.stamp_ns
    if frames and stamp_ns < frames[-1].stamp_ns:
        behind_s = (frames[-1].stamp_ns - stamp_ns) / NS_PER_S
        raise ObservationError(
            f"observation is {behind_s:.3f} s older than the one before; after a restart of the "
            "clock, reset the agent"
        )
    # A copy: a runtime may write its next result to the same place.
    latent = np.array(model.encode(observation.images), np.float32)
    if not np.isfinite(latent).all():
        raise ObservationError("the encoder gave a latent that is not finite for this observation")
    frame = Frame(stamp_ns, latent, observation.proprio.astype(np.float32))
    # Half a step more than the context spans: that is how far a frame may be from its place in it.
    oldest_ns = stamp_ns - round((spec.context - 0.5) * spec.model_dt_s * NS_PER_S)
    earlier = tuple(f for f in frames if oldest_ns <= f.stamp_ns < stamp_ns)
    return (*earlier, frame)


def model_state(spec: ModelSpec, frames: tuple[Frame, ...], commands: CommandMemory) -> ModelState:
    """The context of the newest frame: C frames one model step apart, and the actions in between.

    A camera faster than the model, or one that jitters, gives the nearest frames. Where there is
    none within half a step (at the start, after a gap) the rest of the context repeats the oldest
    one found with zero actions, as if the robot had stood still before.

    Args:
        spec: the model's.
        frames: at least one, oldest first.
        commands: what was applied.
    """
    step_ns = round(spec.model_dt_s * NS_PER_S)
    newest = frames[-1]
    stamps = np.array([frame.stamp_ns for frame in frames])
    chosen = [newest]
    for back in range(1, spec.context):
        distance = np.abs(stamps - (newest.stamp_ns - back * step_ns))
        nearest = int(distance.argmin())
        if 2 * distance[nearest] > step_ns or frames[nearest].stamp_ns >= chosen[-1].stamp_ns:
            break
        chosen.append(frames[nearest])
    missing = spec.context - len(chosen)
    actions = np.zeros((spec.context - 1, len(spec.action_names)), np.float32)
    chosen.reverse()
    for i, (before, after) in enumerate(itertools.pairwise(chosen)):
        actions[missing + i] = commands.mean(before.stamp_ns, after.stamp_ns)
    padded = [chosen[0]] * missing + chosen
    return ModelState(
        latents=np.stack([frame.latent for frame in padded]),
        proprio=np.stack([frame.proprio for frame in padded]),
        actions=actions,
        stamp_ns=newest.stamp_ns,
    )
