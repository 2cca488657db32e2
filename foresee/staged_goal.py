"""A goal that is shown by images of the stages on its way, as a task for an agent that runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from controller.config import AgentConfig

TASK_FILE = "task.yaml"


def write_staged_goal(
    folder: Path,
    name: str,
    stages: Sequence[Mapping[str, NDArray[np.uint8]]],
    agent: AgentConfig,
) -> Path:
    """Write images, and the task file that names them one after the other.

    Args:
        folder: gets all of it.
        name: of the task.
        stages: camera name to ``(H, W, 3)`` uint8 RGB; the last one is the goal.
        agent: the task's settings; its ``course`` says when to go on from one image to the next.

    Returns:
        The task file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, images in enumerate(stages, 1):
        for camera, pixels in images.items():
            Image.fromarray(pixels).save(folder / f"{number}-{camera}.png")
    goals = [{"image": f"{number}-{{camera}}.png"} for number in range(1, len(stages) + 1)]
    on = dataclasses.asdict(agent.course)
    settings = dataclasses.asdict(agent)
    if agent.memory.folder is not None:  # otherwise it would be one in this folder
        settings["memory"]["folder"] = str(Path(agent.memory.folder).resolve())
    task = {"name": name, "goals": [*(g | on for g in goals[:-1]), goals[-1]], "agent": settings}
    path = folder / TASK_FILE
    path.write_text(yaml.safe_dump(task, sort_keys=False), encoding="utf-8")
    return path
