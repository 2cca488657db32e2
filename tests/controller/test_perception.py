"""Perception: what is refused, and which frames make a context."""

from dataclasses import replace

import numpy as np
import pytest

from controller.memory import AppliedCommand, CommandMemory
from controller.perception import check_images, model_state, perceive
from controller.types import ObservationError

MS = 1_000_000


def refused(model, observation, message):
    with pytest.raises(ObservationError, match=message) as caught:
        perceive(model, (), observation)
    assert "\n" not in str(caught.value)


def test_a_missing_camera_is_named(model):
    refused(model, replace(model.observe([0, 0], 0), images={}), "no image of camera 'scene'")


def test_an_unknown_camera_is_named(model):
    observation = model.observe([0, 0], 0)
    images = {**observation.images, "wrist": observation.images["scene"]}
    refused(model, replace(observation, images=images), r"'wrist' is not one .*\(scene\)")


@pytest.mark.parametrize("shape", [(8, 8, 3), (4, 4), (4, 4, 4), (3, 4, 4)])
def test_a_wrong_size_says_both_sizes(model, shape):
    images = {"scene": np.zeros(shape, np.uint8)}
    with pytest.raises(ObservationError, match=f"{'x'.join(map(str, shape))}, .* 4x4x3"):
        check_images(images, model.spec)


def test_pixels_must_be_bytes(model):
    images = {"scene": np.zeros((4, 4, 3), np.float32)}
    with pytest.raises(ObservationError, match="float32 pixels instead of uint8"):
        check_images(images, model.spec)


def test_a_wrong_number_of_readings_is_refused(model):
    observation = replace(model.observe([0, 0], 0), proprio=np.zeros(3, np.float32))
    refused(model, observation, r"proprio has shape \(3,\), the model expects \(2,\)")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_reading_that_is_not_finite_is_named(model, bad):
    observation = replace(model.observe([0, 0], 0), proprio=np.array([0.0, bad], np.float32))
    refused(model, observation, f"reading 'tool.y' is {bad}")


def test_a_latent_that_is_not_finite_is_refused(model):
    model.encode = lambda images: np.full((1, 2), np.nan, np.float32)
    refused(model, model.observe([0, 0], 0), "encoder gave a latent that is not finite")


def test_going_back_in_time_is_refused(model):
    frames = perceive(model, (), model.observe([0, 0], 500 * MS))
    with pytest.raises(ObservationError, match=r"0\.200 s older"):
        perceive(model, frames, model.observe([0, 0], 300 * MS))


def test_the_same_stamp_replaces_the_frame(model):
    frames = perceive(model, (), model.observe([0, 0], 0))
    frames = perceive(model, frames, model.observe([1, 0], 0))
    assert len(frames) == 1
    assert frames[0].proprio.tolist() == [1.0, 0.0]


def test_a_runtime_that_reuses_its_output_does_not_change_the_past(model):
    output = np.zeros((1, 2), np.float32)

    def encode(images):
        output[:] += 1.0
        return output

    model.encode = encode
    frames = perceive(model, (), model.observe([0, 0], 0))
    frames = perceive(model, frames, model.observe([0, 0], 100 * MS))
    assert [frame.latent[0, 0] for frame in frames] == [1.0, 2.0]


def context(model, stamps_ms, commands=()):
    """Positions along x equal to the stamp in seconds, so that each frame tells which it is."""
    frames = ()
    for stamp in stamps_ms:
        frames = perceive(model, frames, model.observe([stamp / 1000, 0.0], stamp * MS))
    given = [AppliedCommand(stamp * MS, np.array([value, 0.0])) for stamp, value in commands]
    memory = CommandMemory.empty(2).extended(given, oldest_ns=0)
    state = model_state(model.spec, frames, memory)
    assert state.stamp_ns == stamps_ms[-1] * MS
    np.testing.assert_allclose(state.latents[:, 0], state.proprio, atol=1e-4)
    return [round(float(x) * 1000) for x in state.proprio[:, 0]], state.actions[:, 0].tolist()


@pytest.mark.parametrize(
    ("stamps_ms", "chosen_ms"),
    [
        ([0], [0, 0, 0]),  # at the start the first frame is repeated
        ([0, 100], [0, 0, 100]),
        ([0, 100, 200, 300], [100, 200, 300]),
        ([0, 33, 67, 100, 133, 167, 200], [0, 100, 200]),  # a camera three times faster
        ([0, 90, 210], [0, 90, 210]),  # jitter
        ([0, 100, 300], [300, 300, 300]),  # a gap: what is before it is too far away
        ([0, 100, 200, 500, 600], [500, 500, 600]),
    ],
)
def test_the_context_is_frames_one_step_apart(model, stamps_ms, chosen_ms):
    assert context(model, stamps_ms)[0] == chosen_ms


def test_the_context_has_the_applied_actions_between_its_frames(model):
    commands = [(0, 1.0), (100, 2.0), (150, 4.0)]
    _, actions = context(model, [0, 100, 200], commands)
    assert actions == pytest.approx([1.0, 3.0])  # (2 + 4) / 2


def test_before_the_first_frame_the_robot_stood_still(model):
    _, actions = context(model, [0, 100], [(0, 1.0)])
    assert actions == [0.0, 1.0]


def test_a_model_without_a_past_needs_none(make_model):
    model = make_model(context=1)
    frames = perceive(model, (), model.observe([0.5, 0], 0))
    state = model_state(model.spec, frames, CommandMemory.empty(2))
    assert state.latents.shape == (1, 1, 2)
    assert state.actions.shape == (0, 2)


def test_frames_do_not_pile_up(model):
    frames = ()
    for i in range(100):
        frames = perceive(model, frames, model.observe([0, 0], i * 100 * MS))
    assert len(frames) == 3
