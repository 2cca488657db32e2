"""Once stopped by surprise, a robot goes on only when it was calm for a while."""

import pytest

from controller.surprise_hold import SurpriseHold


def run(values, hold=None, every_s=0.1):
    hold = hold or SurpriseHold(slow=1.0, stop=2.0, calm_s=0.5)
    return [hold.counts(value, i * every_s) for i, value in enumerate(values)]


def test_below_the_stop_level_surprise_counts_as_it_is():
    values = [0.0, 1.9, 0.3, 1.2]
    assert run(values) == values


def test_a_surprise_that_hovers_about_the_stop_level_holds():
    assert run([2.5, 1.6, 1.1, 2.1, 1.6]) == [2.5, 2.0, 2.0, 2.1, 2.0]


def test_it_is_let_go_after_being_calm_for_half_a_second_and_not_before():
    # Not calm at 0.375 s for the last time: 0.5 s later is 0.875 s, the eighth value.
    values = [2.5, 0.4, 0.4, 1.3, *[0.4] * 6]
    assert run(values, every_s=0.125) == [2.5, *[2.0] * 6, 0.4, 0.4, 0.4]


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_what_is_not_a_number_holds(odd):
    assert run([odd, 0.1])[1] == 2.0


def test_nobody_is_stopped_by_what_nobody_knows_nor_let_go_by_it():
    assert run([0.3, None, 0.3]) == [0.3, 0.0, 0.3]
    assert run([2.5, *[None] * 20, *[0.4] * 4])[1:] == [2.0] * 24  # calm for 0.4 s
    assert run([2.5, *[None] * 20, *[0.4] * 6])[-1] == 0.4


def test_one_calm_frame_after_a_gap_is_not_enough():
    assert run([2.5, 0.4, 0.4, 0.4], every_s=1.0) == [2.5, 2.0, 2.0, 0.4]


def test_where_surprise_is_not_to_stop_anything_it_is_not_held():
    values = [9.0, 0.0]
    assert run(values, SurpriseHold(slow=0.0, stop=2.0)) == values


def test_surprised_again_soon_it_waits_twice_as_long_and_later_no_longer():
    hold = SurpriseHold(slow=1.0, stop=2.0, calm_s=0.5)

    def waits(begin_s: float) -> float:
        """How long one surprise stops it, s."""
        hold.counts(3.0, begin_s)
        ticks = range(1, 400)
        return next(0.125 * i for i in ticks if hold.counts(0.0, begin_s + 0.125 * i) < 2.0)

    begin_s, waited_s = 0.0, []
    for _ in range(9):
        waited_s.append(waits(begin_s))
        begin_s += waited_s[-1] + 5.0  # it goes on for 5 s each time
    assert waited_s == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert waits(begin_s + 5.0) == 0.5
