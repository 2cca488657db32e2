"""The robot that stands in for hardware: how its joints follow, and what its camera draws."""

import numpy as np
import pytest

from sim.arm_model import ArmModel, draw_arm
from sim.assets import panda_urdf
from sim.camera import TABLE_CAMERAS
from sim.fake_robot import FakeArm, ServoDynamics
from sim.robot import HOME_RAD, JOINT_NAMES

QUIET = ServoDynamics(natural_hz=10.0, damping=1.0, friction_rad_s=0.0, delay_s=0.05, noise_rad=0.0)
LOW, HIGH, SPEED = np.full(2, -1.0), np.full(2, 1.0), np.full(2, 2.0)


def arm(dynamics=QUIET, start=(0.0, 0.0)) -> FakeArm:
    return FakeArm(np.array(start), LOW, HIGH, SPEED, dynamics, 0.0)


def test_a_speed_is_followed_late_and_by_a_second_order_lag():
    robot = arm()
    robot.command_velocity(np.array([0.5, -0.2]), 0.0)
    robot.advance(0.048)
    np.testing.assert_array_equal(robot.velocity, 0.0)  # the delay
    robot.advance(0.05 + 0.05)
    # Critically damped: 1 - (1 + w t) exp(-w t), with w t = 2 pi 10 0.05 = 3.142: 0.821
    np.testing.assert_allclose(robot.velocity, [0.5 * 0.821, -0.2 * 0.821], rtol=0.06)
    robot.advance(0.5)
    np.testing.assert_allclose(robot.velocity, [0.5, -0.2], atol=1e-6)


def test_without_a_time_out_the_last_speed_is_kept_for_ever():
    robot = arm()
    robot.command_velocity(np.array([0.1, 0.0]), 0.0)
    robot.advance(5.0)
    assert robot.velocity[0] == pytest.approx(0.1)
    careful = arm(ServoDynamics(timeout_s=0.2, noise_rad=0.0))
    careful.command_velocity(np.array([0.1, 0.0]), 0.0)
    careful.advance(1.0)
    np.testing.assert_array_equal(careful.velocity, 0.0)


def test_positions_are_gone_to_and_the_stops_hold():
    robot = arm()
    robot.command_position(np.array([0.5, 3.0]), 0.0)
    robot.advance(2.0)
    np.testing.assert_allclose(robot.position, [0.5, 1.0], atol=1e-3)
    assert robot.velocity[1] == pytest.approx(0.0)


def test_a_path_is_interpolated_from_where_it_is():
    robot = arm(start=(0.2, 0.0))
    robot.command_path(np.array([1.0, 2.0]), np.array([[0.4, 0.0], [0.4, 0.5]]), 0.0)
    robot.advance(1.5)
    # Half way through the second piece; the servo lags by 2 damping / w = 32 ms and the delay.
    assert robot.position[0] == pytest.approx(0.4, abs=0.01)
    assert robot.position[1] == pytest.approx(0.25, abs=0.05)
    robot.advance(4.0)
    np.testing.assert_allclose(robot.position, [0.4, 0.5], atol=1e-3)


def test_friction_holds_what_hardly_moves_and_readings_are_noisy():
    robot = arm(ServoDynamics(friction_rad_s=0.01, noise_rad=1e-3))
    robot.command_velocity(np.array([0.008, 0.1]), 0.0)
    robot.advance(2.0)
    assert robot.velocity[0] == 0.0
    assert robot.velocity[1] == pytest.approx(0.09, abs=1e-6)
    readings = np.array([robot.reading()[0] for _ in range(400)])
    np.testing.assert_allclose(readings.mean(axis=0), robot.position, atol=3e-4)
    np.testing.assert_allclose(readings.std(axis=0), 1e-3, rtol=0.2)


@pytest.mark.parametrize("wrong", [{"natural_hz": 0.1}, {"damping": 0.0}, {"delay_s": -1.0}])
def test_what_no_arm_does_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ServoDynamics(**wrong)


@pytest.fixture(scope="module")
def model() -> ArmModel:
    return ArmModel(panda_urdf().read_text(), JOINT_NAMES, "tool")


def test_joint_speeds_move_the_tool_as_told(model):
    wanted = np.array([0.1, -0.05, 0.08])
    speeds = model.joint_speeds(HOME_RAD, wanted)
    before, turned = model.tool_pose(HOME_RAD)
    after, turned_after = model.tool_pose(HOME_RAD + 1e-4 * speeds)
    np.testing.assert_allclose((after - before) / 1e-4, wanted, atol=2e-3)
    np.testing.assert_allclose(np.abs(turned @ turned_after), 1.0, atol=1e-8)


def test_joints_are_named_in_any_order(model):
    order = [3, 0, 6, 1, 5, 2, 4]
    other = ArmModel(panda_urdf().read_text(), [JOINT_NAMES[i] for i in order], "tool")
    np.testing.assert_allclose(
        other.tool_pose(HOME_RAD[order])[0], model.tool_pose(HOME_RAD)[0], atol=1e-12
    )
    speeds = model.joint_speeds(HOME_RAD, np.array([0.1, 0.0, 0.0]))
    np.testing.assert_allclose(
        other.joint_speeds(HOME_RAD[order], np.array([0.1, 0.0, 0.0])), speeds[order], atol=1e-12
    )


def test_the_ball_is_drawn_where_the_camera_has_it(model):
    camera = TABLE_CAMERAS["scene"]
    image = draw_arm(model.chain(HOME_RAD), camera, 64).astype(float)
    rows, columns = np.nonzero(image[..., 0] - image[..., 2] > 120)
    tool, _ = model.tool_pose(HOME_RAD)
    forward = np.subtract(camera.target_m, camera.eye_m)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    away = tool - np.array(camera.eye_m)
    matrix = camera.intrinsics(64)
    column = matrix[0, 0] * (away @ right) / (away @ forward) + matrix[0, 2]
    row = matrix[1, 1] * (away @ np.cross(forward, right)) / (away @ forward) + matrix[1, 2]
    assert columns.mean() + 0.5 == pytest.approx(column, abs=1.5)
    assert rows.max() + 0.5 == pytest.approx(row, abs=2.5)  # the stick is above it


@pytest.mark.parametrize(
    ("joints", "frame", "reason"),
    [(("elbow",), "tool", "'elbow'"), (JOINT_NAMES, "nose", "'nose'")],
)
def test_names_that_are_not_in_the_description_are_refused(joints, frame, reason):
    with pytest.raises(ValueError, match=reason):
        ArmModel(panda_urdf().read_text(), joints, frame)


def test_what_is_no_description_is_refused():
    with pytest.raises(ValueError, match="not a URDF"):
        ArmModel("<html/>", JOINT_NAMES, "tool")
