"""Surprise is what the model did not predict, in units of what is rare."""

import numpy as np
import pytest

from controller.memory import AppliedCommand, CommandMemory
from controller.perception import Frame
from controller.surprise import Surprise

STEP_NS = 100_000_000
# Energies are means of two squares, of which one is 0: errors of 1, 2 and 3 mm are rare.
RARE = tuple((1e-3 * k) ** 2 / 2 for k in (1, 2, 3))


def drive(surprise, positions, velocity=0.1, begin=0, steps=None):
    """The surprise at each of the positions of a point that is told to move at ``velocity``.

    They are one step of the model apart, or lie at ``steps``.
    """
    steps = np.arange(begin + 1, begin + 1 + len(positions)) if steps is None else steps
    commands = CommandMemory.empty(2).extended(
        [AppliedCommand(0, np.array([velocity, 0.0], np.float32))], 0
    )
    frames, seen = (), []
    for step, x in zip(steps, positions, strict=True):
        latent = np.array([[x, 0.0]], np.float32)
        stamp_ns = round(step * STEP_NS)
        oldest_ns = stamp_ns - 2.5 * STEP_NS
        frames = tuple(f for f in frames if oldest_ns <= f.stamp_ns < stamp_ns)
        frames = (*frames, Frame(stamp_ns, latent, latent[0]))
        seen.append(surprise.see(frames, commands))
    return seen


def test_it_is_the_energy_over_the_rare_one_of_as_many_steps(model):
    # Told 10 mm a step it moves 11: the error is 1 mm, then 2, then 3, and 3 again of the last 3.
    seen = drive(Surprise(model, RARE), 0.011 * np.arange(8))
    assert seen[:2] == [None, None]  # too little was seen
    np.testing.assert_allclose(seen[2:], 1.0, rtol=1e-2)
    # 12 mm: twice the error is four times the energy.
    seen = drive(Surprise(model, RARE), 0.012 * np.arange(8))
    np.testing.assert_allclose(seen[2:], 4.0, rtol=1e-2)


def test_a_frozen_image_of_a_robot_that_moves_is_a_surprise_and_of_one_that_rests_is_none(model):
    positions = [*(0.01 * np.arange(10)), *[0.09] * 6]
    seen = drive(Surprise(model, RARE), positions)
    assert max(seen[2:10]) < 0.1
    assert min(seen[13:]) > 50  # 30 mm where 3 are rare: 100 times the energy
    assert max(drive(Surprise(model, RARE), [0.09] * 10, velocity=0.0)[2:]) < 0.1


def test_one_odd_frame_is_no_surprise_and_two_are(model):
    for odd, surprised in ((1, False), (2, True)):
        positions = 0.01 * np.arange(20)
        positions[10 : 10 + odd] += 0.1
        seen = drive(Surprise(model, RARE), positions)
        assert (max(seen[2:]) > 1.0) is surprised


def test_what_is_not_finite_is_infinitely_surprising(model):
    model.spoil = lambda latents: latents * np.nan
    assert drive(Surprise(model, RARE), [0.0, 0.01])[1] == np.inf


def test_of_a_model_of_which_nothing_is_known_surprise_is_not_known(model):
    assert drive(Surprise(model, ()), [0.0, 9.0, 0.0, 9.0]) == [None] * 4


def test_a_frame_of_the_same_stamp_takes_the_place_of_the_one_before(model):
    # As of two cameras, of which the second is a moment later: one odd image at every stamp.
    once = drive(Surprise(model, RARE), 0.011 * np.arange(12))
    positions = np.repeat(0.011 * np.arange(12), 2)
    positions[::2] += 0.1
    twice = drive(Surprise(model, RARE), positions, steps=np.repeat(np.arange(1, 13), 2))
    assert twice[1::2] == once
    assert None not in twice[5:]


@pytest.mark.parametrize("gap", [-2, 3])
def test_after_a_gap_nothing_is_said_and_then_it_begins_anew(model, gap):
    surprise = Surprise(model, RARE)
    drive(surprise, 0.01 * np.arange(20))
    seen = drive(surprise, [9.0, 9.01, 9.02], begin=20 + gap)
    assert seen[:2] == [None, None]
    assert seen[2] < 0.1


THIRD, SIXTH = 1 / 3, 1 / 6  # of a step: cameras of 30 Hz and 60 Hz at a model of 10 Hz
SPACINGS = {
    "10 Hz": [1.0],
    "15 Hz": [2 * THIRD],
    "20 Hz": [0.5],
    "24 Hz": [5 / 12],
    "30 Hz": [THIRD],
    "60 Hz": [SIXTH],
    "30 Hz, every third dropped": [THIRD, 2 * THIRD],
    "30 Hz, late": [THIRD, 4 * THIRD, 2 * THIRD],
    "5 Hz": [2.0],
}


@pytest.mark.parametrize("camera", SPACINGS)
def test_frames_may_come_at_any_rate(model, camera):
    steps = np.cumsum(np.resize(SPACINGS[camera], 120))
    honest = drive(Surprise(model, RARE), 0.01 * steps, steps=steps)
    after = np.searchsorted(steps, steps[0] + 4.0)  # when K steps were seen
    assert max(honest[after:]) < 1e-3
    frozen = drive(Surprise(model, RARE), np.minimum(0.01 * steps, 0.09), steps=steps)
    assert None not in frozen[after:]
    assert min(frozen[-5:]) > 30


def test_frames_that_jitter_are_enough_for_a_model_of_which_one_step_is_known(model):
    steps = np.arange(1, 21) + np.resize([0.0, 0.1, -0.1, 0.05], 20)
    seen = drive(Surprise(model, RARE[:1]), 0.01 * steps, steps=steps)
    assert None not in seen[2:]
    assert max(seen[2:]) < 1e-3


def test_frames_farther_apart_than_was_ever_predicted_tell_nothing(model):
    steps = 3.5 * np.arange(1, 20)
    assert drive(Surprise(model, RARE), 0.01 * steps, steps=steps) == [None] * 19


def test_commands_count_for_as_long_as_they_were_in_force_at_any_rate(model):
    """Told 1 m/s for a fifth of a step, three steps ago: longer than the agent remembers."""
    surprise, stamps = Surprise(model, RARE), (np.arange(40) * STEP_NS / 3).astype(int)
    seen = []
    for stamp_ns in stamps.tolist():
        x = 1.0 * np.clip(stamp_ns - 5 * STEP_NS, 0, STEP_NS // 5) * 1e-9
        given = [AppliedCommand(5 * STEP_NS, np.array([1.0, 0.0], np.float32))]
        given.append(AppliedCommand(5 * STEP_NS + STEP_NS // 5, np.zeros(2, np.float32)))
        lately = CommandMemory.empty(2).extended(
            [c for c in given if c.stamp_ns <= stamp_ns], oldest_ns=stamp_ns - 2 * STEP_NS
        )
        latent = np.array([[x, 0.0]], np.float32)
        seen.append(surprise.see((Frame(stamp_ns, latent, latent[0]),), lately))
    assert max(seen[6:]) < 1e-3
