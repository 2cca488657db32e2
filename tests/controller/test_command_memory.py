"""Memory: which action was in force when."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.memory import (
    AppliedCommand,
    CommandMemory,
    action_in_force,
    committed_actions,
    planned_commands,
)
from controller.types import Plan, PlanStatus


def memory_of(*commands: tuple[int, float]) -> CommandMemory:
    given_ = [AppliedCommand(stamp, np.array([value])) for stamp, value in commands]
    return CommandMemory.empty(1).extended(given_, oldest_ns=0)


def plan_of(start_ns: int, *values: float, status: PlanStatus = PlanStatus.OK) -> Plan:
    """Knots every 0.1 s."""
    knots = np.array(values, np.float32)[:, None]
    return Plan(start_ns, np.arange(len(values)) * 0.1, knots, 0.1 * len(values), 0.0, status)


@pytest.mark.parametrize(
    ("start_ns", "end_ns", "expected"),
    [
        (100, 200, 1.0),
        (200, 300, 3.0),
        (150, 250, 2.0),  # half the time 1, half 3
        (100, 400, (1 * 100 + 3 * 200) / 3 / 100),
        (0, 200, 0.5),  # nothing before the first command
        (0, 50, 0.0),
        (500, 600, 3.0),  # the last one stays in force
    ],
)
def test_mean_weighs_by_time_in_force(start_ns, end_ns, expected):
    memory = memory_of((100, 1.0), (200, 3.0))
    assert memory.mean(start_ns, end_ns).tolist() == pytest.approx([expected])


def test_an_empty_memory_is_at_rest():
    assert CommandMemory.empty(2).mean(0, 100).tolist() == [0.0, 0.0]


def test_order_of_arrival_does_not_matter():
    assert memory_of((200, 3.0), (100, 1.0)).mean(100, 300).tolist() == [2.0]


def test_extending_leaves_the_old_memory_alone():
    before = memory_of((100, 1.0))
    before.extended([AppliedCommand(200, np.array([5.0]))], oldest_ns=0)
    assert before.mean(200, 300).tolist() == [1.0]


def test_what_is_no_longer_in_force_is_forgotten_and_what_is_stays():
    memory = memory_of((100, 1.0), (200, 2.0), (300, 3.0))
    later = memory.extended([AppliedCommand(400, np.array([4.0]))], oldest_ns=250)
    assert later.stamps_ns.tolist() == [200, 300, 400]
    assert later.mean(250, 300).tolist() == [2.0]


@pytest.mark.parametrize(
    ("action", "message"), [([1.0, 2.0], r"shape \(2,\)"), ([np.nan], "not finite")]
)
def test_a_wrong_command_is_refused(action, message):
    with pytest.raises(ValueError, match=message):
        CommandMemory.empty(1).extended([AppliedCommand(0, np.array(action))], oldest_ns=0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(-1, 1)), min_size=1, max_size=9),
    st.integers(0, 1000),
    st.integers(1, 500),
)
def test_mean_is_what_a_fine_sum_gives(commands, start_ns, length_ns):
    memory = memory_of(*commands)
    held = dict(commands)
    in_force = [
        held[max((s for s in held if s <= t), default=-1)] if min(held) <= t else 0.0
        for t in range(start_ns, start_ns + length_ns)
    ]
    got = memory.mean(start_ns, start_ns + length_ns)[0]
    assert got == pytest.approx(np.mean(in_force), abs=1e-5)


def test_a_plan_is_in_force_until_the_next_one_starts():
    plans = [plan_of(0, 1.0, 2.0, 3.0), plan_of(150_000_000, 9.0)]
    stamps_ns = [-1, 0, 120_000_000, 150_000_000, 249_999_999, 250_000_000]
    got = [action_in_force(plans, stamp, 1)[0] for stamp in stamps_ns]
    assert got == [0, 1, 2, 9, 9, 0]


def test_a_plan_to_stop_replaces_the_one_before():
    plans = [plan_of(0, 1.0, 1.0), plan_of(100_000_000, 5.0, status=PlanStatus.STALE)]
    assert action_in_force(plans, 100_000_000, 1).tolist() == [0.0]


def test_committed_actions_are_means_over_the_coming_steps():
    # from 50 ms on: half of 1 and half of 2, half of 2 and half of 3, then half of 3 and nothing
    got = committed_actions([plan_of(0, 1.0, 2.0, 3.0)], 50_000_000, 3, 0.1, 1)
    assert got[:, 0].tolist() == pytest.approx([1.5, 2.5, 1.5])


def test_planned_commands_remember_what_following_a_plan_does():
    plan = replace(plan_of(0, 0.0, 1.0), interpolation="linear", duration_s=0.1)
    commands = planned_commands([plan], 0, 100_000_000, 100_000_000, 1)
    memory = CommandMemory.empty(1).extended(commands, 0)
    assert memory.mean(0, 100_000_000).tolist() == pytest.approx([0.5])  # a ramp from 0 to 1
