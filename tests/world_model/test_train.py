"""Real training on a small moving-dot data set."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import SMALL, SPEC, moving_dot
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from world_model.checkpoint import CheckpointError, load_checkpoint, model_from_checkpoint
from world_model.config import LossConfig
from world_model.curves import read_losses
from world_model.data.dataset import DatasetError, DatasetWriter
from world_model.data.mixture import open_mixture
from world_model.export import ExportError, export
from world_model.interrupt import HeldInterrupt
from world_model.latents import encode_frames
from world_model.losses import straightening_loss
from world_model.probe import alarms
from world_model.train import DivergedError, train


def test_training_learns_how_the_dot_answers_the_action(trained: Path) -> None:
    report = load_checkpoint(trained).history[-1]
    assert report["rollout_ratio"] < 0.6  # clearly better than "nothing changes"
    assert report["probe_r2"]["dot.x"] > 0.9
    assert report["probe_r2"]["dot.y"] > 0.9
    assert not alarms(report, SMALL.encoder.latent_dim)


def test_vicreg_with_inverse_dynamics_learns_too(dots: Path, tmp_path: Path) -> None:
    loss = LossConfig(
        regularizer="vicreg",
        rollout_steps=2,
        inverse_dynamics_weight=1.0,
        time_similarity_weight=0.0,
    )
    config = dataclasses.replace(SMALL, loss=loss)
    report = train(dots, tmp_path / "run", config, progress=False).validation
    assert report["rollout_ratio"] < 0.8
    assert min(report["probe_r2"]["dot.x"], report["probe_r2"]["dot.y"]) > 0.8


def test_with_straightening_latent_paths_bend_less(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    loss = dataclasses.replace(SMALL.loss, straightening_weight=4.0)
    config = dataclasses.replace(SMALL, loss=loss)
    report = train(dots, tmp_path / "run", config, progress=False).validation
    assert report["rollout_ratio"] < 0.6
    assert min(report["probe_r2"]["dot.x"], report["probe_r2"]["dot.y"]) > 0.9
    mixture = open_mixture(dots, progress=False)
    cache = mixture.cache
    starts = cache.clip_starts(40, mixture.held_out)[:, None] + np.arange(40)  # whole episodes
    bent = []
    for run in (trained, tmp_path / "run"):
        model = model_from_checkpoint(load_checkpoint(run))
        latents = encode_frames(model, cache, progress=False)[torch.from_numpy(starts)]
        bent.append(float(straightening_loss(latents)))
    dot = torch.tensor(4.0 * cache.evaluation[starts])[:, :, None]  # of about unit std
    # The dot itself turns: only what its latent turns more than it can be straightened.
    without, with_it = (value - float(straightening_loss(dot)) for value in bent)
    assert with_it < 0.85 * without


def test_an_encoder_learned_from_every_second_frame_is_planned_with_after_a_predictor_of_its_own(
    dots: Path, tmp_path: Path
) -> None:
    loss = dataclasses.replace(SMALL.loss, sigreg_per_step=True)
    config = dataclasses.replace(SMALL, clip_stride=2, loss=loss)
    report = train(dots, tmp_path / "strided", config, progress=False).validation
    assert report["rollout_ratio"] < 0.7
    assert min(report["probe_r2"]["dot.x"], report["probe_r2"]["dot.y"]) > 0.8
    with pytest.raises(ExportError, match="its step is 2 frames"):
        export(tmp_path / "strided", dots, tmp_path / "bundle")
    after = dataclasses.replace(SMALL, encoder_from=str(tmp_path / "strided"))
    train(dots, tmp_path / "run", after, progress=False)
    bundle = export(tmp_path / "run", dots, tmp_path / "bundle")
    assert bundle.spec.model_dt_s == pytest.approx(0.1)


def test_the_alarms_tell_when_nothing_keeps_the_latent_from_collapsing() -> None:
    dead = {"std_mean": 0.01, "effective_rank": 1.1, "rollout_ratio": 1.5}
    lines = alarms(dead, latent_width=64)
    assert len(lines) == 3
    assert "mean latent std 0.010" in lines[0]
    assert "effective rank 1.1 of 64" in lines[1]
    assert "1.50 x that of predicting no change" in lines[2]
    assert not alarms({"std_mean": 1.0, "effective_rank": 20.0, "rollout_ratio": 0.4}, 64)


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_resuming_gives_the_losses_and_the_model_of_an_uninterrupted_run(
    dots: Path, trained: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    out = tmp_path / "ended"
    code = (
        "import signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]);"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # pytest & would ignore it
        "from dots import SMALL; from world_model.train import train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), SMALL, progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(dots), str(out), str(Path(__file__).parent)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    losses, deadline = out / "losses.jsonl", time.monotonic() + 120
    while not (losses.exists() and len(losses.read_text().splitlines()) > 50):
        assert process.poll() is None, "training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(ended_by)
    if ended_by is signal.SIGTERM:  # once more, as `timeout` does
        process.send_signal(ended_by)
    code_of = process.wait(timeout=240)
    step = load_checkpoint(out).step
    assert 0 < step < SMALL.steps
    if ended_by is not signal.SIGKILL:  # a step begun is ended, and none is lost
        assert code_of == 0
        assert step == max(read_losses(out))
    result = train(dots, out, SMALL, resume=True, progress=False)
    assert result.finished
    assert read_losses(out) == read_losses(trained)
    resumed, whole = load_checkpoint(out).model, load_checkpoint(trained).model
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_what_never_changes_in_the_data_is_not_blown_up(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", SPEC) as writer:
        for seed in range(12):
            episode = moving_dot(seed)
            actions = episode.actions * np.array([1.0, 0.0], np.float32)
            writer.add(dataclasses.replace(episode, actions=actions))
    config = dataclasses.replace(SMALL, steps=1)
    train(tmp_path / "set", tmp_path / "run", config, progress=False)
    scales = load_checkpoint(tmp_path / "run").normalization
    assert 0.1 < scales["action_std"][0] < 1.0
    assert scales["action_std"][1] == 1.0


def test_a_second_ctrl_c_does_not_wait() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with HeldInterrupt() as interrupt:
            signal.raise_signal(signal.SIGINT)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with HeldInterrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigterm_waits_however_often_it_comes_and_ctrl_c_after_it_does_not() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        with HeldInterrupt() as interrupt:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            assert interrupt.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)  # it is given back
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with HeldInterrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
        assert not interrupt.requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_run_does_not_go_into_a_data_set(dots: Path) -> None:
    with pytest.raises(CheckpointError, match="a data set; choose another --out"):
        train(dots, dots, SMALL, progress=False)
    assert not (dots / "losses.jsonl").exists()


def test_a_loss_that_is_not_finite_ends_training_before_the_weights_are_spoiled(
    dots: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SMALL, learning_rate=1e30, warmup_steps=0, checkpoint_every=1)
    with pytest.raises(DivergedError, match="lower learning_rate"):
        train(dots, tmp_path / "run", config, progress=False)
    saved = load_checkpoint(tmp_path / "run").model
    assert all(value.isfinite().all() for value in saved.values())


def test_the_point_before_a_resumed_step_stays_in_the_curves(dots: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, steps=40, validate_every=20)
    train(dots, tmp_path, config, progress=False)
    (tmp_path / "losses.jsonl").unlink()
    train(dots, tmp_path, config, resume=True, progress=False)
    curves = EventAccumulator(str(tmp_path / "tensorboard"))
    curves.Reload()
    assert [point.step for point in curves.Scalars("validation/rollout_ratio")] == [20, 40]


def test_a_run_is_not_overwritten_or_resumed_by_mistake(
    dots: Path, trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="there is a run here already; add --resume"):
        train(dots, trained, SMALL, progress=False)
    with pytest.raises(CheckpointError, match=r"other settings \(seed\)"):
        train(dots, trained, dataclasses.replace(SMALL, seed=1), resume=True, progress=False)
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        train(dots, tmp_path / "empty", SMALL, resume=True, progress=False)


def test_a_damaged_checkpoint_is_told_in_one_line(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="damaged checkpoint"):
        load_checkpoint(tmp_path)


def test_episodes_shorter_than_a_clip_are_told(dots: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, loss=LossConfig(rollout_steps=60))
    with pytest.raises(DatasetError, match="62 frames"):
        train(dots, tmp_path / "run", config, progress=False)


def test_held_out_episodes_too_short_to_judge_are_told_before_training(
    dots: Path, tmp_path: Path
) -> None:
    predictor = dataclasses.replace(SMALL.predictor, context=35)
    with pytest.raises(DatasetError, match="43 frames"):
        train(dots, tmp_path / "run", dataclasses.replace(SMALL, predictor=predictor))
    assert not (tmp_path / "run" / "losses.jsonl").exists()


def test_a_checkpoint_of_another_version_is_told(trained: Path, tmp_path: Path) -> None:
    values = torch.load(trained / "checkpoint.pt", weights_only=True)
    values["config"]["no_longer_there"] = 1
    torch.save(values, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="another version of foresee"):
        load_checkpoint(tmp_path)
