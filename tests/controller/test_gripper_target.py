"""Where a gripper is told to be next."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.gripper import GripperLimits, allowed_speed, next_target

LIMITS = GripperLimits(low_m=0.0, high_m=0.04, speed_m_s=0.1, ahead_m=0.008)
DT_S = 0.01
places = st.floats(-0.01, 0.05)


def told(target_m: float, measured_m: float, speed_m_s: float, ticks: int) -> float:
    for _ in range(ticks):
        target_m = next_target(target_m, measured_m, speed_m_s, DT_S, LIMITS)
    return target_m


@pytest.mark.parametrize("wanted", [math.nan, math.inf, -math.inf])
def test_a_speed_that_is_no_number_moves_nothing(wanted):
    assert allowed_speed(wanted, LIMITS) == 0.0


def test_speeds_are_limited():
    assert allowed_speed(3.0, LIMITS) == 0.1
    assert allowed_speed(-3.0, LIMITS) == -0.1
    assert allowed_speed(0.03, LIMITS) == 0.03


def test_what_is_between_the_fingers_is_squeezed_and_let_go_at_once():
    target_m = told(0.04, 0.025, -0.1, ticks=100)
    assert target_m == pytest.approx(0.025 - LIMITS.ahead_m)
    assert told(target_m, 0.025, 0.0, ticks=100) == target_m  # the grip is kept
    assert told(target_m, 0.025, 0.1, ticks=1) > 0.025


def test_free_fingers_close_and_open_at_the_speed_that_is_asked_for():
    place_m = 0.04
    for _ in range(20):
        place_m = next_target(place_m, place_m, -0.1, DT_S, LIMITS)
    assert place_m == pytest.approx(0.02)


@given(places, places, st.floats(-0.1, 0.1).filter(bool))
def test_a_moving_target_is_near_the_fingers_and_within_the_limits(target_m, measured_m, speed_m_s):
    after_m = next_target(target_m, measured_m, speed_m_s, DT_S, LIMITS)
    assert abs(after_m - measured_m) <= LIMITS.ahead_m + 1e-12
    low_m, high_m = sorted((target_m, measured_m))
    assert min(LIMITS.low_m, low_m) <= after_m <= max(LIMITS.high_m, high_m)


@given(places, st.floats(-0.1, 0.1).filter(bool))
def test_fingers_that_follow_move_no_faster_than_asked_for(place_m, speed_m_s):
    after_m = next_target(place_m, place_m, speed_m_s, DT_S, LIMITS)
    assert abs(after_m - place_m) <= abs(speed_m_s) * DT_S + 1e-12
