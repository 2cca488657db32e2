"""Resampling on numbers small enough to be checked by hand. Times in ns."""

from __future__ import annotations

import numpy as np
import pytest

from world_model.data import align


def stamps(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_nearest_prefers_the_earlier_of_two_as_near() -> None:
    index, distance = align.nearest(stamps(0, 10, 20), stamps(-7, 4, 5, 6, 20, 99))
    assert index.tolist() == [0, 0, 0, 1, 2, 2]
    assert distance.tolist() == [7, 4, 5, 4, 0, 79]
    assert align.nearest(stamps(3), stamps(0, 9))[0].tolist() == [0, 0]


def test_frame_times_lie_where_most_images_are() -> None:
    # The first image is 30 late; the others come at 0, 100, 200 …: times follow them.
    images = stamps(30, 100, 200, 300, 400)
    assert align.frame_times(images, 100, 10).tolist() == [0, 100, 200, 300, 400]
    assert align.frame_times(images, 100, 3).tolist() == [0, 100, 200]


def test_an_image_serves_once_unless_repeats_are_allowed() -> None:
    images, times = stamps(0, 100, 300), stamps(0, 100, 200, 300)
    index, _, valid = align.frame_stamps(images, times, 50, allow_repeats=False)
    assert valid.tolist() == [True, True, False, True]
    index, seen, valid = align.frame_stamps(images, times, 100, allow_repeats=True)
    assert index.tolist() == [0, 1, 1, 2]
    assert valid.all()
    assert seen.tolist() == [0, 100, 200, 300]  # the third frame has the time of the grid


def test_readings_lie_on_lines_between_their_neighbours() -> None:
    values = np.array([[0.0, 1.0], [10.0, 0.0]])
    at = stamps(-5, 0, 25, 100, 120)
    expected = [[0, 1], [0, 1], [2.5, 0.75], [10, 0], [10, 0]]
    np.testing.assert_allclose(align.interpolate(stamps(0, 100), values, at), expected)


def test_stamps_of_today_lose_nothing_to_floating_point() -> None:
    start = 1_790_000_000_123_456_789
    at = np.array([start + 1], np.int64)
    found = align.interpolate(stamps(start, start + 4), np.array([[0.0], [4.0]]), at)
    assert found.item() == 1.0


def test_angles_take_the_short_way_round() -> None:
    values = np.array([[3.0], [-3.0]])  # 0.2832 apart across pi
    found = align.interpolate(stamps(0, 2), values, stamps(1), wrap=True)
    assert abs(found.item()) == pytest.approx(np.pi)
    assert align.interpolate(stamps(0, 2), values, stamps(1)).item() == 0.0


def test_rotations_stay_rotations_whatever_their_sign() -> None:
    half = np.sqrt(0.5)
    turns = np.array([[0, 0, 0, 1.0], [0, 0, -half, -half]])  # a quarter turn about z, as -q
    found = align.interpolate_rotation(stamps(0, 2), turns, stamps(1))[0]
    expected = [0, 0, np.sin(np.pi / 8), np.cos(np.pi / 8)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_command_holds_from_its_instant_on() -> None:
    values = np.array([[1.0], [2.0]])
    found = align.hold(stamps(10, 20), values, stamps(10, 19, 20, 99))
    assert found.ravel().tolist() == [1, 1, 2, 2]


def test_the_mean_of_a_held_command_is_weighted_by_time() -> None:
    values = np.array([[1.0], [3.0], [0.0]])
    found = align.hold_mean(stamps(0, 25, 150), values, stamps(0, 100, 200))
    # 25 % of 1 and 75 % of 3 = 2.5; half of 3 and half of 0 = 1.5
    np.testing.assert_allclose(found.ravel(), [2.5, 1.5])


def test_silence_is_zero_after_the_command_has_held() -> None:
    times, values = align.with_silence(stamps(100, 120, 500), np.ones((3, 1)), hold_ns=50)
    found = align.hold(times, values, stamps(0, 100, 160, 169, 170, 499, 500, 549, 550))
    assert found.ravel().tolist() == [0, 1, 1, 1, 0, 0, 1, 1, 0]
    nothing, zero = align.with_silence(stamps(), np.zeros((0, 2)), hold_ns=50)
    assert align.hold(nothing, zero, stamps(7)).tolist() == [[0, 0]]
