"""Of the plans that arrived, the right one is in force."""

import math

import numpy as np
import pytest

from controller.plan_schedule import PlanSchedule
from controller.types import NS_PER_S, Plan, PlanStatus


def plan(start_s: float, vx: float = 0.1, duration_s: float = 0.8, usable: bool = True) -> Plan:
    return Plan(
        start_ns=round(start_s * NS_PER_S),
        knot_times_s=np.array([0.0]),
        knots=np.array([[vx, 0.0, 0.0]], np.float32),
        duration_s=duration_s,
        cost=0.0,
        status=PlanStatus.OK if usable else PlanStatus.NO_FINITE_ROLLOUT,
    )


def test_a_plan_stays_in_force_until_the_next_one_starts():
    schedule = PlanSchedule()
    schedule.add(plan(1.0, vx=0.1), arrival_s=0.0)
    schedule.add(plan(1.1, vx=0.2), arrival_s=0.1)  # made in time: arrives before it starts
    assert schedule.in_force(round(1.05e9)).action_at(round(1.05e9))[0] == pytest.approx(0.1)
    assert schedule.in_force(round(1.15e9)).action_at(round(1.15e9))[0] == pytest.approx(0.2)


def test_the_last_plan_to_arrive_replaces_those_that_start_after_it():
    schedule = PlanSchedule()
    schedule.add(plan(1.0, vx=0.1), 0.0)
    schedule.add(plan(3.0, vx=0.2), 0.1)
    schedule.add(plan(1.5, vx=0.3), 0.2)
    assert schedule.in_force(round(3.5e9)).knots[0, 0] == pytest.approx(0.3)


def test_a_stop_plan_takes_effect_at_once():
    schedule = PlanSchedule()
    schedule.add(plan(1.0), 0.0)
    schedule.add(plan(9.0, usable=False), 0.1)
    assert not schedule.in_force(round(1.1e9)).usable
    assert not schedule.newest.usable
    schedule.add(plan(9.1), 0.2)  # and ends with the next good one
    assert schedule.newest.usable
    assert schedule.in_force(round(1.2e9)).usable


def test_the_age_is_the_larger_of_arrival_and_stamp():
    schedule = PlanSchedule()
    assert schedule.age_s(0, 0.0) == math.inf
    schedule.add(plan(10.0), arrival_s=100.0)
    assert schedule.age_s(round(10.1e9), 100.2) == pytest.approx(0.2)  # arrival 0.2, stamp 0.1
    assert schedule.age_s(round(10.5e9), 100.2) == pytest.approx(0.5)  # stamp 0.5: it came late
    assert schedule.age_s(0, 100.4) == pytest.approx(0.4)  # the wall clock jumped back
    schedule.clear()
    assert schedule.in_force(0) is None
