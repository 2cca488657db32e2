import itertools

import numpy as np
import pytest

import sim
from sim.envs import pick
from sim.gripper import OPEN_M
from sim.randomization import Scene
from sim.world import World

ENV = "foresee/PickPlace-v0"
STAGES = ("success_reach", "success_grasp", "success_lift", "success")


@pytest.fixture
def world():
    world = World(pick.BOX, pick.BLOCK, gripper=True)
    world.reset(Scene())
    yield world
    world.close()


def grasp(world, at=(0.5, 0.0, 0.025), yaw_rad=0.0):
    world.place_block(at, yaw_rad)
    world.robot.place_tool(at)
    world.robot.gripper.set_speed(-0.1)
    world.step(120)


def test_stages_are_reached_one_after_the_other(env):
    _, info = env.reset(seed=1)
    first = {}
    for step in range(100):
        _, _, _, _, info = env.step(sim.scripted_action(ENV, info))
        for name in STAGES:
            if info[name]:
                first.setdefault(name, step)
    assert list(first) == list(STAGES)
    assert len(set(first.values())) == len(STAGES)
    assert info["success"]
    assert not info["holding"]


@pytest.mark.parametrize("yaw_deg", [-15, 0, 10])
def test_fingers_hold_by_friction_and_straighten_the_block(world, yaw_deg):
    grasp(world, yaw_rad=np.radians(yaw_deg))
    assert world.holds_block()
    _, yaw = world.block_pose()
    assert abs(np.degrees(yaw)) < 3
    world.robot.set_tool_velocity((0.1, 0.1, 0.15))
    world.robot.gripper.set_speed(0.0)  # squeezed on
    world.step(240)
    lifted, _ = world.block_pose()
    assert world.holds_block()
    np.testing.assert_allclose(lifted, world.robot.tool_position(), atol=0.01)
    assert lifted[2] > 0.12
    world.robot.set_tool_velocity((0.0, 0.0, 0.0))
    world.robot.gripper.set_speed(0.1)
    world.step(120)
    dropped, _ = world.block_pose()
    assert not world.holds_block()
    assert dropped[2] == pytest.approx(0.025, abs=3e-3)
    assert np.linalg.norm(dropped[:2] - lifted[:2]) < 0.05


def test_a_slippery_block_is_not_held(world):
    """What holds it is friction, and nothing else."""
    world.reset(Scene(friction=0.01))
    grasp(world)
    world.robot.set_tool_velocity((0.0, 0.0, 0.1))
    world.step(240)
    assert world.block_pose()[0][2] < 0.04


def test_pressing_on_the_block_does_not_shoot_it_away(world):
    rng = np.random.default_rng(0)
    for _ in range(8):
        world.reset(Scene())
        world.place_block((0.5, 0.0, 0.025), float(rng.uniform(-0.3, 0.3)))
        offset = rng.uniform(-0.045, 0.045, 2)
        world.robot.place_tool((0.5 + offset[0], offset[1], 0.12))
        world.robot.gripper.set_speed(float(rng.choice([-0.1, 0.1])))
        world.robot.set_tool_velocity((0.0, 0.0, -0.25))
        before, _ = world.block_pose()
        for _ in range(10):
            world.step(24)
            after, _ = world.block_pose()
            assert np.linalg.norm(after - before) < 0.03  # in 0.1 s
            assert after[2] < 0.06
            before = after
        assert np.linalg.norm(after[:2] - (0.5, 0.0)) < 0.08


def test_fingers_mirror_each_other_and_stop_at_their_ends(world):
    for speed, end in ((-0.1, 0.0), (0.1, OPEN_M)):
        world.robot.gripper.set_speed(speed)
        world.step(180)
        states = [
            world._bullet.getJointState(world.robot.body, link)[0]
            for link in world.robot.gripper.links
        ]
        np.testing.assert_allclose(states, end, atol=2e-3)


def test_a_block_that_was_only_pushed_there_does_not_count(env):
    core = env.unwrapped
    _, info = env.reset(seed=4)
    core._world.place_block(info["goal_position_m"], 0.0)
    core.advance(0.1)
    truth = core.truth()
    assert truth["distance_m"] < 0.01
    assert not truth["success"]
    core._lifted = True
    assert core.truth()["success"]


def test_a_new_episode_forgets_the_stages_and_opens_the_hand(env):
    _, info = env.reset(seed=1)
    for _ in range(25):
        _, _, _, _, info = env.step(sim.scripted_action(ENV, info))
    assert info["success_grasp"]
    observation, info = env.reset(seed=2)
    assert not any(info[name] for name in STAGES)
    assert info["gripper_m"] == pytest.approx(OPEN_M, abs=1e-6)
    index = env.unwrapped.proprio_names.index("panda_finger_joint1.position")
    assert observation["proprio"][index] == pytest.approx(OPEN_M, abs=1e-6)
    assert env.unwrapped.action_names == ("tool.vx", "tool.vy", "tool.vz", "gripper.v")


def test_the_stages_are_shown_and_leave_the_start_as_it_is(env):
    core = env.unwrapped
    observation, info = env.reset(seed=5)
    shown = [stage["goal_image"] for stage in core.subgoals()]
    assert len(shown) == 4
    seen = [observation["image"], *shown, observation["goal_image"]]
    for before, after in itertools.pairwise(seen):
        assert (before != after).any()
    np.testing.assert_allclose(info["block_position_m"], core._start_m, atol=2e-3)
    assert info["gripper_m"] == pytest.approx(OPEN_M, abs=1e-6)
    assert not any(info[name] for name in STAGES)
    again, _ = env.reset(seed=5)
    np.testing.assert_array_equal(again["image"], observation["image"])
    np.testing.assert_array_equal(core.subgoals()[1]["goal_image"], shown[1])


def test_exploration_grasps_and_lifts_often(env):
    held, high, frames, lost = 0, 0, 0, 0
    for seed in range(6):
        _, info = env.reset(seed=seed)
        explorer = sim.make_explorer(env, np.random.default_rng(seed))
        for _ in range(100):
            action = explorer.action(info)
            assert env.action_space.contains(action)
            _, _, terminated, _, info = env.step(action)
            held += bool(info["holding"])
            high += info["block_position_m"][2] > 0.05
            frames += 1
            if terminated:
                lost += 1
                break
    assert held > 0.2 * frames
    assert high > 0.1 * frames
    assert lost <= 1
