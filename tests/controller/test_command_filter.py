"""The command filter: it brakes for every reason it has, and never leaves a limit."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import panda
from controller.braking import AxisLimits
from controller.command_filter import (
    CommandFilter,
    CommandState,
    Situation,
    StopTimes,
    why_not_armed,
)
from controller.motion_filter import MotionLimits
from controller.types import NS_PER_S

DT_S = 0.01
LOW, HIGH = np.array([0.2, -0.5, 0.0]), np.array([0.8, 0.5, 0.8])
LIMITS = MotionLimits(("x", "y", "z"), AxisLimits([0.25] * 3, [5.0] * 3, [100.0] * 3), LOW, HIGH)
TIMES = StopTimes(slow_surprise=4.0, stop_surprise=8.0)
MIDDLE = np.array([0.5, 0.0, 0.4])


def situation(**changes) -> Situation:
    good = {
        "armed": True,
        "wanted": np.array([0.1, 0.0, 0.0]),
        "plan_usable": True,
        "plan_age_s": 0.05,
        "position": MIDDLE,
        "position_age_s": 0.01,
    }
    return Situation(**(good | changes))


class Tool:
    """A tool that follows its commands perfectly, one tick late, and the filter in front of it."""

    def __init__(self, start=MIDDLE, limits=LIMITS):
        self.filter = CommandFilter(limits, TIMES, DT_S)
        self.filter.begin(np.array(start))
        self.position, self.reported = np.array(start), np.array(start)
        self.now_s, self.sent, self.previous = 100.0, [np.zeros(3)], None

    def tick(self, elapsed_s=DT_S, **changes):
        self.now_s += DT_S
        asked = situation(**({"position": self.reported, "position_age_s": DT_S} | changes))
        command = self.filter.tick(asked, self.now_s, elapsed_s)
        self.reported = self.position.copy()
        self.position = self.position + command.motion.velocity * DT_S
        self.sent.append(command.motion.velocity)
        return command

    def check(self, limits=LIMITS):
        """Raise unless all that was sent is within the limits, as its receiver sees it."""
        sent = np.array(self.sent)
        accelerations = np.diff(sent, axis=0) / DT_S
        jerks = np.diff(accelerations, axis=0, prepend=0) / DT_S
        assert np.isfinite(sent).all()
        assert (np.abs(sent) <= limits.axes.velocity * (1 + 1e-6)).all()
        assert (np.abs(accelerations) <= limits.axes.acceleration * (1 + 1e-6)).all()
        assert (np.abs(jerks) <= limits.axes.jerk * (1 + 1e-6)).all()


def test_follows_a_plan_within_the_limits_exactly():
    # 0.1 m/s from rest at 100 m/s³ and 5 m/s²: 10 m/s² for a tick = 1 + 2 + 3 + 3 + 1 at least.
    tool = Tool()
    commands = [tool.tick() for _ in range(20)]
    tool.check()
    assert commands[0].clamps == ("jerk.x",)
    assert commands[0].motion.velocity[0] == pytest.approx(0.01)
    np.testing.assert_allclose(commands[-1].motion.velocity, [0.1, 0.0, 0.0], atol=1e-9)
    assert commands[-1].state is CommandState.FOLLOWING
    assert commands[-1].clamps == ()


def test_a_wish_about_an_arms_tool_is_followed_as_steadily_as_the_tools_limits_say():
    limits = AxisLimits([0.25] * 3, [1.0] * 3, [20.0] * 3)
    followed = CommandFilter(
        panda.panda_limits(),
        TIMES,
        DT_S,
        panda.panda_arm(),
        "tool",
        positions_are_sent=True,
        tool_limits=limits,
    )
    followed.begin(panda.HOME)
    np.testing.assert_array_equal(followed.tool_velocity(), 0.0)
    sent = [np.zeros(3)]
    for number in range(80):
        # It asks for 1 m/s along y, four times what the tool may do, and then to be disarmed.
        asked = situation(
            position=followed.motion.position,
            wanted=np.array([0.1, 1.0, 0.0]),
            armed=number < 60,
        )
        followed.tick(asked, 100.0 + number * DT_S, DT_S)
        sent.append(followed.tool_velocity())
    np.testing.assert_allclose(sent[60], [0.025, 0.25, 0.0], atol=5e-3)  # in its direction
    # What the tool does is the joints' doing: as steady as it was wished but for some per cent.
    accelerations = np.diff(sent[:61], axis=0) / DT_S
    assert np.abs(accelerations).max() == pytest.approx(1.0, rel=0.1)
    assert followed.motion.rests
    np.testing.assert_array_equal(sent[-1], 0.0)


def test_a_base_goes_on_from_wherever_it_is_and_has_no_tool():
    base = CommandFilter(LIMITS, TIMES, DT_S, located=False)
    assert base.begun
    for number in range(30):
        asked = situation(position=np.full(3, 100.0 * number))
        assert base.tick(asked, 100.0 + number * DT_S, DT_S).state is CommandState.FOLLOWING
    np.testing.assert_allclose(base.motion.velocity, [0.1, 0.0, 0.0], atol=1e-9)
    assert base.tool_velocity() is None


def test_motion_cannot_begin_nowhere():
    with pytest.raises(ValueError, match="cannot begin at"):
        CommandFilter(LIMITS, TIMES, DT_S).begin(np.array([0.5, math.nan, 0.4]))


BRAKES = [
    ({"armed": False}, CommandState.NOT_ARMED),
    ({"wanted": None}, CommandState.NO_PLAN),
    ({"plan_usable": False}, CommandState.PLAN_UNUSABLE),
    ({"plan_age_s": 0.151}, CommandState.PLAN_STALE),
    ({"plan_age_s": math.nan}, CommandState.PLAN_STALE),
    ({"plan_ahead_s": 1.1}, CommandState.PLAN_STALE),
    ({"wanted": np.array([math.nan, 0, 0])}, CommandState.PLAN_NOT_FINITE),
    ({"wanted": np.array([0, math.inf, 0])}, CommandState.PLAN_NOT_FINITE),
    ({"position": None}, CommandState.POSE_STALE),
    ({"position_age_s": 0.101}, CommandState.POSE_STALE),
    ({"position_age_s": -0.051}, CommandState.POSE_STALE),
    ({"position_age_s": math.nan}, CommandState.POSE_STALE),
    ({"position": np.array([0.5, math.nan, 0.4])}, CommandState.POSE_NOT_FINITE),
    ({"position": MIDDLE + 0.2}, CommandState.NOT_TRACKING),
    ({"image_age_s": 0.51}, CommandState.IMAGE_STALE),
    ({"image_age_s": -0.06}, CommandState.IMAGE_STALE),
    ({"image_age_s": math.nan}, CommandState.IMAGE_STALE),
    ({"agent_alive": False}, CommandState.AGENT_LOST),
    ({"surprise": 8.0}, CommandState.SURPRISED),
    ({"surprise": math.nan}, CommandState.SURPRISED),
]


@pytest.mark.parametrize(("changes", "state"), BRAKES)
def test_brakes_within_the_limits_for_every_reason(changes, state):
    # 0.2 m/s is 20 m/s² for a tick = 1 + 2 + 3 + 4 + 4 + 3 + 2 + 1: at rest after 8.
    tool = Tool()
    for _ in range(30):
        tool.tick(wanted=np.array([0.2, -0.2, 0.0]))
    for _ in range(9):
        assert tool.tick(**changes).state is state
    tool.check()
    assert not tool.sent[-1].any()
    assert tool.filter.motion.rests


def test_an_estop_is_zero_within_one_tick():
    tool = Tool()
    for _ in range(30):
        tool.tick(wanted=np.array([0.2, -0.2, 0.0]))
    command = tool.tick(estop=True)
    assert command.state is CommandState.ESTOP
    assert command.motion.rests


def test_surprise_slows_down_first():
    tool = Tool()
    for _ in range(40):  # half way from 4 to 8: half the speed
        command = tool.tick(surprise=6.0)
    assert command.motion.velocity[0] == pytest.approx(0.05)
    assert "surprise" in command.clamps


@pytest.mark.parametrize("direction", [(1, 1, 1), (-1, -1, -1), (1, -1, 0)])
def test_stops_in_front_of_the_wall(direction):
    wanted = 0.25 * np.array(direction, float)
    tool = Tool()
    for _ in range(600):
        tool.tick(wanted=wanted)
        assert (tool.position >= LOW - 1e-6).all()
        assert (tool.position <= HIGH + 1e-6).all()
    tool.check()
    wall, moved = np.where(wanted > 0, HIGH, LOW), wanted != 0
    np.testing.assert_allclose(tool.position[moved], wall[moved], atol=1e-3)  # and it gets there


def test_outside_the_workspace_only_the_way_back_is_open():
    away = Tool(start=(0.9, 0.0, 0.4))
    for _ in range(10):
        assert away.tick().motion.velocity[0] == 0.0
    back = Tool(start=(0.9, 0.0, 0.4))
    for _ in range(300):
        back.tick(wanted=np.array([-0.1, 0, 0]))
    assert back.position[0] < 0.8
    back.check()


def test_a_late_tick_does_not_jump_and_is_accounted_for():
    tool = Tool()
    for _ in range(30):
        tool.tick(wanted=np.array([0.2, 0.0, 0.0]))
    before = tool.filter.motion.position[0]
    tool.position = tool.position + 0.2 * 0.05  # it held its command for 50 ms more
    tool.reported = tool.position - 0.2 * DT_S
    tool.tick(elapsed_s=0.06, wanted=np.array([0.2, 0.0, 0.0]))
    tool.check()
    assert tool.filter.motion.position[0] - before == pytest.approx(0.2 * 0.06, abs=3e-3)


def test_arming_is_refused_with_the_reason():
    refused = {
        "estop": ({"estop": True}, "e-stop is latched"),
        "nowhere": ({"position": None}, "no reading"),
        "old": ({"position_age_s": 0.3}, "0.30 s old"),
        "nan": ({"position": np.array([0.5, math.nan, 0.4])}, "not finite"),
        "dead": ({"agent_alive": False}, "agent's process"),
        "no plan": ({"plan_age_s": math.inf}, "newest plan is inf s old"),
        "no image": ({"image_age_s": 0.7}, "newest image is 0.70 s old"),
    }
    for changes, reason in refused.values():
        assert reason in why_not_armed(TIMES, situation(armed=False, **changes))
    assert why_not_armed(TIMES, situation(armed=False)) == ""
    with pytest.raises(ValueError, match="cannot begin"):
        CommandFilter(LIMITS, TIMES, DT_S).begin(np.array([0.0, math.nan, 0.0]))


ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
VECTOR = st.one_of(st.none(), st.tuples(ANY, ANY, ANY).map(np.array))
TICK = st.fixed_dictionaries(
    {
        "wanted": VECTOR,
        "position": VECTOR,
        "plan_age_s": ANY,
        "position_age_s": ANY,
        "image_age_s": ANY,
        "plan_ahead_s": ANY,
        "surprise": ANY,
    },
    optional={
        "elapsed_s": ANY,
        "armed": st.booleans(),
        "plan_usable": st.booleans(),
        "agent_alive": st.booleans(),
    },
)
# Most of a situation is right most of the time, or nothing would ever move.
MOSTLY = st.fixed_dictionaries(
    {},
    optional={
        "wanted": st.tuples(*[st.floats(-1, 1)] * 3).map(np.array),
        "position_age_s": st.floats(-0.1, 0.2),
        "plan_age_s": st.floats(0, 0.3),
        "elapsed_s": st.floats(0, 0.05),
        "surprise": st.floats(0, 10),
        "armed": st.booleans(),
    },
)


@settings(max_examples=300, deadline=None)
@given(ticks=st.lists(st.one_of(MOSTLY, MOSTLY, TICK), min_size=1, max_size=40))
def test_whatever_comes_the_command_is_finite_and_within_limits(ticks):
    tool = Tool()
    for changes in ticks:
        tool.tick(**changes)
    tool.check()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (StopTimes, {"plan_s": 0.0}),
        (StopTimes, {"state_s": math.inf}),
        (StopTimes, {"image_s": -1.0}),
        (StopTimes, {"slow_surprise": 5.0, "stop_surprise": 4.0}),
    ],
)
def test_times_that_cannot_be_meant_are_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


def test_a_robot_that_was_moved_stands_and_then_goes_on_from_where_it_is():
    tool = Tool()
    tool.tick(wanted=np.zeros(3))  # armed; then somebody moves it
    tool.position = tool.reported = MIDDLE + np.array([-0.2, 0.0, 0.0])
    states = [tool.tick(wanted=np.zeros(3)).state for _ in range(150)]
    assert states[0] is CommandState.FOLLOWING  # before anything was known to be wrong
    assert states[50] is CommandState.NOT_TRACKING
    assert states[-1] is CommandState.FOLLOWING
    np.testing.assert_allclose(tool.filter.motion.position, tool.position, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, -1.0], ids=["stays", "goes the other way"])
def test_a_robot_that_does_not_go_where_it_is_told_is_not_followed_for_long(share):
    tool = Tool()
    states, way_m = [], 0.0
    for _ in range(200):
        before = tool.position
        command = tool.tick(wanted=np.array([0.025, 0.0, 0.0]))  # slow: nothing is ever far off
        tool.position = before + share * command.motion.velocity * DT_S
        states.append(command.state)
        way_m += np.abs(command.motion.velocity).max() * DT_S
    first = states.index(CommandState.NOT_TRACKING)
    assert 0.5 < first * DT_S < 2.0
    assert way_m < 0.05


def test_one_that_lags_and_turns_back_is_followed():
    tool, late = Tool(), [MIDDLE] * 6  # 60 ms that nobody has told the filter of
    for number in range(400):
        wanted = np.array([0.25 if number // 50 % 2 else -0.25, 0.0, 0.0])
        late.append(tool.position)
        assert tool.tick(position=late.pop(0), wanted=wanted).state is CommandState.FOLLOWING


def test_one_lost_in_motion_stands_for_a_second_and_each_time_it_is_lost():
    tool = Tool()
    for _ in range(30):
        tool.tick(wanted=np.array([0.25, 0.0, 0.0]))
    for _ in range(2):
        tool.position = tool.reported = tool.position + np.array([0.0, 0.2, 0.0])
        commands = [tool.tick(wanted=np.array([0.0, 0.0, 0.1])) for _ in range(170)]
        lost = [c.state is CommandState.NOT_TRACKING for c in commands]
        rests = [c.motion.rests for c, is_lost in zip(commands, lost, strict=True) if is_lost]
        assert 100 <= sum(rests) <= 103
        assert commands[-1].state is CommandState.FOLLOWING


def test_a_reading_that_is_old_when_it_comes_is_held_against_its_own_time():
    times = StopTimes(state_s=2.0)
    followed = CommandFilter(LIMITS, times, DT_S, positions_are_sent=True)
    followed.begin(MIDDLE)
    for number in range(200):  # 1.5 s old: it says that the robot stays
        asked = situation(position=MIDDLE, position_age_s=1.5, wanted=np.array([0.0, 0.2, 0.0]))
        state = followed.tick(asked, 100.0 + number * DT_S, DT_S).state
    assert state is CommandState.FOLLOWING
    for number in range(200, 260):
        state = followed.tick(asked, 100.0 + number * DT_S, DT_S).state
    assert state is CommandState.NOT_TRACKING


def test_armed_again_at_once_it_has_not_lost_track_any_more():
    followed = CommandFilter(LIMITS, TIMES, DT_S, positions_are_sent=True)
    followed.begin(MIDDLE)
    moved, now_s = MIDDLE + np.array([0.2, 0.0, 0.0]), 100.0
    states = []
    for armed in [True] * 20 + [False] * 3 + [True] * 20:
        now_s += DT_S
        states.append(followed.tick(situation(armed=armed, position=moved), now_s, DT_S).state)
    assert states[19] is CommandState.NOT_TRACKING
    assert states[-1] is CommandState.FOLLOWING


def test_a_plan_that_is_too_fast_is_followed_in_its_direction():
    tool = Tool()
    commands = [tool.tick(wanted=np.array([2.0, 0.3, -0.3])) for _ in range(30)]
    tool.check()
    np.testing.assert_allclose(commands[-1].motion.velocity, [0.25, 0.0375, -0.0375], atol=1e-9)
    assert commands[-1].clamps == ("velocity.x", "velocity.y", "velocity.z")


@pytest.mark.parametrize("positions_are_sent", [True, False])
@pytest.mark.parametrize("before", [None, MIDDLE + 0.2], ids=["nowhere", "elsewhere"])
def test_motion_begins_where_the_robot_is_when_it_is_armed_and_nothing_is_sent_before(
    positions_are_sent, before
):
    command_filter = CommandFilter(LIMITS, TIMES, DT_S, positions_are_sent=positions_are_sent)
    ticks = itertools.count(1)

    def tick(**changes):
        now_s = next(ticks) * DT_S
        position = command_filter.tick(situation(**changes), now_s, DT_S).motion.position
        if not command_filter.begun:
            command_filter.release()  # as whoever sends nothing says at every tick
        return position

    for _ in range(5):
        tick(armed=False, position=before)
    assert not command_filter.begun
    tick(position=before, position_age_s=1.0)  # armed, and not known where
    assert not command_filter.begun
    for odd in (MIDDLE, MIDDLE + 1e6, MIDDLE):  # one reading is not enough
        tick(position=odd)
        assert not command_filter.begun
    np.testing.assert_array_equal(tick(wanted=np.zeros(3)), MIDDLE)
    assert command_filter.begun
    for _ in range(100):
        np.testing.assert_allclose(tick(wanted=np.zeros(3)), MIDDLE, atol=1e-9)


@pytest.mark.parametrize("readings_hz", [10, 30, 50, 100, 125, 500, 1000])
def test_an_odd_reading_does_not_agree_with_itself_whatever_the_rate_of_readings(readings_hz):
    # 100 ticks a second: of 30 readings a second each is there for three ticks or four.
    command_filter, seen = CommandFilter(LIMITS, TIMES, DT_S), []

    def tick(number, armed):
        reading = number * readings_hz // 100
        if reading not in seen:
            seen.append(reading)
        stamp_ns, now_s = reading * NS_PER_S // readings_hz, number * DT_S
        command_filter.tick(
            situation(
                armed=armed,
                wanted=np.zeros(3),
                position=MIDDLE + (1e6 if reading == seen[0] else 0.0),
                position_age_s=now_s - stamp_ns / NS_PER_S,
                position_stamp_ns=stamp_ns,
            ),
            now_s,
            DT_S,
        )
        if not command_filter.begun:
            command_filter.release()  # as whoever sends nothing says at every tick

    numbers = itertools.count(1)
    while not command_filter.begun:
        tick(next(numbers), armed=True)
    assert len(seen) == 3  # the odd one and two that agree
    np.testing.assert_array_equal(command_filter.motion.position, MIDDLE)
    # Disarmed and let go of, then armed again after two readings more: in that very tick.
    command_filter.release()
    before = len(seen)
    while len(seen) < before + 2:
        tick(next(numbers), armed=False)
        assert not command_filter.begun
    tick(next(numbers), armed=True)
    assert command_filter.begun


@pytest.mark.parametrize("positions_are_sent", [True, False])
def test_a_robot_that_was_held_for_a_moment_does_not_go_on_by_itself_at_once(positions_are_sent):
    # 0.15 m off for 0.3 s: one that takes positions stands until it is armed again, one that takes
    # velocities until it has stood, where it was told to, for a second.
    command_filter = CommandFilter(LIMITS, TIMES, DT_S, positions_are_sent=positions_are_sent)
    states = []
    for number in range(1, 300):
        held = 20 <= number < 50
        at = situation(
            wanted=np.zeros(3), position=MIDDLE + (0.15 if held else 0.0), position_age_s=DT_S
        )
        states.append(command_filter.tick(at, number * DT_S, DT_S).state)
    off = [i for i, state in enumerate(states) if state is CommandState.NOT_TRACKING]
    assert off[0] <= 21
    np.testing.assert_array_equal(np.diff(off), 1)
    if positions_are_sent:
        assert off[-1] == len(states) - 1
        command_filter.tick(situation(armed=False), 3.0, DT_S)
        command_filter.release()
        command_filter.tick(situation(armed=False), 3.01, DT_S)
        assert command_filter.tick(situation(), 3.02, DT_S).state is CommandState.FOLLOWING
    else:
        assert 98 <= len(off) <= 102
