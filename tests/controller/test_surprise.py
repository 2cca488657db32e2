"""Surprise is what the model did not predict, measured by what is usual."""

import numpy as np
import pytest

from controller.memory import AppliedCommand, CommandMemory
from controller.perception import Frame
from controller.surprise import Surprise

STEP_NS = 100_000_000


def drive(surprise, positions, velocity=0.1):
    """The surprise at each of the positions of a point that is told to move at ``velocity``."""
    commands = CommandMemory.empty(2).extended(
        [AppliedCommand(0, np.array([velocity, 0.0], np.float32))], 0
    )
    frames, seen = (), []
    for i, x in enumerate(positions):
        latent = np.array([[x, 0.0]], np.float32)
        frames = (*frames, Frame((i + 1) * STEP_NS, latent, latent[0]))[-3:]
        seen.append(surprise.see(frames, commands))
    return seen


def test_a_jump_is_a_surprise_and_remains_one_until_it_is_over(model):
    rng = np.random.default_rng(0)
    positions = 0.01 * np.arange(40) + rng.normal(0.0, 1e-3, 40)
    positions[30] += 0.1
    seen = drive(Surprise(model), positions)
    assert seen[:10] == [0.0] * 10  # too little was seen
    assert max(seen[12:30]) < 30
    assert min(seen[30:32]) > 300  # there and back again
    assert max(seen[33:]) < 30


def test_what_is_not_finite_is_infinitely_surprising(model):
    model.spoil = lambda latents: latents * np.nan
    assert drive(Surprise(model), [0.0, 0.01])[1] == np.inf


@pytest.mark.parametrize("gap", [0, 3])
def test_after_a_gap_nothing_is_said(model, gap):
    surprise = Surprise(model)
    drive(surprise, 0.01 * np.arange(20))
    latent = np.array([[9.0, 0.0]], np.float32)
    frames = (Frame((20 + gap) * STEP_NS, latent, latent[0]),)
    assert surprise.see(frames, CommandMemory.empty(2)) == 0.0
