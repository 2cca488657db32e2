from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.frozen import FrozenCamera

STILL = np.zeros((8, 8, 3), np.uint8)


def place(x_m: float) -> NDArray[np.float64]:
    return np.array([x_m, 0.0, 0.0])


def test_a_picture_that_stays_while_the_robot_moves_is_as_old_as_when_it_was_first_seen() -> None:
    camera = FrozenCamera(0.03)
    found = [camera.news_ns(t, {"scene": STILL.copy()}, place(0.01 * t)) for t in range(6)]
    assert found == [0, 1, 2, 3, 0, 0]
    changed = STILL.copy()
    changed[3, 4, 1] = 1
    assert camera.news_ns(7, {"scene": changed}, place(0.0)) == 7


def test_a_robot_that_stands_still_may_see_the_same_for_ever() -> None:
    camera = FrozenCamera(0.03)
    assert [camera.news_ns(t, {"scene": STILL}, place(0.029)) for t in range(9)] == list(range(9))


def test_one_frozen_camera_of_two_is_enough() -> None:
    camera = FrozenCamera(0.03)
    for t in range(5):
        moving = np.full_like(STILL, t)
        news = camera.news_ns(t, {"wrist": moving, "scene": STILL}, place(0.02 * t))
    assert news == 0


def test_zero_turns_it_off() -> None:
    camera = FrozenCamera(0.0)
    assert [camera.news_ns(t, {"scene": STILL}, place(t)) for t in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong_m", [np.nan, np.inf, 5.0])
def test_a_wrong_reading_does_not_count_for_ever(wrong_m: float) -> None:
    camera = FrozenCamera(0.03)
    assert camera.news_ns(0, {"scene": STILL}, place(0.0)) == 0
    camera.news_ns(1, {"scene": STILL}, place(wrong_m))
    assert camera.news_ns(2, {"scene": STILL}, place(0.0)) == 2
    if not np.isfinite(wrong_m):
        assert FrozenCamera(0.03).news_ns(3, {"scene": STILL}, place(wrong_m)) == 3


def test_a_place_that_begins_wrong_is_no_place() -> None:
    camera = FrozenCamera(0.03)
    for t in range(4):
        assert camera.news_ns(t, {"scene": STILL}, place(np.nan if t == 0 else 0.0)) == t
