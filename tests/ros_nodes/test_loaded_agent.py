"""What agent_node plans with, without the node."""

from __future__ import annotations

import resource
import shutil
import signal
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from waiting import eventually

from controller.configurator import TaskConfig
from controller.memory import AppliedCommand
from ros_nodes.agent_node import taken
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.loaded_agent import LoadedAgent
from ros_nodes.params import AgentParameters


def _samples(bundle: Path, agent_config: str = "") -> int:
    given = AgentParameters(bundle=str(bundle), agent_config=agent_config)
    loaded = LoadedAgent(given, refuse=print, warn=print, fitter=ImageFitter(print))
    return loaded.agent.config.planner.samples


def test_settings_in_the_bundle_are_the_default(bundle: Path, tmp_path: Path) -> None:
    own = tmp_path / "bundle"
    shutil.copytree(bundle, own)
    defaults = _samples(own)
    (own / "agent.yaml").write_text("planner: {samples: 48, elites: 6}\n")
    other = tmp_path / "other.yaml"
    other.write_text("planner: {samples: 32, elites: 6}\n")
    assert defaults != 48
    assert _samples(own) == 48
    assert _samples(own, str(other)) == 32


def test_a_log_of_plans_is_never_written_over(bundle: Path, tmp_path: Path) -> None:
    given = AgentParameters(bundle=str(bundle), plan_log=str(tmp_path / "plans.mcap"))
    for _ in range(3):  # as after `cleanup`, or when the node was started again
        LoadedAgent(given, refuse=print, warn=print, fitter=ImageFitter(print)).close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["plans-2.mcap", "plans-3.mcap", "plans.mcap"]


def test_a_full_disk_ends_the_log_and_not_the_change_of_tasks(bundle: Path, tmp_path: Path) -> None:
    given = AgentParameters(bundle=str(bundle), plan_log=str(tmp_path / "plans.mcap"))
    refused: list[str] = []
    warned: list[str] = []
    loaded = LoadedAgent(given, refused.append, warned.append, ImageFitter(print))
    task = tmp_path / "task.yaml"
    task.write_text("name: second\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A file that may not grow: to who writes it, a disk without room.
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "plans.mcap").stat().st_size, hard))
    try:
        loaded.request(task)
        changed: list[TaskConfig | None] = []
        assert eventually(lambda: changed.append(loaded.change()) or changed[-1] is not None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert loaded.task == "second"
    assert refused == []
    assert [text for text in warned if "not logged any more: File too large" in text]
    loaded.close()


def test_commands_that_could_not_be_planned_with_are_not_lost() -> None:
    queue = deque([AppliedCommand(stamp, np.zeros(2)) for stamp in range(4)], maxlen=5)

    def fail() -> None:
        with taken(queue) as applied:
            assert [command.stamp_ns for command in applied] == [0, 1, 2, 3]
            # heard meanwhile
            queue.extend(AppliedCommand(stamp, np.zeros(2)) for stamp in (4, 5))
            raise ValueError("no frame")

    with pytest.raises(ValueError, match="no frame"):
        fail()
    assert [command.stamp_ns for command in queue] == [1, 2, 3, 4, 5]  # the oldest had no room
    with taken(queue) as applied:
        assert len(applied) == 5
    assert not queue
