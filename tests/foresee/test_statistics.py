from __future__ import annotations

import math

import pytest

from foresee.statistics import percentiles, wilson_interval


def test_wilson_interval_is_the_textbook_one() -> None:
    # 8 of 10: centre (0.8 + 1.92 / 10) / (1 + 3.84 / 10) = 0.7167, half width 0.2266.
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4901, abs=1e-3), pytest.approx(0.9433, abs=1e-3))


def test_wilson_interval_stays_inside_and_is_honest_at_the_ends() -> None:
    assert wilson_interval(0, 10)[0] == 0.0
    assert wilson_interval(0, 10)[1] == pytest.approx(0.2775, abs=1e-3)
    assert wilson_interval(10, 10)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_percentiles_of_nothing_are_not_a_number() -> None:
    assert percentiles([1.0, 2.0, 3.0])["p50"] == 2.0
    assert all(math.isnan(v) for v in percentiles([]).values())
