"""The short form of the fault campaign: the whole graph, one trial of some classes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.__main__ import Campaign, run
from benchmarks.faults.catalog import CLASSES, draw_pair
from benchmarks.faults.judge import Heard
from benchmarks.faults.report import section
from benchmarks.faults.rig import Helper, Rig
from ros_nodes.graph import GraphError
from ros_nodes.transport import free_domain_id, transport_environment

# One of each place a fault is put, where a loaded machine changes nothing about what must follow.
SHORT = (
    "camera gap",
    "plans not finite",
    "model output not finite",
    "e-stop",
    "command node killed",
)
# And what only a robot of joints that is not PyBullet can show.
OF_JOINTS = ("joints not finite", "joints gap", "command node stopped")


def test_nothing_that_went_wrong_reached_the_actuator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asleep = iter([True])

    def heard(rig: Rig, path: Path, rest: tuple[tuple[float, float], ...] = ()) -> Heard:
        found = ears(rig, path, rest)
        return dataclasses.replace(found, paused_s=np.array([0.4] if next(asleep, False) else []))

    ears = Rig.heard
    monkeypatch.setattr(Rig, "heard", heard)
    file = tmp_path / "faults.json"
    job = Campaign(json=file, trials=1, classes=SHORT, out=tmp_path / "out")
    results = run(job)
    # The recorder slept through that one: it is tried again, as where it really did.
    assert results["not_heard"] >= 1
    trials = results["trials"]
    assert {trial["fault"] for trial in trials} == set(SHORT)
    assert all(trial["violations"] == [] for trial in trials)
    assert sum(trial["moving"] for trial in trials) >= 4  # it had something to get wrong
    pressed = next(trial for trial in trials if trial["fault"] == "e-stop")
    assert not any("armed after" in problem for problem in pressed["problems"])
    killed = next(trial for trial in trials if trial["fault"] == "command node killed")
    assert "armed after command_node was killed" not in killed["problems"]

    run(job)  # nothing is left to be done
    assert len(json.loads(file.read_text())["trials"]) == len(SHORT)


def test_nothing_reached_the_joints_of_the_fake_hardware(tmp_path: Path) -> None:
    job = Campaign(
        json=tmp_path / "f.json", trials=1, classes=OF_JOINTS, plant="fake", out=tmp_path / "out"
    )
    trials = run(job)["trials"]
    assert {trial["fault"] for trial in trials} == set(OF_JOINTS)
    assert all(trial["violations"] == [] for trial in trials)
    stopped = next(trial for trial in trials if trial["fault"] == "joints not finite")
    assert stopped["rest_s"] > 0


def test_a_trial_in_which_the_graph_fails_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = iter([True])

    def next_goal(rig: Rig) -> None:
        if next(fails, False):
            raise GraphError("goal not taken up")
        give(rig)

    give = Rig.next_goal
    monkeypatch.setattr(Rig, "next_goal", next_goal)
    classes = ("joint names permuted", "plans not finite")
    results = run(Campaign(json=tmp_path / "f.json", trials=1, classes=classes, out=tmp_path))
    failed, kept = results["trials"]
    assert failed["problems"] == ["the graph failed: goal not taken up"]
    assert kept["problems"] == kept["violations"] == []
    assert kept["rest_s"] > 0  # no usable plan came: it was held to rest
    assert {failed["fault"], kept["fault"]} == set(classes)
    told = section(results)
    assert "another promise (1 trials)" in told


def test_refuses_a_class_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no class 'gremlins'"):
        run(Campaign(json=tmp_path / "f.json", classes=("gremlins",)))


def test_a_trial_is_its_seed() -> None:
    for fault in CLASSES.values():
        drawn = [fault.trial(np.random.default_rng(7)) for _ in range(2)]
        assert drawn[0] == drawn[1]
        assert drawn[0]["hold_s"] > 0
    pairs = [draw_pair(np.random.default_rng(seed)) for seed in range(50)]
    assert all(one.name != two.name for one, two in pairs)
    assert len({one.name for one, _ in pairs}) > 15


def test_a_recorder_that_did_not_run_says_so(tmp_path: Path) -> None:
    domain = transport_environment(free_domain_id())
    listen = {
        "command": ("std_msgs/msg/Float64MultiArray", "commands"),
        "plan": "plan",
        "position": ("geometry_msgs/msg/PoseStamped", "robot/tool_pose"),
        "names": (),
        "alive": {},
    }
    monitor = Helper("benchmarks.faults.monitor", listen, {**os.environ, **domain})
    try:
        time.sleep(0.2)
        monitor.ask({"save": str(tmp_path / "awake.npz")})
        os.kill(monitor.pid, signal.SIGSTOP)
        time.sleep(0.3)
        os.kill(monitor.pid, signal.SIGCONT)
        time.sleep(0.05)
        monitor.ask({"save": str(tmp_path / "paused.npz")})
    finally:
        monitor.close()
    with np.load(tmp_path / "paused.npz") as rows:
        assert rows["paused_s"].max() >= 0.3
