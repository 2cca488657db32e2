"""Bags as the recorder writes them are read back; damaged ones give one clear line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from world_model.data import DatasetError
from world_model.data.bags import read_bag

COUNT = 40


def write_bag(path: Path, compressed: bool = False) -> Path:
    """Joint readings and images in turn, 10 ms apart; eight in each chunk."""
    types = get_typestore(Stores.ROS2_JAZZY)
    header = types.types["std_msgs/msg/Header"]
    time = types.types["builtin_interfaces/msg/Time"]
    joints, image = types.types["sensor_msgs/msg/JointState"], types.types["sensor_msgs/msg/Image"]
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        to_joints = writer.add_connection("/joint_states", joints.__msgtype__, typestore=types)
        to_image = writer.add_connection("/scene/image_raw", image.__msgtype__, typestore=types)
        writer.add_connection("/silent", joints.__msgtype__, typestore=types)
        for index in range(COUNT):
            stamped = header(stamp=time(sec=0, nanosec=index * 10_000_000), frame_id="base")
            if index % 2:
                pixels = np.full(4 * 4 * 3, index, np.uint8)
                message = image(stamped, 4, 4, "rgb8", 0, 12, pixels)
                connection = to_image
            else:
                position = np.array([index, -1.0])
                message = joints(stamped, ["a", "b"], position, np.zeros(2), np.zeros(0))
                connection = to_joints
            data = types.serialize_cdr(message, connection.msgtype)
            writer.write(connection, 5_000 + index * 10_000_000, data)
            if index % 8 == 7:
                writer.storage.close_chunk()  # type: ignore[union-attr]
    return path


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_bag(tmp_path / "bag")


def test_messages_come_in_order_with_stamp_and_content(bag: Path) -> None:
    messages = list(read_bag(bag))
    assert [m.stamp_ns for m in messages] == [5_000 + i * 10_000_000 for i in range(COUNT)]
    assert messages[6].topic == "/joint_states"
    np.testing.assert_array_equal(messages[6].message.position, [6.0, -1.0])
    assert messages[7].message.encoding == "rgb8"
    assert messages[7].message.header.stamp.nanosec == 70_000_000
    np.testing.assert_array_equal(messages[7].message.data, np.full(48, 7))


def test_topics_can_be_chosen(bag: Path) -> None:
    assert {m.topic for m in read_bag(bag, ["/joint_states"])} == {"/joint_states"}
    assert list(read_bag(bag, ["/silent"])) == []


def test_topic_that_is_not_there_is_named_with_those_that_are(bag: Path) -> None:
    with pytest.raises(DatasetError, match=r"'/tool' is not in the bag; it has .*'/joint_states'"):
        list(read_bag(bag, ["/tool"]))


def test_no_bag(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such bag"):
        list(read_bag(tmp_path / "nothing"))


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_truncated_bag_says_what_to_do(bag: Path, keep: int) -> None:
    file = next(bag.glob("*.mcap"))
    os.truncate(file, file.stat().st_size + keep if keep < 0 else keep)
    with pytest.raises(DatasetError, match=r"bag cannot be read .* `mcap recover`") as error:
        list(read_bag(bag))
    assert "\n" not in str(error.value)


def test_what_a_killed_recorder_left_is_made_whole(bag: Path) -> None:
    whole = list(read_bag(bag))
    (bag / "metadata.yaml").unlink()
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    assert len(list(read_bag(bag))) == len(whole) == COUNT
    assert (bag / "metadata.yaml").exists()
    assert (bag / "bag.mcap.unfinished").read_bytes() == content
    assert len(list(bag.iterdir())) == 3

    (bag / "metadata.yaml").unlink()
    next(bag.glob("*.mcap")).write_bytes(content[:10])  # killed before there was anything
    with pytest.raises(DatasetError, match="without a single whole message"):
        list(read_bag(bag))


def _chunks(bag: Path) -> list[int]:
    """Where the records of each chunk begin in the file of a bag."""
    with Reader(bag) as reader:
        head = 9 + 3 * 8 + 4 + 4 + 8  # opcode and length; two times, size, CRC, no name, size
        storage = reader.storage.storages[0]  # type: ignore[attr-defined]
        return [chunk.chunk_start_offset + head for chunk in storage.chunks]


@pytest.mark.parametrize(
    ("chunk", "at", "spoilt", "left"),
    [
        (2, 0, b"\xff" * 64, 16),  # what it holds makes no sense
        (1, 9, b"\x4d\x00", 8),  # its first message is of a topic that was never announced
    ],
    ids=["a chunk", "a channel"],
)
def test_a_killed_recording_with_damage_in_the_middle_loses_nothing_for_good(
    bag: Path, chunk: int, at: int, spoilt: bytes, left: int
) -> None:
    whole = [m.stamp_ns for m in read_bag(bag)]
    at += _chunks(bag)[chunk]
    (bag / "metadata.yaml").unlink()
    (bag / "notes.txt").write_text("mine")
    file = bag / "bag.mcap"
    content = bytearray(file.read_bytes())
    content[at : at + len(spoilt)] = spoilt
    file.write_bytes(content)
    assert [m.stamp_ns for m in read_bag(bag)] == whole[:left]
    assert (bag / "bag.mcap.unfinished").read_bytes() == content
    assert (bag / "notes.txt").read_text() == "mine"


def test_a_killed_recording_of_types_that_are_not_known_here(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS2_JAZZY)
    types.register(get_types_from_msg("float64 left\nfloat64 right\n", "our_robot/msg/Wheels"))
    wheels = types.types["our_robot/msg/Wheels"]
    path = tmp_path / "bag"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/wheels", wheels.__msgtype__, typestore=types)
        data = types.serialize_cdr(wheels(1.0, -2.0), wheels.__msgtype__)
        writer.write(connection, 5_000, data)
    (path / "metadata.yaml").unlink()
    (read,) = read_bag(path)
    assert (read.message.left, read.message.right) == (1.0, -2.0)


@pytest.mark.parametrize("compressed", [False, True])
def test_flipped_bytes_are_damage_or_harmless_never_a_crash(
    compressed: bool, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", compressed)
    file = next(bag.glob("*.mcap"))
    content = file.read_bytes()
    errors = []
    for position in np.random.default_rng(0).integers(0, len(content), 40):
        spoilt = bytearray(content)
        spoilt[position] ^= 0xFF
        file.write_bytes(spoilt)
        try:
            assert len(list(read_bag(bag))) == COUNT
        except DatasetError as error:
            errors.append(str(error))
    assert len(errors) > 10
    assert not [error for error in errors if "\n" in error]
