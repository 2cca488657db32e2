"""A camera that lies stops the robot, with a trained model and the thresholds that are shipped."""

from benchmarks.surprise import lies, run


def test_an_honest_camera_never_slows_the_robot_and_a_lying_one_stops_it(tmp_path, monkeypatch):
    kept = ("covered", "frozen", "mirrored")
    chosen = {name: lie for name, lie in lies().items() if name in kept}
    monkeypatch.setattr("benchmarks.surprise.lies", lambda: chosen)
    found = run(goals=2, trials=1, seed=500, run_dir=tmp_path)
    assert found["honest"]["plans"] > 30
    # On a machine that is late, frames come unevenly, which is a little surprising.
    assert found["honest"]["slowed_ticks"] < 0.05 * found["honest"]["ticks"]
    assert {name: lie["stopped"] for name, lie in found["lies"].items()} == dict.fromkeys(kept, 1)
