"""What `agent_node` plans with: the agent in force, its model and task, the log of its plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from controller.agent import Agent
from controller.config import AgentConfig, load_agent_config
from controller.configurator import Configurator, Prepared, TaskConfig, load_task
from controller.record import PlanRecord
from controller.surprise import Surprise
from controller.types import NS_PER_S
from ros_nodes.free_path import free_path
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.params import AgentParameters
from ros_nodes.plan_log import PlanLog, setup_of
from ros_nodes.resources import resources
from ros_nodes.task_switch import TaskSwitch
from world_model.bundle import agent_settings
from world_model.energy import EnergyQuantiles
from world_model.runtime import OnnxWorldModel, Provider, load_world_model

_STEPS = 4  # looked ahead for a surprise
_RARE = 0.99  # held-out predictions that were better
_BLIND_NS = NS_PER_S  # surprise may be unknown for this long without a word


class LoadedAgent:
    """The agent in force and what may follow it.

    Any thread may call `request`; the rest is for the one that plans, or before there is one.

    Attributes:
        agent: plans.
        model: what it plans with.
        task: what it does, as its file names it.
        bundle: folder of the model.
        surprise: of that model at what is seen.
    """

    agent: Agent
    model: OnnxWorldModel
    task: str
    bundle: str
    surprise: Surprise

    def __init__(
        self,
        given: AgentParameters,
        refuse: Callable[[str], None],
        warn: Callable[[str], None],
        fitter: ImageFitter,
    ) -> None:
        """Load the model and the task that the parameters name.

        Args:
            given: the node's parameters.
            refuse: is told why a task was not taken.
            warn: is told what else goes wrong without ending anything.
            fitter: brings goal images to the size that the model expects.

        Raises:
            ValueError: a parameter, the bundle, the task or one of its settings cannot be used.
        """
        if not given.bundle:
            raise ValueError("parameter bundle: name the folder of a world model bundle")
        task = TaskConfig()
        settings = Path(given.agent_config) if given.agent_config else None
        if given.task:
            task = load_task(Path(given.task))
        elif settings := settings or agent_settings(Path(given.bundle)):
            task = TaskConfig(agent=load_agent_config(settings))
        self._given = given
        self._refuse = refuse
        self._warn = warn
        self._log: PlanLog | None = None
        self._blind_since_ns: int | None = None  # as long as surprise is not known
        self._told_blind = self._told_forgetful = False
        configurator = Configurator(resources(self._load_model, fitter), given.bundle)
        self._switch = TaskSwitch(configurator, self._adjusted, self._check, refuse)
        try:
            prepared = configurator.prepare(self._switch.adjusted(task))
            if given.plan_log:
                self._log = PlanLog(free_path(Path(given.plan_log)))
            self._take(prepared, prepared.begin())
        except Exception:
            self.close()
            raise

    def request(self, path: Path) -> None:
        """Ask for the task of a file; `change` takes it up when it is loaded."""
        self._switch.request(path)

    def change(self) -> TaskConfig | None:
        """Go on with the next task, if one is ready: that task, or None when nothing changed."""
        prepared = self._switch.take()
        if prepared is None:
            return None
        try:
            agent = prepared.begin()
            agent.take_over(self.agent)
            self._take(prepared, agent)
        except Exception as error:
            self._refuse(f"task {prepared.task.name}: {error}")
            return None
        return prepared.task

    def watch(self) -> float | None:
        """How surprising what was seen last is; None while that is not known.

        Call it after every step of the agent. That it is not known for long is warned of, once, and
        so is a memory on disk that failed.
        """
        if self.agent.memory_problem and not self._told_forgetful:
            self._told_forgetful = True
            self._warn(f"nothing is remembered any more: {self.agent.memory_problem}")
        seen = self.agent.state
        surprise, now_ns = self.surprise.see(seen.frames, seen.commands), seen.frames[-1].stamp_ns
        if surprise is not None:
            self._blind_since_ns, self._told_blind = None, False
        elif self._blind_since_ns is None:
            self._blind_since_ns = now_ns
        elif not self._told_blind and now_ns - self._blind_since_ns > _BLIND_NS:
            self._told_blind = True
            self._warn(
                "surprise is not watched: the frames planned from are more than "
                f"{_STEPS} steps of {self.model.spec.model_dt_s:g} s apart"
            )
        return surprise

    def close(self) -> None:
        """End the thread that prepares tasks; finish the log."""
        self._switch.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _load_model(self, bundle: str) -> OnnxWorldModel:
        given = self._given
        provider = cast(Provider, given.provider)
        return load_world_model(Path(bundle), provider, given.threads, given.variant)

    def _adjusted(self, config: AgentConfig) -> AgentConfig:
        # Simulated time waits for a plan, the robot does not: these two are the graph's to say.
        given = self._given
        return replace(config, latency_steps=given.latency_steps, deadline_s=given.deadline_s)

    def _check(self, agent: Agent) -> None:
        """Refuse a task whose model needs other topics or other commands."""
        assert isinstance(agent.model, OnnxWorldModel)
        ours, asked = self.model.spec, agent.model.spec
        for what, now, then in (
            ("cameras", dict(ours.cameras), dict(asked.cameras)),
            ("fits of images", dict(ours.fits), dict(asked.fits)),
            ("actions", tuple(ours.action_names), tuple(asked.action_names)),
        ):
            if now != then:
                raise ValueError(f"its model has {what} {then}, this graph {now}")

    def _take(self, prepared: Prepared, agent: Agent) -> None:
        assert isinstance(agent.model, OnnxWorldModel)
        self.agent, self.model = agent, agent.model
        self.task, self.bundle = prepared.task.name, prepared.bundle
        rare = _rare_energies(self.model.energies)
        self.surprise = Surprise(self.model, rare)
        self._told_blind = not rare
        self._told_forgetful = False
        if not rare:
            self._warn(f"{self.bundle} has no quantiles of the energy: surprise is not watched")
        if self._log is not None:
            given, log = self._given, self._log
            setup = setup_of(
                agent.config, self.bundle, self.model.provider, given.variant, given.threads
            )
            agent.log = self._write_log
            self._to_disk(lambda: log.setup(setup))

    def _write_log(self, record: PlanRecord) -> None:
        assert self._log is not None
        log = self._log
        self._to_disk(lambda: log.write(record))

    def _to_disk(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:  # a full disk must not stop the robot
            self._warn(f"plans are not logged any more: {error.strerror}")
            self.agent.log = None


def _rare_energies(energies: EnergyQuantiles | None) -> tuple[float, ...]:
    """What one held-out prediction in a hundred exceeds, 1, 2, … steps ahead."""
    if energies is None:
        return ()
    smallest = float(np.finfo(np.float32).tiny)  # of a model without any error
    steps = range(1, min(_STEPS, energies.steps) + 1)
    return tuple(max(energies.threshold(_RARE, k), smallest) for k in steps)
