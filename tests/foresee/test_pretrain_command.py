"""Pretrain on recorded camera frames and train on what it learned, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made import Made

from foresee.cli import main
from world_model.checkpoint import load_any_checkpoint
from world_model.config import VitConfig
from world_model.data.mixture import open_mixture
from world_model.probe import probe_trunk
from world_model.vit import VitTrunk

VIT = VitConfig(width=48, depth=2, heads=3)
TOOL = ("tool.x", "tool.y", "tool.z")


@pytest.fixture(scope="module")
def pretrained(reach: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run on the frames of Reach; do not change it."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    tiny = ["--vit.width", "48", "--vit.depth", "2", "--predictor.width", "24", "--threads", "1"]
    tiny += ["--steps", "150", "--warmup-steps", "15", "--batch", "16", "--learning-rate", "1e-2"]
    assert main(["pretrain", "--data", str(reach.data), "--out", str(out), *tiny]) == 0
    return out


def test_a_probe_finds_the_tool_better_than_before(reach: Made, pretrained: Path) -> None:
    """In the mean token, which cannot hold the image as it is."""
    report = load_any_checkpoint(pretrained).history[-1]
    with open_mixture(reach.data, progress=False) as mixture:
        torch.manual_seed(0)
        untrained = VitTrunk(VIT).eval()
        rng = np.random.default_rng(0)
        before = probe_trunk(untrained, mixture.cache, mixture.fit, mixture.held_out, rng)
    gained = [report["probe_r2_mean"][name] - before["probe_r2_mean"][name] for name in TOOL]
    print(before["probe_r2_mean"], report["probe_r2_mean"], gained, report["prediction_ratio"])
    assert np.mean(gained) > 0.02


def test_a_model_is_trained_on_it_by_the_documented_commands(
    reach: Made, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle, summary = tmp_path / "run", tmp_path / "bundle", tmp_path / "train.json"
    train = ["train", "--data", str(reach.data), "--out", str(run), "--json", str(summary)]
    train += ["--encoder-from", str(pretrained), "--steps", "20", "--batch", "16", "--threads", "1"]
    assert main(train) == 2
    assert "--encoder.kind vit --encoder.vit.width 48" in capsys.readouterr().err
    train += ["--encoder.kind", "vit", "--encoder.vit.width", "48", "--encoder.vit.depth", "2"]
    assert main(train) == 0
    assert json.loads(summary.read_text())["finished"]
    export = ["export", "--data", str(reach.data), "--out", str(bundle)]
    assert main([*export, "--checkpoint", str(run)]) == 0
    assert main([*export, "--checkpoint", str(pretrained)]) == 2
    assert "a pretrained encoder" in capsys.readouterr().err
