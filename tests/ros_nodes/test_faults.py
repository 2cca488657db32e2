"""The short form of the fault campaign: the whole graph, one trial of some classes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.faults.__main__ import Campaign, run
from benchmarks.faults.catalog import CLASSES, draw_pair

# One of each place a fault is put, where a loaded machine changes nothing about what must follow.
SHORT = ("camera gap", "plans not finite", "model output not finite", "command node killed")


def test_nothing_that_went_wrong_reached_the_actuator(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    job = Campaign(json=file, trials=1, classes=SHORT, out=tmp_path / "out")
    trials = run(job)["trials"]
    assert {trial["fault"] for trial in trials} == set(SHORT)
    assert all(trial["violations"] == [] for trial in trials)
    assert sum(trial["moving"] for trial in trials) >= 3  # it had something to get wrong
    killed = next(trial for trial in trials if trial["fault"] == "command node killed")
    assert "armed after command_node was killed" not in killed["problems"]

    run(job)  # nothing is left to be done
    assert len(json.loads(file.read_text())["trials"]) == len(SHORT)


def test_refuses_a_class_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no class 'gremlins'"):
        run(Campaign(json=tmp_path / "f.json", classes=("gremlins",)))


def test_a_trial_is_its_seed() -> None:
    import numpy as np

    for fault in CLASSES.values():
        drawn = [fault.trial(np.random.default_rng(7)) for _ in range(2)]
        assert drawn[0] == drawn[1]
        assert drawn[0]["hold_s"] > 0
    pairs = [draw_pair(np.random.default_rng(seed)) for seed in range(50)]
    assert all(one.name != two.name for one, two in pairs)
    assert len({one.name for one, _ in pairs}) > 15
