"""What goes out comes back: numbers and stamps exactly, images within the codec's error."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blobs import SPEC, blob_episode, psnr
from PIL import Image

from world_model.data import Dataset, DatasetError, DatasetSpec, DatasetWriter, open_dataset
from world_model.data.bag_export import export_bags
from world_model.data.importing import import_dataset
from world_model.data.mapping import Mapping
from world_model.data.select import Selection, export_dataset
from world_model.data.settings import load_settings

TWO = dataclasses.replace(SPEC, cameras={"scene": (32, 32), "wrist": (48, 32)}, fps=30.0)
SIGHT = dataclasses.replace(
    SPEC, proprio_names=(), action_names=(), action_low=(), action_high=(), evaluation_names=()
)
NUMBERED = dataclasses.replace(TWO, proprio_names=("1", "2", "3"), action_names=("1", "2"))


def write(path: Path, spec: DatasetSpec) -> Dataset:
    """Three episodes whose stamps are of a real clock, uneven by up to 9 ms."""
    with DatasetWriter(path, spec, frames_per_file=20) as writer:
        for seed in range(3):
            made = blob_episode(seed, length=12, spec=TWO)
            offsets = np.random.default_rng(seed).integers(-9_000_000, 9_000_000, 12)
            grid = np.arange(12) * round(1e9 / spec.fps)
            episode = dataclasses.replace(
                made,
                images={name: made.images[name] for name in spec.cameras},
                proprio=made.proprio[:, : len(spec.proprio_names)],
                actions=made.actions[:, : len(spec.action_names)],
                evaluation=made.evaluation[:, : len(spec.evaluation_names)],
                task=f"task {seed}",
                stamps_ns=1_790_000_000_123_456_789 + seed * 10**10 + grid + offsets,
            )
            writer.add(episode)
    return open_dataset(path)


def compare(one: Dataset, two: Dataset, floor_db: float = 40.0) -> None:
    assert two.spec == one.spec
    assert len(two) == len(one)
    for index in range(len(one)):
        given, back = one.episode(index), two.episode(index)
        np.testing.assert_array_equal(back.stamps_ns, given.stamps_ns)
        np.testing.assert_array_equal(back.proprio, given.proprio)
        np.testing.assert_array_equal(back.actions, given.actions)
        np.testing.assert_array_equal(back.evaluation, given.evaluation)
        assert back.task == given.task
        for camera, images in given.images.items():
            assert psnr(back.images[camera], images) > floor_db


@pytest.mark.parametrize(
    "spec", [TWO, SIGHT, NUMBERED], ids=["two cameras", "camera alone", "names are numbers"]
)
def test_export_and_import_as_lerobot(spec: DatasetSpec, tmp_path: Path) -> None:
    given = write(tmp_path / "given", spec)
    export_dataset(given.path, tmp_path / "out", Selection(), progress=False)
    import_dataset(tmp_path / "out", tmp_path / "back", progress=False)
    compare(given, open_dataset(tmp_path / "back"))


@pytest.mark.parametrize("spec", [TWO, SIGHT], ids=["two cameras", "camera alone"])
def test_export_and_import_as_bags(spec: DatasetSpec, tmp_path: Path) -> None:
    given = write(tmp_path / "given", spec)
    export_bags(given.path, tmp_path / "bags", Selection(), progress=False)
    mapping = load_settings(Mapping, tmp_path / "bags/import.yaml")
    report = import_dataset(tmp_path / "bags", tmp_path / "back", mapping, progress=False)
    compare(given, open_dataset(tmp_path / "back"))
    assert report.recordings == 3
    with pytest.raises(DatasetError, match="is there already"):
        export_bags(given.path, tmp_path / "bags", Selection(), progress=False)


def test_a_part_can_be_taken_by_a_mapping(tmp_path: Path) -> None:
    given = write(tmp_path / "given", TWO)
    mapping = load_settings(Mapping, _part(tmp_path))
    import_dataset(given.path, tmp_path / "part", mapping, progress=False)
    part = open_dataset(tmp_path / "part")
    assert part.spec.cameras == {"eye": (16, 16)}
    assert part.spec.proprio_names == ("y",)
    # Every second of the 12 frames of each episode.
    assert [info.length for info in part.episodes] == [6, 6, 6]
    source = given.episode(0)
    np.testing.assert_array_equal(part.episode(0).proprio[:, 0], source.proprio[::2, 1])
    np.testing.assert_array_equal(part.episode(0).stamps_ns, source.stamps_ns[::2])


def _part(folder: Path) -> Path:
    path = folder / "part.yaml"
    path.write_text(
        """
rate_hz: 15
cameras: {eye: {topic: observation.images.wrist, size: [16, 16]}}
proprio: [{topic: observation.state, fields: {y: blob.y}}]
episodes: {duration_s: null, min_s: 0}
"""
    )
    return path


def _as_v21(given: Dataset, path: Path, stills: bool) -> None:
    """The same episodes as lerobot 0.1 to 0.3 wrote them: a file for each episode."""
    (path / "meta").mkdir(parents=True)
    cameras = {f"observation.images.{name}": size for name, size in given.spec.cameras.items()}
    features = {
        key: {"dtype": "image" if stills else "video", "shape": [*size, 3], "names": None}
        for key, size in cameras.items()
    }
    features["observation.state"] = {
        "dtype": "float32",
        "shape": [3],
        "names": {"motors": list(given.spec.proprio_names)},
    }
    features["action"] = {"dtype": "float32", "shape": [2], "names": None}
    info = {
        "codebase_version": "v2.1",
        "robot_type": "blob",
        "total_episodes": len(given),
        "fps": given.spec.fps,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (path / "meta/info.json").write_text(json.dumps(info))
    rows = []
    for index in range(len(given)):
        episode = given.episode(index)
        rows.append({"episode_index": index, "tasks": [episode.task], "length": len(episode)})
        columns = {
            "observation.state": pa.array(episode.proprio.tolist(), pa.list_(pa.float32())),
            "action": pa.array(episode.actions.tolist(), pa.list_(pa.float32())),
            "frame_index": pa.array(range(len(episode)), pa.int64()),
            "episode_index": pa.array([index] * len(episode), pa.int64()),
        }
        for key in cameras:
            images = episode.images[key.removeprefix("observation.images.")]
            if stills:
                columns[key] = pa.array([{"bytes": _png(i), "path": None} for i in images])
            else:
                place = {"episode_chunk": 0, "video_key": key, "episode_index": index}
                _video(path / str(info["video_path"]).format(**place), images)
        file = path / info["data_path"].format(episode_chunk=0, episode_index=index)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), file)
    (path / "meta/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def _video(path: Path, images: np.ndarray) -> None:
    from world_model.data.video import encode_frames, write_video

    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, encode_frames(images, TWO.fps, 0), images.shape[1:3], TWO.fps)


@pytest.mark.parametrize("stills", [False, True], ids=["video", "images in the table"])
def test_version_21_comes_in_whole(stills: bool, tmp_path: Path) -> None:
    given = write(tmp_path / "given", TWO)
    _as_v21(given, tmp_path / "old", stills)
    import_dataset(tmp_path / "old", tmp_path / "new", progress=False)
    new = open_dataset(tmp_path / "new")
    assert new.spec.proprio_names == given.spec.proprio_names
    assert new.spec.action_names == ("action.0", "action.1")
    assert new.spec.robot_type == "blob"
    lowest = np.min([given.episode(i).actions.min(axis=0) for i in range(3)], axis=0)
    np.testing.assert_allclose(new.spec.action_low, lowest)
    for index in range(3):
        then, now = given.episode(index), new.episode(index)
        np.testing.assert_array_equal(now.proprio, then.proprio)
        np.testing.assert_array_equal(now.actions, then.actions)
        assert now.task == then.task
        assert now.stamps_ns[:2].tolist() == [0, 33_333_333]
        assert all(psnr(now.images[c], then.images[c]) > 38 for c in TWO.cameras)


def test_damaged_episodes_are_named_and_left_out_on_request(tmp_path: Path) -> None:
    given = write(tmp_path / "given", TWO)
    _as_v21(given, tmp_path / "old", stills=False)
    video = tmp_path / "old/videos/chunk-000/observation.images.wrist/episode_000001.mp4"
    video.write_bytes(video.read_bytes()[:900])
    with pytest.raises(DatasetError, match=r"wrist/episode_000001.mp4: "):
        import_dataset(tmp_path / "old", tmp_path / "a", progress=False)
    report = import_dataset(tmp_path / "old", tmp_path / "b", skip_bad=True, progress=False)
    assert (report.episodes, len(report.skipped)) == (2, 1)
    assert "episode_000001.mp4" in report.skipped[0]
    assert [i.task for i in open_dataset(tmp_path / "b").episodes] == ["task 0", "task 2"]


def test_sizes_can_be_given_without_a_mapping(tmp_path: Path) -> None:
    given = write(tmp_path / "given", TWO)
    import_dataset(given.path, tmp_path / "small", size=(16, 16), progress=False)
    assert open_dataset(tmp_path / "small").spec.cameras == {"scene": (16, 16), "wrist": (16, 16)}


def test_what_is_no_source_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, said in (
        (tmp_path / "none", "no such file or folder"),
        (tmp_path / "empty", "say with --config"),
    ):
        with pytest.raises(DatasetError, match=said):
            import_dataset(path, tmp_path / "out", progress=False)
    with pytest.raises(DatasetError, match="neither bags nor a LeRobot data set"):
        import_dataset(
            tmp_path / "empty", tmp_path / "out", load_settings(Mapping, _part(tmp_path))
        )
