"""Only the newest images count, and only complete sets of them."""

import threading

import numpy as np
import pytest

from ros_nodes.convert import array_to_image
from ros_nodes.latest_images import LatestImages


def image(value: int, stamp_ns: int):
    return array_to_image(np.full((4, 4, 3), value, np.uint8), stamp_ns, "optical")


def test_a_late_planner_gets_the_newest_frame_and_each_only_once():
    latest = LatestImages(["scene"], 0)
    latest.put_goal("scene", image(9, 50))
    for number in range(3):
        latest.put_frame("scene", image(number, 100 + number))
    frames, goal = latest.wait()
    assert frames.stamp_ns == 102
    assert frames.images["scene"][0, 0, 0] == 2
    assert goal.stamp_ns == 50
    latest.put_frame("scene", image(3, 103))
    frames, goal = latest.wait()
    assert frames.stamp_ns == 103
    assert goal is None  # it was given already


def test_two_cameras_make_a_set_only_when_taken_together():
    latest = LatestImages(["scene", "wrist"], max_skew_ns=10)
    given = []
    waiter = threading.Thread(target=lambda: given.append(latest.wait()))
    waiter.start()
    latest.put_frame("scene", image(0, 100))
    latest.put_frame("wrist", image(1, 111))  # 11 ns apart
    waiter.join(0.1)
    assert waiter.is_alive()
    latest.put_frame("scene", image(2, 120))
    waiter.join(5.0)
    ((frames, goal),) = given
    assert frames.stamp_ns == 111  # the older one
    assert set(frames.images) == {"scene", "wrist"}
    assert goal is None


def test_of_cameras_that_are_triggered_together_the_first_does_not_wake_it():
    latest = LatestImages(["scene", "wrist"], max_skew_ns=50)
    latest.put_frame("scene", image(0, 100))
    latest.put_frame("wrist", image(0, 100))
    assert latest.wait()[0].stamp_ns == 100
    given = []
    waiter = threading.Thread(target=lambda: given.append(latest.wait()))
    waiter.start()
    latest.put_frame("scene", image(1, 133))
    waiter.join(0.1)
    assert waiter.is_alive()
    latest.put_frame("wrist", image(1, 133))
    waiter.join(5.0)
    ((frames, _),) = given
    assert frames.stamp_ns == 133
    for camera in ("scene", "wrist"):  # the clock went back
        latest.put_frame(camera, image(2, 10))
    assert latest.wait()[0].stamp_ns == 10


def test_closing_wakes_the_planner_and_opening_gives_the_goal_again():
    latest = LatestImages(["scene"], 0)
    latest.put_goal("scene", image(9, 50))
    latest.put_frame("scene", image(0, 100))
    latest.wait()
    latest.close()
    assert latest.wait() is None
    latest.open()
    latest.put_frame("scene", image(0, 200))
    assert latest.wait()[1].stamp_ns == 50


def test_a_frame_that_comes_raw_and_compressed_is_one():
    latest, waiting = LatestImages(["scene"], 0), threading.Event()
    latest.put_frame("scene", image(1, 100))
    assert latest.wait()[0].images["scene"][0, 0, 0] == 1
    latest.put_frame("scene", image(2, 100))
    waiter = threading.Thread(target=lambda: (latest.wait(), waiting.set()))
    waiter.start()
    assert not waiting.wait(0.2)
    latest.put_frame("scene", image(3, 200))
    assert waiting.wait(5.0)
    waiter.join()


def test_what_was_seen_long_ago_is_no_goal():
    latest = LatestImages(["scene", "wrist"], max_skew_ns=100)
    assert not latest.goal_from_frames(0)
    latest.put_frame("scene", image(0, 100))
    assert not latest.goal_from_frames(0)
    latest.put_frame("wrist", image(1, 150))
    assert not latest.goal_from_frames(101)
    assert latest.goal_from_frames(100)
    assert latest.wait()[1].stamp_ns == 100


def test_a_broken_message_changes_nothing():
    latest = LatestImages(["scene"], 0)
    latest.put_frame("scene", image(1, 100))
    broken = image(2, 101)
    broken.step = 5
    with pytest.raises(ValueError, match="step"):
        latest.put_frame("scene", broken)
    assert latest.wait()[0].stamp_ns == 100
