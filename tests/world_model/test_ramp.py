"""Rollouts that grow longer while a model is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from dots import SMALL
from interruption import interrupted_at

from world_model.config import LossConfig, TrainConfig, TrainConfigError
from world_model.curves import read_losses
from world_model.data.mixture import Mixture
from world_model.train import train


def with_rollouts(config: TrainConfig, steps: int, ramp: int = 0) -> TrainConfig:
    loss = dataclasses.replace(config.loss, rollout_steps=steps, rollout_ramp_steps=ramp)
    return dataclasses.replace(config, loss=loss)


def test_the_ramp_is_even_and_ends_where_it_says() -> None:
    loss = LossConfig(rollout_steps=4, rollout_ramp_steps=6)
    # 1 + floor(step * 3 / 6), and 4 from step 6 on.
    assert [loss.rollout_steps_at(step) for step in range(8)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert LossConfig(rollout_steps=4).rollout_steps_at(0) == 4
    assert LossConfig(rollout_steps=1, rollout_ramp_steps=9).rollout_steps_at(5) == 1
    with pytest.raises(TrainConfigError, match="rollout_ramp_steps must not be negative"):
        LossConfig(rollout_ramp_steps=-1)


def test_early_losses_are_those_of_a_run_with_shorter_rollouts(
    dots: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(SMALL, steps=12, validate_every=12)
    ramped = with_rollouts(few, 3, ramp=10)
    train(dots, tmp_path / "ramped", ramped, progress=False)
    # Clips of shorter rollouts can begin later in an episode: let them begin where the others do.
    starts = Mixture.clip_starts
    monkeypatch.setattr(Mixture, "clip_starts", lambda self, _: starts(self, ramped.clip_length))
    train(dots, tmp_path / "short", with_rollouts(few, 1), progress=False)
    found, short = (read_losses(tmp_path / name) for name in ("ramped", "short"))
    assert [found[step] for step in range(1, 6)] == [short[step] for step in range(1, 6)]
    assert found[6]["prediction"] != short[6]["prediction"]  # two steps from here on


def test_a_resumed_run_goes_on_up_the_ramp(dots: Path, trained: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        with_rollouts(SMALL, 6, ramp=30), steps=40, encoder_from=str(trained)
    )
    train(dots, tmp_path / "whole", config, progress=False)
    with interrupted_at(15):
        assert not train(dots, tmp_path / "cut", config, progress=False).finished
    assert train(dots, tmp_path / "cut", config, resume=True, progress=False).finished
    assert read_losses(tmp_path / "cut") == read_losses(tmp_path / "whole")
