"""The base that stands in for hardware: how it drives, what it tells, and what its camera draws."""

import numpy as np
import pytest

from sim.camera import ROOM_CAMERAS
from sim.fake_base import BODY_M, ROOM_M, FakeBase, Wheels, draw_base
from sim.fake_robot import ServoDynamics

QUIET = ServoDynamics(
    natural_hz=10.0, damping=1.0, friction_rad_s=0.0, delay_s=0.05, noise_rad=0.0, timeout_s=0.5
)
GRIP = Wheels(radius_m=0.05, separation_m=0.2, speed_rad_s=20.0, slip=0.0)


def base(wheels=GRIP, dynamics=QUIET, start=(0.0, 0.0, 0.0)) -> FakeBase:
    return FakeBase(np.array(start), wheels, dynamics, 0.0)


def drive(robot: FakeBase, forwards: float, turning: float, begin_s: float, end_s: float):
    """Told so 50 times a second."""
    for now_s in np.arange(begin_s, end_s, 0.02):
        robot.command(forwards, turning, now_s)
        robot.advance(now_s + 0.02)


def test_wheels_turn_as_the_base_moves():
    # 0.3 m/s and 1 rad/s 0.1 m off the middle: 0.2 and 0.4 m/s on wheels of 0.05 m.
    np.testing.assert_allclose(GRIP.speeds(0.3, 1.0), [4.0, 8.0])
    np.testing.assert_allclose(GRIP.motion(np.array([4.0, 8.0])), [0.3, 1.0])


def test_it_follows_late_along_the_arc_that_was_commanded():
    robot = base()
    robot.command(0.5, 1.0, 0.0)
    robot.advance(0.048)
    np.testing.assert_array_equal(robot.pose, 0.0)  # the delay
    drive(robot, 0.5, 1.0, 0.06, 2.0)
    heading = robot.pose[2]
    assert heading == pytest.approx(2.0 - 0.05 - 0.032, abs=0.03)  # delay, lag 2 damping / w
    # On a circle of 0.5 m to the left, wherever it has come to by then.
    circle = 0.5 * np.array([np.sin(heading), 1.0 - np.cos(heading)])
    np.testing.assert_allclose(robot.pose[:2], circle, atol=2e-3)


def test_without_commands_it_stops_by_itself():
    robot = base()
    robot.command(0.5, 0.0, 0.0)
    robot.advance(0.4)
    assert robot.reading().forwards_m_s == pytest.approx(0.5, abs=1e-3)
    robot.advance(1.0)
    place = robot.pose.copy()
    robot.advance(5.0)
    np.testing.assert_allclose(robot.pose, place, atol=1e-6)
    assert place[0] == pytest.approx(0.5 * 0.45, abs=0.02)  # 0.5 s less 0.05 s of delay


def test_motors_give_no_more_than_they_can():
    robot = base()
    drive(robot, 3.0, 0.0, 0.0, 1.0)
    reading = robot.reading()
    np.testing.assert_allclose(reading.velocity, [20.0, 20.0])
    assert reading.forwards_m_s == pytest.approx(1.0)


def test_odometry_is_of_the_wheels_and_does_not_know_that_they_slip():
    robot = base(wheels=Wheels(slip=0.1), start=(-1.0, 0.5, np.pi / 2))
    for second in range(2):
        drive(robot, 0.3, 0.0, second, second + 1.0)
        reading = robot.reading()
    north_m = robot.pose[1] - 0.5
    np.testing.assert_allclose(reading.pose, [north_m / 0.9, 0.0, 0.0], atol=1e-6)
    assert north_m == pytest.approx(0.9 * 0.3 * (2.0 - 0.05 - 0.032), abs=0.01)
    noisy = base(dynamics=ServoDynamics(noise_rad=1e-3))
    readings = np.array([noisy.reading().position for _ in range(400)])
    np.testing.assert_allclose(readings.std(axis=0), 1e-3, rtol=0.2)
    assert np.abs(noisy.reading().pose).max() < 1e-3  # noise does not add up


def test_walls_stop_it_and_the_wheels_go_on():
    robot = base(start=(1.5, 0.0, 0.0))
    drive(robot, 0.5, 0.0, 0.0, 2.0)
    np.testing.assert_allclose(robot.pose, [ROOM_M - BODY_M, 0.0, 0.0], atol=1e-9)
    assert robot.reading().pose[0] > 0.9
    drive(robot, -0.5, 0.0, 2.0, 3.0)
    assert robot.pose[0] < ROOM_M - BODY_M - 0.3


@pytest.mark.parametrize("wrong", [{"radius_m": 0.0}, {"separation_m": -1.0}, {"slip": 1.0}])
def test_what_no_base_has_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Wheels(**wrong)


def test_it_is_drawn_where_the_camera_has_it_with_its_nose_ahead():
    camera, pose = ROOM_CAMERAS["scene"], np.array([0.7, -0.4, 2.0])
    image = draw_base(pose, camera, 256).astype(float)
    body = image[..., 0] - image[..., 2] > 100
    nose = image[..., 2] - image[..., 0] > 100
    focal = camera.intrinsics(256)[0, 0] / 3.3  # pixels a metre at the height of the body
    rows, columns = np.nonzero(body | nose)
    middle = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    np.testing.assert_allclose(middle, 128 + focal * np.array([0.7, 0.4]), atol=1.0)
    rows, columns = np.nonzero(nose)
    ahead = np.array([columns.mean(), rows.mean()]) + 0.5 - middle
    assert np.arctan2(-ahead[1], ahead[0]) == pytest.approx(2.0, abs=0.05)
