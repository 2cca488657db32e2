"""Of a damaged data set every fault is told with its place, and every intact episode is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from damage import DATA, EPISODES, VIDEO, cut, flip, forget_hashes, put, put_stamp, rewrite

from world_model.data import DatasetError, build_cache, open_dataset
from world_model.data.intact import survey
from world_model.data.video import encode_frames, write_video


def other_video(size: int, frames: int) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        forget_hashes(path)
        black = np.zeros((frames, size, size, 3), np.uint8)
        write_video(path / VIDEO, encode_frames(black, 10.0, 0), (size, size), 10.0)

    return change


def mixed_sizes(path: Path) -> None:
    """Frames grow from 32 to 48 pixels at frame 41, where the third episode begins."""
    forget_hashes(path)
    small = encode_frames(np.full((41, 32, 32, 3), 90, np.uint8), 10.0, 0)
    encoder = av.CodecContext.create("libx264", "w")  # repeats its headers in the stream
    encoder.width = encoder.height = 48
    encoder.pix_fmt, encoder.options = "yuv444p", {"bf": "0"}
    encoder.framerate, encoder.time_base = Fraction(10), Fraction(1, 10)
    large = []
    for index in range(41, 63):
        frame = av.VideoFrame.from_ndarray(np.full((48, 48, 3), 90, np.uint8), format="rgb24")
        frame.pts = index
        large += encoder.encode(frame)
    write_video(path / VIDEO, [*small, *large, *encoder.encode(None)], (32, 32), 10.0)


def unhashed(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def both(path: Path) -> None:
        forget_hashes(path)
        change(path)

    return both


def middle(file: str) -> Callable[[Path], None]:
    return lambda path: flip(path / file, (path / file).stat().st_size // 2)


VIDEO_LINE = rf"ERROR   {VIDEO}, "
DATA_LINE = rf"ERROR   {DATA}, "
# Damage, the one line that must be said, the episodes that are lost.
CASES: dict[str, tuple[Callable[[Path], object], str, tuple[int, ...]]] = {
    "cut mp4": (
        lambda path: cut(path / VIDEO, 0.6),
        VIDEO_LINE + r"episodes 0-2, frame 0: video cannot be read",
        (0, 1, 2),
    ),
    "cut mp4 of other software": (
        unhashed(lambda path: cut(path / VIDEO, 0.6)),
        VIDEO_LINE + r"episodes 0-2, frame 0: video cannot be decoded",
        (0, 1, 2),
    ),
    "flipped byte in mp4": (
        middle(VIDEO),
        VIDEO_LINE + r"episode 1, frame 12: frame is not the one written",
        (1,),
    ),
    "flipped byte in mp4 of other software": (
        unhashed(middle(VIDEO)),
        VIDEO_LINE + r"episode 1, frame 12: video cannot be decoded",
        (1,),
    ),
    "flipped byte in parquet": (
        middle(DATA),
        DATA_LINE + r"episode 2: its 22 rows are missing or cannot be read",
        (2,),
    ),
    "flipped byte in parquet of other software": (
        unhashed(middle(DATA)),
        DATA_LINE + r"episode 2: its 22 rows are missing or cannot be read",
        (2,),
    ),
    "cut parquet": (
        lambda path: cut(path / DATA, 0.9),
        DATA_LINE + r"episodes 0-2: parquet file is damaged",
        (0, 1, 2),
    ),
    "flipped byte in the episode table": (
        middle(EPISODES),
        rf"ERROR   {EPISODES}: file is corrupt",
        (0, 1, 2),
    ),
    "no video": (
        lambda path: (path / VIDEO).unlink(),
        VIDEO_LINE + r"episodes 0-2: file of the data set is missing",
        (0, 1, 2),
    ),
    "no rows": (
        lambda path: (path / DATA).unlink(),
        DATA_LINE + r"episodes 0-2: file of the data set is missing",
        (0, 1, 2),
    ),
    "no episode table": (
        lambda path: (path / EPISODES).unlink(),
        r"ERROR   meta/episodes, episodes 0-2: the episode table says nothing of them",
        (0, 1, 2),
    ),
    "no task table": (
        lambda path: (path / "meta/tasks.parquet").unlink(),
        r"ERROR   meta/tasks.parquet: file of the data set is missing",
        (),
    ),
    "wrong columns": (
        unhashed(lambda path: rewrite(path / DATA, lambda table: table.drop(["action"]))),
        DATA_LINE + r"episodes 0-2: column 'action'",
        (0, 1, 2),
    ),
    "NaN": (
        unhashed(lambda path: rewrite(path / DATA, put("action", 25, 1, np.nan))),
        DATA_LINE + r"episode 1, frame 5: action are not finite",
        (1,),
    ),
    "time runs backwards": (
        unhashed(lambda path: rewrite(path / DATA, put_stamp(30, -(10**9)))),
        DATA_LINE + r"episode 1, frame 10: stamps_ns do not increase",
        (1,),
    ),
    "frames of another size": (
        other_video(48, 63),
        VIDEO_LINE + r"episodes 0-2, frame 0: frame is \(48, 48\), the data set says \(32, 32\)",
        (0, 1, 2),
    ),
    "frames of two sizes in one video": (
        mixed_sizes,
        VIDEO_LINE + r"episode 2, frame 0: frame is \(48, 48\), the data set says \(32, 32\)",
        (2,),
    ),
    "video too long": (
        other_video(32, 80),
        VIDEO_LINE + r"episodes 0-2: holds 17 frames more",
        (0, 1, 2),
    ),
    "video too short": (
        other_video(32, 50),
        VIDEO_LINE + r"episode 2, frame 9: video ends here, 13 frames too early",
        (2,),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_is_told_and_the_rest_is_used(
    written: Path, dataset_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, said, lost = CASES[name]
    damage(dataset_path)
    found = survey(dataset_path)
    lines = [finding.line() for finding in found.findings]
    assert any(re.match(said, line) for line in lines), lines
    assert not any("\n" in line for line in lines)
    assert len(lines) == (2 if name == "flipped byte in the episode table" else 1)
    assert found.dataset.left_out == lost
    assert found.frames_lost == sum(20 + index for index in lost)

    with pytest.raises(DatasetError):
        build_cache(dataset_path, progress=False)
    cache = build_cache(dataset_path, progress=False, skip_bad=True)
    assert f"left out {len(lost)} of 6 episodes" in capsys.readouterr().out
    assert cache.left_out == lost
    whole = build_cache(written, progress=False)
    kept = [index for index in range(6) if index not in lost]
    assert list(cache.episode_lengths) == [20 + index for index in kept]
    replaced = "of two sizes" in name or name == "video too short"
    for place, index in enumerate(kept):
        here = slice(cache.episode_starts[place], cache.episode_starts[place] + 20 + index)
        there = slice(whole.episode_starts[index], whole.episode_starts[index] + 20 + index)
        np.testing.assert_array_equal(cache.actions[here], whole.actions[there])
        if not (replaced and index < 3):
            np.testing.assert_array_equal(cache.images["scene"][here], whole.images["scene"][there])


def test_an_intact_set_is_the_same_with_and_without(dataset_path: Path) -> None:
    strict = build_cache(dataset_path, progress=False)
    lenient = build_cache(dataset_path, progress=False, skip_bad=True)
    assert lenient.dataset_hash == strict.dataset_hash
    assert lenient.left_out == ()


def test_no_flipped_byte_crashes_or_changes_an_episode_that_is_kept(
    written: Path, dataset_path: Path
) -> None:
    whole = open_dataset(written)
    rng = np.random.default_rng(0)
    told = 0
    for file in (VIDEO, DATA, EPISODES):
        good = (dataset_path / file).read_bytes()
        for at in rng.integers(0, len(good), 25):
            flip(dataset_path / file, int(at))
            found = survey(dataset_path)
            told += bool(found.findings)
            for place, info in enumerate(found.dataset.episodes):
                if info.index < 3:
                    seen, true = found.dataset.episode(place), whole.episode(info.index)
                    np.testing.assert_array_equal(seen.images["scene"], true.images["scene"])
                    np.testing.assert_array_equal(seen.proprio, true.proprio)
                    np.testing.assert_array_equal(seen.actions, true.actions)
            (dataset_path / file).write_bytes(good)
    assert told > 60


def test_nothing_left_is_an_error(dataset_path: Path) -> None:
    for file in dataset_path.glob("videos/**/*.mp4"):
        file.unlink()
    with pytest.raises(DatasetError, match="no episode is intact"):
        build_cache(dataset_path, progress=False, skip_bad=True)
