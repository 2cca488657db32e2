"""Bounds on the next acceleration: never empty, and never a way into a limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.braking import AxisLimits, brake
from controller.viability import Motion, acceleration_bounds, stopping_path

DT_S = 0.01
PANDA = AxisLimits(
    [2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61],
    [15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0],
    [7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0],
)
SLOW = AxisLimits([1.0, 0.5], [3.0, 2.0], [40.0, 100.0])


@pytest.mark.parametrize("limits", [PANDA, SLOW], ids=["stiff", "smooth"])
@pytest.mark.parametrize("manner", ["random", "bang", "push"])
def test_no_choice_within_the_bounds_ever_leaves_a_limit(limits, manner):
    rng = np.random.default_rng(0)
    low, high = np.full(limits.axes, -0.6), np.full(limits.axes, 0.4)
    motion = Motion.at_rest(np.zeros(limits.axes))
    velocities, accelerations, reached = [motion.velocity], [motion.acceleration], []
    for tick in range(1500):
        bounds = acceleration_bounds(motion, limits, low, high, DT_S)
        assert (bounds.low <= bounds.high).all()
        if manner == "random":
            share = rng.uniform(size=limits.axes)
        elif manner == "bang":
            share = np.repeat(rng.integers(0, 2), limits.axes) if tick % 17 == 0 else share
        else:
            share = np.ones(limits.axes)
        motion = motion.after(bounds.low + share * (bounds.high - bounds.low), DT_S)
        velocities.append(motion.velocity)
        accelerations.append(motion.acceleration)
        reached.append(motion.position)
    assert (np.abs(velocities) <= limits.velocity * (1 + 1e-6)).all()
    assert (np.abs(accelerations) <= limits.acceleration * (1 + 1e-6)).all()
    jerks = np.diff(accelerations, axis=0) / DT_S
    assert (np.abs(jerks) <= limits.jerk * (1 + 1e-6)).all()
    assert (np.array(reached) <= high + 1e-9).all()
    assert (np.array(reached) >= low - 1e-9).all()
    if manner == "push":
        np.testing.assert_allclose(motion.position, high, atol=1e-3)  # it gets to the limit
        assert np.abs(motion.velocity).max() < 1e-2


@settings(max_examples=100, deadline=None)
@given(
    start=st.floats(-2.0, 2.0),
    velocity=st.floats(-1.0, 1.0),
    acceleration=st.floats(-3.0, 3.0),
    share=st.floats(0.0, 1.0),
)
def test_from_anywhere_it_goes_no_farther_out_than_braking_would(
    start, velocity, acceleration, share
):
    limits = AxisLimits([1.0], [3.0], [40.0])
    low, high = np.array([-0.5]), np.array([0.5])
    motion = Motion(np.array([start]), np.array([velocity]), np.array([acceleration]))
    path = stopping_path(motion, limits, DT_S)
    lowest, highest = min(path.min(), -0.5), max(path.max(), 0.5)
    for _ in range(100):
        bounds = acceleration_bounds(motion, limits, low, high, DT_S)
        motion = motion.after(bounds.low + share * (bounds.high - bounds.low), DT_S)
        assert lowest - 1e-6 <= motion.position[0] <= highest + 1e-6


def test_a_stopping_path_is_where_braking_goes():
    motion = Motion(np.array([0.3, -0.2]), np.array([0.9, -0.4]), np.array([3.0, 0.0]))
    path = stopping_path(motion, SLOW, DT_S)
    position, v, a = motion.position, motion.velocity, motion.acceleration
    for row in path:
        np.testing.assert_allclose(position, row, atol=1e-12)
        v, a = brake(v, a, SLOW, DT_S)
        position = position + v * DT_S
    assert not v.any()


def test_the_cause_of_a_bound_is_named():
    # 1 m/s² a tick at 100 m/s³: from rest only jerk counts.
    limits = AxisLimits([0.5], [2.0], [100.0])
    free, wide = np.array([-np.inf]), np.array([np.inf])
    bounds = acceleration_bounds(Motion.at_rest([0.0]), limits, free, wide, DT_S)
    assert bounds.high_cause == ("jerk",)
    assert bounds.high[0] == pytest.approx(1.0)
    moving = Motion(np.array([0.0]), np.array([0.2]), np.array([2.0]))
    assert acceleration_bounds(moving, limits, free, wide, DT_S).high_cause == ("acceleration",)
    fast = Motion(np.array([0.0]), np.array([0.5]), np.array([0.0]))
    bounds = acceleration_bounds(fast, limits, free, wide, DT_S)
    assert bounds.high_cause == ("velocity",)
    assert bounds.high[0] == 0.0
    near = Motion(np.array([0.0]), np.array([0.2]), np.array([0.0]))
    assert acceleration_bounds(near, limits, free, np.array([0.014]), DT_S).high_cause == (
        "position",
    )
