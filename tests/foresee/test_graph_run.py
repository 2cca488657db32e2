"""What a run of the graph tells of its goals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from foresee.commands import shipped_bundle
from foresee.graph_run import GraphRun, run_graph
from foresee.worlds import core_of, make_world

_SEED = 3


def test_an_angle_counts_where_the_task_asks_for_one(tmp_path: Path) -> None:
    world = make_world("foresee/PushT-v0")
    world.reset(seed=_SEED)
    truth = core_of(world).truth()
    world.close()
    assert truth["angle_rad"] > np.radians(30)
    still = tmp_path / "agent.yaml"  # to move is all that costs: the T stays where it is
    still.write_text("cost: {goal_weight: 0.0, action_weight: 1.0}")
    bundle = shipped_bundle("foresee/Push-v0")
    job = GraphRun(
        "foresee/PushT-v0", bundle, still, 1, _SEED, out=tmp_path / "run", seconds_per_goal=1.0
    )
    summary = run_graph(job)
    assert not summary["failed"], summary["failure"]
    (goal,) = summary["goals"]
    assert goal["final_angle_rad"] == pytest.approx(truth["angle_rad"], abs=0.01)
    assert goal["final_distance_m"] == pytest.approx(truth["distance_m"], abs=0.002)
    assert not goal["success"]
