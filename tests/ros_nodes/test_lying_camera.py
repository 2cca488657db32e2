"""A camera that lies stops the robot, with a trained model and the thresholds that are shipped."""

from diagnostic_msgs.msg import DiagnosticStatus

from benchmarks.surprise import lies, run
from ros_nodes.command_inputs import CommandInputs
from ros_nodes.convert import diagnostics
from ros_nodes.params import CommandParameters


def test_an_honest_camera_never_slows_the_robot_and_a_lying_one_stops_it(tmp_path, monkeypatch):
    kept = ("covered", "frozen", "mirrored")
    chosen = {name: lie for name, lie in lies().items() if name in kept}
    monkeypatch.setattr("benchmarks.surprise.lies", lambda: chosen)
    found = run(goals=2, trials=1, seed=500, run_dir=tmp_path)
    assert found["honest"]["plans"] > 30
    # On a machine that is late, frames come unevenly, which is a little surprising.
    assert found["honest"]["slowed_ticks"] < 0.05 * found["honest"]["ticks"]
    assert {name: lie["stopped"] for name, lie in found["lies"].items()} == dict.fromkeys(kept, 1)


def test_a_robot_that_stopped_waits_until_it_was_calm_for_a_while():
    inputs, counted = CommandInputs(CommandParameters()), []
    for number, surprise in enumerate([0.5, 2.5, 1.2, 0.5, 0.5, 0.5, 0.5]):
        values = {"image_news_ns": 0, "surprise": surprise}
        message = diagnostics(0, "agent_node", "OK", values, DiagnosticStatus.OK)
        inputs.take_status(message, now_s=0.2 * number)
        counted.append(inputs.situation(0, 0.0, armed=True, estop=False)[0].surprise)
    assert counted == [0.5, 2.5, 2.0, 2.0, 2.0, 0.5, 0.5]
