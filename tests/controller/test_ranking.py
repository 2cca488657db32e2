"""Who is out before the costs count, and who comes first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.costs import Judgement
from controller.ranking import quarantine, rank

NAN, INF = np.nan, np.inf


def judge(costs, violation=None) -> Judgement:
    if violation is not None:
        violation = np.array(violation, np.float32)
    return Judgement(np.array(costs, np.float32), {}, violation)


def test_the_least_cost_is_first():
    ranking = rank(judge([3.0, 1.0, 2.0]))
    assert (ranking.first, ranking.admissible, ranking.quarantined) == (1, True, 0)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_is_out(bad):
    ranking = rank(judge([3.0, bad, 2.0]))
    assert ranking.first == 2
    assert np.isfinite(ranking.costs).tolist() == [True, False, True]
    assert ranking.quarantined == 1


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_nothing_finite_leaves_nobody(bad):
    ranking = rank(judge([bad, bad]))
    assert ranking.first is None
    assert ranking.quarantined == 2


def test_admissible_comes_before_cheap():
    ranking = rank(judge([1.0, 5.0, 4.0], violation=[0.1, 0.0, 0.0]))
    assert (ranking.first, ranking.admissible) == (2, True)
    assert np.isfinite(ranking.costs).tolist() == [False, True, True]


def test_when_all_violate_the_least_violation_is_first():
    ranking = rank(judge([1.0, 5.0, 4.0], violation=[0.3, 0.1, 0.2]))
    assert (ranking.first, ranking.admissible) == (1, False)
    assert ranking.costs.tolist() == pytest.approx([0.3, 0.1, 0.2])


def test_admissible_does_not_help_who_is_not_finite():
    ranking = rank(judge([NAN, 5.0, 4.0], violation=[0.0, 0.1, 0.2]))
    assert (ranking.first, ranking.admissible) == (1, False)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_violation_that_is_not_finite_is_never_first(bad):
    ranking = rank(judge([1.0, 2.0, 3.0], violation=[bad, 0.5, bad]))
    assert (ranking.first, ranking.admissible) == (1, False)
    assert rank(judge([1.0, 2.0], violation=[bad, bad])).first is None


def test_absurd_costs_are_out_at_either_end():
    # median 1.5, quartiles 0.5 apart: absurd is further away than 1000 * 0.5
    costs = np.linspace(1.0, 2.0, 41, dtype=np.float32)
    for value, out in [(400.0, False), (600.0, True), (-400.0, False), (-600.0, True)]:
        costs[7] = value
        kept, count = quarantine(costs)
        assert count == out
        assert np.isnan(kept).sum() == out
        assert np.isnan(kept[7]) == out


def test_a_lucky_find_on_a_flat_landscape_is_not_absurd():
    costs = np.full(64, 1.0, np.float32)
    costs[:32] += np.float32(1e-6)
    costs[5] = 0.01
    assert quarantine(costs)[1] == 0
    zeros = np.zeros(64, np.float32)
    zeros[5] = -0.1
    assert rank(Judgement(zeros, {})).first == 5


@settings(deadline=None, max_examples=100)
@given(
    costs=st.lists(st.floats(width=32), min_size=1, max_size=40),
    violation=st.lists(st.floats(0.0, 10.0, width=32), min_size=40, max_size=40),
)
def test_whoever_is_first_is_finite_and_no_admissible_one_is_passed_over(costs, violation):
    judgement = judge(costs, violation[: len(costs)])
    with np.errstate(all="ignore"):
        ranking = rank(judgement)
    finite = np.isfinite(judgement.costs)
    assert ranking.quarantined >= np.count_nonzero(~finite)
    if ranking.first is None:
        assert not np.isfinite(ranking.costs).any()
        return
    assert finite[ranking.first]
    kept = np.isfinite(ranking.costs)
    assert ranking.costs[ranking.first] == ranking.costs[kept].min()
    if ranking.admissible:
        assert judgement.violation[ranking.first] == 0
