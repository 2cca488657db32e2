"""What `command_node` takes in of messages, and what it refuses."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from controller.types import NS_PER_S
from ros_nodes.command_inputs import CommandInputs
from ros_nodes.convert import diagnostics, ns_to_stamp, position_to_pose
from ros_nodes.params import CommandParameters
from ros_nodes.process_watch import identity

NAMES = [f"panda_joint{number}" for number in range(1, 8)]
SPEED = 0.3


def joints(stamp_ns: int, position: float, velocity: float | None = None, **more: float):
    message = JointState(name=[*NAMES, *more], position=[position] * 7 + list(more.values()))
    if velocity is not None:
        message.velocity = [velocity] * 7
    message.header.stamp = ns_to_stamp(stamp_ns)
    return message


@pytest.mark.parametrize("velocity", [None, np.nan])
def test_how_fast_a_robot_is_that_does_not_say_so_is_seen_by_where_it_was(velocity):
    inputs = CommandInputs(CommandParameters(interface="joint_velocity"))
    assert np.isnan(inputs.speed)
    for tick in range(30):  # at 100 Hz, from a second of simulated time on
        now_s = 1.0 + 0.01 * tick
        moved = SPEED * 0.01 * min(tick, 15)
        inputs.take_joints(joints(round(now_s * NS_PER_S), moved, velocity), now_s)
        if tick < 10:
            assert np.isnan(inputs.speed)
        elif tick < 20:
            assert inputs.speed == pytest.approx(SPEED)
    for tick in range(30, 45):
        now_s = 1.0 + 0.01 * tick
        inputs.take_joints(joints(round(now_s * NS_PER_S), moved, velocity), now_s)
    assert inputs.speed == 0.0
    inputs.forget()
    assert np.isnan(inputs.speed)


def test_what_a_robot_says_of_its_speed_is_believed_at_once():
    inputs = CommandInputs(CommandParameters(interface="joint_velocity"))
    inputs.take_joints(joints(NS_PER_S, 0.0, -SPEED), 1.0)
    assert inputs.speed == SPEED


def test_noise_is_no_motion():
    inputs = CommandInputs(CommandParameters())
    noise = np.random.default_rng(0).normal(0.0, 1e-3, (500, 3))  # m, more than any arm's
    for tick, place in enumerate(noise):  # at 500 Hz
        stamp_ns = NS_PER_S + tick * 2_000_000
        inputs.take_pose(position_to_pose(place, stamp_ns, "panda_link0"), stamp_ns / NS_PER_S)
        assert not inputs.speed > 0.1


def test_a_gripper_that_is_nowhere_or_was_seen_long_ago_is_not_known():
    given = CommandParameters(interface="joint_position", gripper_joint="finger")
    inputs = CommandInputs(given)
    inputs.take_joints(joints(NS_PER_S, 0.0, finger=np.nan), 1.0)
    assert inputs.gripper_m(NS_PER_S, 1.0) is None
    inputs.take_joints(joints(NS_PER_S, 0.0, finger=0.02), 1.0)
    assert inputs.gripper_m(NS_PER_S, 1.0) == 0.02
    late_s = given.max_pose_age_s + 0.01
    assert inputs.gripper_m(NS_PER_S, 1.0 + late_s) is None
    assert inputs.gripper_m(NS_PER_S + round(late_s * NS_PER_S), 1.0) is None


@pytest.mark.parametrize("stamp", [10**320, -(2**63), 2**63])
def test_a_stamp_that_no_clock_can_show_is_refused(stamp):
    inputs = CommandInputs(CommandParameters())
    message = diagnostics(0, "agent", "", {"image_news_ns": stamp}, DiagnosticStatus.OK)
    with pytest.raises(ValueError, match="image_news_ns"):
        inputs.take_status(message, 1.0)
    inputs.situation(NS_PER_S, 1.0, False, False)


def test_an_agent_that_never_says_what_it_plans_from_is_not_trusted_to_see():
    inputs = CommandInputs(CommandParameters())

    def image_age_s() -> float:
        return inputs.situation(NS_PER_S, 1.0, True, False)[0].image_age_s

    assert image_age_s() == 0.0  # plans of a program
    inputs.take_agent(identity())
    assert image_age_s() == float("inf")
    values = {"image_news_ns": NS_PER_S - NS_PER_S // 10}
    inputs.take_status(diagnostics(0, "agent", "", values, DiagnosticStatus.OK), 1.0)
    assert image_age_s() == pytest.approx(0.1)


def test_a_plan_without_points_stops_whatever_else_it_lacks():
    inputs = CommandInputs(CommandParameters())
    inputs.take_plan(JointTrajectory(), 1.0)
    assert not inputs.situation(NS_PER_S, 1.0, True, False)[0].plan_usable
    message = JointTrajectory(joint_names=["elbow"])
    message.header.frame_id = "nowhere"
    inputs.take_plan(message, 1.0)
    message.points = [JointTrajectoryPoint()]
    with pytest.raises(ValueError, match="frame 'nowhere'"):
        inputs.take_plan(message, 1.0)


@pytest.mark.parametrize(
    "says", [{}, {"surprise": 0.0, "surprise_known": 0}], ids=["no plan was made", "not known"]
)
def test_a_surprised_robot_is_not_let_go_by_what_is_not_known(says):
    inputs = CommandInputs(CommandParameters(slow_surprise=1.0, stop_surprise=2.0))

    def surprise(values, tick) -> float:
        now_s = 1.0 + 0.1 * tick
        values = {"image_news_ns": round(now_s * NS_PER_S), **values}
        inputs.take_status(diagnostics(0, "agent", "", values, DiagnosticStatus.OK), now_s)
        return inputs.situation(round(now_s * NS_PER_S), now_s, True, False)[0].surprise

    assert surprise(says, 0) == 0.0
    assert surprise({"surprise": 3.0, "surprise_known": 1}, 1) == 3.0
    assert [surprise(says, tick) for tick in range(2, 30)] == [2.0] * 28
    calm = {"surprise": 0.2, "surprise_known": 1}
    assert [surprise(calm, tick) for tick in range(30, 37)][-1] == 0.2


def test_a_reading_keeps_its_stamp_until_the_next_one_comes():
    inputs = CommandInputs(CommandParameters(interface="joint_velocity"))

    def stamp(now_s: float) -> int | None:
        return inputs.situation(round(now_s * NS_PER_S), now_s, True, False)[0].position_stamp_ns

    assert stamp(1.0) is None
    inputs.take_joints(joints(NS_PER_S, 0.0), 1.0)
    assert [stamp(1.0), stamp(1.01), stamp(1.02)] == [NS_PER_S] * 3
    inputs.take_joints(joints(NS_PER_S + 20_000_000, 0.0), 1.02)
    assert stamp(1.03) == NS_PER_S + 20_000_000
