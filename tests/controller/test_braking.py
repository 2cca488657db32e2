"""Braking: to an exact stand, as fast as the limits allow, and never outside them."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.braking import AxisLimits, brake

DT_S = 0.01


def stop(velocity, acceleration, limits, dt_s=DT_S, ticks=1000):
    """All commands from here until rest, the given one first: velocities and accelerations."""
    v, a = np.array(velocity, float), np.array(acceleration, float)
    velocities, accelerations = [v], [a]
    while v.any() or a.any():
        v, a = brake(v, a, limits, dt_s)
        velocities.append(v)
        accelerations.append(a)
        assert len(velocities) < ticks, "it never stops"
    return np.array(velocities), np.array(accelerations)


def test_the_arithmetic_of_a_stop():
    # d = 100 · 0.01 = 1 m/s² a tick. 0.06 m/s is 6 m/s² for a tick = 3 + 2 + 1: so it must reach
    # -3, which takes from rest -1, -2 first (3 m/s² gone). Left 3 = 2 + 1: it keeps -2, then -1.
    limits = AxisLimits([1.0], [10.0], [100.0])
    velocities, accelerations = stop([0.06], [0.0], limits)
    np.testing.assert_allclose(accelerations[:, 0], [0, -1, -2, -2, -1, 0], atol=1e-12)
    np.testing.assert_allclose(velocities[:, 0], [0.06, 0.05, 0.03, 0.01, 0, 0], atol=1e-12)


def test_it_holds_the_acceleration_limit_in_between():
    limits = AxisLimits([1.0], [2.0], [100.0])
    _, accelerations = stop([0.1], [0.0], limits)
    # 10 = 1 + 2 + 2 + 2 + 2 + 1
    np.testing.assert_allclose(accelerations[:, 0], [0, -1, -2, -2, -2, -2, -1, 0], atol=1e-12)


positive = st.floats(0.01, 100.0)


@settings(max_examples=300, deadline=None)
@given(
    share=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    brakes_s=st.floats(0.01, 1.0),
    acceleration=positive,
    jerk_times=st.floats(5.0, 1000.0),
)
@example(share=(1.0, -1.0), brakes_s=1.0, acceleration=1.0, jerk_times=5.0)
@example(share=(0.0, 1.0), brakes_s=0.06, acceleration=15.0, jerk_times=500.0)
def test_every_stop_ends_at_rest_within_the_limits(share, brakes_s, acceleration, jerk_times):
    most = acceleration * brakes_s
    limits = AxisLimits([most], [acceleration], [acceleration * jerk_times])
    velocities, accelerations = stop([share[0] * most], [share[1] * acceleration], limits)
    assert velocities[-1] == 0.0
    assert accelerations[-1] == 0.0
    small = 1e-6 * acceleration
    assert (np.abs(accelerations) <= acceleration + small).all()
    assert (np.abs(np.diff(accelerations[:, 0])) <= limits.jerk * DT_S * (1 + 1e-6)).all()
    # The accelerations are those of the velocities that are sent.
    np.testing.assert_allclose(
        np.diff(velocities[:, 0]) / DT_S, accelerations[1:, 0], atol=small + 1e-9
    )


@settings(max_examples=200, deadline=None)
@given(speed=st.floats(1e-3, 1.0), acceleration=st.floats(0.5, 50.0), jerk_times=st.floats(1, 1e3))
def test_from_steady_motion_it_never_overshoots_and_is_nearly_the_fastest(
    speed, acceleration, jerk_times
):
    jerk = acceleration * jerk_times
    velocities, _ = stop([speed], [0.0], AxisLimits([1.0], [acceleration], [jerk]))
    assert (velocities >= 0.0).all()
    # Continuous time: a ramp down, a stretch at -A where there is one, and a ramp up.
    if speed > acceleration**2 / jerk:
        fastest_s = speed / acceleration + acceleration / jerk
    else:
        fastest_s = 2.0 * math.sqrt(speed / jerk)
    assert (len(velocities) - 1) * DT_S <= fastest_s + 4 * DT_S


ANY = st.floats(allow_nan=True, allow_infinity=True)


@settings(max_examples=300, deadline=None)
@given(velocity=ANY, acceleration=ANY)
def test_it_is_finite_whatever_comes_in(velocity, acceleration):
    limits = AxisLimits([1.0, 1.0], [5.0, 5.0], [50.0, 50.0])
    v, a = brake(np.array([velocity, 0.5]), np.array([acceleration, 0.0]), limits, DT_S)
    assert np.isfinite([v, a]).all()
    assert (np.abs(a) <= 5.0).all()
    assert v[1] == pytest.approx(0.495)  # 0.5 m/s² a tick: the other axis brakes as it should


@pytest.mark.parametrize(
    "wrong",
    [
        {"velocity": [0.0, 1.0]},
        {"acceleration": [1.0, math.nan]},
        {"jerk": [1.0]},
        {"jerk": 3.0},
        {"velocity": []},
    ],
)
def test_limits_that_cannot_be_meant_are_refused(wrong):
    good = {"velocity": [1.0, 1.0], "acceleration": [1.0, 1.0], "jerk": [1.0, 1.0]}
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AxisLimits(**(good | wrong))
