"""Whatever ends the writing, what was written is a valid data set."""

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
from blobs import SPEC, blob_episode, psnr

from world_model.data import DatasetError, DatasetWriter, Episode, build_cache, open_dataset

HERE = Path(__file__).parent
# Adds episodes without end and says how many are certainly on disk.
ENDLESS = """
import itertools, sys
sys.path.insert(0, sys.argv[2])
from blobs import SPEC, blob_episode
from world_model.data import DatasetWriter
with DatasetWriter(sys.argv[1], SPEC, frames_per_file=60) as writer:
    for seed in itertools.count():
        writer.add(blob_episode(seed))
        print((seed + 1) // 3 * 3, seed + 1, flush=True)
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(path), str(HERE)], stdout=subprocess.PIPE, text=True
    )


def check_all(path: Path) -> int:
    """Decode everything, compare with what was added; return the number of episodes."""
    dataset = open_dataset(path)
    for seed in range(len(dataset)):
        true, seen = blob_episode(seed), dataset.episode(seed)
        np.testing.assert_array_equal(seen.actions, true.actions)
        assert psnr(seen.images["scene"], true.images["scene"]) > 38
    assert build_cache(path, progress=False).frames == dataset.frames
    return len(dataset)


@pytest.mark.parametrize("delay_s", [0.0, 0.011, 0.023, 0.047])
def test_sigkill_leaves_the_files_written_so_far(tmp_path: Path, delay_s: float) -> None:
    process = start(ENDLESS, tmp_path / "set")
    try:
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        time.sleep(delay_s)
    finally:
        process.kill()
    rest = [line for line in process.stdout if line.endswith("\n")]
    process.wait()
    on_disk = int(rest[-1].split()[0]) if rest else 9
    assert check_all(tmp_path / "set") >= on_disk


def test_ctrl_c_keeps_every_episode_added(tmp_path: Path) -> None:
    process = start(ENDLESS, tmp_path / "set")
    try:
        assert process.stdout is not None
        for _ in range(7):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read().splitlines()
        process.wait(timeout=120)
    finally:
        process.kill()
    added = int(rest[-1].split()[1]) if rest else 7
    assert check_all(tmp_path / "set") in (added, added + 1)  # the last may not have been said


def test_sigkill_before_the_first_file_is_one_clear_line(tmp_path: Path) -> None:
    script = ENDLESS.replace("frames_per_file=60", "frames_per_file=10**9")
    process = start(script, tmp_path / "set")
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with pytest.raises(DatasetError, match="holds no episode; its recording ended before"):
        open_dataset(tmp_path / "set")


def test_an_exception_in_the_block_keeps_what_was_added(tmp_path: Path) -> None:
    with (  # noqa: PT012 - the block that fails is the subject
        pytest.raises(RuntimeError, match="robot fell over"),
        DatasetWriter(tmp_path / "set", SPEC) as writer,
    ):
        writer.add(blob_episode(0))
        writer.add(blob_episode(1))
        raise RuntimeError("robot fell over")
    assert check_all(tmp_path / "set") == 2


def test_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(DatasetError, match="folder is not empty"):
        DatasetWriter(tmp_path, SPEC)
    assert [p.name for p in tmp_path.iterdir()] == ["precious"]
    with pytest.raises(DatasetError, match="cannot make the data set folder"):
        DatasetWriter(tmp_path / "precious", SPEC)


def test_full_disk_is_one_line_and_keeps_the_rest(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: writing fails in the same call.
    script = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from blobs import SPEC, blob_episode
from world_model.data import DatasetError, DatasetWriter
writer = DatasetWriter(sys.argv[1], SPEC, frames_per_file=60)
for seed in range(3):
    writer.add(blob_episode(seed))
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, resource.RLIM_INFINITY))
try:
    for seed in range(3, 6):
        writer.add(blob_episode(seed))
except DatasetError as error:
    print(error)
"""
    process = start(script, tmp_path / "set")
    said, _ = process.communicate(timeout=240)
    assert "cannot write the data set (" in said
    assert "the 3 episodes written before remain usable" in said
    assert said.count("\n") == 1
    assert check_all(tmp_path / "set") == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": {"wrist": np.zeros((20, 32, 32, 3), np.uint8)}}, r"cameras \['wrist'\]"),
        ({"images": {"scene": np.zeros((20, 64, 32, 3), np.uint8)}}, r"uint8 \(20, 64, 32, 3\)"),
        ({"images": {"scene": np.zeros((20, 32, 32, 3), np.float32)}}, "are float32"),
        ({"actions": np.zeros((20, 3), np.float32)}, r"actions are float32 \(20, 3\)"),
        ({"actions": np.full((20, 2), np.nan, np.float32)}, "actions are not finite .* frame 0"),
        ({"proprio": np.zeros((19, 3), np.float32)}, "images of camera 'scene'"),
        ({"evaluation": np.zeros((20, 0), np.float32)}, "evaluation are float32"),
        ({"stamps_ns": np.zeros(20, np.int64)}, "stamps_ns do not increase at frame 1"),
        ({"stamps_ns": np.arange(20.0)}, "stamps_ns are float64"),
    ],
)
def test_wrong_episode_is_refused_by_name(tmp_path: Path, change: dict, said: str) -> None:
    with DatasetWriter(tmp_path / "set", SPEC) as writer:
        writer.add(blob_episode(0))
        with pytest.raises(DatasetError, match=f"episode 1: .*{said}"):
            writer.add(dataclasses.replace(blob_episode(1), **change))
        writer.add(blob_episode(1))
    assert check_all(tmp_path / "set") == 2


def test_nothing_is_left_beside_the_files(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "set", SPEC, frames_per_file=20) as writer:
        for seed in range(3):
            writer.add(blob_episode(seed))
        assert (writer.episodes, writer.frames) == (3, 60)
    names = [name for _, _, files in os.walk(tmp_path) for name in files]
    # info, stats, tasks; a table of episodes, a table of rows and a video for each of three files
    assert len(names) == 3 + 3 * 3
    assert not [name for name in names if name.startswith(".")]


def test_same_episodes_give_the_same_bytes(tmp_path: Path) -> None:
    def write(path: Path) -> list[bytes]:
        with DatasetWriter(path, SPEC) as writer:
            writer.add(blob_episode(0))
        return [p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()]

    assert write(tmp_path / "one") == write(tmp_path / "two")


def test_default_episode_of_no_evaluation(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, evaluation_names=())
    true = blob_episode(0)
    with DatasetWriter(tmp_path / "set", spec) as writer:
        writer.add(
            Episode(true.images, true.proprio, true.actions, stamps_ns=true.stamps_ns, task="x")
        )
    assert open_dataset(tmp_path / "set").episode(0).evaluation.shape == (20, 0)
