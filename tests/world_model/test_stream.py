"""Training on more than the disk may hold decoded: bound, order, resume, nothing left behind."""

from __future__ import annotations

import contextlib
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
from dots import SIZE, SMALL, SPEC, moving_dot

from world_model.checkpoint import CheckpointError, load_checkpoint
from world_model.config import TrainConfigError
from world_model.curves import read_losses
from world_model.data import DatasetError, DatasetWriter, build_cache
from world_model.data.decode import arrays_of
from world_model.data.shards import RESIDENT, ShardOrder, divide
from world_model.data.stream import FOLDER
from world_model.export import export
from world_model.train import draw_clips, train
from world_model.training_data import open_training_data

BOUND = 1_000_000  # of 2.97 MB: 40 held-out frames and four shards of about 70
CONFIG = dataclasses.replace(
    SMALL,
    steps=60,
    batch=16,
    validate_every=30,
    checkpoint_every=10,
    cache_gb=BOUND / 1e9,
)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 episodes of 30 to 53 frames, the held-out ones among them."""
    path = tmp_path_factory.mktemp("long") / "set"
    with DatasetWriter(path, SPEC) as writer:
        for seed in range(24):
            writer.add(moving_dot(seed, 30 + seed))
    return path


def size_of(folder: Path) -> int:
    """Bytes that the files of a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def test_each_pass_has_every_episode_once_in_shards_that_fit() -> None:
    lengths = np.random.default_rng(0).integers(5, 30, 40)
    episodes = np.arange(3, 40)
    order = ShardOrder(lengths, episodes, room=60, seed=1)
    shards = [order[number] for number in range(60)]
    assert max(lengths[shard].sum() for shard in shards) <= 60
    drawn = np.concatenate(shards)
    first, second = drawn[:37], drawn[37:74]
    np.testing.assert_array_equal(np.sort(first), episodes)
    np.testing.assert_array_equal(np.sort(second), episodes)
    assert not np.array_equal(first, second)
    again = ShardOrder(lengths, episodes, room=60, seed=1)
    np.testing.assert_array_equal(again[59], shards[59])  # asked for without those before it
    np.testing.assert_array_equal(again[0], shards[0])
    other = ShardOrder(lengths, episodes, room=60, seed=2)
    assert not np.array_equal(other[0], shards[0])


def test_of_too_many_held_out_episodes_some_stay() -> None:
    lengths = np.full(20, 10)
    # A quarter of 200 frames is 50: five of ten episodes; 150 are left for four shards.
    room = divide(200, lengths, np.arange(10), np.arange(10, 20), seed=0)
    assert (len(room.held_out), room.held_out_frames, room.shard_frames) == (5, 50, 37)
    assert room.frames <= 200


def test_the_clips_are_those_of_the_data_set_and_every_episode_comes(long: Path) -> None:
    whole = build_cache(long, progress=False)
    with open_training_data(long, CONFIG, progress=False) as mixture:
        assert mixture.stream is not None
        cache, folder = mixture.cache, long / FOLDER
        assert cache.dataset_hash == whole.dataset_hash
        seen, at_a_time, step = set(), [], 0
        while seen < set(mixture.fit.tolist()):
            starts = mixture.stream.clip_starts(step)
            chosen = np.random.default_rng(step).choice(starts, 16)
            clips, true = cache.clips(chosen, 4), whole.clips(chosen, 4)
            np.testing.assert_array_equal(clips.images["scene"], true.images["scene"])
            np.testing.assert_array_equal(clips.actions, true.actions)
            there = mixture.stream.episodes(step).tolist()
            seen |= set(there)
            at_a_time.append(len(there))
            assert size_of(folder) <= BOUND
            step += 1
            assert step < 100
        assert max(at_a_time) < len(mixture.fit) / 2
        held_out = cache.clip_starts(4, mixture.held_out)
        np.testing.assert_array_equal(
            cache.clips(held_out, 4).images["scene"], whole.clips(held_out, 4).images["scene"]
        )
        absent = sorted(set(mixture.fit.tolist()) - set(there))[0]
        with pytest.raises(IndexError, match=rf"episodes \[{absent}\] are not on the disk"):
            cache.clips(cache.episode_starts[[absent]], 4)
        with pytest.raises(DatasetError, match="another process streams"):
            open_training_data(long, CONFIG, progress=False)
        assert size_of(folder) > BOUND / 2
    assert not folder.exists()


def test_a_step_has_the_same_clips_whatever_came_before_it(long: Path) -> None:
    with open_training_data(long, CONFIG, progress=False) as mixture:
        rows = [draw_clips(mixture, (), CONFIG, step).images["scene"] for step in range(18)]
        for step in (17, 3, 9, 4):
            assert torch.equal(draw_clips(mixture, (), CONFIG, step).images["scene"], rows[step])


def run_until(long: Path, out: Path, lines: int, ended_by: signal.Signals) -> int:
    """Train in a process group of its own, and end it the way a user or the system does.

    Ctrl-C in a terminal reaches the whole group; SIGKILL one process. Returns the exit status.
    """
    code = (
        "import signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[3]);"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"  # pytest & would ignore it
        "from test_stream import CONFIG; from world_model.train import train;"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), CONFIG, progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(long), str(out), str(Path(__file__).parent)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    losses, deadline = out / "losses.jsonl", time.monotonic() + 120
    while not (losses.exists() and len(losses.read_text().splitlines()) > lines):
        assert process.poll() is None, "training ended before it could be ended"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    if ended_by is signal.SIGINT:
        os.killpg(process.pid, ended_by)
    else:
        process.send_signal(ended_by)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    deadline = time.monotonic() + 10
    with contextlib.suppress(ProcessLookupError):  # until the group is empty
        while time.monotonic() < deadline:
            os.killpg(process.pid, 0)
            time.sleep(0.02)
        pytest.fail("a process outlived the training it belongs to")
    return process.returncode


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_ended_resumes_exactly_and_leaves_nothing(
    long: Path, streamed: Path, tmp_path: Path, ended_by: signal.Signals
) -> None:
    out = tmp_path / "ended"
    status = run_until(long, out, 25, ended_by)
    if ended_by is signal.SIGINT:
        assert status == 0
        assert not (long / FOLDER).exists()
    assert load_checkpoint(out).step < CONFIG.steps
    assert train(long, out, CONFIG, resume=True, progress=False).finished
    assert not (long / FOLDER).exists()
    assert read_losses(out) == read_losses(streamed)
    one, two = load_checkpoint(out), load_checkpoint(streamed)
    assert all(torch.equal(one.model[name], two.model[name]) for name in two.model)
    assert one.history == two.history


@pytest.fixture(scope="module")
def streamed(long: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a stream that nothing disturbed."""
    out = tmp_path_factory.mktemp("streamed") / "run"
    train(long, out, CONFIG, progress=False)
    return out


def test_a_streamed_run_is_exported_without_the_whole_cache(streamed: Path, tmp_path: Path) -> None:
    path = tmp_path / "set"
    with DatasetWriter(path, SPEC) as writer:
        for seed in range(24):
            writer.add(moving_dot(seed, 30 + seed))
    bundle = export(streamed, path, tmp_path / "bundle")
    assert bundle.manifest["parity"]
    assert not [file for file in path.iterdir() if file.is_dir() and file.name.startswith(".")]


def test_a_bound_that_is_large_enough_changes_nothing(long: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4)
    for name, gigabytes in (("none", 0.0), ("large", 1.0)):
        train(
            long, tmp_path / name, dataclasses.replace(config, cache_gb=gigabytes), progress=False
        )
    assert read_losses(tmp_path / "none") == read_losses(tmp_path / "large")
    with pytest.raises(CheckpointError, match=r"other settings \(.*cache_gb\)"):
        train(long, tmp_path / "none", config, resume=True, progress=False)


def test_what_cannot_be_streamed_is_told(long: Path, dots: Path, tmp_path: Path) -> None:
    small = dataclasses.replace(CONFIG, cache_gb=0.0003)
    with pytest.raises(DatasetError, match=r"--cache-gb 0.0003 is too small .*; give ") as told:
        open_training_data(long, small, progress=False)
    enough = dataclasses.replace(CONFIG, cache_gb=float(str(told.value).split("give ")[1]))
    with open_training_data(long, enough, progress=False) as mixture:
        assert mixture.stream is not None  # what it said is enough
    with pytest.raises(DatasetError, match="only one can be streamed"):
        open_training_data([long, dots], CONFIG, progress=False)
    with pytest.raises(TrainConfigError, match="frozen encoder"):
        dataclasses.replace(CONFIG, encoder_from="run")


def test_damage_met_while_streaming_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with DatasetWriter(path, SPEC) as writer:
        for seed in range(24):
            writer.add(moving_dot(seed))
    with open_training_data(path, CONFIG, progress=False) as mixture:
        assert mixture.stream is not None
        video = next(path.rglob("*.mp4"))
        video.write_bytes(video.read_bytes()[:1000])  # it was whole when training began
        with pytest.raises(DatasetError, match=r"file-000\.mp4"):
            mixture.stream.clip_starts(0)
    assert not (path / FOLDER).exists()


def test_the_bound_of_these_tests_is_smaller_than_the_data(long: Path) -> None:
    from world_model.data import open_dataset

    dataset = open_dataset(long)
    assert arrays_of(dataset).total > 2.5 * BOUND
    assert arrays_of(dataset).total > dataset.frames * SIZE * SIZE * 3
    assert RESIDENT == 3
