"""A clock that jumps is noticed, whichever way and however far."""

import pytest

from ros_nodes.command_node import clock_jumped

TICK_S = 0.01


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("jump_s", [0.06, 1.0, 3600.0, -0.07, -1.0, -3600.0])
def test_a_jump_is_one_forwards_and_backwards(jump_s, simulated):
    assert clock_jumped(TICK_S + jump_s, TICK_S, simulated)


@pytest.mark.parametrize("simulated", [False, True])
@pytest.mark.parametrize("off_s", [0.0, 0.04, -0.005])
def test_a_clock_that_is_a_little_off_has_not_jumped(off_s, simulated):
    assert not clock_jumped(TICK_S + off_s, TICK_S, simulated)


def test_simulated_time_may_stand_still_and_not_go_back():
    assert not clock_jumped(0.0, 0.5, simulated=True)
    assert clock_jumped(0.0, 0.5, simulated=False)
    assert clock_jumped(-0.001, TICK_S, simulated=True)
