"""A late reading is held against what was commanded for its time."""

import numpy as np
import pytest

from controller.tracking import Tracker


def test_the_error_is_that_of_the_time_of_the_reading():
    tracker = Tracker()
    assert tracker.error(0.0, np.zeros(1)) is None
    for tick in range(5):  # 1 rad/s
        tracker.note(0.01 * tick, np.array([0.01 * tick]))
    assert tracker.error(0.025, np.array([0.03])) == pytest.approx(0.005)
    assert tracker.error(0.02, np.array([0.03])) == pytest.approx(0.01)
    assert tracker.error(0.5, np.array([0.03])) == pytest.approx(-0.01)  # nothing newer is known
    assert tracker.error(-0.01, np.zeros(1)) is None
    tracker.shift(np.array([0.1]))
    assert tracker.error(0.02, np.array([0.03])) == pytest.approx(-0.09)
    tracker.clear()
    assert tracker.error(0.02, np.zeros(1)) is None


def test_old_commands_are_forgotten():
    tracker = Tracker(kept_s=0.1)
    for tick in range(100):
        tracker.note(0.01 * tick, np.zeros(1))
    assert tracker.error(0.5, np.zeros(1)) is None
    assert tracker.error(0.95, np.zeros(1)) is not None
