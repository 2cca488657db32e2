"""The judge of the fault campaign finds each rule broken, and nothing in what is right."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.faults.judge import Heard, Rules, braking_delay_s, held_up_s, judge
from controller.braking import AxisLimits, brake

PERIOD_S = 0.01
LIMITS = AxisLimits(np.full(3, 0.25), np.full(3, 2.0), np.full(3, 40.0))
RULES = Rules(
    velocity=LIMITS.velocity,
    acceleration=LIMITS.acceleration,
    jerk=LIMITS.jerk,
    period_s=PERIOD_S,
    low=np.full(3, -0.5),
    high=np.full(3, 0.5),
    position_margin=0.005,
    stop_s=0.15,
    braking_s=0.4,
)
NONE = np.zeros(0)


def drive(cruise_s: float = 1.0) -> Heard:
    """From rest to a speed and, braking, back to rest; plans come until braking begins."""
    velocity, acceleration = np.zeros(3), np.zeros(3)
    rows = []
    top = np.array([0.2, -0.1, 0.0])
    while np.abs(top - velocity).max() > 1e-12:  # speeding up is braking seen from the top speed
        difference, acceleration = brake(velocity - top, acceleration, LIMITS, PERIOD_S)
        velocity = top + difference
        rows.append(velocity)
    rows += [top] * round(cruise_s / PERIOD_S)
    braking_from = len(rows)
    acceleration = np.zeros(3)
    while velocity.any():
        velocity, acceleration = brake(velocity, acceleration, LIMITS, PERIOD_S)
        rows.append(velocity)
    times_s = 100.0 + PERIOD_S * np.arange(len(rows))
    velocities = np.stack(rows)
    return Heard(
        command_s=times_s,
        stamp_s=times_s,
        velocity=velocities,
        plan_s=(plan_s := np.arange(99.95, times_s[braking_from] - 0.1, 0.1)),
        plan_start_s=plan_s + 0.02,
        position_s=times_s,
        position=np.cumsum(velocities, axis=0) * PERIOD_S,
        armed_s=np.array([99.0]),
        armed=np.array([True]),
        stop_asked_s=NONE,
    )


def planned(heard: Heard, plan_s: np.ndarray) -> Heard:
    return dataclasses.replace(heard, plan_s=plan_s, plan_start_s=plan_s)


def changed(heard: Heard, row: int, velocity: list[float]) -> Heard:
    values = heard.velocity.copy()
    values[row] = velocity
    return dataclasses.replace(heard, velocity=values)


def rules_broken(heard: Heard) -> set[str]:
    return {violation.rule for violation in judge(heard, RULES)}


def test_nothing_is_wrong_with_what_keeps_the_rules() -> None:
    assert judge(drive(), RULES) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_finds_what_is_not_finite(value: float) -> None:
    assert rules_broken(changed(drive(), 50, [0.1, value, 0.0])) == {"finite"}


def test_finds_speed_acceleration_and_jerk_beyond_the_limits() -> None:
    heard = drive()
    assert "velocity" in rules_broken(changed(heard, 60, [0.26, 0.0, 0.0]))
    assert "acceleration" in rules_broken(changed(heard, 60, [0.17, -0.1, 0.0]))  # 3 m/s²
    small = heard.velocity[60] + np.array([0.006, 0.0, 0.0])  # 0.6 m/s², but 60 m/s³
    assert rules_broken(changed(heard, 60, small.tolist())) == {"jerk"}


def test_an_e_stop_may_be_zero_at_once_and_a_cut_stream_begins_from_rest() -> None:
    heard = drive()
    cut = dataclasses.replace(
        heard,
        command_s=heard.command_s[:61],
        stamp_s=heard.stamp_s[:61],
        velocity=np.vstack([heard.velocity[:60], np.zeros(3)]),
    )
    assert "acceleration" in rules_broken(cut)
    asked = np.array([heard.command_s[60] - 0.004])
    assert judge(dataclasses.replace(cut, stop_asked_s=asked), RULES) == []


def test_what_goes_on_after_silence_began_from_rest_or_from_what_was_held() -> None:
    heard = drive()
    late_s = np.where(np.arange(len(heard.command_s)) >= 60, 0.5, 0.0)
    silent = dataclasses.replace(
        heard, command_s=heard.command_s + late_s, stamp_s=heard.stamp_s + late_s
    )
    silent = planned(silent, silent.command_s)
    assert rules_broken(silent) == {"silence"}  # it held its command meanwhile
    begun = drive()
    times_s = np.concatenate([heard.command_s[:60], heard.command_s[59] + begun.command_s - 99.0])
    both = dataclasses.replace(
        planned(heard, times_s),
        command_s=times_s,
        stamp_s=times_s,
        velocity=np.vstack([heard.velocity[:60], begun.velocity]),
    )
    assert rules_broken(both) == {"silence"}  # it began anew
    jumps = silent.velocity.copy()
    jumps[60:] = -jumps[60:]
    assert "acceleration" in rules_broken(dataclasses.replace(silent, velocity=jumps))


def test_finds_motion_after_an_e_stop_until_it_is_armed_again() -> None:
    heard = drive()
    asked = dataclasses.replace(heard, stop_asked_s=heard.command_s[[40]])
    assert rules_broken(asked) == {"e-stop"}
    armed_s = np.array([99.0, heard.command_s[45]])
    again = dataclasses.replace(asked, armed_s=armed_s, armed=np.array([True, True]))
    assert judge(again, RULES) == []


def test_finds_motion_where_it_had_to_rest() -> None:
    heard = drive(cruise_s=2.0)
    began_s = heard.command_s[30]
    asked = dataclasses.replace(heard, rest=((began_s, began_s + 1.0),))
    assert rules_broken(asked) == {"rest"}
    short = dataclasses.replace(heard, rest=((began_s, began_s + 0.9 * RULES.braking_s),))
    assert judge(short, RULES) == []


def test_finds_a_place_beyond_the_limits() -> None:
    heard = drive()
    moved = heard.position + np.array([0.5, 0.0, 0.0])
    assert rules_broken(dataclasses.replace(heard, position=moved)) == {"position"}


def test_finds_stamps_that_go_back() -> None:
    heard = drive()
    stamps = heard.stamp_s.copy()
    stamps[40] = stamps[38]
    assert rules_broken(dataclasses.replace(heard, stamp_s=stamps)) == {"stamps"}


def test_finds_motion_when_not_armed() -> None:
    heard = drive()
    never = dataclasses.replace(heard, armed_s=NONE, armed=np.zeros(0, bool))
    assert rules_broken(never) == {"armed"}
    disarmed = dataclasses.replace(
        heard, armed_s=np.array([99.0, 100.3]), armed=np.array([True, False])
    )
    assert rules_broken(disarmed) == {"armed"}  # longer than braking takes
    late = heard.command_s[-40]
    in_time = dataclasses.replace(disarmed, armed_s=np.array([99.0, late]))
    assert judge(in_time, RULES) == []


def test_finds_motion_long_after_the_last_plan() -> None:
    heard = drive(cruise_s=2.0)
    early = planned(heard, heard.plan_s[:5])
    assert rules_broken(early) == {"command age"}
    held_up = dataclasses.replace(heard, plan_start_s=heard.plan_s - 2.0)
    assert rules_broken(held_up) == {"command age"}  # new here, and old


def test_finds_that_it_gets_faster_when_it_should_brake() -> None:
    heard = drive()
    begins = int(np.flatnonzero(np.diff(np.linalg.norm(heard.velocity, axis=1)) > 0)[0])
    rested = np.concatenate([np.zeros((60, 3)), heard.velocity[begins:]])
    times_s = 100.0 + PERIOD_S * np.arange(len(rested))
    late = dataclasses.replace(heard, command_s=times_s, stamp_s=times_s, velocity=rested)
    # One plan, and the motion begins 0.6 s after it: too late, though rest comes soon.
    short = dataclasses.replace(RULES, braking_s=5.0)
    found = judge(planned(late, np.array([100.0])), short)
    assert {violation.rule for violation in found} == {"command age"}
    assert "from 0.0000" in found[0].detail


def test_finds_a_robot_that_is_left_moving() -> None:
    heard = drive()
    until = heard.command_s < heard.command_s[60]
    left = dataclasses.replace(
        heard,
        command_s=heard.command_s[until],
        stamp_s=heard.stamp_s[until],
        velocity=heard.velocity[until],
    )
    assert rules_broken(left) == {"silence"}
    ends = left.position_s < left.command_s[-1] + 0.1  # hearing ends before it can be told
    shorter = dataclasses.replace(
        left, position_s=left.position_s[ends], position=left.position[ends]
    )
    assert judge(shorter, RULES) == []


def test_says_when_braking_began() -> None:
    heard = drive()
    speed = np.linalg.norm(heard.velocity, axis=1)
    begins = int(np.flatnonzero(np.diff(speed) < 0)[0]) + 1
    fault_s = heard.command_s[begins] - 0.08
    end_s = heard.command_s[-1] + 1.0
    assert braking_delay_s(heard, fault_s, end_s) == pytest.approx(0.08, abs=1e-6)
    assert braking_delay_s(heard, heard.command_s[begins + 5], end_s) == 0.0
    assert braking_delay_s(heard, fault_s, heard.command_s[begins + 3]) == np.inf
    assert braking_delay_s(heard, heard.command_s[-1] + 0.5, end_s) == 0.0


def test_a_plan_may_be_heard_a_little_later_than_by_whom_it_is_for() -> None:
    heard = drive()
    begins = float(heard.command_s[0])
    waited = dataclasses.replace(  # it rested for long, then a plan made it move
        heard,
        command_s=np.concatenate([begins - np.arange(60, 0, -1) * PERIOD_S, heard.command_s]),
        stamp_s=np.concatenate([begins - np.arange(60, 0, -1) * PERIOD_S, heard.stamp_s]),
        velocity=np.concatenate([np.zeros((60, 3)), heard.velocity]),
    )
    later = planned(waited, np.arange(begins + 0.04, heard.plan_s[-1], 0.1))
    assert judge(later, RULES) == []
    too_late = planned(waited, np.arange(begins + 0.1, heard.plan_s[-1], 0.1))
    assert rules_broken(too_late) == {"command age"}


def test_put_beyond_the_limits_in_motion_it_has_the_way_to_rest_and_no_more() -> None:
    heard = drive()
    put = 60  # a row of full speed along the first axis, 0.2 m/s: braking takes at most 0.015 m

    def goes_on(way_m: float, back_m: float = 0.0) -> Heard:
        place = heard.position.copy()
        rows = np.arange(len(place) - put)
        on = way_m * np.minimum(1.0, rows / 10) - back_m * np.sin(np.pi * np.clip(rows / 90, 0, 1))
        place[put:] = np.stack([0.6 + on, 0 * on, 0 * on], axis=1)
        return dataclasses.replace(heard, position=place)

    assert judge(goes_on(0.015), RULES) == []
    assert rules_broken(goes_on(0.03)) == {"position"}
    assert rules_broken(goes_on(0.015, back_m=0.03)) == {"position"}  # in, and then out again


def test_put_a_little_further_out_it_was_put_there_where_that_is_known() -> None:
    heard = drive()
    place = heard.position.copy()
    place[:60, 0] = 0.54
    place[60:, 0] = 0.56
    outside = dataclasses.replace(heard, position=place)
    assert rules_broken(outside) == {"position"}
    put_s = heard.position_s[60]
    assert judge(dataclasses.replace(outside, put=((put_s - 0.05, put_s + 0.05),)), RULES) == []
    early = dataclasses.replace(outside, put=((put_s - 0.3, put_s - 0.1),))
    assert rules_broken(early) == {"position"}


def without(heard: Heard, row: int) -> Heard:
    """One command was not heard."""
    keep = np.arange(len(heard.command_s)) != row
    return dataclasses.replace(
        heard,
        command_s=heard.command_s[keep],
        stamp_s=heard.stamp_s[keep],
        velocity=heard.velocity[keep],
    )


def test_a_killed_sender_may_have_sent_one_command_more_than_was_heard():
    heard = drive()
    slowing = np.flatnonzero(np.diff(np.abs(heard.velocity[:, 0])) < 0)
    row = int(slowing[len(slowing) // 2])
    missed = without(heard, row)
    assert rules_broken(missed) & {"acceleration", "jerk"}
    killed = dataclasses.replace(missed, killed_s=np.array([heard.command_s[row]]))
    assert rules_broken(killed) == set()
    later = dataclasses.replace(missed, killed_s=np.array([heard.command_s[row] + 3 * PERIOD_S]))
    assert rules_broken(later) & {"acceleration", "jerk"}
    # Nothing is missing where braking merely began a little late.
    late = dataclasses.replace(
        heard,
        command_s=heard.command_s + np.where(np.arange(len(heard.command_s)) >= row, 0.0051, 0.0),
        killed_s=np.array([heard.command_s[row] - 0.002]),
    )
    assert rules_broken(late) == set()
    two = without(killed, row)
    assert rules_broken(two) & {"acceleration", "jerk"}


def test_messages_that_were_held_up_on_their_way_are_known():
    heard = drive()
    assert held_up_s(heard) == 0.0
    gap = (heard.position_s > 100.5) & (heard.position_s < 100.8)
    lost = dataclasses.replace(
        heard, position_s=heard.position_s[~gap], position=heard.position[~gap]
    )
    assert held_up_s(lost) == 0.0  # nothing came later: the robot did not say it
    at_once = np.where(gap, 100.8, heard.position_s)
    assert held_up_s(dataclasses.replace(heard, position_s=at_once)) > 0.25
