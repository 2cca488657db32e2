"""Exploration covers its box, stays in it, and comes back into it."""

import numpy as np
import pytest

from controller.exploration import Exploration, ExplorationBox

STEP_S = 0.05
BOX = ExplorationBox((0.3, -0.2, 0.1), (0.6, 0.2, 0.3), 0.25)
LOW, HIGH = np.array(BOX.low_m), np.array(BOX.high_m)


def walk(box: ExplorationBox, start_m: np.ndarray, seconds: float, seed: int = 0) -> np.ndarray:
    """Positions ``(T, 3)`` of a tool that does exactly what it is told."""
    exploration = Exploration(box, np.random.default_rng(seed))
    positions = [np.asarray(start_m, float)]
    for tick in range(round(seconds / STEP_S)):
        plan = exploration.plan(positions[-1], round(tick * STEP_S * 1e9), STEP_S, 0.5)
        positions.append(positions[-1] + STEP_S * plan.action_at(plan.start_ns))
    return np.stack(positions)


def test_ten_minutes_go_everywhere_and_never_out():
    path = walk(BOX, (LOW + HIGH) / 2, 600.0)
    assert (path >= LOW - 1e-6).all()
    assert (path <= HIGH + 1e-6).all()
    cells = np.clip(((path - LOW) / (HIGH - LOW) * 4).astype(int), 0, 3)
    assert len(np.unique(cells, axis=0)) >= 60  # of 64
    speed = np.abs(np.diff(path, axis=0)) / STEP_S
    assert speed.max() <= 0.25 + 1e-6
    assert (speed < 0.02).mean() > 0.05
    assert (speed > 0.2).mean() > 0.02


def test_outside_the_box_only_the_way_back_is_taken():
    path = walk(BOX, HIGH + 0.2, 5.0)
    outside = np.maximum(path - HIGH, 0).sum(axis=1)
    assert (np.diff(outside) <= 1e-9).all()
    assert outside[-1] < 1e-3


def test_an_axis_without_extent_stands_still():
    flat = ExplorationBox((0.3, -0.2, 0.1), (0.6, 0.2, 0.1), 0.25)
    path = walk(flat, np.array([0.4, 0.0, 0.1]), 30.0)
    assert np.ptp(path[:, 2]) == 0.0
    assert np.ptp(path[:, 0]) > 0.1


def test_the_same_seed_moves_the_same_way():
    start = (LOW + HIGH) / 2
    np.testing.assert_array_equal(walk(BOX, start, 20.0, 3), walk(BOX, start, 20.0, 3))
    assert np.abs(walk(BOX, start, 20.0, 3) - walk(BOX, start, 20.0, 4)).max() > 0.05


@pytest.mark.parametrize(
    ("low", "high", "speed"),
    [
        ((0.3, 0.0, 0.1), (0.2, 0.2, 0.3), 0.1),
        ((0.3, 0.0, 0.1), (0.3, 0.0, 0.1), 0.1),
        ((0.3, 0.0, float("nan")), (0.6, 0.2, 0.3), 0.1),
        ((0.3, 0.0, 0.1), (0.6, 0.2, 0.3), 0.0),
    ],
)
def test_refuses_a_box_that_is_none(low, high, speed):
    with pytest.raises(ValueError, match="must be"):
        ExplorationBox(low, high, speed)


def test_refuses_a_position_that_is_not_finite():
    exploration = Exploration(BOX, np.random.default_rng(0))
    with pytest.raises(ValueError, match="finite"):
        exploration.plan(np.array([0.4, np.nan, 0.2]), 0, STEP_S, 0.5)
    with pytest.raises(ValueError, match="above 0"):
        exploration.plan(np.array([0.4, 0.0, 0.2]), 0, 0.0, 0.5)
