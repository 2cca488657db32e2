"""Folders of videos and images with tables come in as docs/data.md says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recorded import NS, level

from world_model.data import DatasetError, open_dataset
from world_model.data.fields import FieldReader
from world_model.data.importing import import_dataset
from world_model.data.mapping import Mapping
from world_model.data.settings import from_mapping
from world_model.data.sources.folder import _stills
from world_model.data.video import encode_frames, write_video

CONFIG = {
    "rate_hz": 10,
    "cameras": {"cam": {"topic": "cam", "size": [16, 16]}},
    "proprio": [{"topic": "data.csv", "fields": {"arm.x": "x"}, "unit": "mm"}],
    "actions": [{"topic": "data.csv", "fields": {"arm.vx": "v"}, "limits": [-1, 1]}],
    "episodes": {"duration_s": None, "min_s": 0.5},
}


def mapping(**changes: object) -> Mapping:
    return from_mapping(Mapping, {**CONFIG, **changes}, "import.yaml")


def frames(count: int) -> np.ndarray:
    levels = np.array([level(i / 10) for i in range(count)], np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, 16, 16, 3)).copy()


def table(path: Path, count: int, step_s: float = 0.1) -> None:
    rows = [f"{i * step_s:.3f},{1000 * i * step_s},{0.5 - 0.01 * i}" for i in range(count)]
    path.write_text("\n".join(["stamp_s,x,v", *rows]) + "\n")


def episode(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True)
    write_video(folder / "cam.mp4", encode_frames(frames(count), 10, 0), (16, 16), 10)
    table(folder / "data.csv", count)
    return folder


def test_a_row_for_each_frame(tmp_path: Path) -> None:
    for number in range(2):
        episode(tmp_path / f"all/take{number}", 12 + number)
    (tmp_path / "all/take1/task.txt").write_text("wave\n")
    import_dataset(tmp_path / "all", tmp_path / "set", mapping(), progress=False)
    dataset = open_dataset(tmp_path / "set")
    assert [(i.length, i.task) for i in dataset.episodes] == [(12, ""), (13, "wave")]
    got = dataset.episode(1)
    np.testing.assert_allclose(got.proprio[:, 0], 0.1 * np.arange(13), atol=1e-6)  # m, not mm
    np.testing.assert_allclose(got.actions[:, 0], 0.5 - 0.01 * np.arange(13), atol=1e-6)
    np.testing.assert_allclose(got.images["cam"].mean(axis=(1, 2, 3)), np.arange(13), atol=2)
    assert got.stamps_ns.tolist() == [i * NS // 10 for i in range(13)]


def test_a_faster_table_beside_a_camera_with_stamps_of_its_own(tmp_path: Path) -> None:
    folder = episode(tmp_path / "take")
    table(folder / "data.csv", 130, step_s=0.01)
    stamps = [0.005 + 0.1 * i for i in range(12)]
    (folder / "cam.csv").write_text("stamp_s\n" + "".join(f"{s}\n" for s in stamps))
    import_dataset(folder, tmp_path / "set", mapping(), progress=False)
    got = open_dataset(tmp_path / "set").episode(0)
    np.testing.assert_allclose(got.proprio[:, 0], stamps, atol=1e-6)
    # the mean of what holds until the next frame, 50 ms later on average
    np.testing.assert_allclose(got.actions[:, 0], 0.45 - 0.1 * np.arange(12), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["{:06d}.png", "{}.png", "cam_{}_left.png", "17000000{:02d}00000000.jpg"]
)
def test_images_in_a_folder(name: str, tmp_path: Path) -> None:
    stills = tmp_path / "take/cam"
    stills.mkdir(parents=True)
    for i, pixels in enumerate(frames(12)):
        Image.fromarray(pixels).save(stills / name.format(i))
    alone = mapping(proprio=[], actions=[])
    import_dataset(tmp_path / "take", tmp_path / "set", alone, progress=False)
    got = open_dataset(tmp_path / "set").episode(0)
    start = 1_700_000_000 * 10**8 if "jpg" in name else 0
    assert got.stamps_ns.tolist() == [start + i * NS // 10 for i in range(12)]
    np.testing.assert_allclose(got.images["cam"].mean(axis=(1, 2, 3)), np.arange(12), atol=3)


def test_names_that_are_times_are_not_taken_for_whole_numbers(tmp_path: Path) -> None:
    names = ["9.5.png", "10.25.png", "10.5.png", "11.png"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in _stills(tmp_path)] == names


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: table(f / "data.csv", 9), "12 images for 9 stamps; say in cam.csv"),
        (lambda f: (f / "data.csv").unlink(), "data.csv: table cannot be read"),
        (lambda f: (f / "data.csv").write_text("x,v\n1,2\n"), "no column stamp_s or stamp_ns"),
        (lambda f: (f / "data.csv").write_text("stamp_s,x\n0,1\n"), "12 images for 1 stamps"),
        (lambda f: (f / "cam.mp4").write_bytes(b"no video"), "cam.mp4: video cannot be read"),
        (lambda f: (f / "cam.mp4").unlink(), "no cam (video or folder of images)"),
    ],
)
def test_what_is_wrong_is_one_line(spoil: object, said: str, tmp_path: Path) -> None:
    folder = episode(tmp_path / "take")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(DatasetError) as error:
        import_dataset(folder, tmp_path / "set", mapping(), progress=False)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


class _Point:
    def __init__(self, velocities: list[float]) -> None:
        self.velocities = velocities


class _Trajectory:
    """As ``trajectory_msgs/JointTrajectory``."""

    joint_names = ("a", "b")

    def __init__(self, *points: _Point) -> None:
        self.points = points


def test_paths_find_numbers_by_name_and_place() -> None:
    message = _Trajectory(_Point([1.0, 2.0]), _Point([3.0, 4.0]))
    for path, value in (
        ("points[0].velocities[b]", 2.0),
        ("points[-1].velocities[0]", 3.0),
    ):
        found = FieldReader("/t", {"x": path})(message)
        assert found is not None
        assert found.tolist() == [value]
    assert FieldReader("/t", {"x": "points[0].velocities[a]"})(_Trajectory()) is None
    # Others may use the topic too: such a message says nothing, and what it lacks is known.
    reader = FieldReader("/t", {"x": "points[0].velocities[c]"})
    assert reader(message) is None
    assert reader.lacks == "/t: points[0].velocities[c]: no 'c', there are ['a', 'b']"
    for path, said in (
        ("points[7].velocities[0]", "no element 7, there are 2"),
        ("points[0].speed", r"no field 'speed', there are \['velocities'\]"),
        ("points", "is no number but tuple"),
    ):
        with pytest.raises(DatasetError, match=said):
            FieldReader("/t", {"x": path})(message)
