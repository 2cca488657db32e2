import gymnasium
import numpy as np
import pytest

import sim
from sim import tee
from sim.assets import TOOL_RADIUS_M
from sim.envs import pusht
from sim.envs.pusht import wrapped
from sim.randomization import Scene
from sim.world import World

ENV = "foresee/PushT-v0"


def test_the_shape_has_its_centre_of_mass_at_the_origin():
    areas = [4 * half[0] * half[1] for half, _ in tee.TEE.boxes]
    centres = np.array([centre for _, centre in tee.TEE.boxes])
    np.testing.assert_allclose(np.average(centres, axis=0, weights=areas), 0.0, atol=1e-9)
    outline, _ = tee.contacts(0.0)
    assert np.linalg.norm(outline, axis=1).max() <= tee.RADIUS_M < 0.1


def test_a_ball_touches_at_each_contact_and_goes_round_the_shape():
    places, normals = tee.contacts(TOOL_RADIUS_M)
    balls = places - TOOL_RADIUS_M * normals
    np.testing.assert_allclose(tee.distance_m(balls), TOOL_RADIUS_M, atol=1e-6)
    ends = places - (TOOL_RADIUS_M + 0.01) * normals
    lengths, steps = tee.way(np.array([0.2, 0.1]), ends, 0.036, 0.025)
    assert np.isfinite(lengths).all()
    straight = np.linalg.norm(ends - (0.2, 0.1), axis=1)
    assert (lengths >= straight - 1e-9).all()
    # Behind the bar it is not the straight way that is taken.
    hidden = lengths > straight + 0.02
    assert 10 < hidden.sum() < len(ends) - 10
    assert (np.linalg.norm(steps - ends, axis=1)[hidden] > 0.01).all()


def test_goals_are_another_pose_and_doing_nothing_fails(env):
    turns = []
    for seed in range(40):
        _, info = env.reset(seed=seed)
        assert 0.06 <= info["distance_m"] <= 0.20
        assert info["angle_rad"] <= np.pi / 2 + 1e-6
        assert not info["success"]
        assert not info["success_position"]
        turns.append(np.degrees(info["angle_rad"]))
    assert np.mean(np.array(turns) > 20.0) > 0.6


def test_success_is_position_and_angle(env):
    core = env.unwrapped
    _, info = env.reset(seed=3)
    goal, yaw = info["goal_position_m"], info["goal_yaw_rad"]
    for offset_m, turn_deg, expected in (
        (0.0, 0.0, (True, True, True, True)),
        (0.03, 0.0, (True, True, True, False)),
        (0.0, 19.0, (True, True, True, True)),
        (0.0, -21.0, (False, True, False, False)),
        (0.045, 0.0, (False, False, True, False)),
        (0.0, 90.0, (False, True, False, False)),
        (0.0, 180.0, (False, True, False, False)),
    ):
        core._world.place_block(goal + np.array([offset_m, 0.0, 0.0]), yaw + np.radians(turn_deg))
        truth = core.truth()
        names = ("success", "success_position", "success_angle", "success_field_scale")
        assert tuple(truth[name] for name in names) == expected, (offset_m, turn_deg)
        assert truth["angle_rad"] == pytest.approx(abs(wrapped(np.radians(turn_deg))), abs=1e-6)


def test_a_push_off_the_centre_turns_it_and_nothing_is_flung_away():
    world = World(pusht.BOX, tee.TEE)
    world.reset(Scene())
    world.place_block((0.50, 0.0, tee.HEIGHT_M / 2), 0.0)
    world.robot.place_tool((0.45, -0.1, pusht.TOOL_HEIGHT_M))
    world.robot.set_tool_velocity((0.0, 0.2, 0.0))
    before, _ = world.block_pose()
    for _ in range(240):
        world.step(1)
        position, yaw = world.block_pose()
        assert np.linalg.norm(position - before) < 0.4 / 240  # at most 0.4 m/s
        before = position
    assert position[1] > 0.02
    assert yaw < -0.3  # pushed on its -x side along +y: clockwise
    assert position[2] == pytest.approx(tee.HEIGHT_M / 2, abs=2e-3)
    world.close()


def test_the_goal_image_shows_the_tee():
    env = gymnasium.make(ENV)
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        goal = observation["goal_image"].astype(int)
        assert (goal[..., 2] > goal[..., 0] + 60).sum() >= 40, f"seed {seed}"
    env.close()


def test_exploration_pushes_it_about_from_all_sides_and_turns_it(env):
    turned, moved, bearings, lost = [], [], [], 0
    for seed in range(8):
        _, info = env.reset(seed=seed)
        explorer = sim.make_explorer(env, np.random.default_rng(seed))
        for _ in range(100):
            last = info
            _, _, terminated, _, info = env.step(explorer.action(info))
            turn = wrapped(info["block_yaw_rad"] - last["block_yaw_rad"])
            step = np.linalg.norm((info["block_position_m"] - last["block_position_m"])[:2])
            turned.append(turn)
            moved.append(step)
            if step > 2e-3:
                offset = (info["tool_position_m"] - info["block_position_m"])[:2]
                bearing = np.arctan2(offset[1], offset[0]) - info["block_yaw_rad"]
                bearings.append(wrapped(float(bearing)))
            if terminated:
                lost += 1
                break
    assert lost <= 1
    assert np.mean(np.array(moved) > 2e-3) > 0.25
    assert np.mean(np.abs(turned) > 0.02) > 0.15
    assert np.histogram(bearings, bins=6, range=(-np.pi, np.pi))[0].min() > 0.03 * len(bearings)
    assert max(moved) < 0.04
