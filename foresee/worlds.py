"""Make simulated worlds by name and see them as the agent does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import load_env_creator
from numpy.typing import NDArray

import sim
from controller.types import NS_PER_S, ModelSpec, Observation
from foresee.errors import UsageError, suggest
from sim.envs.base import WorldEnv
from sim.randomization import Randomization

CAMERA = "scene"


def make_world(
    env_id: str,
    image_size: int = 64,
    randomization: Randomization | None = None,
    max_episode_steps: int | None = None,
    cameras: Iterable[str] = (CAMERA,),
) -> gymnasium.Env:
    """A foresee environment.

    Args:
        env_id: such as ``foresee/Reach-v0``.
        image_size: side of the square camera image in pixels.
        randomization: what varies between episodes, or None.
        max_episode_steps: instead of the registered limit.
        cameras: names of those that observations have images of; those of a bundle, for it.

    Raises:
        UsageError: there is no environment of that name, or it does not have that image size or
            camera.
    """
    _class_of(env_id)
    first, *more = cameras
    try:
        return gymnasium.make(
            env_id,
            image_size=image_size,
            camera=first,
            more_cameras=tuple(more),
            randomization=randomization,
            max_episode_steps=max_episode_steps,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _class_of(env_id: str) -> type[WorldEnv]:
    if env_id not in sim.ENV_IDS:
        raise UsageError(
            f"no environment {env_id!r}.{suggest(env_id, sim.ENV_IDS)} "
            f"There are: {', '.join(sim.ENV_IDS)}"
        )
    entry_point = gymnasium.spec(env_id).entry_point
    assert isinstance(entry_point, str)
    environment: object = load_env_creator(entry_point)
    assert isinstance(environment, type)
    assert issubclass(environment, WorldEnv)
    return environment


def check_seed(seed: int) -> None:
    """Make sure that a seed is one for NumPy and Gymnasium.

    Raises:
        UsageError: it is negative.
    """
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")


def core_of(world: gymnasium.Env) -> WorldEnv:
    """The environment inside its Gymnasium wrappers, with what foresee needs beside the API."""
    core = world.unwrapped
    assert isinstance(core, WorldEnv)
    return core


def world_for(
    env_id: str,
    spec: ModelSpec,
    image_size: int | None = None,
    randomization: Randomization | None = None,
) -> gymnasium.Env:
    """A foresee environment seen by the cameras of a bundle; arguments as of `make_world`.

    Without ``image_size`` its images are as large as the bundle's.

    Raises:
        UsageError: see `make_world` and `check_fit`.
    """
    known = _class_of(env_id).cameras
    if any(name not in known for name in spec.cameras):
        raise UsageError(
            f"the bundle was trained on cameras {_sizes(spec.cameras)}, {env_id} has "
            f"{', '.join(known)}; use another --bundle"
        )
    if image_size is None:
        image_size, _ = next(iter(spec.cameras.values()))
    world = make_world(env_id, image_size, randomization, cameras=spec.cameras)
    try:
        check_fit(spec, world)
    except UsageError:
        world.close()
        raise
    return world


def images_of(
    world: gymnasium.Env, obs: Mapping[str, NDArray[Any]], kind: str = "image"
) -> dict[str, NDArray[np.uint8]]:
    """Camera name to what it sees (``kind`` "image") or to the goal ("goal_image")."""
    first, *more = core_of(world).camera_names
    return {first: obs[kind], **{name: obs[f"{kind}.{name}"] for name in more}}


def observation_of(
    world: gymnasium.Env, obs: Mapping[str, NDArray[Any]], time_s: float
) -> Observation:
    """The part of an environment's observation that a robot's sensors give, stamped."""
    return Observation(
        stamp_ns=round(time_s * NS_PER_S),
        images=images_of(world, obs),
        proprio=np.asarray(obs["proprio"], np.float32),
    )


def check_fit(spec: ModelSpec, world: gymnasium.Env) -> None:
    """Make sure that a bundle and a world speak of the same camera, readings and actions.

    Raises:
        UsageError: they do not; says what differs.
    """
    core = core_of(world)
    env_id = world.spec.id if world.spec else "the environment"
    cameras = dict.fromkeys(core.camera_names, (core.image_size, core.image_size))
    if dict(spec.cameras) != cameras:
        raise UsageError(
            f"the bundle was trained on cameras {_sizes(spec.cameras)}, {env_id} gives "
            f"{_sizes(cameras)}; choose that --image-size or another --bundle"
        )
    for what, expected, given in (
        ("actions", spec.action_names, core.action_names),
        ("readings", spec.proprio_names, core.proprio_names),
    ):
        if tuple(expected) != tuple(given):
            raise UsageError(
                f"the bundle has {len(expected)} {what} ({', '.join(expected)}), {env_id} has "
                f"{len(given)} ({', '.join(given)}); use a bundle trained on {env_id}"
            )


def _sizes(cameras: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {width}x{height}" for name, (height, width) in cameras.items())
