"""Change the task of an agent that runs: loaded beside it, taken up between two frames."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from controller.agent import Agent
from controller.config import AgentConfig
from controller.configurator import Configurator, Prepared, TaskConfig, load_task


class TaskSwitch:
    """Prepares tasks in a thread of its own. `request` and `take` may be called by any thread."""

    def __init__(
        self,
        configurator: Configurator,
        adjust: Callable[[AgentConfig], AgentConfig],
        check: Callable[[Agent], None],
        refused: Callable[[str], None],
    ) -> None:
        """Begin to wait for requests.

        Args:
            configurator: makes the agents.
            adjust: what the graph has to say about a task's settings.
            check: raises when an agent does not fit the graph.
            refused: is told why a task was not taken.
        """
        self._configurator = configurator
        self._adjust = adjust
        self._check = check
        self._refused = refused
        self._changed = threading.Condition()
        self._requested: Path | None = None
        self._ready: Prepared | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._prepare_forever, name="task", daemon=True)
        self._thread.start()

    def adjusted(self, task: TaskConfig) -> TaskConfig:
        """A task with what the graph has to say about its settings."""
        return replace(task, agent=self._adjust(task.agent))

    def request(self, path: Path) -> None:
        """Ask for a task; of several that wait, the last counts."""
        with self._changed:
            self._requested = path
            self._changed.notify_all()

    def take(self) -> Prepared | None:
        """The task to change to now, if one is ready."""
        if self._ready is None:  # asked at every frame
            return None
        with self._changed:
            prepared, self._ready = self._ready, None
            self._changed.notify_all()
            return prepared

    def close(self) -> None:
        """End the thread and close the configurator."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(10.0)
        self._configurator.close()

    def _prepare_forever(self) -> None:
        while (path := self._next()) is not None:
            try:
                task = self.adjusted(load_task(path))
                prepared = self._configurator.prepare(task, self._check)
            except Exception as error:  # whatever is wrong with a task, the one before goes on
                self._refused(" ".join(f"task {path}: {error}".split()))
                continue
            with self._changed:
                self._ready = prepared

    def _next(self) -> Path | None:
        """The next request, once the task before has been taken."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._requested is not None and self._ready is None)
            )
            path, self._requested = self._requested, None
            return None if self._closed else path
