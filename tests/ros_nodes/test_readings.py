"""Proprio by name and of the right moment."""

import math

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from sensor_msgs.msg import JointState

from ros_nodes.convert import position_to_pose
from ros_nodes.readings import ReadingBuffer, assemble_proprio

NAMES = ("a.position", "b.position", "b.velocity", "tool.z")
POSE = position_to_pose(np.array([1.0, 2.0, 3.0]), 0, "base")


def joints(**changes) -> JointState:
    fields = {"name": ["b", "a"], "position": [0.2, 0.1], "velocity": [2.0, 1.0]}
    return JointState(**(fields | changes))


def test_readings_are_found_by_name_not_by_order():
    np.testing.assert_allclose(assemble_proprio(NAMES, joints(), POSE), [0.1, 0.2, 2.0, 3.0])


def test_empty_velocity_is_fine_when_nobody_asks():
    values = assemble_proprio(("b.position",), joints(velocity=[]), None)
    np.testing.assert_allclose(values, [0.2])


def test_nan_is_passed_on_for_the_agent_to_judge():
    values = assemble_proprio(NAMES, joints(velocity=[math.nan, 1.0]), POSE)
    assert math.isnan(values[2])


@pytest.mark.parametrize(
    ("state", "pose", "reason"),
    [
        (joints(name=["b", "c"]), POSE, "no joint 'a'"),
        (joints(velocity=[]), POSE, "gives no velocity"),
        (None, POSE, "no joint_states"),
        (joints(), None, "no tool_pose"),
    ],
)
def test_a_missing_reading_is_named(state, pose, reason):
    with pytest.raises(ValueError, match=reason):
        assemble_proprio(NAMES, state, pose)


def test_a_base_is_read_off_its_odometry():
    odometry = Odometry()
    odometry.twist.twist.linear.x, odometry.twist.twist.angular.z = 0.2, -0.5
    names = ("base.wz", "a.position", "base.vx")
    values = assemble_proprio(names, joints(), None, odometry)
    np.testing.assert_allclose(values, [-0.5, 0.1, 0.2])
    with pytest.raises(ValueError, match=r"base\.wz: no odom"):
        assemble_proprio(names, joints(), POSE)


def test_an_unknown_reading_is_named():
    with pytest.raises(ValueError, match=r"gripper\.width"):
        assemble_proprio(("gripper.width",), joints(), POSE)


def test_the_nearest_reading_in_time_is_taken_or_none():
    buffer: ReadingBuffer[str] = ReadingBuffer()
    assert buffer.nearest(0, 10) is None
    for stamp_ns, value in ((100, "a"), (110, "b"), (120, "c")):
        buffer.add(stamp_ns, value)
    assert buffer.nearest(111, 5) == "b"
    assert buffer.nearest(119, 5) == "c"
    assert buffer.nearest(130, 5) is None
