"""The filter of N axes: nothing it sends leaves a limit, and what it can follow it follows."""

from dataclasses import dataclass

import numpy as np
import pytest

from benchmarks import panda
from controller.braking import AxisLimits
from controller.kinematics import Solution
from controller.limits import Box
from controller.motion_filter import MotionLimits, follow
from controller.surroundings import Surroundings
from controller.viability import Motion, stopping_path

DT_S = panda.DT_S


def within(limits: MotionLimits, before: Motion, after: Motion) -> None:
    """Raise unless one command may follow another."""
    axes, small = limits.axes, 1e-6
    assert np.isfinite([after.position, after.velocity, after.acceleration]).all()
    assert (np.abs(after.velocity) <= axes.velocity * (1 + small)).all()
    assert (
        np.abs(after.velocity - before.velocity) <= axes.acceleration * DT_S * (1 + small)
    ).all()
    change = np.abs(after.acceleration - before.acceleration)
    assert (change <= axes.jerk * DT_S * (1 + small)).all()
    assert (after.position >= limits.low - 1e-5).all()
    assert (after.position <= limits.high + 1e-5).all()


def room_on_the_way(arm, before: Motion, after: Motion) -> float:
    """Looked at one by one, so without what may be missed between looks."""
    way = np.linspace(before.position, after.position, 5)
    return min(arm.room(row[None])[0] for row in way)


@pytest.mark.parametrize("seed", range(3))
def test_random_wishes_never_leave_the_limits(seed):
    rng = np.random.default_rng(seed)
    arm, limits = panda.panda_arm(), panda.panda_limits(jerk_share=[1.0, 0.1, 0.03][seed])
    motion = Motion.at_rest(panda.HOME)
    for tick in range(400):
        if tick % 40 == 0:
            wanted = rng.uniform(-0.6, 0.6, 3)
        command = follow(limits, motion, wanted, DT_S, arm, "tool")
        within(limits, motion, command.motion)
        assert room_on_the_way(arm, motion, command.motion) >= -1e-6
        motion = command.motion
    assert arm.rooms(stopping_path(motion, limits.axes, DT_S)).min() >= -1e-6


@dataclass
class Reckless:
    """An arm whose programme answers anything at all, but whose geometry is right."""

    real: object
    rng: np.random.Generator

    def __getattr__(self, name):
        return getattr(self.real, name)

    def solve_tool(self, position, wanted_m_s, low, high, dt_s):
        kind = self.rng.integers(0, 10)
        if kind == 0:
            return None
        if kind == 1:
            return Solution(np.full(7, np.nan))
        return Solution(self.rng.uniform(-50, 50, 7))


def test_it_does_not_rely_on_the_programme():
    rng = np.random.default_rng(0)
    arm, limits = panda.panda_arm(), panda.panda_limits()
    reckless = Reckless(arm, rng)
    motion, stopped = Motion.at_rest(panda.HOME), 0
    for _ in range(500):
        command = follow(limits, motion, np.zeros(3), DT_S, reckless, "tool")
        within(limits, motion, command.motion)
        assert room_on_the_way(arm, motion, command.motion) >= -1e-6
        stopped += any(clamp.startswith("shield.") for clamp in command.clamps)
        motion = command.motion
    assert stopped > 0


@dataclass
class Pushing(Reckless):
    """One whose programme answers with one direction of the joints, whatever is in the way."""

    direction: np.ndarray = None

    def solve_tool(self, position, wanted_m_s, low, high, dt_s):
        return Solution(self.direction * self.rng.uniform(-0.2, 1.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("outside_m", [0.0, 0.02])
def test_pushed_against_an_obstacle_for_long_it_never_creeps_into_it(seed, outside_m):
    """Inside: no farther than one slack, ever. Outside: no farther than it began."""
    rng = np.random.default_rng(seed)
    arm, limits = panda.panda_arm(), panda.panda_limits()
    start = panda.HOME
    if outside_m:
        # Each wall passes the tool by, on the side that it is pushed to.
        tool = arm.tool_position(start)
        arm = panda.panda_arm(Surroundings(workspace=Box(tuple(tool - 0.3), tuple(tool - 0.01))))
    pushing = Pushing(arm, rng, rng.uniform(-1.0, 1.0, 7))
    motion = Motion.at_rest(start)
    allowed = np.minimum(arm.rooms(start[None]), 0.0)
    least = np.full(len(arm.pairs), np.inf)
    for tick in range(1500):
        if tick % 300 == 299:
            pushing.direction = rng.uniform(-1.0, 1.0, 7)
        motion = follow(limits, motion, np.zeros(3), DT_S, pushing, "tool").motion
        least = np.minimum(least, arm.rooms(motion.position[None]) - allowed)
    assert least.min() >= -1.001e-6


def test_follows_what_is_within_the_limits():
    arm, limits = panda.panda_arm(), panda.panda_limits()
    motion = Motion.at_rest(panda.HOME)
    for tick in range(150):
        wanted = 0.08 * np.array([np.sin(tick / 20), np.cos(tick / 20), 0.0])
        command = follow(limits, motion, wanted, DT_S, arm, "tool")
        moved = arm.tool_position(command.motion.position) - arm.tool_position(motion.position)
        if tick > 10:
            np.testing.assert_allclose(moved / DT_S, wanted, atol=3e-3)
            assert command.clamps == ()
        motion = command.motion


def test_slides_along_a_wall_and_says_which():
    # Floor at 2 cm, margin 1 cm: the tool comes down to 3 cm and a few mm and still goes along x.
    arm, limits = panda.panda_arm(), panda.panda_limits()
    motion, seen = Motion.at_rest(panda.HOME), set()
    for _ in range(400):
        command = follow(limits, motion, np.array([0.02, 0.0, -0.2]), DT_S, arm, "tool")
        seen |= set(command.clamps)
        motion = command.motion
    tool, start = arm.tool_position(motion.position), arm.tool_position(panda.HOME)
    assert 0.03 <= tool[2] < 0.04
    assert tool[0] - start[0] == pytest.approx(0.08, abs=0.02)
    assert "room.workspace.low.z" in seen


def test_outside_only_the_way_back_is_open():
    # The workspace ends 10 cm below the tool.
    arm = panda.panda_arm(Surroundings(workspace=Box((0.2, -0.5, 0.0), (0.8, 0.5, 0.3))))
    limits = panda.panda_limits()
    start = arm.tool_position(panda.HOME)
    assert start[2] > 0.4
    for wanted, moves in (([0, 0, 0.1], False), ([0, 0, 0], False), ([0, 0, -0.1], True)):
        motion = Motion.at_rest(panda.HOME)
        for _ in range(100):
            command = follow(limits, motion, np.array(wanted), DT_S, arm, "tool")
            before = arm.tool_position(motion.position)[2]
            motion = command.motion
            assert arm.tool_position(motion.position)[2] <= before + 1e-4
        assert (arm.tool_position(motion.position)[2] < start[2] - 0.05) == moves


def test_outside_a_joint_limit_only_the_way_back_is_open():
    limits = MotionLimits(("a",), AxisLimits([1.0], [5.0], [200.0]), [-1.0], [1.0])
    motion = Motion.at_rest([1.5])
    assert follow(limits, motion, np.array([0.5]), DT_S).motion.velocity == 0.0
    for _ in range(400):
        motion = follow(limits, motion, np.array([-0.5]), DT_S).motion
        assert motion.position <= 1.5 + 1e-9
    assert -1.0 <= motion.position < 1.0


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_brakes(wrong):
    arm, limits = panda.panda_arm(), panda.panda_limits()
    motion = Motion.at_rest(panda.HOME)
    for _ in range(20):
        motion = follow(limits, motion, np.array([0.1, 0.0, 0.0]), DT_S, arm, "tool").motion
    for _ in range(60):
        command = follow(limits, motion, np.array([0.1, wrong, 0.0]), DT_S, arm, "tool")
        within(limits, motion, command.motion)
        assert command.clamps == ("not_finite",)
        motion = command.motion
    assert motion.rests


def test_tool_velocities_and_kinematics_go_together():
    arm, limits, motion = panda.panda_arm(), panda.panda_limits(), Motion.at_rest(panda.HOME)
    with pytest.raises(ValueError, match="tool velocities need"):
        follow(limits, motion, np.zeros(3), DT_S, None, "tool")
    with pytest.raises(ValueError, match="and those of axes none"):
        follow(limits, motion, np.zeros(7), DT_S, arm)


def test_axes_without_kinematics_are_each_for_itself():
    # A base: 0.5 m/s and 1 rad/s, no positions. 2 m/s² · 0.01 s at 20 m/s³: 0.2 m/s² in one tick.
    limits = MotionLimits(
        ("x", "yaw"), AxisLimits([0.5, 1.0], [2.0, 4.0], [20.0, 400.0]), [-np.inf] * 2, [np.inf] * 2
    )
    command = follow(limits, Motion.at_rest([0.0, 0.0]), np.array([0.3, 2.0]), DT_S)
    np.testing.assert_allclose(command.motion.velocity, [0.002, 0.04])
    assert command.clamps == ("jerk.x", "acceleration.yaw") or command.clamps == (
        "jerk.x",
        "jerk.yaw",
    )
    motion = command.motion
    for _ in range(200):
        motion = follow(limits, motion, np.array([0.3, 2.0]), DT_S).motion
    np.testing.assert_allclose(motion.velocity, [0.3, 1.0], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"low": [2.0]}, "a: lowest position 2.0 must be below highest 1.0"),
        ({"low": [np.nan]}, "low must hold 1 numbers"),
        ({"names": ("a", "b")}, "2 names for 1 axes"),
        ({"axes": AxisLimits([5.0], [1.0], [100.0])}, "a: a stop would take 5.0 s"),
        ({"tool_speed_m_s": 0.0}, "tool_speed_m_s"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(changes, line):
    good = {"names": ("a",), "axes": AxisLimits([1.0], [5.0], [200.0]), "low": [0.0], "high": [1.0]}
    with pytest.raises(ValueError, match=line):
        MotionLimits(**(good | changes))
