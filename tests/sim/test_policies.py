import gymnasium
import numpy as np
import pytest

import sim


@pytest.fixture(params=sim.ENV_IDS)
def env_id(request):
    return request.param


def explore(env, seed, steps):
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    explorer = sim.make_explorer(env, rng)
    actions, infos, lost = [], [info], 0
    for _ in range(steps):
        actions.append(explorer.action(info))
        _, _, terminated, truncated, info = env.step(actions[-1])
        infos.append(info)
        lost += terminated
        if terminated or truncated:
            _, info = env.reset()
            explorer = sim.make_explorer(env, rng)
    return np.array(actions), infos, lost


def test_scripted_policy_succeeds(env):
    for seed in range(10):
        _, info = env.reset(seed=seed)
        done = False
        while not done:
            action = sim.scripted_action(env.spec.id, info)
            assert env.action_space.contains(action)
            _, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
        assert info["success"], f"seed {seed}: {info['distance_m']:.3f} m"


def test_scripted_policy_of_an_unknown_environment():
    with pytest.raises(ValueError, match="no scripted policy for 'Cart'"):
        sim.scripted_action("Cart", {})


def test_exploration_covers_the_workspace_and_stays_in_it(env, where):
    actions, infos, lost = explore(env, 0, 2000)
    assert lost <= 2
    assert (np.abs(actions) <= env.action_space.high).all()
    assert (np.abs(actions).max(0) > 0.8 * env.action_space.high).all()
    tools = np.array([where(info) for info in infos])
    box = env.unwrapped.box
    for axis, name in enumerate(env.unwrapped.action_names[:3]):
        low, high = box.low[axis], box.high[axis]
        assert tools[:, axis].min() > low - 2e-3, name
        assert tools[:, axis].max() < high + 2e-3, name
        # Each tenth of each axis is visited, the outermost included.
        counts, _ = np.histogram(tools[:, axis], bins=10, range=(low - 2e-3, high + 2e-3))
        assert counts.min() > 0.01 * len(tools), f"{name}: {counts}"


@pytest.mark.parametrize("env_id", ["foresee/Push-v0"])
def test_exploration_pushes_the_block(env):
    _, infos, _ = explore(env, 1, 700)
    blocks = np.array([info["block_position_m"][:2] for info in infos])
    moved = np.linalg.norm(np.diff(blocks, axis=0), axis=1)
    assert (moved[moved < 0.05] > 2e-3).mean() > 0.15  # jumps above are new episodes


def test_exploration_repeats_with_its_seed(env):
    first, _, _ = explore(env, 3, 120)
    second, _, _ = explore(env, 3, 120)
    np.testing.assert_array_equal(first, second)


def test_observation_holds_nothing_of_the_block_but_its_looks():
    """Moving the block changes the truth and the image, and not one number of the readings."""
    env = gymnasium.make("foresee/Push-v0").unwrapped
    before, info = env.reset(seed=4)
    env._world.place_block(info["block_position_m"] + [0.05, 0.05, 0.0], 0.5)
    after = env.observe()
    assert env.truth()["block_yaw_rad"] != info["block_yaw_rad"]
    assert set(after) == {"image", "proprio", "goal_image"}
    assert (after["image"] != before["image"]).any()
    np.testing.assert_array_equal(after["proprio"], before["proprio"])
    np.testing.assert_array_equal(after["goal_image"], before["goal_image"])
    env.close()
