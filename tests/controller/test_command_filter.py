"""The command filter: it brakes for every reason it has, and never leaves a limit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.command_filter import (
    CommandLimits,
    CommandRequest,
    CommandState,
    PlanSchedule,
    filter_command,
)
from controller.types import NS_PER_S, Plan, PlanStatus

DT_S = 0.01
LIMITS = CommandLimits(
    speed_m_s=(0.25, 0.25, 0.25),
    acceleration_m_s2=(5.0, 5.0, 5.0),
    workspace_low_m=(0.2, -0.5, 0.0),
    workspace_high_m=(0.8, 0.5, 0.8),
)
MIDDLE = np.array([0.5, 0.0, 0.4])
STILL = np.zeros(3)


def request(**changes) -> CommandRequest:
    good = {
        "armed": True,
        "wanted_m_s": np.array([0.1, 0.0, 0.0]),
        "plan_usable": True,
        "plan_age_s": 0.05,
        "tool_position_m": MIDDLE,
        "pose_age_s": 0.01,
    }
    return CommandRequest(**(good | changes))


def plan(start_s: float, vx: float = 0.1, duration_s: float = 0.8, usable: bool = True) -> Plan:
    return Plan(
        start_ns=round(start_s * NS_PER_S),
        knot_times_s=np.array([0.0]),
        knots=np.array([[vx, 0.0, 0.0]], np.float32),
        duration_s=duration_s,
        cost=0.0,
        status=PlanStatus.OK if usable else PlanStatus.NO_FINITE_ROLLOUT,
    )


def test_follows_a_plan_within_the_limits_exactly():
    # 0.1 m/s is below the speed limit; from 0.08 it is 0.02 away, one tick allows 5 · 0.01 = 0.05.
    command = filter_command(LIMITS, np.array([0.08, 0.0, 0.0]), request(), DT_S)
    assert command.state is CommandState.FOLLOWING
    assert command.clamps == ()
    np.testing.assert_allclose(command.velocity_m_s, [0.1, 0.0, 0.0])


def test_ramps_with_the_acceleration_limit_and_says_so():
    # 5 m/s² · 0.01 s = 0.05 m/s a tick: 0.05, then 0.1.
    first = filter_command(LIMITS, STILL, request(), DT_S)
    second = filter_command(LIMITS, first.velocity_m_s, request(), DT_S)
    assert first.clamps == ("acceleration.x",)
    assert first.velocity_m_s[0] == pytest.approx(0.05)
    assert second.velocity_m_s[0] == pytest.approx(0.1)
    assert second.clamps == ()


def test_clips_each_axis_to_its_speed():
    wanted = np.array([1.0, -1.0, 0.2])
    command = filter_command(LIMITS, np.array([0.25, -0.25, 0.2]), request(wanted_m_s=wanted), DT_S)
    np.testing.assert_allclose(command.velocity_m_s, [0.25, -0.25, 0.2])
    assert command.clamps == ("speed.x", "speed.y")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"armed": False}, CommandState.NOT_ARMED),
        ({"wanted_m_s": None}, CommandState.NO_PLAN),
        ({"plan_usable": False}, CommandState.PLAN_UNUSABLE),
        ({"plan_age_s": 0.36}, CommandState.PLAN_STALE),
        ({"plan_age_s": math.nan}, CommandState.PLAN_STALE),
        ({"wanted_m_s": np.array([math.nan, 0, 0])}, CommandState.PLAN_NOT_FINITE),
        ({"wanted_m_s": np.array([0, math.inf, 0])}, CommandState.PLAN_NOT_FINITE),
        ({"tool_position_m": None}, CommandState.POSE_STALE),
        ({"pose_age_s": 0.21}, CommandState.POSE_STALE),
        ({"pose_age_s": math.nan}, CommandState.POSE_STALE),
        ({"tool_position_m": np.array([0.5, math.nan, 0.4])}, CommandState.POSE_NOT_FINITE),
    ],
)
def test_brakes_within_the_limits_for_every_reason(changes, state):
    # From 0.12 m/s at 0.05 m/s a tick: 0.07, 0.02, 0 and it stays there.
    velocity, seen = np.array([0.12, -0.12, 0.0]), []
    for _ in range(4):
        command = filter_command(LIMITS, velocity, request(**changes), DT_S)
        assert command.state is state
        velocity = command.velocity_m_s
        seen.append(velocity.copy())
    np.testing.assert_allclose(
        seen, [[0.07, -0.07, 0], [0.02, -0.02, 0], [0, 0, 0], [0, 0, 0]], atol=1e-12
    )


def test_a_late_tick_does_not_jump():
    # 1 s late, but at most max_step_s = 0.02 s of acceleration: 5 · 0.02 = 0.1.
    wanted = np.array([0.25, 0.0, 0.0])
    command = filter_command(LIMITS, STILL, request(wanted_m_s=wanted), 1.0)
    assert command.velocity_m_s[0] == pytest.approx(0.1)


@pytest.mark.parametrize("direction", [(1, 1, 1), (-1, -1, -1), (1, -1, 0)])
def test_stops_in_front_of_the_wall(direction):
    """A tool that follows its commands perfectly, one tick late, pushed at the wall for 6 s."""
    wanted = 0.25 * np.array(direction, float)
    position, velocity, reported = MIDDLE.copy(), STILL, MIDDLE.copy()
    for _ in range(600):
        asked = request(wanted_m_s=wanted, tool_position_m=reported)
        reported = position.copy()
        velocity = filter_command(LIMITS, velocity, asked, DT_S).velocity_m_s
        position = position + velocity * DT_S
        assert (position >= np.array(LIMITS.workspace_low_m) - 1e-6).all()
        assert (position <= np.array(LIMITS.workspace_high_m) + 1e-6).all()
    wall = np.where(wanted > 0, LIMITS.workspace_high_m, LIMITS.workspace_low_m)
    moved = wanted != 0
    np.testing.assert_allclose(position[moved], wall[moved], atol=5e-3)  # and it gets there


def test_outside_the_workspace_only_the_way_back_is_open():
    outside = np.array([0.9, 0.0, 0.4])
    away = filter_command(LIMITS, STILL, request(tool_position_m=outside), DT_S)
    back = filter_command(
        LIMITS, STILL, request(tool_position_m=outside, wanted_m_s=np.array([-0.1, 0, 0])), DT_S
    )
    assert away.velocity_m_s[0] == 0.0
    assert away.clamps == ("workspace.x",)
    assert back.velocity_m_s[0] == pytest.approx(-0.05)


ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
VECTOR = st.one_of(st.none(), st.tuples(ANY, ANY, ANY).map(np.array))


@settings(max_examples=300, deadline=None)
@given(
    armed=st.booleans(),
    usable=st.booleans(),
    ticks=st.lists(st.tuples(VECTOR, VECTOR, ANY, ANY, ANY), min_size=1, max_size=8),
)
def test_whatever_comes_the_command_is_finite_and_within_limits(armed, usable, ticks):
    velocity = STILL
    for wanted, position, plan_age, pose_age, dt_s in ticks:
        asked = CommandRequest(armed, wanted, usable, plan_age, position, pose_age)
        command = filter_command(LIMITS, velocity, asked, dt_s)
        change = np.abs(command.velocity_m_s - velocity)
        assert np.isfinite(command.velocity_m_s).all()
        assert (np.abs(command.velocity_m_s) <= 0.25 + 1e-12).all()
        assert (change <= 5.0 * LIMITS.max_step_s + 1e-12).all()
        velocity = command.velocity_m_s


def test_a_plan_stays_in_force_until_the_next_one_starts():
    schedule = PlanSchedule()
    schedule.add(plan(1.0, vx=0.1), arrival_s=0.0)
    schedule.add(plan(1.1, vx=0.2), arrival_s=0.1)  # made in time: arrives before it starts
    assert schedule.in_force(round(1.05e9)).action_at(round(1.05e9))[0] == pytest.approx(0.1)
    assert schedule.in_force(round(1.15e9)).action_at(round(1.15e9))[0] == pytest.approx(0.2)


def test_the_last_plan_to_arrive_replaces_those_that_start_after_it():
    schedule = PlanSchedule()
    schedule.add(plan(1.0, vx=0.1), 0.0)
    schedule.add(plan(3.0, vx=0.2), 0.1)
    schedule.add(plan(1.5, vx=0.3), 0.2)
    assert schedule.in_force(round(3.5e9)).knots[0, 0] == pytest.approx(0.3)


def test_a_stop_plan_takes_effect_at_once():
    schedule = PlanSchedule()
    schedule.add(plan(1.0), 0.0)
    schedule.add(plan(9.0, usable=False), 0.1)
    assert not schedule.in_force(round(1.1e9)).usable
    assert not schedule.newest.usable
    schedule.add(plan(9.1), 0.2)  # and ends with the next good one
    assert schedule.newest.usable
    assert schedule.in_force(round(1.2e9)).usable


def test_the_age_is_the_larger_of_arrival_and_stamp():
    schedule = PlanSchedule()
    assert schedule.age_s(0, 0.0) == math.inf
    schedule.add(plan(10.0), arrival_s=100.0)
    assert schedule.age_s(round(10.1e9), 100.2) == pytest.approx(0.2)  # arrival 0.2, stamp 0.1
    assert schedule.age_s(round(10.5e9), 100.2) == pytest.approx(0.5)  # stamp 0.5: it came late
    assert schedule.age_s(0, 100.4) == pytest.approx(0.4)  # the wall clock jumped back
    schedule.clear()
    assert schedule.in_force(0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"speed_m_s": (0.1, 0.0, 0.1)},
        {"acceleration_m_s2": (1.0, 1.0, math.nan)},
        {"speed_m_s": (0.1, 0.1)},
        {"workspace_low_m": (0.9, -0.5, 0.0)},
        {"max_plan_age_s": 0.0},
        {"max_pose_age_s": math.inf},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(wrong):
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=name):
        CommandLimits(**wrong)
