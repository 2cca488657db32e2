"""Masked pretraining on camera streams alone, and a world model on what it has learned."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import SIZE, SMALL
from interruption import interrupted_at
from torch.nn import functional as F

from world_model.checkpoint import CheckpointError, load_any_checkpoint, load_checkpoint
from world_model.config import EncoderConfig, TrainConfigError, VitConfig
from world_model.curves import Curves, read_losses
from world_model.data.dataset import DatasetError, DatasetSpec, DatasetWriter, Episode
from world_model.export import export
from world_model.masked import MaskedJepa
from world_model.masks import draw_masks
from world_model.pretrain import pretrain
from world_model.pretrain_config import MaskConfig, PretrainConfig
from world_model.train import train
from world_model.vit import VitTrunk, grid_of, positions

VIT = VitConfig(width=48, depth=2, heads=3)
TINY = PretrainConfig(
    vit=VIT,
    predictor=VitConfig(width=24, depth=1, heads=2),
    mask=MaskConfig(short_blocks=3),
    frames=4,
    steps=80,
    batch=24,
    learning_rate=1e-2,
    warmup_steps=10,
    validate_every=40,
    checkpoint_every=20,
    threads=1,
)
ON_VIT = dataclasses.replace(SMALL, encoder=EncoderConfig(kind="vit", latent_dim=16, vit=VIT))


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes of red that drift sideways and of green that drift up: every part tells the whole.

    No actions, no readings, nothing to judge by.
    """
    path = tmp_path_factory.mktemp("streams") / "set"
    spec = DatasetSpec(10.0, {"wall": (SIZE, SIZE)}, (), (), (), ())
    nothing, stamps_ns = np.zeros((40, 0), np.float32), np.arange(40) * 100_000_000
    grid = np.arange(SIZE) / SIZE
    with DatasetWriter(path, spec) as writer:
        for seed in range(24):
            rng = np.random.default_rng(seed)
            phases = rng.uniform(0, 1, 2) + np.cumsum(rng.normal(0, 0.08, (40, 2)), 0)
            waves = 128 + 100 * np.sin(2 * np.pi * (grid + phases[..., None]))  # (T, 2, SIZE)
            images = np.full((40, SIZE, SIZE, 3), 60, np.uint8)
            images[..., 0], images[..., 1] = waves[:, 0, None, :], waves[:, 1, :, None]
            writer.add(Episode({"wall": images}, nothing, nothing, nothing, "waves", stamps_ns))
    return path


@pytest.fixture(scope="module")
def pretrained(streams: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pretraining run on `streams`; do not change it."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    result = pretrain(streams, out, TINY, progress=False)
    assert result.finished
    return out


def test_what_is_hidden_is_predicted_better_than_by_a_constant(pretrained: Path) -> None:
    first, last = load_any_checkpoint(pretrained).history
    assert last["prediction_ratio"] < 0.93
    assert last["prediction_ratio"] < first["prediction_ratio"]
    assert last["std_mean"] > 0.05
    assert last["probe_r2"] == {}  # there is nothing to judge by


def test_a_world_model_cannot_be_trained_without_actions_and_says_what_can(
    streams: Path, pretrained: Path, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"holds no actions.*foresee pretrain"):
        train(streams, tmp_path / "run", SMALL, progress=False)
    with pytest.raises(CheckpointError, match="foresee train --encoder-from"):
        load_checkpoint(pretrained)
    with pytest.raises(CheckpointError, match="another method"):
        train(streams, pretrained, SMALL, resume=True, progress=False)


def test_the_encoder_sees_only_what_is_visible() -> None:
    torch.manual_seed(0)
    model = MaskedJepa(TINY).eval()
    mask = draw_masks(TINY.mask, grid_of(4, (SIZE, SIZE)), 1, np.random.default_rng(0))[0]
    clip = torch.randn(1, 4, 3, SIZE, SIZE)
    changed = clip.clone().reshape(2, 2, 3, 4, 8, 4, 8)  # tubelets, frames, RGB, rows, columns
    for tubelet, row, column in zip(*np.unravel_index(mask.hidden[0], (2, 4, 4)), strict=True):
        changed[tubelet, :, :, row, :, column] += 1.0
    changed = changed.reshape(1, 4, 3, SIZE, SIZE)
    assert torch.equal(model.predict(clip, mask), model.predict(changed, mask))
    assert not torch.allclose(model.target.encode(clip), model.target.encode(changed))


def test_every_place_has_a_position_of_its_own() -> None:
    for width in (24, 48, 96):
        places = positions((4, 8, 6), width)
        assert places.shape == (4 * 8 * 6, width)
        apart = torch.cdist(places, places) + 10 * torch.eye(len(places))
        assert apart.min() > 0.1


def test_the_target_encoder_is_a_moving_average(streams: Path, tmp_path: Path) -> None:
    """average = m average + (1 - m) trunk; m goes from 0.9 to 1: 0.9, 0.925, 0.95, 0.975."""
    config = dataclasses.replace(TINY, steps=4, momentum=0.9, checkpoint_every=1, warmup_steps=0)
    torch.manual_seed(config.seed)
    average = MaskedJepa(config).target.state_dict()
    trunks = []
    add = Curves.add_losses

    def add_and_look(curves: Curves, step: int, losses: dict[str, float]) -> None:
        add(curves, step, losses)
        if step > 1:
            trunks.append(load_any_checkpoint(tmp_path / "run").model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Curves, "add_losses", add_and_look)
        pretrain(streams, tmp_path / "run", config, progress=False)
    trunks.append(load_any_checkpoint(tmp_path / "run").model)
    for momentum, model in zip((0.9, 0.925, 0.95, 0.975), trunks, strict=True):
        for name, value in average.items():
            value.mul_(momentum).add_((1 - momentum) * model[f"trunk.{name}"])
            torch.testing.assert_close(value, model[f"target.{name}"])
    name = "transformer.norm.weight"
    assert not torch.equal(trunks[-1][f"target.{name}"], trunks[-1][f"trunk.{name}"])


def test_single_frames_are_learned_from_too(streams: Path, tmp_path: Path) -> None:
    """I-JEPA; and a trunk takes frames of any size."""
    config = dataclasses.replace(TINY, frames=1, batch=48)
    result = pretrain([streams], tmp_path / "run", config, progress=False)
    assert result.validation["prediction_ratio"] < 0.93
    trunk = VitTrunk(VIT)
    assert trunk(torch.zeros(1, 3, 16, 48)).shape == (1, 2 * 6, VIT.width)
    frame = torch.rand(1, 1, 3, SIZE, SIZE)
    torch.testing.assert_close(trunk.encode(frame), trunk.encode(frame.repeat(1, 2, 1, 1, 1)))


def test_a_resumed_run_repeats_its_losses(streams: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, steps=30, validate_every=30)
    pretrain(streams, tmp_path / "whole", config, progress=False)
    with interrupted_at(15):
        assert not pretrain(streams, tmp_path / "cut", config, progress=False).finished
    assert pretrain(streams, tmp_path / "cut", config, resume=True, progress=False).finished
    assert read_losses(tmp_path / "cut") == read_losses(tmp_path / "whole")
    ends = [load_any_checkpoint(run).model for run in (tmp_path / "cut", tmp_path / "whole")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


def test_a_model_on_the_frozen_trunk_learns_and_leaves_it_as_it_is(
    dots: Path, pretrained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(ON_VIT, encoder_from=str(pretrained), steps=80)
    result = train(dots, tmp_path / "run", config, progress=False)
    assert result.validation["rollout_ratio"] < 0.8
    assert min(result.validation["probe_r2"].values()) > 0.8
    before, after = load_any_checkpoint(pretrained).model, load_checkpoint(tmp_path / "run").model
    trunk = [name for name in before if name.startswith("target.")]
    assert trunk
    for name in trunk:
        mine = after[name.replace("target.", "encoder.encoders.0.stages.")]
        assert torch.equal(before[name], mine), name
    assert set(read_losses(tmp_path / "run")[1]) == {"prediction", "proprio", "sigreg", "total"}
    bundle = export(tmp_path / "run", dots, tmp_path / "bundle")
    parity = bundle.manifest["parity"]["max_abs_error"]
    assert set(parity) == {"encoder", "predictor_latent", "predictor_proprio", "rollout"}
    assert max(parity.values()) <= 1e-4


def test_the_trunk_can_be_tuned_further(dots: Path, pretrained: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(
        ON_VIT, encoder_from=str(pretrained), freeze_encoder=False, steps=10, learning_rate=1e-4
    )
    train(dots, tmp_path / "run", config, progress=False)
    before = load_any_checkpoint(pretrained).model["target.embed.weight"]
    after = load_checkpoint(tmp_path / "run").model["encoder.encoders.0.stages.embed.weight"]
    assert not torch.equal(before, after)
    assert F.l1_loss(before, after) < 1e-2  # it began there


def test_a_model_that_the_trunk_does_not_fit_is_refused(
    dots: Path, pretrained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, encoder_from=str(pretrained))
    told = r"add --encoder.kind vit --encoder.vit.width 48 --encoder.vit.depth 2"
    with pytest.raises(TrainConfigError, match=told):
        train(dots, tmp_path / "run", config, progress=False)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"frames": 3}, "frames must be 1 or even, got 3"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"still_share": -0.1}, "still_share must lie in"),
    ],
)
def test_settings_out_of_their_limits_are_told(values: dict[str, float], told: str) -> None:
    with pytest.raises(TrainConfigError, match=told):
        PretrainConfig(**values)  # type: ignore[arg-type]
