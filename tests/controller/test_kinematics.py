"""Room and tool motion of a real arm, held against what can be worked out otherwise."""

import numpy as np
import pytest

from benchmarks import panda
from controller.kinematics import Kinematics
from controller.limits import Box, Sphere
from controller.surroundings import Body, Surroundings


def test_the_tool_is_where_the_urdf_says():
    # At zero the Panda stands upright: 0.333 + 0.316 + 0.384 up, 0.088 out, 0.107 + 0.105 down.
    tool = panda.panda_arm().tool_position(np.zeros(7))
    np.testing.assert_allclose(tool, [0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.212], atol=1e-3)


def test_joints_may_be_named_in_any_order():
    straight = panda.panda_arm()
    turned = Kinematics(
        panda.URDF, panda.JOINTS[::-1], panda.TOOL, panda.SURROUNDINGS, panda.HOME[::-1]
    )
    turned.hold_orientation(panda.HOME[::-1])
    posture, wide = panda.HOME + 0.1, np.full(7, 9.0)
    np.testing.assert_allclose(
        turned.tool_position(posture[::-1]), straight.tool_position(posture), atol=1e-12
    )
    wanted = np.array([0.1, 0.05, -0.02])
    one = straight.solve_tool(posture, wanted, -wide, wide, panda.DT_S).velocity
    other = turned.solve_tool(posture[::-1], wanted, -wide, wide, panda.DT_S).velocity
    np.testing.assert_allclose(other[::-1], one, atol=1e-6)
    (room, pair), (other_room, other_pair) = (
        straight.room(posture[None]),
        turned.room(posture[None, ::-1]),
    )
    assert (other_room, other_pair) == (pytest.approx(room), pair)
    np.testing.assert_allclose(turned.position_low[::-1], straight.position_low)


def test_room_is_what_geometry_says():
    empty = Surroundings(margin_m=0.0)
    tool = panda.panda_arm(empty).tool_position(panda.HOME)
    assert panda.panda_arm(empty).room(panda.HOME[None]) == (np.inf, "")
    assert panda.panda_arm(empty).rooms(panda.HOME[None]).shape == (0,)
    ball = Surroundings(
        keep_out_spheres=(Sphere((tool[0] + 0.2, tool[1], tool[2]), 0.05),), margin_m=0.02
    )
    room, pair = panda.panda_arm(ball).room(panda.HOME[None])
    assert pair == "tool-sphere0"
    assert room == pytest.approx(0.2 - 0.05 - 0.02, abs=1e-3)
    box = Surroundings(keep_out_boxes=(Box(tuple(tool + 0.1), tuple(tool + 0.3)),), margin_m=0.0)
    assert panda.panda_arm(box).room(panda.HOME[None])[0] == pytest.approx(np.sqrt(0.03), abs=1e-3)
    inside = Surroundings(workspace=Box(tuple(tool - 0.3), tuple(tool + 0.1)), margin_m=0.01)
    room, pair = panda.panda_arm(inside).room(panda.HOME[None])
    assert room == pytest.approx(0.09, abs=1e-3)
    assert pair.startswith("workspace.high")


def test_room_along_a_path_misses_nothing_between_its_rows():
    """Two far apart postures on either side of a ball: neither touches it, the way between does."""
    here, there = panda.HOME.copy(), panda.HOME.copy()
    here[0], there[0] = -0.5, 0.5
    middle = panda.panda_arm().tool_position(panda.HOME)
    ball = Surroundings(keep_out_spheres=(Sphere(tuple(middle), 0.03),), margin_m=0.0)
    arm = panda.panda_arm(ball)
    assert arm.room(here[None])[0] > 0.1
    assert arm.room(there[None])[0] > 0.1
    assert arm.room(np.array([here, there]))[0] < -0.025
    rooms = arm.rooms(np.array([here, there]))
    assert rooms.min() == pytest.approx(arm.room(np.array([here, there]))[0], abs=3e-3)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_off_covers_what_was_missed(seed):
    rng = np.random.default_rng(seed)
    arm = panda.panda_arm()
    for _ in range(20):
        start = panda.HOME + rng.uniform(-0.4, 0.4, 7)
        path = np.array([start, start + rng.uniform(-0.2, 0.2, 7)])
        fine = np.linspace(path[0], path[1], 2000)
        true = min(arm.room(row[None])[0] for row in fine)
        assert arm.room(path)[0] <= true + 1e-12
        assert arm.room(path)[0] > true - 5e-3


def test_the_rest_of_a_path_has_no_less_room_than_the_whole_of_it():
    rng = np.random.default_rng(0)
    arm = panda.panda_arm()
    for _ in range(50):
        steps = rng.uniform(-0.05, 0.05, 7) * np.linspace(1.0, 0.0, 20)[:, None]
        path = panda.HOME + rng.uniform(-0.5, 0.5, 7) + np.cumsum(steps, axis=0)
        before = arm.rooms(path)
        rest = arm.rooms(path[1:])
        crossed = before < 0.0
        assert (rest[crossed] >= before[crossed] - 1e-12).all()
        assert (rest[~crossed] >= 0.0).all()
        true = np.min([arm.rooms(row[None]) for row in path], axis=0)
        assert (before <= true + 1e-12).all()


def test_no_more_looks_are_taken_where_the_end_decides():
    arm = panda.panda_arm()
    path = panda.HOME + np.linspace(0.0, 0.3, 10)[:, None]
    end = arm.rooms(path[-1:])
    np.testing.assert_array_equal(arm.rooms(path, end + 1e-3), end)
    assert (arm.rooms(path, end - 9.0) <= end).all()


def test_the_solution_moves_the_tool_as_wanted_and_keeps_its_orientation():
    arm, wide = panda.panda_arm(), np.full(7, 2.0)
    wanted = np.array([0.05, -0.1, 0.02])
    posture = panda.HOME.copy()
    before = arm.tool_position(posture)
    for _ in range(50):
        solution = arm.solve_tool(posture, wanted, -wide, wide, panda.DT_S)
        posture = posture + solution.velocity * panda.DT_S
    np.testing.assert_allclose(arm.tool_position(posture) - before, 0.5 * wanted, atol=2e-3)
    turn = arm._tool_pose(posture).rotation @ arm._orientation.T
    assert np.arccos((np.trace(turn) - 1) / 2) < 0.02


def test_an_arm_whose_tool_is_to_stay_moves_no_joint_wherever_its_elbow_is():
    arm, wide = panda.panda_arm(), np.full(7, 2.0)
    posture = panda.HOME + np.array([0.3, 0.2, -0.4, 0.1, 0.2, -0.3, 0.4])
    arm.hold_orientation(posture)
    still = arm.solve_tool(posture, np.zeros(3), -wide, wide, panda.DT_S).velocity
    np.testing.assert_allclose(still, 0.0, atol=1e-6)
    slow = arm.solve_tool(posture, np.array([0.0, 0.0, 1e-3]), -wide, wide, panda.DT_S).velocity
    assert np.abs(slow).max() < 0.05
    moving = arm.solve_tool(posture, np.array([0.0, 0.0, 0.1]), -wide, wide, panda.DT_S).velocity
    assert np.abs(moving).max() > 0.2  # it sees to its elbow while it moves


def test_a_step_that_no_velocity_allows_has_no_solution():
    arm, wide = panda.panda_arm(), np.full(7, 2.0)
    assert arm.solve_tool(panda.HOME, np.zeros(3), wide, -wide, panda.DT_S) is None


def test_everything_is_in_the_base_frame_wherever_the_robot_is_mounted():
    mount = """
        <link name="hall"/>
        <joint name="mount" type="fixed">
            <parent link="hall"/><child link="panda_link0"/>
            <origin xyz="1 2 3" rpy="0 0 1.5707963267948966"/>
        </joint></robot>"""
    urdf = panda.URDF.replace("</robot>", mount)
    rest = (panda.JOINTS, panda.TOOL, panda.SURROUNDINGS, panda.HOME)
    plain = panda.panda_arm()
    x, y, z = plain.tool_position(panda.HOME)
    in_hall = Kinematics(urdf, *rest).tool_position(panda.HOME)
    np.testing.assert_allclose(in_hall, [1.0 - y, 2.0 + x, 3.0 + z], atol=1e-9)
    mounted = Kinematics(urdf, *rest, base_frame="panda_link0")
    mounted.hold_orientation(panda.HOME)
    np.testing.assert_allclose(mounted.tool_position(panda.HOME), [x, y, z], atol=1e-9)
    assert mounted.pairs == plain.pairs
    path = np.array([panda.HOME, panda.HOME + 0.1])
    np.testing.assert_allclose(mounted.rooms(path), plain.rooms(path), atol=1e-6)
    wanted, wide = np.array([0.1, 0.05, -0.02]), np.full(7, 9.0)
    np.testing.assert_allclose(
        mounted.solve_tool(panda.HOME, wanted, -wide, wide, panda.DT_S).velocity,
        plain.solve_tool(panda.HOME, wanted, -wide, wide, panda.DT_S).velocity,
        atol=1e-6,
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"urdf": "<robot"}, "robot description"),
        (
            {"urdf": panda.URDF.replace('"revolute"', '"continuous"')},
            "joint 'panda_joint1' turns without end",
        ),
        ({"base_frame": "nozzle"}, "base_frame 'nozzle' is not in the robot's URDF, whose root is"),
        ({"base_frame": "panda_link2"}, "base_frame 'panda_link2' moves with joint 'panda_joint2'"),
        ({"joints": ("panda_joint1", "elbow")}, "joint 'elbow' is not in the robot's URDF"),
        ({"tool_frame": "nozzle"}, "tool_frame 'nozzle'"),
        (
            {"joints": panda.JOINTS[:-1], "home": panda.HOME[:-1]},
            "joint 'panda_joint7' moves tool_frame 'panda_grasptarget' and is not one of those",
        ),
        (
            {"joints": (*panda.JOINTS, "panda_finger_joint1")},
            "joint 'panda_finger_joint1' slides",
        ),
        (
            {"surroundings": Surroundings(bodies=(Body("nozzle", (0, 0, 0), 0.1),))},
            "body frame 'nozzle'",
        ),
    ],
)
def test_what_does_not_fit_the_urdf_is_refused_by_name(changes, line):
    good = {
        "urdf": panda.URDF,
        "joints": panda.JOINTS,
        "tool_frame": panda.TOOL,
        "surroundings": Surroundings(),
        "home": panda.HOME,
    }
    with pytest.raises(ValueError, match=line):
        Kinematics(**(good | changes))


def test_surroundings_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="body at panda_hand: radius must be above 0, got 0"):
        Body("panda_hand", (0.0, 0.0, 0.0), 0.0)
    with pytest.raises(ValueError, match="margin_m must be from 0 to 1, got nan"):
        Surroundings(margin_m=float("nan"))
