from pathlib import Path

import gymnasium
import numpy as np
import pytest

import sim
from sim.camera import TABLE_CAMERAS, render
from sim.envs import reach
from sim.randomization import Randomization, Scene
from sim.world import World

SHIPPED = Path(__file__).parents[2] / "config" / "randomization.yaml"


def tool_pixels(image):
    """Pixels of the tool's colour: clearly more red than green and blue."""
    red, green, blue = (image[..., channel].astype(int) for channel in range(3))
    return (red > green + 60) & (red > blue + 60)


def test_tool_is_seen_everywhere_in_the_workspace():
    world = World(reach.BOX)
    world.reset(Scene())
    for x in np.linspace(reach.BOX.low[0], reach.BOX.high[0], 4):
        for y in np.linspace(reach.BOX.low[1], reach.BOX.high[1], 5):
            for z in np.linspace(reach.BOX.low[2], reach.BOX.high[2], 4):
                world.robot.place_tool((x, y, z))
                seen = tool_pixels(world.render(TABLE_CAMERAS["scene"], 64)).sum()
                assert seen >= 6, f"{seen} pixels of the tool at {x:.2f} {y:.2f} {z:.2f}"
    world.close()


def test_one_centimetre_changes_the_image_along_each_axis():
    world = World(reach.BOX)
    world.reset(Scene())
    centre = np.mean([reach.BOX.low, reach.BOX.high], axis=0)
    world.robot.place_tool(centre)
    before = world.render(TABLE_CAMERAS["scene"], 64).astype(int)
    for axis in range(3):
        world.robot.place_tool(centre + 0.01 * np.eye(3)[axis])
        change = np.abs(world.render(TABLE_CAMERAS["scene"], 64) - before).max(axis=2)
        assert (change > 20).sum() >= 10, "xyz"[axis]
    world.close()


def test_goal_image_is_what_the_camera_sees_at_the_goal():
    env = gymnasium.make("foresee/Reach-v0")
    observation, info = env.reset(seed=11)
    for _ in range(50):
        action = sim.scripted_action("foresee/Reach-v0", info)
        observation, _, _, _, info = env.step(action)
    difference = np.abs(observation["image"].astype(int) - observation["goal_image"])
    assert difference.mean() < 0.5
    env.close()


def test_images_of_a_pybullet_without_numpy_are_accepted():
    """Such a build gives flat tuples."""

    class TupleBullet:
        def __init__(self, bullet):
            self._bullet = bullet

        def __getattr__(self, name):
            return getattr(self._bullet, name)

        def getCameraImage(self, *args, **kwargs):  # noqa: N802 - PyBullet's name
            width, height, rgba, depth, mask = self._bullet.getCameraImage(*args, **kwargs)
            return width, height, tuple(rgba.ravel().tolist()), tuple(depth.ravel()), mask

    world = World(reach.BOX)
    world.reset(Scene())
    array = render(world._bullet, TABLE_CAMERAS["scene"], 32, (0.5, 0.5, 0.5))
    flat = render(TupleBullet(world._bullet), TABLE_CAMERAS["scene"], 32, (0.5, 0.5, 0.5))
    np.testing.assert_array_equal(array, flat)
    world.close()


def test_intrinsics_project_the_target_to_the_middle_and_the_edge_to_the_edge():
    camera = TABLE_CAMERAS["scene"]
    matrix = camera.intrinsics(64)
    half = np.tan(np.radians(camera.fov_deg / 2))
    np.testing.assert_allclose(matrix @ [0.0, 0.0, 1.0], [32, 32, 1])
    np.testing.assert_allclose(matrix @ [half, -half, 1.0], [64, 0, 1])


def test_shipped_randomization_changes_frames_and_repeats():
    randomization = Randomization.from_yaml(SHIPPED)
    plain = gymnasium.make("foresee/Push-v0")
    varied = gymnasium.make("foresee/Push-v0", randomization=randomization)
    nominal = plain.reset(seed=1)[0]["image"]
    first = varied.reset(seed=1)[0]["image"]
    other = varied.reset(seed=2)[0]["image"]
    again = varied.reset(seed=1)[0]["image"]
    # The far corner shows table only: there, colour and light alone differ.
    assert (nominal[-1, 0] != first[-1, 0]).any()
    assert (other[-1, 0] != first[-1, 0]).any()
    np.testing.assert_array_equal(first, again)
    plain.close()
    varied.close()


def test_draws_stay_within_their_ranges():
    randomization = Randomization.from_yaml(SHIPPED)
    rng = np.random.default_rng(0)
    scenes = [randomization.draw(rng) for _ in range(300)]
    friction = [scene.friction for scene in scenes]
    mass_kg = [scene.block_mass_kg for scene in scenes]
    assert 0.3 <= min(friction) < 0.35 < 0.75 < max(friction) <= 0.8
    assert 0.1 <= min(mass_kg) < 0.12 < 0.38 < max(mass_kg) <= 0.4
    shifts = np.array([scene.camera_shift_m for scene in scenes])
    assert 0.028 < np.abs(shifts).max() <= 0.03


def test_exact_departures_are_always_as_large_as_they_may_be():
    randomization = Randomization(
        0.02, 0.035, 0.3, 0.05, friction=(0.3, 0.8), block_mass_kg=(0.1, 0.4), exact=True
    )
    rng = np.random.default_rng(0)
    scenes = [randomization.draw(rng) for _ in range(40)]
    for scene in scenes:
        assert np.linalg.norm(scene.camera_shift_m) == pytest.approx(0.02)
        assert np.linalg.norm(scene.camera_turn_rad) == pytest.approx(0.035)
        assert np.linalg.norm(scene.light_shift) == pytest.approx(0.3)
        np.testing.assert_allclose(np.abs(np.subtract(scene.table, Scene.table)), 0.05)
    assert {scene.friction for scene in scenes} == {0.3, 0.8}
    assert {scene.block_mass_kg for scene in scenes} == {0.1, 0.4}
    # Every way, not one: the mean of 40 unit vectors is about 0.16 long.
    mean = np.mean([scene.camera_shift_m for scene in scenes], axis=0)
    assert np.linalg.norm(mean) < 0.4 * 0.02


def test_a_seed_has_its_start_and_goal_however_they_look():
    infos = []
    for randomization in (None, {"color": 0.1, "camera_position_m": 0.02}):
        env = gymnasium.make("foresee/Push-v0", randomization=randomization)
        infos.append([env.reset(seed=seed)[1] for seed in (4, 5)])
        env.close()
    for nominal, varied in zip(*infos, strict=True):
        for name in ("tool_position_m", "block_position_m", "goal_position_m"):
            np.testing.assert_allclose(varied[name], nominal[name], atol=1e-9)


def test_nothing_asked_for_is_the_nominal_scene():
    assert Randomization().draw(np.random.default_rng(0)) == Scene()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: 0.1", "no 'colour'; did you mean 'color'?"),
        ("color: 2", "randomization.color is 2; give 0 to 1.0"),
        ("color: .nan", "randomization.color is nan; give 0 to 1.0"),
        ("exact: 1", "randomization.exact is 1; give true or false"),
        ("friction: 0.3", "randomization.friction is 0.3; give [lowest, highest]"),
        ("friction: [0.8, 0.3]", "randomization.friction is (0.8, 0.3)"),
        ("block_mass_kg: [a, b]", "randomization.block_mass_kg is ('a', 'b')"),
        ("[1, 2]", "expected `name: value` lines"),
        ("color: [", "while parsing"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"wrong\.yaml: ") as error:
        Randomization.from_yaml(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
