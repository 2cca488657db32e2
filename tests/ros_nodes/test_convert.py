"""Messages to arrays and back, and what is refused on the way."""

import array

import numpy as np
import pytest
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory

from controller.types import NS_PER_S, Plan, PlanStatus
from ros_nodes import convert

ACTIONS = ("tool.vx", "tool.vy", "tool.vz")
# Two pixels: red and a mix.
RGB = np.array([[[255, 0, 0], [1, 2, 3]]], np.uint8)


def image(data: bytes, encoding: str, step: int, width: int = 2, height: int = 1) -> Image:
    message = Image(width=width, height=height, encoding=encoding, step=step)
    message.data = array.array("B", data)
    return message


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("rgb8", bytes([255, 0, 0, 1, 2, 3]), RGB),
        ("bgr8", bytes([0, 0, 255, 3, 2, 1]), RGB),
        ("rgba8", bytes([255, 0, 0, 9, 1, 2, 3, 9]), RGB),
        ("bgra8", bytes([0, 0, 255, 9, 3, 2, 1, 9]), RGB),
        ("mono8", bytes([7, 8]), np.array([[[7, 7, 7], [8, 8, 8]]], np.uint8)),
    ],
)
def test_every_encoding_becomes_rgb(encoding, data, expected):
    np.testing.assert_array_equal(
        convert.image_to_array(image(data, encoding, len(data))), expected
    )


def test_padded_rows_are_cut():
    message = image(bytes([255, 0, 0, 1, 2, 3, 99, 99]), "rgb8", 8)
    np.testing.assert_array_equal(convert.image_to_array(message), RGB)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (image(bytes(6), "yuv422", 6), "yuv422"),
        (image(bytes(6), "rgb8", 5), "step 5"),
        (image(bytes(5), "rgb8", 6), "holds 5 bytes"),
        (image(bytes(7), "rgb8", 6), "holds 7 bytes"),
        (image(b"", "rgb8", 0, width=0), "0×1"),
    ],
)
def test_images_that_do_not_hold_what_they_say_are_refused(message, reason):
    with pytest.raises(ValueError, match=reason) as error:
        convert.image_to_array(message)
    assert "\n" not in str(error.value)


def test_an_image_comes_back_as_it_was_sent():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    message = convert.array_to_image(pixels, 1_234_567_890_123_456_789, "optical")
    np.testing.assert_array_equal(convert.image_to_array(message), pixels)
    assert convert.stamp_to_ns(message.header.stamp) == 1_234_567_890_123_456_789
    with pytest.raises(ValueError, match="uint8"):
        convert.array_to_image(pixels.astype(np.float32), 0, "optical")


def plan(kind: str = "hold") -> Plan:
    return Plan(
        start_ns=5 * NS_PER_S + 7,
        knot_times_s=np.array([0.0, 0.2]),
        knots=np.array([[0.1, 0.0, -0.1], [0.2, 0.0, 0.1]], np.float32),
        duration_s=0.4,
        cost=1.5,
        status=PlanStatus.OK,
        interpolation=kind,
    )


@pytest.mark.parametrize("kind", ["hold", "linear"])
def test_a_plan_asks_for_the_same_on_the_other_side(kind):
    sent = plan(kind)
    received = convert.trajectory_to_plan(convert.plan_to_trajectory(sent, ACTIONS, "base"))
    assert received.usable
    assert received.start_ns == sent.start_ns
    # Linear plans travel as steps of 20 ms: 0.1 m/s in 0.2 s is 0.01 m/s a step.
    tolerance = 1e-6 if kind == "hold" else 0.0201
    for elapsed_s in (-0.01, 0.0, 0.1, 0.19, 0.21, 0.39, 0.41):
        at_ns = sent.start_ns + round(elapsed_s * NS_PER_S)
        np.testing.assert_allclose(received.action_at(at_ns), sent.action_at(at_ns), atol=tolerance)


def test_a_planar_plan_leaves_z_alone():
    knots = np.array([[0.1, -0.2]], np.float32)
    sent = Plan(0, np.array([0.0]), knots, 0.1, 0.0, PlanStatus.BEST_SO_FAR)
    message = convert.plan_to_trajectory(sent, ("tool.vy", "tool.vx"), "base")
    np.testing.assert_allclose(
        convert.trajectory_to_plan(message).action_at(0), [-0.2, 0.1, 0.0], atol=1e-6
    )


@pytest.mark.parametrize("status", [PlanStatus.STALE, PlanStatus.NO_FINITE_ROLLOUT])
def test_a_plan_not_to_be_followed_arrives_as_stop(status):
    sent = Plan(9, np.array([0.0]), np.ones((1, 3), np.float32), 0.1, 0.0, status)
    message = convert.plan_to_trajectory(sent, ACTIONS, "base")
    assert len(message.points) == 0
    assert not convert.trajectory_to_plan(message).usable


def broken(change) -> JointTrajectory:
    message = convert.plan_to_trajectory(plan(), ACTIONS, "base")
    change(message)
    return message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.joint_names.__setitem__(0, "elbow"), "elbow"),
        (lambda m: m.joint_names.__setitem__(0, "tool.vy"), "once"),
        (lambda m: m.points[0].velocities.pop(), "2 velocities for 3"),
        (lambda m: m.points.reverse(), "ascend"),
        (lambda m: m.points.__delitem__(slice(1, None)), "end"),
    ],
)
def test_malformed_plans_are_refused(change, reason):
    with pytest.raises(ValueError, match=reason):
        convert.trajectory_to_plan(broken(change))


def test_named_numbers_come_back():
    values = {"tool.x": 0.25, "distance_m": 1e-3}
    assert convert.labelled_array_to_values(convert.values_to_labelled_array(values)) == values
