"""The configurator: from the description of a task to an agent that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

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
        undo: tells the configurator that it could not be begun.
    """

    task: TaskConfig
    bundle: str
    agent: Agent
    images: tuple[Images | None, ...]
    undo: Callable[[], None]

    def begin(self) -> Agent:
        """The agent with its goals encoded. To be called by the thread that calls the model.

        Raises:
            ObservationError: a goal gives a latent that is not finite.
        """
        try:
            waypoints = tuple(map(self._waypoint, self.task.goals, self.images))
        except Exception:
            self.undo()
            raise
        if waypoints:
            self.agent.set_course(Course(waypoints))
        return self.agent

    def _waypoint(self, config: GoalConfig, images: Images | None) -> Waypoint:
        goal = None
        if images is not None:
            goal = encode_goal(self.agent.model, images, config.source)
        return Waypoint(goal, config.reached_distance, config.dwell_s, config.timeout_s)


class _Loaded(NamedTuple):
    """The folder of a bundle, what tells its model from others, and the model."""

    bundle: str
    identity: str
    model: WorldModel


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
        self._loaded: _Loaded | None = None
        # By folder and model. One that no agent has any more is gone, and its files are closed.
        self._memories: WeakValueDictionary[tuple[Path, str], EpisodicMemory] = (
            WeakValueDictionary()
        )

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
        before, loaded = self._loaded, self._load(task.bundle)
        model = loaded.model
        images: list[Images | None] = []
        for goal in task.goals:
            seen = None if goal.camera else self._resources.load_images(goal, model)
            if seen is not None:
                check_images(seen, model.spec)
            images.append(seen)
        trial = Agent(model, task.agent)  # what is wrong shows before anything changes
        if check is not None:
            check(trial)
        agent = Agent(model, task.agent, self._memory(task.agent, loaded))
        self._loaded = loaded

        def undo() -> None:
            if self._loaded is loaded:
                self._loaded = before

        return Prepared(task, loaded.bundle, agent, tuple(images), undo)

    def close(self) -> None:
        """Close the memories, also of agents that are still at work."""
        for memory in list(self._memories.values()):
            memory.close()
        self._memories.clear()

    def _load(self, named: str | None) -> _Loaded:
        """The model of a bundle, by default of the one in use."""
        now = self._loaded
        bundle = named or (self._bundle if now is None else now.bundle)
        if now is not None and Path(now.bundle).resolve() == Path(bundle).resolve():
            return now
        model = self._resources.load_model(bundle)
        return _Loaded(bundle, self._resources.identity(bundle), model)

    def _memory(self, config: AgentConfig, loaded: _Loaded) -> EpisodicMemory | None:
        if config.memory.folder is None:
            return None
        folder, capacity = Path(config.memory.folder), config.memory.capacity
        key = (folder.resolve(), loaded.identity)
        memory = self._memories.get(key)
        if memory is None:
            memory = EpisodicMemory.open(folder, loaded.model.spec, loaded.identity, capacity)
            self._memories[key] = memory
        return memory


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
