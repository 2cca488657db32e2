"""The configurator: from the description of a task to an agent that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from controller.agent import Agent
from controller.config import AgentConfig
from controller.episodic import EpisodicMemory
from controller.goals import Course, GoalConfig, Waypoint
from controller.perception import check_images, encode_goal
from controller.settings import load_settings
from controller.types import WorldModel

Images = Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class TaskConfig:
    """What to do and with what.

    Attributes:
        name: for people and logs.
        bundle: folder of the world model; ``None`` keeps the one in use.
        goals: one after the other; none keeps the goal in force.
        agent: planner, costs, limits and memory. What is left out has its default, not the value
            of the task before: a task means the same whatever was done earlier.
    """

    name: str = ""
    bundle: str | None = None
    goals: tuple[GoalConfig, ...] = ()
    agent: AgentConfig = field(default_factory=AgentConfig)


@dataclass(frozen=True)
class Resources:
    """What a configurator cannot make by itself: who reads files.

    Attributes:
        load_model: bundle folder to a model, ready to run.
        identity: bundle folder to a text that differs when the model does; memories are kept by it.
        load_images: a goal that is an image or a recorded frame, and the model it is for, to images
            of the model's cameras.
    """

    load_model: Callable[[str], WorldModel]
    identity: Callable[[str], str]
    load_images: Callable[[GoalConfig, WorldModel], Images]


@dataclass(frozen=True)
class Prepared:
    """A task that is loaded and checked and has only to be begun.

    Attributes:
        task: what to do.
        bundle: folder of its model.
        agent: with nothing seen and no goal yet.
        images: those of each goal; ``None`` for the view when its turn comes.
    """

    task: TaskConfig
    bundle: str
    agent: Agent
    images: tuple[Images | None, ...]

    def begin(self) -> Agent:
        """The agent with its goals encoded. To be called by the thread that calls the model.

        Raises:
            ObservationError: a goal gives a latent that is not finite.
        """
        waypoints = []
        for config, images in zip(self.task.goals, self.images, strict=True):
            goal = None
            if images is not None:
                goal = encode_goal(self.agent.model, images, config.source)
            waypoints.append(
                Waypoint(goal, config.reached_distance, config.dwell_s, config.timeout_s)
            )
        if waypoints:
            self.agent.set_course(Course(tuple(waypoints)))
        return self.agent


class Configurator:
    """Makes agents for tasks. One thread at a time may call it; it never runs a model in use."""

    def __init__(self, resources: Resources, bundle: str) -> None:
        """Begin with nothing loaded.

        Args:
            resources: who reads files.
            bundle: model of tasks that name none.
        """
        self._resources = resources
        self._bundle = bundle
        self._loaded: tuple[str, WorldModel] | None = None
        self._memory: tuple[tuple[str, str], EpisodicMemory] | None = None

    def prepare(self, task: TaskConfig, check: Callable[[Agent], None] | None = None) -> Prepared:
        """Load and check everything that a task needs, so that nothing is left that may fail.

        The model and the memory in use are kept where the task asks for the same.

        Args:
            task: what to do.
            check: raises when the agent does not fit whoever asks for it.

        Raises:
            ConfigError: a setting, a goal or the memory cannot be used.
            ObservationError: a goal's images do not fit the model.
            ValueError: the bundle cannot be loaded.
        """
        bundle = task.bundle or self._bundle
        if self._loaded is not None and self._loaded[0] == bundle:
            model = self._loaded[1]
        else:
            model = self._resources.load_model(bundle)
        images: list[Images | None] = []
        for goal in task.goals:
            seen = None if goal.camera else self._resources.load_images(goal, model)
            if seen is not None:
                check_images(seen, model.spec)
            images.append(seen)
        trial = Agent(model, task.agent)  # what is wrong shows before anything changes
        if check is not None:
            check(trial)
        agent = Agent(model, task.agent, self._open_memory(task.agent, model, bundle))
        self._loaded, self._bundle = (bundle, model), bundle
        return Prepared(task, bundle, agent, tuple(images))

    def close(self) -> None:
        """Close the memory."""
        if self._memory is not None:
            self._memory[1].close()
            self._memory = None

    def _open_memory(
        self, config: AgentConfig, model: WorldModel, bundle: str
    ) -> EpisodicMemory | None:
        folder = config.memory.folder
        if folder is None:
            return None
        key = (folder, bundle)
        if self._memory is None or self._memory[0] != key:
            memory = EpisodicMemory.open(
                Path(folder), model.spec, self._resources.identity(bundle), config.memory.capacity
            )
            self.close()
            self._memory = (key, memory)
        return self._memory[1]


def load_task(path: Path | str) -> TaskConfig:
    """Read a task from a YAML file; what it leaves out keeps its default.

    Args:
        path: the file; paths in it are relative to its folder.

    Raises:
        ConfigError: when the file is missing, is no YAML or holds a wrong setting; one line.
    """
    path = Path(path)
    task = load_settings(TaskConfig, path, "task")
    base = path.parent

    def at(name: str | None) -> str | None:
        return None if name is None else str(base / name)

    goals = tuple(
        dataclasses.replace(goal, image=at(goal.image), data=at(goal.data)) for goal in task.goals
    )
    memory = dataclasses.replace(task.agent.memory, folder=at(task.agent.memory.folder))
    return dataclasses.replace(
        task,
        name=task.name or path.stem,
        bundle=at(task.bundle),
        goals=goals,
        agent=dataclasses.replace(task.agent, memory=memory),
    )
