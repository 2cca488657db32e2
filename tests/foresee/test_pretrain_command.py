"""Pretrain on recorded camera frames and train on what it learned, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made import Made

from foresee.cli import main


@pytest.fixture(scope="module")
def pretrained(reach: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run on the frames of Reach; do not change it."""
    out = tmp_path_factory.mktemp("pretrained") / "run"
    tiny = ["--vit.width", "48", "--vit.depth", "2", "--predictor.width", "24", "--threads", "1"]
    tiny += ["--steps", "20", "--warmup-steps", "5", "--batch", "16", "--learning-rate", "1e-2"]
    assert main(["pretrain", "--data", str(reach.data), "--out", str(out), *tiny]) == 0
    return out


def test_a_model_is_trained_on_it_by_the_documented_commands(
    reach: Made, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, summary = tmp_path / "run", tmp_path / "train.json"
    train = ["train", "--data", str(reach.data), "--out", str(run), "--json", str(summary)]
    train += ["--encoder-from", str(pretrained), "--steps", "20", "--batch", "16", "--threads", "1"]
    assert main(train) == 2
    assert "--encoder.kind vit --encoder.vit.width 48" in capsys.readouterr().err
    train += ["--encoder.kind", "vit", "--encoder.vit.width", "48", "--encoder.vit.depth", "2"]
    assert main(train) == 0
    assert json.loads(summary.read_text())["finished"]
    export = ["export", "--data", str(reach.data), "--out", str(tmp_path / "bundle")]
    assert main([*export, "--checkpoint", str(pretrained)]) == 2
    assert "a pretrained encoder" in capsys.readouterr().err
