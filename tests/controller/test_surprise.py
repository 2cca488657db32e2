"""Surprise is what the model did not predict, in units of what is rare."""

import numpy as np
import pytest

from controller.memory import AppliedCommand, CommandMemory
from controller.perception import Frame
from controller.surprise import Surprise

STEP_NS = 100_000_000
# Energies are means of two squares, of which one is 0: errors of 1, 2 and 3 mm are rare.
RARE = tuple((1e-3 * k) ** 2 / 2 for k in (1, 2, 3))


def drive(surprise, positions, velocity=0.1, begin=0):
    """The surprise at each of the positions of a point that is told to move at ``velocity``."""
    commands = CommandMemory.empty(2).extended(
        [AppliedCommand(0, np.array([velocity, 0.0], np.float32))], 0
    )
    frames, seen = (), []
    for i, x in enumerate(positions, begin):
        latent = np.array([[x, 0.0]], np.float32)
        frames = (*frames, Frame((i + 1) * STEP_NS, latent, latent[0]))[-3:]
        seen.append(surprise.see(frames, commands))
    return seen


def test_it_is_the_energy_over_the_rare_one_of_as_many_steps(model):
    # Told 10 mm a step it moves 11: the error is 1 mm, then 2, then 3, and 3 again of the last 3.
    seen = drive(Surprise(model, RARE), 0.011 * np.arange(8))
    assert seen[:2] == [0.0, 0.0]  # too little was seen
    np.testing.assert_allclose(seen[2:], 1.0, rtol=1e-2)
    # 12 mm: twice the error is four times the energy.
    seen = drive(Surprise(model, RARE), 0.012 * np.arange(8))
    np.testing.assert_allclose(seen[2:], 4.0, rtol=1e-2)


def test_a_frozen_image_of_a_robot_that_moves_is_a_surprise_and_of_one_that_rests_is_none(model):
    positions = [*(0.01 * np.arange(10)), *[0.09] * 6]
    seen = drive(Surprise(model, RARE), positions)
    assert max(seen[:10]) < 0.1
    assert min(seen[13:]) > 50  # 30 mm where 3 are rare: 100 times the energy
    assert max(drive(Surprise(model, RARE), [0.09] * 10, velocity=0.0)) < 0.1


def test_one_odd_frame_is_no_surprise_and_two_are(model):
    for odd, surprised in ((1, False), (2, True)):
        positions = 0.01 * np.arange(20)
        positions[10 : 10 + odd] += 0.1
        seen = drive(Surprise(model, RARE), positions)
        assert (max(seen) > 1.0) is surprised


def test_what_is_not_finite_is_infinitely_surprising(model):
    model.spoil = lambda latents: latents * np.nan
    assert drive(Surprise(model, RARE), [0.0, 0.01])[1] == np.inf


def test_a_model_of_which_nothing_is_known_is_never_surprised(model):
    assert drive(Surprise(model, ()), [0.0, 9.0, 0.0, 9.0]) == [0.0] * 4


@pytest.mark.parametrize("gap", [-1, 3])
def test_after_a_gap_nothing_is_said_and_then_it_begins_anew(model, gap):
    surprise = Surprise(model, RARE)
    drive(surprise, 0.01 * np.arange(20))
    seen = drive(surprise, [9.0, 9.01, 9.02], begin=20 + gap)
    assert seen[:2] == [0.0, 0.0]
    assert seen[2] < 0.1
