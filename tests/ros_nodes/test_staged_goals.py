"""Goals that are shown by several images, through the whole graph."""

import gymnasium
import numpy as np
import pytest
from servo_bundle import write_servo_bundle

from controller.configurator import load_task
from foresee.film import read_recording
from foresee.graph_run import GraphRun, run_graph
from foresee.report import table

ENV, SEED = "foresee/PickPlace-v0", 3


def test_a_goal_shown_in_stages_is_a_task_in_a_world_of_its_own(tmp_path):
    env = gymnasium.make(ENV)
    world = env.unwrapped
    bundle = write_servo_bundle(tmp_path / "bundle", world)
    begun = [world.reset(seed=seed) for seed in (SEED, SEED + 1)]
    env.close()
    out = tmp_path / "run"
    summary = run_graph(GraphRun(ENV, bundle, None, 2, SEED, out=out, seconds_per_goal=2.0))
    assert not summary["failed"], summary["failure"]
    rows = summary["goals"]
    expected = [info["distance_m"] for _, info in begun]
    assert [row["start_distance_m"] for row in rows] == pytest.approx(expected, abs=2e-3)
    for row in rows:
        assert row["usable_plans"] > 0
        assert set(row["also"]) == {"success_reach", "success_grasp", "success_lift"}
    assert "0 of 2 goals reached" in table(summary)

    task = load_task(out / "goals" / str(SEED + 1) / "task.yaml")
    assert [goal.timeout_s for goal in task.goals] == [4.0, 4.0, 4.0, 4.0, None]
    ends = [image for _, image in read_recording(out / "bag").goals]
    np.testing.assert_array_equal(ends, [obs["goal_image"] for obs, _ in begun])
