import numpy as np
import pytest

import sim
from sim.camera import ROOM_CAMERAS
from sim.envs import rooms
from sim.randomization import Scene
from sim.rooms import BASE_RADIUS_M, DOOR_WIDTH_M, WALL_THICKNESS_M, Rooms

ENV = "foresee/TwoRooms-v0"


@pytest.fixture
def world():
    world = Rooms()
    world.reset(Scene())
    world.place_wall(0.2, -0.8)
    yield world
    world.close()


def base_pixels(image):
    red, green = image[..., 0].astype(int), image[..., 1].astype(int)
    return np.argwhere(red > green + 50)


def test_start_and_goal_are_in_different_rooms_and_places_change(env):
    walls, doors = [], []
    for seed in range(40):
        _, info = env.reset(seed=seed)
        wall_x = info["door_position_m"][0]
        ahead = (info["base_position_m"][0] - wall_x) * (info["goal_position_m"][0] - wall_x)
        assert ahead < 0
        assert info["distance_m"] > 2 * BASE_RADIUS_M + WALL_THICKNESS_M
        walls.append(wall_x)
        doors.append(info["door_position_m"][1])
    assert np.ptp(walls) > 0.8
    assert np.ptp(doors) > 1.8


def test_a_straight_line_never_gets_there_and_the_door_does(env):
    for seed in range(30):
        for policy, reaches in ((sim.straight_line_action, False), (sim.scripted_action, True)):
            _, info = env.reset(seed=seed)
            for _ in range(50):
                _, _, _, _, info = env.step(policy(ENV, info))
            assert info["success"] is reaches, f"seed {seed}, {policy.__name__}: {info}"


@pytest.mark.parametrize("velocity", [(1.5, 0.0), (1.5, 1.5), (1.5, -0.4), (-1.5, 0.3), (0.0, 1.5)])
def test_walls_are_solid(world, velocity):
    world.place_base((-0.8, 0.9))
    world.set_base_velocity(velocity)
    for _ in range(240 * 4):
        world.step(1)
        position, speed = world.base_state()
        assert position[0] < 0.2 - WALL_THICKNESS_M / 2 - BASE_RADIUS_M + 5e-3 or position[1] < -0.2
        assert np.abs(position).max() < rooms.BOX.high[0] + 5e-3
        assert np.abs(speed).max() < 1.6  # nothing is flung away
    assert np.abs(speed).max() < 0.05 or velocity == (1.5, -0.4)


def test_the_base_keeps_its_speed_and_needs_time_to_gain_it(world):
    world.place_base((-1.5, 0.0))
    world.set_base_velocity((1.2, 0.0))
    world.step(24)
    _, speed = world.base_state()
    assert 0.5 < speed[0] < 0.7  # 6 m/s² for 0.1 s
    world.step(48)
    position, speed = world.base_state()
    np.testing.assert_allclose(speed, (1.2, 0.0), atol=1e-3)
    np.testing.assert_allclose(position, (-1.5 + 1.2 * 0.3 - 0.12, 0.0), atol=0.01)


def test_base_wall_and_door_are_seen_where_they_are(world):
    camera = ROOM_CAMERAS["scene"]
    focal = camera.intrinsics(64)[0, 0]
    for place in ((-1.7, 1.7), (0.9, -1.2), (0.2, -0.8)):
        world.place_base(place)
        image = world.render(camera, 64)
        pixels = base_pixels(image)
        assert len(pixels) >= 25
        row, column = pixels.mean(0)
        seen = np.array([column - 31.5, 31.5 - row]) * camera.eye_m[2] / focal
        np.testing.assert_allclose(seen, place, atol=0.12)
    world.place_base((-1.0, 1.0))
    bright = world.render(camera, 64)[..., 0] > 150
    wall = bright[4:60, round(31.5 + 0.2 * focal / camera.eye_m[2])]
    door_px = DOOR_WIDTH_M * focal / camera.eye_m[2]
    assert abs((~wall).sum() - door_px) < 3


def test_exploration_goes_through_the_door_often_and_runs_into_walls_and_door_posts(env):
    crossings, blocked, at_posts, frames = 0, 0, 0, 0
    for seed in range(15):
        _, info = env.reset(seed=seed)
        explorer = sim.make_explorer(env, np.random.default_rng(seed))
        before = None
        for _ in range(50):
            action = explorer.action(info)
            _, _, _, _, info = env.step(action)
            side = info["base_position_m"][0] > info["door_position_m"][0]
            crossings += before is not None and side != before
            before = side
            speed = env.unwrapped.proprio()
            blocked += bool((np.abs(action - speed)[np.abs(action) > 0.5] > 0.45).any())
            from_door = np.abs(info["base_position_m"] - info["door_position_m"])
            at_posts += bool(from_door[0] < 0.3 and 0.2 < from_door[1] < 0.6)
            frames += 1
    assert crossings >= 10
    assert blocked > 0.05 * frames
    assert at_posts > 0.02 * frames


def test_the_readings_do_not_tell_where_the_base_is(env):
    observation, _ = env.reset(seed=1)
    np.testing.assert_array_equal(observation["proprio"], 0.0)
    assert env.unwrapped.proprio_names == ("base.vx", "base.vy")
