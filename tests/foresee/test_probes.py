"""Probes of a bundle, by name of what is true; and their figures by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from made import Made

from benchmarks import probes, results


def test_r2_and_its_interval_by_hand() -> None:
    # Two episodes of two frames; truth 0, 2, 4, 6 has mean 3, so the spread is 9 + 1 + 1 + 9 = 20.
    places = np.array([[0.0], [2.0], [4.0], [6.0]], np.float32)
    held = probes.Seen(np.zeros((4, 1), np.float32), places, np.array([3, 3, 8, 8]))
    r2, interval = probes.r2_of(np.array([[0.0], [0.0], [4.0], [6.0]], np.float32), held)
    assert r2 == [0.8]  # squared errors 0 + 4 + 0 + 0
    # Drawn: the first episode twice 1 - 8 / 20, one of each 0.8, the second twice 1.
    assert interval == [[0.6, 1.0]]
    assert probes.r2_of(np.full((4, 1), 3.0, np.float32), held)[0] == [0.0]


def test_worlds_are_collected_in_one_file(
    rooms: Made, push: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "probes.json"
    for made in (rooms, push):
        words = ["--env", made.env, "--data", str(made.data), "--bundle", str(made.bundle)]
        words += ["--steps", "200", "--json", str(path)]
        monkeypatch.setattr(sys, "argv", ["probes", *words])
        assert probes.main() == 0
    worlds = json.loads(path.read_text())["worlds"]
    assert worlds[rooms.env]["places"] == ["base.x", "base.y", "wall.x", "door.y"]
    # An arm that hardly any training has taught is read from a random encoder well enough.
    assert worlds[push.env]["linear"]["r2"]["tool.x"] > 0.0
    page = results.page({"probes": {"worlds": worlds}})
    assert "| TwoRooms-v0 |" in page
    assert "base.x" in page
    words = ["--env", push.env, "--data", str(rooms.data), "--bundle", str(rooms.bundle)]
    monkeypatch.setattr(sys, "argv", ["probes", *words])
    assert probes.main() == 2
