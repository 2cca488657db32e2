"""Round trip through LeRobotDataset v3 files, and one clear line for every kind of damage."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blobs import SPEC, blob_episode, psnr
from damage import DATA, EPISODES, VIDEO, edit_info, forget_hashes, put, rewrite

from world_model.data import DatasetError, DatasetSpec, DatasetWriter, build_cache, open_dataset


def one_line(error: pytest.ExceptionInfo[DatasetError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_round_trip_gives_back_what_was_written(written: Path) -> None:
    dataset = open_dataset(written)
    assert dataset.spec == SPEC
    assert len(dataset) == 6
    assert dataset.frames == sum(20 + seed for seed in range(6))
    assert len({info.data_file for info in dataset.episodes}) == 2
    for seed in range(6):
        true, seen = blob_episode(seed, length=20 + seed), dataset.episode(seed)
        for name in ("proprio", "actions", "evaluation", "stamps_ns"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(true, name))
        assert seen.task == true.task
        # 38 dB is an error of 3 of 255 levels (RMS); the frame before or after gives below 30.
        for true_frame, frame in zip(true.images["scene"], seen.images["scene"], strict=True):
            assert psnr(frame, true_frame) > 35
        assert psnr(seen.images["scene"], true.images["scene"]) > 38
        assert psnr(seen.images["scene"][1:], true.images["scene"][:-1]) < 30


def test_two_cameras_of_odd_sizes_and_vectors_of_one(tmp_path: Path) -> None:
    spec = dataclasses.replace(
        SPEC,
        cameras={"scene": (32, 32), "wrist": (17, 33)},
        action_names=("blob.vx", "blob.vy"),
        evaluation_names=("truth.x",),
        fps=29.97,
    )
    with DatasetWriter(tmp_path / "set", spec) as writer:
        for seed in range(3):
            writer.add(blob_episode(seed, spec=spec))
    dataset = open_dataset(tmp_path / "set")
    cache = build_cache(tmp_path / "set", progress=False)
    for seed in range(3):
        true, seen = blob_episode(seed, spec=spec), dataset.episode(seed)
        assert psnr(seen.images["wrist"], true.images["wrist"]) > 35
        assert seen.evaluation.shape == (20, 1)
        np.testing.assert_array_equal(seen.evaluation, true.evaluation)
        np.testing.assert_array_equal(
            cache.images["wrist"][20 * seed : 20 * seed + 20], seen.images["wrist"]
        )


def test_files_are_what_lerobot_reads(written: Path) -> None:
    info = json.loads((written / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["fps"]) == (6, 135, 10)
    assert info["features"]["observation.images.scene"]["dtype"] == "video"
    assert info["features"]["action"]["names"] == ["blob.vx", "blob.vy"]
    columns = {key for key, feature in info["features"].items() if feature["dtype"] != "video"}
    table = pq.read_table(written / DATA, partitioning=None)
    assert set(table.column_names) == columns
    assert table.schema.field("action").type == pa.list_(pa.float32(), 2)
    assert table.column("index").to_pylist() == list(range(len(table)))
    tasks = pq.read_table(written / "meta/tasks.parquet")
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(written / EPISODES, partitioning=None).to_pylist()
    second = rows[1]  # after 20 frames of the first at 10 frames a second
    assert second["videos/observation.images.scene/from_timestamp"] == 2.0
    assert second["videos/observation.images.scene/to_timestamp"] == 4.1
    assert (second["dataset_from_index"], second["dataset_to_index"]) == (20, 41)
    stats = json.loads((written / "meta/stats.json").read_text())
    actions = np.concatenate([blob_episode(s, length=20 + s).actions for s in range(6)])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(stats["action"]["std"], actions.std(axis=0), rtol=1e-4)
    assert np.shape(stats["observation.images.scene"]["mean"]) == (3, 1, 1)


def test_a_set_of_other_software_opens_with_the_limits_seen(dataset_path: Path) -> None:
    edit_info(dataset_path, lambda info: info.pop("foresee"))
    dataset = open_dataset(dataset_path)
    actions = np.concatenate([blob_episode(s, length=20 + s).actions for s in range(6)])
    np.testing.assert_allclose(dataset.spec.action_low, actions.min(axis=0), rtol=1e-6)
    assert dataset.spec.cameras == {"scene": (32, 32)}
    assert dataset.spec.evaluation_names == ()
    assert dataset.episode(3).evaluation.shape == (23, 0)


def test_no_such_folder_and_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such data set folder") as error:
        open_dataset(tmp_path / "nothing")
    one_line(error)
    with pytest.raises(DatasetError, match="is no data set folder"):
        open_dataset(tmp_path)


def test_other_version(dataset_path: Path) -> None:
    edit_info(dataset_path, lambda info: info.update(codebase_version="v2.1"))
    with pytest.raises(DatasetError, match=r"info.json: data set of version 'v2.1'"):
        open_dataset(dataset_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info.pop("total_episodes"),
        lambda info: info.update(total_episodes="many"),
        lambda info: info["foresee"]["spec"].update(fps=-1),
        lambda info: info["foresee"]["spec"].update(frames_per_second=10),
        lambda info: info["foresee"]["spec"].pop("action_names"),
        lambda info: info["foresee"]["spec"].update(cameras={"scene": 64}),
    ],
)
def test_unusable_info(dataset_path: Path, change: Callable[[dict], None]) -> None:
    edit_info(dataset_path, change)
    with pytest.raises(DatasetError, match=r"info.json: ") as error:
        open_dataset(dataset_path)
    one_line(error)


@pytest.mark.parametrize("file", [VIDEO, DATA, EPISODES, "meta/tasks.parquet", "meta/info.json"])
def test_missing_file_is_named(dataset_path: Path, file: str) -> None:
    (dataset_path / file).unlink()
    with pytest.raises(DatasetError, match=Path(file).name) as error:
        open_dataset(dataset_path)
    assert "missing" in one_line(error)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("file", [VIDEO, DATA, EPISODES, "meta/info.json"])
def test_truncated_file_is_named(dataset_path: Path, file: str, hashed: bool) -> None:
    if not hashed:
        forget_hashes(dataset_path)
    content = (dataset_path / file).read_bytes()
    (dataset_path / file).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DatasetError, match=Path(file).name) as error:
        build_cache(dataset_path, progress=False)
    one_line(error)


def test_one_flipped_bit_in_a_video_is_found(dataset_path: Path) -> None:
    content = bytearray((dataset_path / VIDEO).read_bytes())
    content[len(content) // 2] ^= 1
    (dataset_path / VIDEO).write_bytes(content)
    for read in (lambda: open_dataset(dataset_path).episode(0), lambda: build_cache(dataset_path)):
        with pytest.raises(DatasetError, match=r"file-000.mp4: file is corrupt"):
            read()


def test_video_of_other_frames_is_found_by_its_length(dataset_path: Path) -> None:
    forget_hashes(dataset_path)
    other = VIDEO.replace("000.mp4", "001.mp4")  # 72 frames; the first file holds 63
    shutil.copy(dataset_path / other, dataset_path / VIDEO)
    with pytest.raises(DatasetError, match=r"000.mp4: holds 72 frames, its episodes need 63"):
        build_cache(dataset_path, progress=False)
    shutil.copy(dataset_path / other, dataset_path / "kept")
    (dataset_path / other).unlink()
    (dataset_path / other).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"file-001.mp4: video cannot be decoded") as error:
        open_dataset(dataset_path).episode(4)
    one_line(error)


@pytest.mark.parametrize("column", ["action", "observation.state"])
def test_nan_names_file_episode_and_frame(dataset_path: Path, column: str) -> None:
    forget_hashes(dataset_path)

    rewrite(dataset_path / DATA, put(column, 20 + 5, 1, np.nan))  # frame 5 of episode 1
    with pytest.raises(DatasetError, match=rf"episode 1: {column} are not finite .* frame 5"):
        build_cache(dataset_path, progress=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop(["action"]), "column 'action' is missing"),
        (lambda t: t.rename_columns(["state", *t.column_names[1:]]), "'observation.state' is miss"),
        (lambda t: t.slice(0, 50), "rows of episode 2, the episode table says 22"),
        (
            lambda t: t.set_column(1, "action", t.column("observation.state")),
            "holds vectors of 3, the data set says 2",
        ),
        (lambda t: t.set_column(1, "action", t.column("index").cast(pa.string())), "holds string"),
        (
            lambda t: t.set_column(1, "action", pa.array([[1.0]] * 30 + [[1.0, 2.0, 3.0]] * 33)),
            "differ in length|do not make vectors",
        ),
    ],
)
def test_wrong_columns(
    dataset_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    forget_hashes(dataset_path)
    rewrite(dataset_path / DATA, change)
    with pytest.raises(DatasetError, match=said) as error:
        build_cache(dataset_path, progress=False)
    assert "file-000.parquet" in one_line(error)


def test_no_such_episode(written: Path) -> None:
    with pytest.raises(IndexError, match="no episode 6; there are 6"):
        open_dataset(written).episode(6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"cameras": {}}, "at least one camera"),
        ({"cameras": {"a/b": (8, 8)}}, "camera 'a/b'"),
        ({"action_low": (1.0,)}, "differ in length"),
        ({"action_low": (30.0, 0.0)}, "low <= high"),
        ({"action_names": ("v", "v")}, "holds a name twice"),
    ],
)
def test_specification_states_its_limits(change: dict, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        dataclasses.replace(SPEC, **change)


def test_specification_survives_json() -> None:
    text = json.dumps(SPEC.to_json())
    assert DatasetSpec.from_json(json.loads(text)) == SPEC
