"""Two processes that train together make the same run as one, in every precision the same curve."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import SMALL

from world_model.checkpoint import load_any_checkpoint
from world_model.config import LossConfig, TrainConfigError
from world_model.curves import read_losses
from world_model.pretrain import pretrain
from world_model.pretrain_config import PretrainConfig, VitConfig
from world_model.train import train

VICREG = LossConfig(
    regularizer="vicreg",
    rollout_steps=2,
    rollout_ramp_steps=20,
    inverse_dynamics_weight=1.0,
    time_similarity_weight=0.5,
    straightening_weight=0.5,
)
WORLD_MODEL = dataclasses.replace(SMALL, steps=30, validate_every=30, shift_px=2)
METHODS = {
    "sigreg": (train, WORLD_MODEL),
    "vicreg": (train, dataclasses.replace(WORLD_MODEL, loss=VICREG)),
    "outcomes": (
        train,
        dataclasses.replace(
            WORLD_MODEL, predictor=dataclasses.replace(SMALL.predictor, outcomes=2)
        ),
    ),
    "masked": (
        pretrain,
        PretrainConfig(
            vit=VitConfig(width=24, depth=1, heads=2),
            predictor=VitConfig(width=24, depth=1, heads=2),
            steps=30,
            batch=8,
            warmup_steps=5,
            validate_every=30,
            threads=1,
        ),
    ),
}
# What torchrun starts: the same calls in every process.
SCRIPT = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, {folder!r})
from test_ranks import METHODS
from world_model.ranks import joined
with joined(torch.device("cpu")):
    for name, (learn, config) in METHODS.items():
        learn(Path({data!r}), Path({out!r}) / name, config, progress=False)
"""


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine, over loopback."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            told, complained = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends those it has started
            raise
    return subprocess.CompletedProcess(command, process.returncode, told, complained)


def test_two_processes_learn_what_one_learns(dots: Path, tmp_path: Path) -> None:
    script = tmp_path / "both.py"
    here = str(Path(__file__).parent)
    script.write_text(SCRIPT.format(folder=here, data=str(dots), out=str(tmp_path / "two")))
    ended = torchrun(str(script))
    assert ended.returncode == 0, ended.stderr
    for name, (learn, config) in METHODS.items():
        learn(dots, tmp_path / "one" / name, config, progress=False)
        one, two = (read_losses(tmp_path / n / name) for n in ("one", "two"))
        assert list(one) == list(two) == list(range(1, 31))
        for term in one[1]:
            values = [[losses[term] for losses in run.values()] for run in (one, two)]
            first = [losses[:1] for losses in values]
            np.testing.assert_allclose(*first, rtol=1e-5, atol=1e-6, err_msg=f"{name}: {term}")
            # Rounding grows with every step of Adam.
            np.testing.assert_allclose(*values, rtol=5e-4, atol=1e-5, err_msg=f"{name}: {term}")


def test_the_command_runs_in_two_processes_and_speaks_once(dots: Path, tmp_path: Path) -> None:
    out, summary = tmp_path / "run", tmp_path / "summary.json"
    options = ("--steps", "12", "--batch", "8", "--threads", "1", "--json", str(summary))
    ended = torchrun("-m", "foresee", "train", "--data", str(dots), "--out", str(out), *options)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("step 12 of 12") == 1
    assert json.loads(summary.read_text())["finished"] is True

    odd = ("--out", str(tmp_path / "odd"), "--batch", "9")
    ended = torchrun("-m", "foresee", "train", "--data", str(dots), *odd)
    assert ended.returncode != 0
    assert "a batch of 9 cannot be shared out to 2 processes" in ended.stderr


def test_bf16_does_not_change_what_is_learned(dots: Path, trained: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, precision="bf16")
    report = train(dots, tmp_path / "run", config, progress=False).validation
    assert report["rollout_ratio"] < 0.6
    assert min(report["probe_r2"]["dot.x"], report["probe_r2"]["dot.y"]) > 0.9
    losses = read_losses(tmp_path / "run")[1]["total"]
    assert losses != (exact := read_losses(trained)[1]["total"])
    assert losses == pytest.approx(exact, rel=0.02)


def test_compiling_changes_neither_losses_nor_names(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, steps=2, compile=True)
    train(dots, tmp_path / "run", config, progress=False)
    first = [read_losses(run)[1] for run in (tmp_path / "run", trained)]
    assert first[0] == pytest.approx(first[1], rel=1e-3)
    names = [list(load_any_checkpoint(run).model) for run in (tmp_path / "run", trained)]
    assert names[0] == names[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(dots: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, device="cuda")
    with pytest.raises(TrainConfigError, match="sees no GPU"):
        train(dots, tmp_path / "run", config, progress=False)


def test_a_run_goes_on_in_another_precision(dots: Path, tmp_path: Path) -> None:
    short = dataclasses.replace(SMALL, steps=20, validate_every=20)
    train(dots, tmp_path / "run", short, progress=False)
    elsewhere = dataclasses.replace(short, precision="bf16", device="cpu")
    assert train(dots, tmp_path / "run", elsewhere, resume=True, progress=False).finished
