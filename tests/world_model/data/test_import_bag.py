"""Bags of known content come in with every number where it belongs."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from recorded import (
    CONFIG,
    NS,
    START_NS,
    Scene,
    header,
    image,
    level,
    mapping,
    message,
    record,
    twist,
)
from rosbags.rosbag2 import StoragePlugin

from world_model.data import Dataset, DatasetError, build_cache, importing, open_dataset
from world_model.data.importing import ImportReport, import_dataset
from world_model.data.mapping import Mapping
from world_model.data.plan import plan_recording
from world_model.data.sources.bag import BagRecording
from world_model.data.streams import Stream, make_stream


def taken(path: Path, out: Path, what: Mapping | None = None) -> tuple[ImportReport, Dataset]:
    report = import_dataset(path, out, what or mapping(), progress=False)
    return report, open_dataset(out)


def check_numbers(dataset: Dataset, tolerance: float = 2.0) -> None:
    """Every image, reading and action is the one of its frame's stamp."""
    for index in range(len(dataset)):
        episode = dataset.episode(index)
        time_s = (episode.stamps_ns - START_NS) / NS
        np.testing.assert_allclose(episode.proprio[:, 0], 0.1 * time_s, atol=1e-6)
        np.testing.assert_allclose(episode.proprio[:, 1], 1 - 0.2 * time_s, atol=1e-6)
        np.testing.assert_allclose(episode.actions[:, 0], 0.01 * np.floor(time_s + 1e-6), atol=1e-7)
        seen = episode.images["cam"].astype(float)
        levels = np.array([level(t) for t in time_s])
        np.testing.assert_allclose(seen[..., 0].mean(axis=(1, 2)), levels, atol=tolerance)
        np.testing.assert_allclose(seen[..., 2].mean(axis=(1, 2)), 255 - levels, atol=tolerance)


def test_everything_is_taken_at_its_capture_time(tmp_path: Path) -> None:
    report, dataset = taken(record(tmp_path / "bag", Scene(jitter_ns=8_000_000)), tmp_path / "set")
    check_numbers(dataset)
    # 50 images in episodes of 2 s: 20, 20 and 10 frames.
    assert [info.length for info in dataset.episodes] == [20, 20, 10]
    assert report.frames == 50
    assert report.ended == {"duration": 2, "end": 1}
    account = report.cameras["cam"]
    assert (account.received, account.used, account.dropped, account.repeated) == (50, 50, 0, 0)
    assert dataset.spec.proprio_names == ("a.position", "b.position")
    assert dataset.spec.action_low == (-1.0,)
    # Stamps are those of the images, to the nanosecond, jitter and all.
    first = dataset.episode(0).stamps_ns[:3] - START_NS
    assert first.tolist() == [-8_000_000, 108_000_000, 192_000_000]


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "jpeg", "png"])
def test_colours_are_right_whatever_the_encoding(encoding: str, tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2, encoding=encoding))
    check_numbers(taken(bag, tmp_path / "set")[1], tolerance=4.0)


def test_grey_images_have_three_equal_channels(tmp_path: Path) -> None:
    _, dataset = taken(record(tmp_path / "bag", Scene(seconds=2, encoding="mono8")), tmp_path / "s")
    images = dataset.episode(0).images["cam"].astype(int)
    np.testing.assert_allclose(images[7].mean(axis=(0, 1)), [7, 7, 7], atol=2)


def test_sqlite_bags_and_single_files_give_the_same(tmp_path: Path) -> None:
    mcap = record(tmp_path / "mcap")
    sqlite = record(tmp_path / "sqlite", plugin=StoragePlugin.SQLITE3)
    sets = []
    for number, source in enumerate((mcap, sqlite, mcap / "mcap.mcap", sqlite / "sqlite.db3")):
        sets.append(taken(source, tmp_path / f"set{number}")[1])
    for dataset in sets:
        assert dataset.hashes == sets[0].hashes


def test_a_folder_of_bags_is_one_data_set(tmp_path: Path) -> None:
    for number in range(3):
        scene = Scene(seconds=2, start_ns=START_NS + number * 100 * NS)
        record(tmp_path / "bags" / f"day{number}", scene)
    report, dataset = taken(tmp_path / "bags", tmp_path / "set")
    assert (report.recordings, report.episodes, report.frames) == (3, 3, 60)
    starts = [int(dataset.episode(i).stamps_ns[0] - START_NS) // NS for i in range(3)]
    assert starts == [0, 100, 200]


def test_a_dropped_image_ends_the_episode_and_is_counted(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(drop=(12, 30, 31)))
    report, dataset = taken(bag, tmp_path / "set")
    # 0-11, 13-29, 32-49 cut at 2 s; nothing is repeated or made up.
    assert [info.length for info in dataset.episodes] == [12, 17, 18]
    check_numbers(dataset)
    assert report.ended == {"no image of cam": 2, "end": 1}
    assert report.cameras["cam"].dropped == 3
    assert report.cameras["cam"].repeated == 0


def test_a_gap_is_bridged_when_that_is_asked_for(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2, drop=(12,)))
    cameras = {"cam": {"topic": "/cam", "size": [16, 16], "max_age_s": 0.11}}
    report, dataset = taken(bag, tmp_path / "set", mapping(cameras=cameras))
    assert [info.length for info in dataset.episodes] == [20]
    assert report.cameras["cam"].repeated == 1
    assert np.diff(dataset.episode(0).stamps_ns).tolist() == [NS // 10] * 19
    np.testing.assert_allclose(dataset.episode(0).proprio[12, 0], 0.12, atol=1e-6)


def test_a_faster_camera_is_thinned_out(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(rate_hz=30.0))
    report, dataset = taken(bag, tmp_path / "set")
    check_numbers(dataset)
    assert report.frames == 50
    assert (report.cameras["cam"].received, report.cameras["cam"].used) == (150, 50)


@pytest.mark.parametrize("rate_hz", [9.1, 9.6, 9.97, 10.03, 10.4, 10.9])
def test_a_camera_a_little_off_its_rate_gives_every_image_once(rate_hz: float) -> None:
    stamps = START_NS + np.round(np.arange(int(60 * rate_hz)) * NS / rate_hz).astype(np.int64)
    alone = mapping(proprio=[], actions=[], episodes={"duration_s": None})
    plan = plan_recording(alone, {"cam": make_stream("cam", stamps)}, [], "bag")
    (episode,) = plan.episodes
    np.testing.assert_array_equal(episode.images["cam"], np.arange(len(episode)))
    assert len(stamps) - len(episode) in (0, 1)


@pytest.mark.parametrize("rate_hz", [14.0, 15.0, 25.0, 29.9, 60.0])
def test_a_faster_camera_is_thinned_out_at_the_rate_asked_for(rate_hz: float) -> None:
    stamps = START_NS + np.round(np.arange(int(60 * rate_hz)) * NS / rate_hz).astype(np.int64)
    alone = mapping(proprio=[], actions=[], episodes={"duration_s": None})
    plan = plan_recording(alone, {"cam": make_stream("cam", stamps)}, [], "bag")
    (episode,) = plan.episodes
    steps_ns = np.diff(episode.stamps_ns)
    assert steps_ns.max() <= 0.15 * NS
    assert steps_ns.mean() == pytest.approx(0.1 * NS, rel=0.005)


def test_a_step_of_almost_two_ends_the_episode() -> None:
    stamps = START_NS + np.arange(40, dtype=np.int64) * NS // 10
    stamps[20:22] += [-38_000_000, 38_000_000]
    alone = mapping(proprio=[], actions=[], episodes={"duration_s": None})
    plan = plan_recording(alone, {"cam": make_stream("cam", stamps)}, [], "bag")
    assert [len(episode) for episode in plan.episodes] == [21, 19]
    assert plan.ended["no image of cam"] == 1


def test_the_nearest_image_of_a_second_camera_goes_with_each_frame(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2, wrist=True, size=(24, 40)))
    cameras = {
        "cam": {"topic": "/cam", "size": [16, 16]},
        "wrist": {"topic": "/wrist", "size": [16, 32], "fit": "stretch"},
    }
    report, dataset = taken(bag, tmp_path / "set", mapping(cameras=cameras))
    episode = dataset.episode(0)
    assert episode.images["wrist"].shape == (20, 16, 32, 3)
    for name in cameras:
        levels = episode.images[name][..., 0].mean(axis=(1, 2))
        np.testing.assert_allclose(levels, np.arange(20), atol=2)
    assert report.cameras["wrist"].oldest_ms == pytest.approx(20.0)
    assert dataset.spec.fits == {"cam": "crop", "wrist": "stretch"}


def test_how_images_were_fitted_is_known_of_older_imports_too(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2, size=(24, 40)))
    cameras = {"cam": {"topic": "/cam", "size": [16, 16], "fit": "stretch"}}
    _, dataset = taken(bag, tmp_path / "set", mapping(cameras=cameras))
    known = build_cache(dataset.path, progress=False).dataset_hash
    file = dataset.path / "meta/info.json"
    info = json.loads(file.read_text())
    assert info["foresee"]["spec"].pop("fits") == {"cam": "stretch"}
    file.write_text(json.dumps(info))
    older = build_cache(dataset.path, progress=False)
    assert older.spec.fits == {"cam": "stretch"}  # of the mapping, which was always kept
    # Runs on data sets of before stay runs on them: the pictures are the same.
    shutil.rmtree(dataset.path / ".cache")
    assert build_cache(dataset.path, progress=False).dataset_hash == older.dataset_hash == known
    info["foresee"].pop("origin")
    file.write_text(json.dumps(info))
    assert open_dataset(dataset.path).spec.fits == {"cam": "crop"}
    info["foresee"]["spec"]["fits"] = {"cam": "pad"}
    file.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="fit 'pad' of camera 'cam' is not one of crop, stretch"):
        open_dataset(dataset.path)


def test_a_marker_says_where_episodes_are(tmp_path: Path) -> None:
    def marks(kind: str, *entries: tuple[float, object]) -> list:
        times = [(START_NS + round(t * NS), "/mark", message(kind, data=v)) for t, v in entries]
        return times

    rules = {"marker": "/mark", "min_s": 0.5, "duration_s": None}
    switch = marks("std_msgs/msg/Bool", (0.95, True), (2.25, False), (3.0, True))
    bag = record(tmp_path / "switch", more=switch)
    report, dataset = taken(bag, tmp_path / "a", mapping(episodes=rules))
    assert [info.length for info in dataset.episodes] == [13, 20]
    assert report.ended == {"marker": 1, "end": 1}
    words = marks("std_msgs/msg/String", (1.95, "push"), (3.15, "pull"))
    bag = record(tmp_path / "words", more=words)
    _, dataset = taken(bag, tmp_path / "b", mapping(episodes=rules))
    assert [(info.length, info.task) for info in dataset.episodes] == [(12, "push"), (18, "pull")]


def test_silence_is_zero_or_no_frames_as_the_mapping_says(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=4, silent_from_s=2.5))
    action = CONFIG["actions"][0]
    rules = {"duration_s": None, "min_s": 0.5}
    zero = [{**action, "silent": "zero", "hold_s": 0.2}]
    _, dataset = taken(bag, tmp_path / "zero", mapping(actions=zero, episodes=rules))
    # The last command is sent at 2.48 s and holds until 2.68 s.
    expected = np.where(np.arange(40) < 27, 0.01 * (np.arange(40) // 10), 0.0)
    np.testing.assert_allclose(dataset.episode(0).actions[:, 0], expected, atol=1e-7)
    split = [{**action, "silent": "split", "hold_s": 0.2}]
    report, dataset = taken(bag, tmp_path / "split", mapping(actions=split, episodes=rules))
    assert [info.length for info in dataset.episodes] == [27]
    assert report.ended == {"nothing on /cmd": 1}
    _, dataset = taken(bag, tmp_path / "hold", mapping(episodes=rules))
    np.testing.assert_allclose(dataset.episode(0).actions[27:, 0], 0.02, atol=1e-7)


def test_a_command_that_is_not_finite_is_damage_not_the_one_before(tmp_path: Path) -> None:
    # From 1.25 s on a command that is no number; from 1.75 s on another.
    odd = [(1.25, float("nan")), (1.75, 3.0)]
    more = [(START_NS + round(t * NS), t, value) for t, value in odd]
    bag = record(
        tmp_path / "bag",
        Scene(seconds=3, silent_from_s=1.245),
        more=[(stamp, "/cmd", twist(stamp, value)) for stamp, _, value in more],
    )
    said = r"/cmd: says nothing finite near 1700000001.300 s"
    with pytest.raises(DatasetError, match=said):
        taken(bag, tmp_path / "a")
    mean = mapping(actions=[{**CONFIG["actions"][0], "per_step": "mean"}])
    with pytest.raises(DatasetError, match=r"/cmd: says nothing finite near 1700000001.200 s"):
        taken(bag, tmp_path / "a", mean)
    out = tmp_path / "b"
    report = import_dataset(bag, out, mapping(), skip_bad=True, progress=False)
    assert [info.length for info in open_dataset(out).episodes] == [10]
    np.testing.assert_allclose(open_dataset(out).episode(0).actions, 0.03, atol=1e-7)
    # Gone on with by another name of the same bag, the damaged episode is still the first.
    other = bag.parent / ".." / bag.parent.name / bag.name
    again = import_dataset(other, out, mapping(), resume=True, skip_bad=True, progress=False)
    assert (again.episodes, again.frames) == (report.episodes, report.frames) == (1, 10)
    assert again.skipped == report.skipped


def test_two_drivers_may_publish_on_one_topic(tmp_path: Path) -> None:
    def gripper(stamp_ns: int) -> object:
        return message(
            "sensor_msgs/msg/JointState",
            header=header(stamp_ns),
            name=["finger"],
            position=np.array([0.04]),
            velocity=np.zeros(0),
            effort=np.zeros(0),
        )

    stamps = START_NS - NS // 10 + 5_000_000 + np.arange(220) * NS // 100
    more = [(stamp, "/joints", gripper(stamp)) for stamp in stamps.tolist()]
    bag = record(tmp_path / "bag", Scene(seconds=2), more=more)
    finger = {"topic": "/joints", "joints": ["finger"], "unit": "m"}
    _, dataset = taken(bag, tmp_path / "set", mapping(proprio=[CONFIG["proprio"][0], finger]))
    check_numbers(dataset)
    np.testing.assert_allclose(dataset.episode(0).proprio[:, 2], 0.04)
    both = {**CONFIG["proprio"][0], "joints": ["a", "finger"]}
    with pytest.raises(DatasetError, match=r"/joints: position\[\w+\]: no '\w+', there are \["):
        taken(bag, tmp_path / "none", mapping(proprio=[both]))


def test_rotations_turn_between_readings_and_begin_with_one_sign(tmp_path: Path) -> None:
    def turned(rate: float, time_s: float, sign: int) -> object:
        x, w = sign * np.sin(rate * time_s / 2), sign * np.cos(rate * time_s / 2)
        return message("geometry_msgs/msg/Quaternion", x=float(x), y=0.0, z=0.0, w=float(w))

    def poses(stamp_ns: int, sign: int) -> object:
        at = message("geometry_msgs/msg/Point", x=0.0, y=0.0, z=0.0)
        angles = [turned(rate, (stamp_ns - START_NS) / NS, sign) for rate in (0.5, -0.8)]
        kind = "geometry_msgs/msg/Pose"
        two = [message(kind, position=at, orientation=angle) for angle in angles]
        return message("geometry_msgs/msg/PoseArray", header=header(stamp_ns), poses=two)

    def transform(stamp_ns: int, sign: int) -> object:
        move = message("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)
        turn = turned(0.3, (stamp_ns - START_NS) / NS, sign)
        return message(
            "geometry_msgs/msg/TransformStamped",
            header=header(stamp_ns),
            child_frame_id="c",
            transform=message("geometry_msgs/msg/Transform", translation=move, rotation=turn),
        )

    more = []
    for i in range(420):
        # Between the frames, and of the other sign each time, as a driver may send it.
        stamp = START_NS - NS // 10 + 5_000_000 + i * NS // 100
        more.append((stamp, "/poses", poses(stamp, 1 - 2 * (i % 2))))
        more.append((stamp, "/turn", transform(stamp, 2 * (i % 2) - 1)))
    bag = record(tmp_path / "bag", Scene(seconds=4), more=more)
    two = {f"{n}{c}": f"poses[{n}].orientation.{c}" for c in "wxyz" for n in range(2)}
    one = {c: f"transform.rotation.{c}" for c in "xyzw"}
    signals = [{"topic": "/poses", "fields": two}, {"topic": "/turn", "fields": one}]
    _, dataset = taken(bag, tmp_path / "set", mapping(proprio=signals))
    assert len(dataset) == 2
    names = dataset.spec.proprio_names
    for index in range(2):
        episode = dataset.episode(index)
        time_s = (episode.stamps_ns - START_NS) / NS
        for name, rate in (("0", 0.5), ("1", -0.8), ("", 0.3)):
            found = {c: episode.proprio[:, names.index(f"{name}{c}")] for c in "xyzw"}
            np.testing.assert_allclose(found["x"], np.sin(rate * time_s / 2), atol=1e-5)
            np.testing.assert_allclose(found["w"], np.cos(rate * time_s / 2), atol=1e-5)
            assert not found["y"].any()


def test_units_become_si_and_wrong_ones_are_doubted(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=3, degrees=True))
    joints = {**CONFIG["proprio"][0], "unit": "deg"}
    report, dataset = taken(bag, tmp_path / "deg", mapping(proprio=[joints]))
    check_numbers(dataset)
    assert report.warnings == []
    report, _ = taken(bag, tmp_path / "rad", mapping())
    assert len(report.warnings) == 2
    assert "b.position runs from 24.06 to 57.3: that looks like deg, not rad" in report.warnings[1]


@pytest.mark.parametrize(("rate_hz", "even"), [(10.9, True), (15.0, False), (29.9, True)])
def test_uneven_steps_are_told(tmp_path: Path, rate_hz: float, even: bool) -> None:
    report, _ = taken(record(tmp_path / "bag", Scene(rate_hz=rate_hz)), tmp_path / "set")
    told = [
        "cam has 15 images/s, rate_hz is 10: steps are of 1 and of 2 images, 67 and 133 ms; with "
        "rate_hz 7.5 or 15 they are even"
    ]
    assert report.warnings == ([] if even else told)


def test_actions_beyond_their_limits_are_told(tmp_path: Path) -> None:
    action = {**CONFIG["actions"][0], "limits": [-0.01, 0.01]}
    report, _ = taken(record(tmp_path / "bag"), tmp_path / "set", mapping(actions=[action]))
    assert report.warnings == [
        "v runs from 0 to 0.04, beyond its limits -0.01 to 0.01; planning will stay within the "
        "limits"
    ]


def test_a_camera_alone_is_a_data_set_too(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2))
    report, dataset = taken(bag, tmp_path / "set", mapping(proprio=[], actions=[]))
    assert report.frames == 20
    assert dataset.spec.action_names == ()
    assert dataset.episode(0).actions.shape == (20, 0)


@pytest.mark.parametrize(
    ("changes", "scene", "said"),
    [
        ({"cameras": {"c": {"topic": "/eye", "size": [16, 16]}}}, Scene(), "'/eye' is not in the"),
        ({"cameras": {"c": {"topic": "/cmd", "size": [16, 16]}}}, Scene(), "TwistStamped, not an"),
        ({"proprio": [{"topic": "/joints", "joints": ["c"]}]}, Scene(), "no 'c', there are"),
        (
            {"proprio": [{"topic": "/joints", "fields": {"x": "velocities[0]"}}]},
            Scene(),
            "no field",
        ),
        (
            {"proprio": [{"topic": "/joints", "joints": ["a"], "part": "velocity"}]},
            Scene(),
            "/joints: says nothing finite near 1700000000.000 s",
        ),
        ({"rate_hz": 30}, Scene(), "has 10 images/s, rate_hz is 30; ask for less"),
        ({}, Scene(rate_hz=12.5), "has 12.5 images/s, rate_hz is 10: some steps would be of one"),
        ({}, Scene(encoding="16UC1"), "image 0: image encoding '16UC1' is not one of rgb8"),
        ({}, Scene(seconds=0.4), "gave no episode; 4 frames are in episodes shorter than min_s"),
    ],
)
def test_what_does_not_fit_is_one_line(
    changes: dict, scene: Scene, said: str, tmp_path: Path
) -> None:
    bag = record(tmp_path / "bag", scene)
    with pytest.raises(DatasetError) as error:
        taken(bag, tmp_path / "set", mapping(**changes))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()  # the command can be given again


def test_stamps_that_are_missing_or_go_back_are_told(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no message has a stamp .* stamp: recorded"):
        make_stream("/cam", np.zeros(5, np.int64))
    earlier = START_NS - 60 * NS
    again = [
        (START_NS + 10 * NS + i, "/cam", image(earlier + i, i, "rgb8", (16, 16))) for i in range(5)
    ]
    bag = record(tmp_path / "bag", more=again)
    with pytest.raises(DatasetError, match=r"/cam: time goes back by 64.9 s at message 50 of 55"):
        taken(bag, tmp_path / "set")


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_a_clock_set_back_for_recorder_and_drivers_alike_is_told(
    plugin: StoragePlugin, tmp_path: Path
) -> None:
    # In the order of time, as bags are read, the two stretches lie into each other.
    later = Scene(start_ns=START_NS + 2 * NS)
    bag = record(tmp_path / "bag", Scene(), plugin, then=later)
    with pytest.raises(DatasetError, match=r"bag: the clock was set back by 3\.2 s on the way"):
        taken(bag, tmp_path / "set")


def test_a_recording_whose_recorder_was_killed_is_made_whole(tmp_path: Path) -> None:
    bag = tmp_path / "monday"
    for number, folder in enumerate((bag, bag / "part-002", bag / "part-003")):
        record(folder, Scene(seconds=2, start_ns=START_NS + number * 100 * NS))
    # A repair that was killed is no recording.
    shutil.copytree(bag / "part-002", bag / ".recover-1/part-002")
    last = bag / "part-003/part-003.mcap"
    (last.parent / "metadata.yaml").unlink()
    os.truncate(last, last.stat().st_size - 100)
    report, _ = taken(bag, tmp_path / "set")
    assert (report.recordings, report.frames, report.skipped) == (3, 60, [])
    (last.parent / "part-003.mcap.unfinished").unlink()  # it is not missed
    again = import_dataset(bag, tmp_path / "set", mapping(), resume=True, progress=False)
    assert (again.recordings, again.frames) == (3, 60)
    # By the name of its file, alone.
    alone = record(tmp_path / "alone", Scene(seconds=2))
    (alone / "metadata.yaml").unlink()
    os.truncate(alone / "alone.mcap", (alone / "alone.mcap").stat().st_size - 100)
    assert taken(alone / "alone.mcap", tmp_path / "one")[0].frames == 20
    # One in which there is nothing is left out on request.
    (last.parent / "metadata.yaml").unlink()
    os.truncate(last, 20)
    with pytest.raises(DatasetError, match="without a single whole message"):
        taken(bag, tmp_path / "none")
    rest = import_dataset(bag, tmp_path / "rest", mapping(), skip_bad=True, progress=False)
    assert (rest.frames, len(rest.skipped)) == (40, 1)


def test_what_a_recording_holds_of_its_bag_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        record(tmp_path / "bags" / f"day{number}", Scene(seconds=2))
    there, counts = weakref.WeakSet[BagRecording](), []
    index = BagRecording.index

    def counted(recording: BagRecording) -> dict[str, Stream]:
        there.add(recording)
        counts.append(len(there))
        return index(recording)

    monkeypatch.setattr(BagRecording, "index", counted)
    import_dataset(tmp_path / "bags", tmp_path / "set", mapping(), progress=False)
    assert counts == [1, 1, 1]


def test_damaged_bags_are_left_out_on_request(tmp_path: Path) -> None:
    for number in range(3):
        scene = Scene(seconds=2, start_ns=START_NS + number * 100 * NS)
        record(tmp_path / "bags" / f"day{number}", scene)
    file = tmp_path / "bags/day1/day1.mcap"
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(DatasetError, match=r"day1: bag cannot be read .* `mcap recover`"):
        import_dataset(tmp_path / "bags", tmp_path / "a", mapping(), progress=False)
    report = import_dataset(
        tmp_path / "bags", tmp_path / "b", mapping(), skip_bad=True, progress=False
    )
    assert report.frames == 40
    assert len(report.skipped) == 1
    assert "day1" in report.skipped[0]


def _same(one: Path, two: Path) -> bool:
    """Whether two data sets are the same to the byte, their names aside."""
    names = [sorted(p.relative_to(x) for p in x.rglob("*") if p.is_file()) for x in (one, two)]
    return names[0] == names[1] and all(
        (one / n).read_bytes() == (two / n).read_bytes()
        for n in names[0]
        if n.name not in ("import.json", "skipped.json")
    )


IMPORT = """
import sys, functools
from recorded import mapping
from world_model.data import importing
importing.DatasetWriter = functools.partial(importing.DatasetWriter, frames_per_file=60)
importing.import_dataset(sys.argv[1], sys.argv[2], mapping())
"""


def test_an_import_killed_anywhere_goes_on_without_a_wrong_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files of 60 frames, so that there is something to keep.
    small = functools.partial(importing.DatasetWriter, frames_per_file=60)
    monkeypatch.setattr(importing, "DatasetWriter", small)
    bag = record(tmp_path / "bag", Scene(seconds=30, size=(64, 64)))
    import_dataset(bag, tmp_path / "whole", mapping(), progress=False)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for files, delay_s in ((1, 0.0), (2, 0.05)):
        out = tmp_path / f"set{files}"
        command = [sys.executable, "-c", IMPORT, str(bag), str(out)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(list(out.glob("data/*/*.parquet"))) < files and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, stderr.decode()[-2000:]
        kept = json.loads((out / "meta/info.json").read_text())["total_episodes"]
        assert 3 * (files - 1) <= kept < 15  # of 15 episodes, three in each file
        import_dataset(bag, out, mapping(), resume=True, progress=False)
        assert _same(out, tmp_path / "whole")


def test_resume_with_another_mapping_or_source_is_refused(tmp_path: Path) -> None:
    bag = record(tmp_path / "bag", Scene(seconds=2))
    import_dataset(bag, tmp_path / "set", mapping(), progress=False)
    again = import_dataset(bag, tmp_path / "set", mapping(), resume=True, progress=False)
    assert again.frames == 20
    with pytest.raises(DatasetError, match="not empty"):
        import_dataset(bag, tmp_path / "set", mapping(), progress=False)
    action = {**CONFIG["actions"][0], "per_step": "mean"}
    with pytest.raises(DatasetError, match="begun with another source or mapping"):
        import_dataset(
            bag, tmp_path / "set", mapping(actions=[action]), resume=True, progress=False
        )
    shutil.rmtree(bag)
    record(bag, Scene(seconds=3))
    with pytest.raises(DatasetError, match="begun with another source or mapping"):
        import_dataset(bag, tmp_path / "set", mapping(), resume=True, progress=False)
