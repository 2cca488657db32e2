"""When a node is started again, and what is told of it."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from waiting import eventually

from ros_nodes import children
from ros_nodes.children import Child, ChildError
from ros_nodes.convert import diagnostics
from ros_nodes.diagnostics_tree import DiagnosticsTree
from ros_nodes.keeper import ChildState, Keeper, RestartPolicy

STEADY = "import os, time; os.write({fd}, b'ready\\n'); time.sleep(600)"
FAILING = "import sys; sys.exit('no such file')"


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """A keeper of a Python script instead of a node."""
    kept = []

    def keep(script: str, **options) -> Keeper:
        def start() -> Child:
            # The script replaces the module that a node would be.
            file = tmp_path / "node.py"
            text = script.replace("{fd}", f"int(os.environ['{children.READY_FD}'])")
            file.write_text(text)
            popen = children.subprocess.Popen
            with monkeypatch.context() as patch:
                patch.setattr(
                    children.subprocess,
                    "Popen",
                    lambda command, **rest: popen([sys.executable, str(file)], **rest),
                )
                return children.start_child("node", [], dict(os.environ), tmp_path / "node.log")

        policy = RestartPolicy(first_s=0.01, longest_s=0.05, stable_s=0.0)
        keeper = Keeper("node", start, policy, pid_file=tmp_path / "pid", **options)
        kept.append(keeper)
        keeper.start()
        return keeper

    yield keep
    for keeper in kept:
        keeper.end()


def test_waits_double_until_the_longest():
    policy = RestartPolicy(first_s=0.25, longest_s=10.0)
    # 0 after a life that was long enough, then 0.25 · 2⁰, 2¹, … 2⁵ = 8, 16 is more than 10
    waits = [policy.delay_s(n) for n in range(9)]
    assert waits == [0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert policy.delay_s(10_000) == 10.0


def test_a_killed_node_is_told_at_once_and_started_again(keep, tmp_path):
    lost = []
    keeper = keep(STEADY, on_lost=lambda: lost.append(time.monotonic()))
    assert keeper.wait_started(60.0)
    pid = keeper.pid
    assert (tmp_path / "pid").read_text() == f"{pid} 0"
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: keeper.restarts == 1 and keeper.state == ChildState.RUNNING)
    assert len(lost) == 1
    assert keeper.pid not in (0, pid)
    assert keeper.problem.startswith("SIGKILL")
    assert keeper.end() == -signal.SIGINT  # this script does not know how to end by itself
    assert not (tmp_path / "pid").exists()
    assert len(lost) == 1  # what was ended on purpose is not lost


def test_a_stopped_node_is_told_of_and_may_go_on(keep):
    lost = []
    keeper = keep(STEADY, on_lost=lambda: lost.append(1))
    assert keeper.wait_started(60.0)
    for number in (1, 2):
        os.kill(keeper.pid, signal.SIGSTOP)
        assert eventually(lambda: keeper.state == ChildState.STOPPED)
        assert eventually(lambda number=number: len(lost) == number)
        os.kill(keeper.pid, signal.SIGCONT)
        assert eventually(lambda: keeper.state == ChildState.RUNNING)
    assert keeper.restarts == 0


def test_one_that_must_not_go_on_is_killed_when_it_is_stopped(keep):
    lost = []
    keeper = keep(STEADY, on_lost=lambda: lost.append(1), fail_stop=True)
    assert keeper.wait_started(60.0)
    os.kill(keeper.pid, signal.SIGSTOP)
    assert eventually(lambda: keeper.restarts == 1 and keeper.state == ChildState.RUNNING)
    assert len(lost) == 1


def test_one_that_never_comes_up_is_tried_again_and_says_why(keep):
    lost = []
    keeper = keep(FAILING, on_lost=lambda: lost.append(1))
    with pytest.raises(ChildError, match=r"^node: died on start \(exit status 1\): no such file"):
        keeper.wait_started(60.0)
    assert eventually(lambda: keeper.restarts > 2)
    assert lost == []


def test_what_the_disk_refuses_does_not_leave_a_node_to_itself(tmp_path):
    # No pid file can be written, no log is there to be read, and one start in two fails.
    lost, starts = [], []

    def start() -> Child:
        starts.append(1)
        if len(starts) % 2 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        read_end, write_end = os.pipe()
        script = STEADY.replace("{fd}", str(write_end))
        process = subprocess.Popen([sys.executable, "-c", script], pass_fds=(write_end,))
        os.close(write_end)
        return Child("node", process, tmp_path / "gone" / "log", os.fdopen(read_end, "rb"))

    policy = RestartPolicy(first_s=0.01, longest_s=0.05, stable_s=0.0)
    keeper = Keeper(
        "node", start, policy, on_lost=lambda: lost.append(1), pid_file=tmp_path / "gone" / "pid"
    )
    keeper.start()
    for deaths in (1, 2, 3):
        assert eventually(lambda: keeper.state == ChildState.RUNNING)
        os.kill(keeper.pid, signal.SIGKILL)
        assert eventually(lambda deaths=deaths: len(lost) == deaths and len(starts) > 2 * deaths)
    assert eventually(lambda: keeper.state == ChildState.RUNNING)
    assert keeper.end() == -signal.SIGINT


def report(name: str, level: bytes):
    return diagnostics(0, name, "so it goes", {"key": 1}, level)


def test_the_worst_of_all_is_at_the_root_and_silence_is_stale():
    tree = DiagnosticsTree("/left")
    tree.add(report("left/agent_node", DiagnosticStatus.OK), 0.0)
    tree.add(report("left/camera", DiagnosticStatus.WARN), 4.0)
    tree.add(report("right/agent_node", DiagnosticStatus.ERROR), 4.0)  # another robot's
    root, agent, camera = tree.statuses(4.5)
    assert (root.name, root.level, root.message) == (
        "/foresee",
        DiagnosticStatus.WARN,
        "camera: so it goes",
    )
    assert (agent.name, agent.level) == ("/foresee/agent_node", DiagnosticStatus.OK)
    assert (camera.name, camera.level) == ("/foresee/camera", DiagnosticStatus.WARN)
    root, agent, _ = tree.statuses(6.0)
    assert root.level == agent.level == DiagnosticStatus.STALE
    assert agent.message == "silent for 6 s"


def test_nothing_heard_is_no_problem():
    (root,) = DiagnosticsTree("/").statuses(0.0)
    assert root.level == DiagnosticStatus.OK
