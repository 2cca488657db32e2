from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from dots import SMALL

from world_model.config import LossConfig, PredictorConfig, TrainConfig, TrainConfigError
from world_model.jepa import Clips, Jepa, Normalization

CAMERAS = {"left": (32, 32), "right": (32, 48)}


def _model(config: TrainConfig = SMALL) -> Jepa:
    torch.manual_seed(0)
    scale = Normalization(np.array([1.0, 2.0]), np.array([0.5, 4.0]), np.zeros(3), np.full(3, 0.1))
    return Jepa(config, CAMERAS, scale)


def _clips(batch: int = 8, length: int = 4) -> Clips:
    generator = torch.Generator().manual_seed(1)
    images = {
        name: torch.randint(0, 256, (batch, length, *size, 3), generator=generator).to(torch.uint8)
        for name, size in CAMERAS.items()
    }
    proprio = torch.randn(batch, length, 2, generator=generator)
    return Clips(images, proprio, torch.randn(batch, length, 3, generator=generator))


def test_each_camera_gives_one_latent_token() -> None:
    clips = _clips()
    latents = _model().encode({name: images[:, 0] for name, images in clips.images.items()})
    assert latents.shape == (8, 2, 16)
    assert float(latents.std().detach()) == pytest.approx(
        1.0, abs=0.05
    )  # the last layer fixes the scale


def test_a_fresh_predictor_predicts_no_change() -> None:
    model = _model()
    latents, proprio = torch.randn(5, 2, 2, 16), torch.randn(5, 2, 2)
    next_latent, next_proprio = model.step(latents, proprio, torch.randn(5, 2, 3))
    assert torch.equal(next_latent, latents[:, -1])
    assert torch.allclose(next_proprio, proprio[:, -1], atol=1e-5)


def test_rollout_is_the_step_repeated_on_its_own_output() -> None:
    model = _model()
    for parameter in model.predictor.parameters():  # off the "no change" start
        torch.nn.init.normal_(parameter, std=0.1)
    latents, proprio = torch.randn(3, 2, 2, 16), torch.randn(3, 2, 2)
    actions = torch.randn(3, 4, 3)  # one of the context, three steps ahead
    imagined, readings = model.rollout(
        latents, model.standardize_proprio(proprio), model.standardize_actions(actions)
    )
    assert imagined.shape == (3, 3, 2, 16)
    for step in range(3):
        latent, reading = model.step(latents, proprio, actions[:, step : step + 2])
        assert torch.allclose(imagined[:, step], latent, atol=1e-5)
        assert torch.allclose(readings[:, step], model.standardize_proprio(reading), atol=1e-5)
        latents = torch.stack([latents[:, -1], latent], 1)
        proprio = torch.stack([proprio[:, -1], reading], 1)


@pytest.mark.parametrize(
    ("loss", "terms"),
    [
        (
            LossConfig(rollout_steps=2, time_similarity_weight=0.0),
            {"prediction", "proprio", "sigreg"},
        ),
        (
            LossConfig(
                regularizer="vicreg",
                rollout_steps=2,
                inverse_dynamics_weight=1.0,
                time_similarity_weight=12.0,
                straightening_weight=1.0,
            ),
            {
                "prediction",
                "proprio",
                "variance",
                "covariance",
                "inverse_dynamics",
                "time_similarity",
                "straightening",
            },
        ),
    ],
)
def test_energy_is_the_sum_of_the_terms_that_were_asked_for(
    loss: LossConfig, terms: set[str]
) -> None:
    model = _model(dataclasses.replace(SMALL, loss=loss))
    energy = model.energy(_clips(), torch.Generator().manual_seed(0))
    assert set(energy) == terms | {"total"}
    parts = torch.stack([energy[name] for name in terms])
    assert energy["total"].item() == pytest.approx(parts.sum().item(), rel=1e-5)
    energy["total"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


def test_sigreg_at_each_time_step_does_not_charge_a_clip_for_standing_still() -> None:
    clips = _clips(32)
    still = {name: images[:, :1].expand_as(images) for name, images in clips.images.items()}

    def charged(per_step: bool) -> float:
        loss = LossConfig(sigreg_projections=2048, sigreg_per_step=per_step)
        model = _model(dataclasses.replace(SMALL, loss=loss)).eval()
        generator = torch.Generator().manual_seed(0)
        batch = dataclasses.replace(clips, images=still)
        return model.energy(batch, generator)["sigreg"].item()

    # Of four equal frames a clip: the same statistic, of four times as many latents.
    assert charged(False) == pytest.approx(4.0 * charged(True), rel=0.1)


def test_image_size_must_fit_the_encoder() -> None:
    scale = Normalization(np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))
    with pytest.raises(TrainConfigError, match="multiple of 16 pixels, got 30x32"):
        Jepa(SMALL, {"scene": (32, 30)}, scale)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LossConfig(rollout_steps=0), "rollout_steps must be at least 1, got 0"),
        (lambda: LossConfig(sigreg_weight=-1.0), "sigreg_weight must not be negative"),
        (
            lambda: TrainConfig(
                predictor=PredictorConfig(context=1),
                loss=LossConfig(rollout_ramp_steps=9, straightening_weight=1.0),
            ),
            "straightening_weight needs clips of at least 3 frames.*got 1",
        ),
        (lambda: TrainConfig(held_out=1.0), "held_out must lie between 0 and 1, got 1.0"),
        (lambda: TrainConfig(batch=1), "batch must be at least 2"),
    ],
)
def test_settings_out_of_their_limits_are_refused(make: object, message: str) -> None:
    with pytest.raises(TrainConfigError, match=message):
        make()  # type: ignore[operator]
