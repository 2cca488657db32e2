"""What the configurator cannot do by itself: read bundles, image files and recorded frames."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from controller.configurator import Resources
from controller.goals import GoalConfig
from controller.settings import ConfigError
from controller.types import WorldModel
from ros_nodes.image_fitter import ImageFitter
from world_model.bundle import MANIFEST, ModelSpec, sha256


def resources(load_model: Callable[[str], WorldModel], fitter: ImageFitter) -> Resources:
    """Resources of this machine's file system.

    Args:
        load_model: bundle folder to a model on the provider and threads that are wanted.
        fitter: brings goal images to the size that the model expects.
    """
    return Resources(load_model, bundle_identity, partial(load_goal_images, fitter=fitter))


def bundle_identity(bundle: str) -> str:
    """Hash of a bundle's manifest, which holds those of its networks."""
    return sha256(Path(bundle) / MANIFEST)


def load_goal_images(
    goal: GoalConfig, model: WorldModel, fitter: ImageFitter
) -> dict[str, NDArray[np.uint8]]:
    """Images ``(H, W, 3)`` uint8 RGB of a goal's file or recorded frame, one for each camera.

    A file may have the camera's own size; a recorded frame must have the model's.

    Raises:
        ConfigError: one file is named for a model of several cameras.
        DatasetError: a file cannot be read.
    """
    # Packages of the `data` extra; a robot that is given goals by topic does without them.
    from world_model.data.goal_images import read_frame, read_image

    cameras = model.spec.cameras
    if goal.data is not None:
        frames = read_frame(goal.data, goal.episode, goal.frame)
        return {name: frames[name] for name in cameras if name in frames}
    assert goal.image is not None
    if len(cameras) > 1 and "{camera}" not in goal.image:
        raise ConfigError(
            f"goal image {goal.image}: the model has cameras {', '.join(cameras)}; "
            "name a file for each with {camera} in its name"
        )
    spec = model.spec
    assert isinstance(spec, ModelSpec)
    return {
        name: fitter(spec, name, read_image(goal.image.replace("{camera}", name)))
        for name in cameras
    }
