"""A predictor trained on the latents of another run's encoder."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from dots import SMALL
from interruption import interrupted_at

from world_model.checkpoint import load_checkpoint
from world_model.config import EncoderConfig, LossConfig, PredictorConfig, TrainConfigError
from world_model.curves import read_losses
from world_model.train import train

FROZEN = dataclasses.replace(
    SMALL,
    predictor=PredictorConfig(hidden=96, blocks=2, context=2),
    loss=LossConfig(rollout_steps=6),
    steps=150,
    batch=64,
)


def test_a_predictor_learns_on_a_frozen_encoder(dots: Path, trained: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(FROZEN, encoder_from=str(trained))
    train(dots, tmp_path / "run", config, progress=False)
    before, after = load_checkpoint(trained), load_checkpoint(tmp_path / "run")
    for name, value in before.model.items():
        if name.startswith("encoder."):
            assert torch.equal(value, after.model[name]), name
    assert after.history[-1]["rollout_ratio"] < 0.6
    assert set(read_losses(tmp_path / "run")[1]) == {"prediction", "proprio", "total"}


def test_a_resumed_run_on_a_frozen_encoder_repeats_its_losses(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(FROZEN, encoder_from=str(trained), steps=40)
    train(dots, tmp_path / "whole", config, progress=False)
    with interrupted_at(25):
        assert not train(dots, tmp_path / "cut", config, progress=False).finished
    assert train(dots, tmp_path / "cut", config, resume=True, progress=False).finished
    assert read_losses(tmp_path / "cut") == read_losses(tmp_path / "whole")


def test_a_resumed_run_keeps_its_encoder_though_the_run_it_is_from_has_gone_on(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    encoder = Path(shutil.copytree(trained, tmp_path / "encoder"))
    config = dataclasses.replace(FROZEN, encoder_from=str(encoder), steps=40)
    with interrupted_at(25):
        assert not train(dots, tmp_path / "cut", config, progress=False).finished
    other = dataclasses.replace(SMALL, steps=2)
    train(dots, tmp_path / "other", other, progress=False)
    shutil.copytree(tmp_path / "other", encoder, dirs_exist_ok=True)
    assert train(dots, tmp_path / "cut", config, resume=True, progress=False).finished
    whole = dataclasses.replace(config, encoder_from=str(trained))
    train(dots, tmp_path / "whole", whole, progress=False)
    assert read_losses(tmp_path / "cut") == read_losses(tmp_path / "whole")


def test_an_encoder_that_has_seen_what_is_to_be_held_out_is_refused(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(FROZEN, encoder_from=str(trained), seed=SMALL.seed + 1)
    with pytest.raises(TrainConfigError, match=f"--seed {SMALL.seed}, which it was trained with"):
        train(dots, tmp_path / "run", config, progress=False)


def test_a_frozen_encoder_refuses_images_that_move() -> None:
    with pytest.raises(TrainConfigError, match="shift_px must be 0 with a frozen encoder"):
        dataclasses.replace(FROZEN, encoder_from="run", shift_px=2)


def test_a_taken_over_encoder_can_be_tuned_further(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        SMALL, encoder_from=str(trained), freeze_encoder=False, steps=20, learning_rate=1e-4
    )
    train(dots, tmp_path / "run", config, progress=False)
    name = "encoder.encoders.0.stages.0.weight"
    before = load_checkpoint(trained).model[name]
    after = load_checkpoint(tmp_path / "run").model[name]
    assert not torch.equal(before, after)
    assert torch.allclose(before, after, atol=0.05)  # it began there


def test_an_encoder_of_another_shape_is_refused(dots: Path, trained: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        SMALL, encoder_from=str(trained), encoder=EncoderConfig(width=16, latent_dim=16)
    )
    with pytest.raises(TrainConfigError, match=r"is not the one asked for.*--encoder"):
        train(dots, tmp_path / "run", config, progress=False)
