"""The cache equals the data set, survives kills and changes, and never mixes episodes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from blobs import SPEC, blob_episode
from damage import EPISODES, forget_hashes, rewrite
from hypothesis import given
from hypothesis import strategies as st

from world_model.data import (
    Cache,
    DatasetError,
    DatasetWriter,
    build_cache,
    decode,
    open_dataset,
    split_episodes,
)
from world_model.data.video import decode_frames

VIDEOS = "videos/observation.images.scene/chunk-000"

BUILD = """
import sys
from world_model.data import DatasetError, build_cache, decode
decode.JOURNAL_EVERY_S = 0.02
try:
    print(build_cache(sys.argv[1], progress=False).dataset_hash)
except DatasetError as error:
    print(error)
"""


def numbered_cache(lengths: list[int]) -> Cache:
    """A cache in memory whose every number says episode and frame."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    numbers = np.stack([episode, frame], axis=1).astype(np.float32)
    return Cache(
        spec=SPEC,
        images={"scene": np.broadcast_to(frame[:, None, None, None], (len(frame), 2, 3, 3)) + 0},
        proprio=numbers,
        actions=numbers + 0.5,
        evaluation=np.zeros((len(frame), 0), np.float32),
        episode_starts=np.cumsum(lengths) - lengths,
        episode_lengths=np.array(lengths),
        dataset_hash="",
    )


def test_cache_holds_what_single_episodes_hold(written: Path) -> None:
    dataset, cache = open_dataset(written), build_cache(written, progress=False)
    assert cache.spec == SPEC
    assert cache.frames == dataset.frames == 135
    np.testing.assert_array_equal(cache.episode_lengths, [20, 21, 22, 23, 24, 25])
    for index in range(6):
        start = cache.episode_starts[index]
        part = slice(start, start + cache.episode_lengths[index])
        episode = dataset.episode(index)
        np.testing.assert_array_equal(cache.images["scene"][part], episode.images["scene"])
        np.testing.assert_array_equal(cache.proprio[part], episode.proprio)
        np.testing.assert_array_equal(cache.actions[part], episode.actions)
        np.testing.assert_array_equal(cache.evaluation[part], episode.evaluation)


def test_cache_is_built_once_and_cannot_be_written(dataset_path: Path) -> None:
    first = build_cache(dataset_path, progress=False)
    built = (dataset_path / ".cache/finished.json").stat().st_mtime_ns
    again = build_cache(dataset_path, progress=False)
    assert (dataset_path / ".cache/finished.json").stat().st_mtime_ns == built
    assert again.dataset_hash == first.dataset_hash
    with pytest.raises(ValueError, match="read-only"):
        again.actions[0] = 0
    again.images["scene"][0][:] = 0  # a copy
    assert again.images["scene"][0].any()


def test_hash_is_of_the_content_not_of_the_place(written: Path, dataset_path: Path) -> None:
    assert (
        build_cache(written, progress=False).dataset_hash
        == build_cache(dataset_path, progress=False).dataset_hash
    )


def test_cache_of_another_state_of_the_data_is_built_anew(dataset_path: Path) -> None:
    old = build_cache(dataset_path, progress=False)
    for name in ("data", "videos", "meta"):
        shutil.rmtree(dataset_path / name)
    with DatasetWriter(dataset_path / "new", SPEC) as writer:
        for seed in range(100, 106):
            writer.add(blob_episode(seed))
    for path in (dataset_path / "new").iterdir():
        path.rename(dataset_path / path.name)
    new = build_cache(dataset_path, progress=False)
    assert new.dataset_hash != old.dataset_hash
    np.testing.assert_array_equal(new.actions[:20], blob_episode(100).actions)


def test_a_corrected_episode_table_of_other_software_is_another_state(dataset_path: Path) -> None:
    forget_hashes(dataset_path)
    old = build_cache(dataset_path, progress=False)
    images = old.images["scene"][20:41]
    key = "videos/observation.images.scene/from_timestamp"

    def a_frame_earlier(table: pa.Table) -> pa.Table:
        first_s = table[key].to_pylist()
        first_s[1] -= 1 / SPEC.fps
        return table.set_column(table.column_names.index(key), key, pa.array(first_s))

    rewrite(dataset_path / EPISODES, a_frame_earlier)
    new = build_cache(dataset_path, progress=False)
    assert new.dataset_hash != old.dataset_hash
    np.testing.assert_array_equal(new.images["scene"][21:41], images[:-1])


def test_numbers_are_on_the_disk_before_the_cache_counts(
    dataset_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    fdatasync = os.fdatasync

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "fdatasync", noted)
    build_cache(dataset_path, progress=False)
    assert {"proprio.f32", "actions.f32", "evaluation.f32", "images.scene.u8"} <= set(synced)


def test_video_spoilt_after_the_cache_was_built_is_found(dataset_path: Path) -> None:
    build_cache(dataset_path, progress=False)
    video = dataset_path / "videos/observation.images.scene/chunk-000/file-001.mp4"
    video.write_bytes(video.read_bytes()[:-1] + b"\0")
    with pytest.raises(DatasetError, match=r"file-001.mp4: file is corrupt"):
        build_cache(dataset_path, progress=False)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "finished.json").write_text("{"),
        lambda folder: (folder / "finished.json").write_text('{"format": 0, "dataset_hash": ""}'),
        lambda folder: (folder / "actions.f32").unlink(),
        lambda folder: os.truncate(folder / "images.scene.u8", 1000),
    ],
)
def test_spoilt_cache_is_built_anew(
    written: Path, dataset_path: Path, spoil: Callable[[Path], None]
) -> None:
    build_cache(dataset_path, progress=False)
    spoil(dataset_path / ".cache")
    np.testing.assert_array_equal(
        build_cache(dataset_path, progress=False).images["scene"],
        build_cache(written, progress=False).images["scene"],
    )


@pytest.fixture(scope="module")
def long_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3000 frames, so that the building takes long enough to be interrupted."""
    path = tmp_path_factory.mktemp("long") / "set"
    episode = blob_episode(0, length=300)
    with DatasetWriter(path, SPEC, frames_per_file=1500) as writer:
        for _ in range(10):
            writer.add(episode)
    return path


def kill_a_build(path: Path) -> bool:
    """Start a build and kill it while it decodes; False when it was done before the kill."""
    for name in (".cache", ".cache.partial"):
        shutil.rmtree(path / name, ignore_errors=True)
    # Built with low priority, so that on a busy machine the one who kills gets his turn in time.
    command = ["nice", "-n", "10", sys.executable, "-c", BUILD, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not (path / ".cache.partial/decoded.json").exists() and process.poll() is None:
            time.sleep(0.002)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -signal.SIGKILL)  # or it failed by itself, and said why
    return process.returncode != 0 and not (path / ".cache").exists()


def test_a_killed_build_is_gone_on_with(
    long_set: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert any(kill_a_build(long_set) for _ in range(5))
    done = json.loads((long_set / ".cache.partial/decoded.json").read_text())
    assert sum(done.values()) < 3000
    asked = []

    def count(path: Path, first_index: int = 0, fps: float = 1.0) -> Iterator[np.ndarray]:
        asked.append((path.name, first_index))
        return decode_frames(path, first_index, fps)

    monkeypatch.setattr(decode, "decode_frames", count)
    build_cache(long_set)
    out, err = capsys.readouterr()
    assert "going on with 3000 frames" in out + err
    assert sorted(asked) == sorted(
        (name, first)
        for name, first in (
            (f"file-{n:03d}.mp4", done.get(f"{VIDEOS}/file-{n:03d}.mp4", 0)) for n in range(2)
        )
        if first < 1500
    )
    cache = build_cache(long_set, progress=False)
    dataset = open_dataset(long_set)
    for index, start in enumerate(cache.episode_starts):
        images = dataset.episode(index).images["scene"]
        np.testing.assert_array_equal(cache.images["scene"][start : start + 300], images)
    assert cache.images["scene"][-1].any()
    assert not (long_set / ".cache.partial").exists()


def test_two_processes_build_one_cache(long_set: Path) -> None:
    shutil.rmtree(long_set / ".cache", ignore_errors=True)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BUILD, str(long_set)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = {process.communicate(timeout=240)[0] for process in processes}
    assert len(said) == 1
    assert len(said.pop().strip()) == 64


def test_full_disk_is_one_line_and_leaves_nothing_half(dataset_path: Path) -> None:
    script = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (50_000, -1))\n" + BUILD
    run = subprocess.run(
        [sys.executable, "-c", script, str(dataset_path)], capture_output=True, text=True
    )
    assert "cannot build the cache (File too large); it needs 0 MB" in run.stdout
    assert run.stdout.count("\n") == 1
    assert run.returncode == 0
    assert not run.stderr
    assert not list(dataset_path.glob(".cache/*"))
    assert not (dataset_path / ".cache.partial").exists()


def test_progress_says_the_size_before_building(
    dataset_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build_cache(dataset_path)
    out, err = capsys.readouterr()
    assert "decoding 135 frames, cache of 0 MB" in out + err
    assert "135/135" in err


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    length=st.integers(1, 6),
    data=st.data(),
)
def test_clips_never_leave_their_episode(
    lengths: list[int], length: int, data: st.DataObject
) -> None:
    cache = numbered_cache(lengths)
    chosen = data.draw(st.lists(st.sampled_from(range(len(lengths))), min_size=1, unique=True))
    expected = sum(max(lengths[index] - length + 1, 0) for index in chosen)
    if expected == 0:
        with pytest.raises(DatasetError, match=f"no clip of {length} frames: the longest of"):
            cache.clip_starts(length, chosen)
        return
    starts = cache.clip_starts(length, chosen)
    assert len(set(starts.tolist())) == len(starts) == expected
    clips = cache.clips(starts, length)
    episode, frame = clips.proprio[..., 0], clips.proprio[..., 1]
    assert (episode == episode[:, :1]).all()
    assert set(np.unique(episode)) <= set(chosen)
    assert (np.diff(frame, axis=1) == 1).all()
    np.testing.assert_array_equal(clips.actions, clips.proprio + 0.5)
    np.testing.assert_array_equal(clips.images["scene"][:, :, 1, 2, 0], frame)
    assert clips.images["scene"].shape == (expected, length, 2, 3, 3)


def test_a_clip_of_every_third_frame_has_the_mean_of_the_actions_between() -> None:
    cache = numbered_cache([12, 9])
    every = cache.clips(np.array([0, 12]), 9)
    third = cache.clips(np.array([0, 12]), 3, 3)
    np.testing.assert_array_equal(third.images["scene"], every.images["scene"][:, ::3])
    np.testing.assert_array_equal(third.proprio, every.proprio[:, ::3][:, :3])
    means = every.actions[:, :6].reshape(2, 2, 3, -1).mean(axis=2)
    np.testing.assert_allclose(third.actions[:, :2], means, rtol=1e-6)
    np.testing.assert_array_equal(third.actions[:, 2], every.actions[:, 6])
    with pytest.raises(IndexError, match="clips of 7 frames start in \\[0, 14\\]"):
        cache.clips(np.array([15]), 3, 3)


def test_clips_are_the_callers_own(written: Path) -> None:
    cache = build_cache(written, progress=False)
    clips = cache.clips(np.array([0, 0, 100]), 4)
    clips.images["scene"][0] = 0
    clips.actions[0] = 0
    assert clips.actions[1].any()
    assert clips.images["scene"][1].any()
    assert clips.images["scene"].flags.c_contiguous


@pytest.mark.parametrize("start", [132, -1, 10**9])
def test_a_clip_beyond_the_frames_is_an_error(written: Path, start: int) -> None:
    with pytest.raises(IndexError):
        build_cache(written, progress=False).clips(np.array([0, start]), 4)


def test_there_is_no_clip_of_no_frames(written: Path) -> None:
    with pytest.raises(DatasetError, match="clip length must be at least 1"):
        build_cache(written, progress=False).clip_starts(0, [0])


def test_clips_are_cut_fast_enough_to_train(long_set: Path) -> None:
    # 8 x 32 px; the measured rate is above 100 000 a second, a decoder gives 300.
    cache = build_cache(long_set, progress=False)
    starts = np.random.default_rng(0).choice(cache.clip_starts(8, range(10)), 128)
    cache.clips(starts, 8)
    began = time.perf_counter()
    for _ in range(20):
        cache.clips(starts, 8)
    assert 20 * 128 / (time.perf_counter() - began) > 5000


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_split_is_a_partition_that_the_seed_decides(n: int, held_out: float, seed: int) -> None:
    train, held = split_episodes(n, held_out, seed)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(n))
    assert 1 <= len(held) < n
    assert abs(len(held) - held_out * n) <= 1
    np.testing.assert_array_equal(held, split_episodes(n, held_out, seed)[1])


def test_split_depends_on_the_seed_and_states_its_limits() -> None:
    assert not np.array_equal(split_episodes(100, 0.1, 0)[1], split_episodes(100, 0.1, 1)[1])
    with pytest.raises(DatasetError, match="cannot be split"):
        split_episodes(1)
    with pytest.raises(DatasetError, match="held_out must be between 0 and 1"):
        split_episodes(10, 1.0)


def test_marker_is_json_a_person_can_read(written: Path) -> None:
    cache = build_cache(written, progress=False)
    marker = json.loads((written / ".cache/finished.json").read_text())
    assert marker["dataset_hash"] == cache.dataset_hash
    assert marker["lengths"] == [20, 21, 22, 23, 24, 25]


def test_reading_a_large_cache_keeps_memory_small(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from world_model.data.frames import FrameFile
path, frames = Path(sys.argv[1]), 100_000  # 1.2 GB, without taking that on the disk
with path.open("wb") as file:
    file.truncate(frames * 64 * 64 * 3)
images = FrameFile(path, (frames, 64, 64, 3))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, frames - 800, 800):
    images.clips(np.arange(start, start + 800, 8), 8)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "frames.u8")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(run.stdout) < 400
