import itertools

import numpy as np
import pybullet
import pytest

from sim.envs import push, reach
from sim.physics import PHYSICS_HZ
from sim.randomization import Scene
from sim.robot import JOINT_NAMES, Box
from sim.world import World

STEPS = PHYSICS_HZ // 10  # in 0.1 s


@pytest.fixture
def world():
    world = World(reach.BOX)
    world.reset(Scene())
    yield world
    world.close()


def test_straight_command_gives_a_straight_line_at_that_speed(world):
    start, velocity = np.array([0.33, -0.18, 0.10]), np.array([0.15, 0.20, 0.12])
    world.robot.place_tool(start)
    world.robot.set_tool_velocity(velocity)
    for tenth in range(1, 15):
        world.step(STEPS)
        # 0.1 s × 0.28 m/s = 28 mm a step: 2 mm is the lag of the motors at the start.
        np.testing.assert_allclose(
            world.robot.tool_position(), start + 0.1 * tenth * velocity, atol=2e-3
        )


def test_tool_points_down_all_the_way(world):
    world.robot.place_tool((0.35, -0.2, 0.1))
    world.robot.set_tool_velocity((0.2, 0.2, 0.1))
    for _ in range(12):
        world.step(STEPS)
        _, turn = world.robot._tool_pose()
        stick = np.array(pybullet.getMatrixFromQuaternion(turn)).reshape(3, 3)[:, 2]
        assert np.degrees(np.arccos(-stick[2])) < 0.5


@pytest.mark.parametrize("direction", itertools.product((-1, 0, 1), repeat=3))
def test_tool_stops_at_the_walls(direction):
    world = World(reach.BOX)
    world.reset(Scene())
    world.robot.place_tool(np.mean([reach.BOX.low, reach.BOX.high], axis=0))
    world.robot.set_tool_velocity(np.multiply(direction, 0.25))
    world.step(25 * STEPS)
    assert reach.BOX.contains(world.robot.tool_position(), margin_m=1e-3)
    world.close()


def test_posture_depends_on_tool_position_alone(world):
    """Else a goal image shows an arm that the robot never looks like."""
    for way in (((0.32, -0.2, 0.08), (0.2, 0.2, 0.2)), ((0.58, 0.2, 0.30), (-0.2, -0.2, -0.1))):
        world.robot.place_tool(way[0])
        world.robot.set_tool_velocity(way[1])
        world.step(10 * STEPS)
        moving, _ = world.robot.joint_states()
        world.robot.place_tool(world.robot.tool_position())
        placed, _ = world.robot.joint_states()
        np.testing.assert_allclose(moving, placed, atol=0.05)


@pytest.mark.parametrize("box", [reach.BOX, push.BOX])
def test_every_corner_is_reached_within_joint_limits(box):
    world = World(box)
    for corner in itertools.product(*zip(box.low, box.high, strict=True)):
        world.robot.place_tool(corner)
        np.testing.assert_allclose(world.robot.tool_position(), corner, atol=1e-3)
        joints, _ = world.robot.joint_states()
        bullet, body = world._bullet, world.robot.body
        limits = [bullet.getJointInfo(body, j)[8:10] for j in world.robot._joints]
        for name, value, (low, high) in zip(JOINT_NAMES, joints, limits, strict=True):
            assert low + 0.05 < value < high - 0.05, name
    world.close()


def test_out_of_reach_is_an_error(world):
    with pytest.raises(ValueError, match=r"does not reach \[2.0, 0.0, 0.2\]"):
        world.robot.place_tool((2.0, 0.0, 0.2))


def test_box_grows_by_its_margin():
    box = Box((0.0, 0.0, 0.0), (1.0, 1.0, 0.0))
    assert box.contains((1.0, 0.5, 0.0))
    assert not box.contains((1.01, 0.5, 0.0))
    assert box.contains((1.01, 0.5, 0.0), margin_m=0.02)
