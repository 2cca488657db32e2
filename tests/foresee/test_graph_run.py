"""What a run of the graph tells of its goals."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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
    # A model of another block, which will not turn this one within a second.
    bundle = shipped_bundle("foresee/Push-v0")
    job = GraphRun("foresee/PushT-v0", bundle, None, 1, _SEED, out=tmp_path, seconds_per_goal=1.0)
    summary = run_graph(job)
    assert not summary["failed"], summary["failure"]
    (goal,) = summary["goals"]
    assert abs(goal["final_angle_rad"] - truth["angle_rad"]) < 0.3
    assert not goal["success"]
