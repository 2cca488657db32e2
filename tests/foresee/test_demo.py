"""The main job as a user runs it: the graph in processes, the shipped bundle, what is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from made import Made

from world_model.data.bags import read_bag

TOPICS = {
    "/scene/image_raw",
    "/scene/goal_image",
    "/joint_states",
    "/plan",
    "/plan_status",
    "/servo_node/delta_twist_cmds",
}


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "foresee.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A demo of two goals with the shipped bundle: its folder and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "run"
    process = _start("demo", "--goals", "2", "--out", str(out))
    stdout, stderr = process.communicate(timeout=400)
    assert process.returncode == 0, stderr[-2000:]
    return out, stdout


def test_the_arm_moves_to_the_goal_images(demo: tuple[Path, str]) -> None:
    out, printed = demo
    summary = json.loads((out / "summary.json").read_text())
    assert not summary["failed"]
    assert set(summary["exit_codes"].values()) == {0}
    for goal in summary["goals"]:
        assert goal["final_distance_m"] < 0.5 * goal["start_distance_m"]
        assert goal["plans"] > 10  # of sixty; a loaded machine makes fewer
        assert goal["usable_plans"] > 0.8 * goal["plans"]  # a frame may be held up on its way
        assert goal["command_hz"] > 30
    assert "goals reached" in printed
    assert "latency p99" in printed


def test_the_video_the_plot_and_the_bag_can_be_looked_at(demo: tuple[Path, str]) -> None:
    out, _ = demo
    with av.open(str(out / "demo.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) > 30  # twelve seconds at 10 Hz, less what a loaded machine drops
    assert frames[0].std() > 10
    assert (frames[0] != frames[-1]).any()
    assert (out / "plot.png").stat().st_size > 2000
    assert (out / "demo.gif").stat().st_size > 2000
    topics = {message.topic for message in read_bag(out / "bag")}
    assert topics >= TOPICS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_ends_the_graph_and_leaves_no_process(number: int, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = _start("run", "--ros", "--goals", "5", "--out", str(out))
    deadline = time.monotonic() + 240
    while not (out / "bag").exists() or not list((out / "bag").glob("*.mcap")):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(3.0)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr[-2000:]
    assert "Traceback" not in stderr
    assert not _processes_of(out)
    assert any(True for _ in read_bag(out / "bag"))


def test_a_node_that_dies_fails_the_demo(reach: Made, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = _start("demo", "--bundle", str(reach.bundle), "--goals", "3", "--out", str(out))
    deadline = time.monotonic() + 240
    # Agent and command node would be started again; the world nobody can replace.
    log = out / "logs" / "command_node.log"
    while not (log.is_file() and "]: armed" in log.read_text()):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (world,) = _processes_of(out, "ros_nodes.sim_node")
    os.kill(world, signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "sim_node" in stderr
    assert "Traceback" not in stderr
    assert json.loads((out / "summary.json").read_text())["failed"]


def _processes_of(folder: Path, module: str = "") -> list[int]:
    """Living processes whose command line names a folder and a module."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue  # it has ended in the meantime
            if str(folder) in command and module in command:
                found.append(int(entry.name))
    return found
