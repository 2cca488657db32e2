"""Splines: what the knots mean between their times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.spline import interpolation_matrix, knot_steps, sample_knots

KNOTS = np.array([[0.0], [2.0], [1.0]], np.float32)
TIMES_S = np.array([0.0, 0.2, 0.4])


def read(times_s: list[float], kind: str) -> list[float]:
    return sample_knots(TIMES_S, KNOTS, np.array(times_s), kind)[:, 0].tolist()


def test_hold_keeps_each_knot_until_the_next():
    assert read([-1.0, 0.0, 0.19, 0.2, 0.39, 0.4, 9.0], "hold") == [0, 0, 0, 2, 2, 1, 1]


def test_linear_draws_straight_lines_and_holds_the_ends():
    values = read([-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 9.0], "linear")
    assert values == pytest.approx([0, 0, 1, 2, 1.5, 1, 1])


def test_a_time_that_equals_a_knot_but_for_rounding_reads_that_knot():
    times_s = np.arange(10) * 0.1
    late = np.array([k * 100_000_000 for k in range(10)]) / 1e9 - 1e-12
    knots = np.arange(10, dtype=np.float32)[:, None]
    assert sample_knots(times_s, knots, late, "hold")[:, 0].tolist() == list(range(10))


def test_stacked_knots_keep_their_leading_axes():
    knots = np.random.default_rng(0).normal(size=(5, 2, 3, 4)).astype(np.float32)
    got = sample_knots(TIMES_S, knots, np.array([0.1, 0.3]), "linear")
    assert got.shape == (5, 2, 2, 4)
    np.testing.assert_allclose(got[3, 1, 0], knots[3, 1, :2].mean(axis=0), rtol=1e-6)


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'cubic'"):
        interpolation_matrix(TIMES_S, TIMES_S, "cubic")


@pytest.mark.parametrize(
    ("horizon", "knots", "kind", "expected"),
    [
        (8, 4, "hold", [0, 2, 4, 6]),
        (8, 8, "hold", [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 3, "hold", [0, 2, 5]),
        (8, 1, "hold", [0]),
        (8, 5, "linear", [0, 2, 4, 6, 8]),
        (2, 2, "linear", [0, 2]),
    ],
)
def test_knots_lie_evenly_on_step_boundaries(horizon, knots, kind, expected):
    assert knot_steps(horizon, knots, kind).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(
    kind=st.sampled_from(["hold", "linear"]),
    gaps_s=st.lists(st.floats(0.01, 2.0), min_size=1, max_size=8),
    times_s=st.lists(st.floats(-1.0, 20.0), min_size=1, max_size=8),
)
def test_a_spline_never_leaves_the_range_of_its_knots(kind, gaps_s, times_s):
    knot_times_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    matrix = interpolation_matrix(knot_times_s, np.array(times_s), kind)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-6)
