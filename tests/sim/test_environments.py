import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim
from sim.envs.reach import ReachEnv


@pytest.fixture(params=sim.ENV_IDS)
def env(request):
    env = gymnasium.make(request.param)
    yield env
    env.close()


def run(env, seed, actions):
    observation, info = env.reset(seed=seed)
    observations, infos = [observation], [info]
    for action in actions:
        observation, _, _, _, info = env.step(action)
        observations.append(observation)
        infos.append(info)
    return observations, infos


@pytest.mark.parametrize("env_id", sim.ENV_IDS)
def test_gymnasium_accepts_it(env_id):
    env = gymnasium.make(env_id, render_mode="rgb_array").unwrapped
    check_env(env)
    env.close()


def test_observation_has_the_shapes_and_names_it_promises(env):
    observation, _ = env.reset(seed=1)
    assert observation["image"].shape == (64, 64, 3)
    assert observation["proprio"].shape == (len(env.unwrapped.proprio_names),)
    assert len(env.unwrapped.action_names) == env.action_space.shape[0]


def test_an_arm_reads_its_joints_and_its_tool():
    env = gymnasium.make("foresee/Reach-v0")
    observation, info = env.reset(seed=1)
    assert observation["proprio"].shape == (17,)
    tool = [env.unwrapped.proprio_names.index(f"tool.{axis}") for axis in "xyz"]
    np.testing.assert_allclose(observation["proprio"][tool], info["tool_position_m"], atol=1e-6)
    env.close()


def test_a_frame_is_not_changed_by_the_next(env):
    observation, _ = env.reset(seed=1)
    before = {name: value.copy() for name, value in observation.items()}
    env.step(env.action_space.high)
    for name, value in before.items():
        np.testing.assert_array_equal(observation[name], value)


def test_an_episode_is_the_same_whatever_was_before(env):
    high = env.action_space.high
    actions = np.random.default_rng(0).uniform(-high, high, (20, len(high)))
    first, first_infos = run(env, 5, actions)
    run(env, 6, -actions)
    second, second_infos = run(env, 5, actions)
    for one, other in zip(first, second, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert first_infos[-1]["distance_m"] == second_infos[-1]["distance_m"]


def test_different_seeds_differ(env):
    first, _ = env.reset(seed=5)
    second, _ = env.reset(seed=6)
    assert (first["image"] != second["image"]).any()
    assert (first["goal_image"] != second["goal_image"]).any()


def test_episode_is_cut_at_its_last_step(env):
    env.reset(seed=0)
    zero = np.zeros(env.action_space.shape, np.float32)
    blank = np.zeros((64, 64, 3), np.uint8)
    env.unwrapped._image = blank.copy
    ends = [env.step(zero)[2:4] for _ in range(env.spec.max_episode_steps)]
    assert ends[-1] == (False, True)
    assert not any(terminated or truncated for terminated, truncated in ends[:-1])


def test_doing_nothing_fails_and_moves_nothing(env, where):
    _, start = env.reset(seed=0)
    zero = np.zeros(env.action_space.shape, np.float32)
    for _ in range(50):
        _, _, _, _, info = env.step(zero)
    assert not info["success"]
    np.testing.assert_allclose(where(info), where(start), atol=2e-3)


def test_finer_time_gives_the_same_motion(env, where):
    """What a robot node does, 10 ms at a time, is what `step` does at once."""
    high = env.action_space.high
    actions = np.random.default_rng(1).uniform(-high, high, (15, len(high)))
    _, infos = run(env, 3, actions)
    env.reset(seed=3)
    core = env.unwrapped
    for action in actions:
        core.command(action)
        for _ in range(round(core.control_dt_s / 0.01)):
            core.advance(0.01)
    np.testing.assert_array_equal(where(core.truth()), where(infos[-1]))
    assert core.observe()["proprio"].dtype == np.float32


def test_actions_beyond_the_limits_are_the_limits(env):
    beyond, _ = run(env, 2, [10 * env.action_space.high] * 3)
    at, _ = run(env, 2, [env.action_space.high] * 3)
    np.testing.assert_array_equal(beyond[-1]["proprio"], at[-1]["proprio"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (lambda size: np.zeros(size + 1), r"action has shape \(\d,\); give \(\d,\): \w+.vx"),
        (lambda size: np.full(size, np.nan), "action is .*nan.*; give finite numbers"),
    ],
)
def test_a_wrong_action_is_refused(env, action, message):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.unwrapped.command(action(env.action_space.shape[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"camera": "scen"}, "no camera 'scen'; there are: scene, front, top"),
        ({"image_size": 4}, "image_size is 4; give 16 to 1024 pixels"),
        ({"randomization": {"colour": 0.1}}, "no 'colour'; did you mean 'color'"),
        ({"render_mode": "human"}, "render_mode is 'human'"),
    ],
)
def test_a_wrong_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ReachEnv(**options)


def test_push_with_yaw_counts_quarter_turns_as_none():
    env = gymnasium.make("foresee/Push-v0")
    core = env.unwrapped
    _, info = env.reset(seed=2)
    goal, yaw = info["goal_position_m"], info["block_yaw_rad"]
    for offset_m, turn_deg, expected in (
        (0.0, 0.0, (True, True, True)),
        (0.0, 90.0, (True, True, True)),
        (0.0, -76.0, (True, True, True)),  # 14° from a quarter turn
        (0.0, 45.0, (True, True, False)),
        (0.03, 0.0, (True, False, True)),
        (0.05, 0.0, (False, False, False)),
    ):
        core._world.place_block(goal + np.array([offset_m, 0, 0]), yaw + np.radians(turn_deg))
        truth = core.truth()
        names = ("success", "success_25mm", "success_with_yaw")
        assert tuple(truth[name] for name in names) == expected, (offset_m, turn_deg)
    env.close()


def test_two_cameras_see_the_same_instant_from_two_places() -> None:
    one = gymnasium.make("foresee/Push-v0")
    two = gymnasium.make("foresee/Push-v0", more_cameras=("front",))
    obs, both = one.reset(seed=3)[0], two.reset(seed=3)[0]
    assert two.observation_space.contains(both)
    for kind in ("image", "goal_image"):
        np.testing.assert_array_equal(obs[kind], both[kind])
        difference = np.abs(both[kind].astype(float) - both[f"{kind}.front"])
        assert difference.mean() > 10
    one.close()
    two.close()


def test_refuses_a_further_camera_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="there are: scene, front"):
        gymnasium.make("foresee/Push-v0", more_cameras=("wrist",))
