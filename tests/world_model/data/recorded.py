"""Bags of a made-up robot whose every number is known: readings are straight lines in time.

At time t (s since the start) joint ``a`` is at ``0.1 t`` rad, ``b`` at ``1 - 0.2 t``; commands at
50 Hz say ``floor(t)`` hundredths; the image of time t has the level ``round(10 t)`` all over, so
that an image tells when it was taken.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from world_model.data.mapping import Mapping
from world_model.data.settings import from_mapping

TYPES = get_typestore(Stores.ROS2_JAZZY)
NS = 1_000_000_000
# Of capture: the recorder gets images later than that.
START_NS = 1_700_000_000 * NS
LATENCY_NS = {"/cam": 40_000_000, "/wrist": 70_000_000, "/joints": 3_000_000, "/cmd": 1_000_000}

CONFIG: dict[str, Any] = {
    "rate_hz": 10,
    "cameras": {"cam": {"topic": "/cam", "size": [16, 16]}},
    "proprio": [{"topic": "/joints", "joints": ["a", "b"], "unit": "rad"}],
    "actions": [
        {
            "topic": "/cmd",
            "fields": {"v": "twist.linear.x"},
            "unit": "m/s",
            "limits": [-1, 1],
            "per_step": "first",
        }
    ],
    "episodes": {"duration_s": 2.0, "min_s": 0.5},
}


def mapping(**changes: Any) -> Mapping:
    """`CONFIG` with changes, as if read from a file."""
    return from_mapping(Mapping, {**CONFIG, **changes}, "import.yaml")


def message(kind: str, **fields: Any) -> Any:
    return TYPES.types[kind](**fields)


def header(stamp_ns: int) -> Any:
    time = message("builtin_interfaces/msg/Time", sec=stamp_ns // NS, nanosec=stamp_ns % NS)
    return message("std_msgs/msg/Header", stamp=time, frame_id="f")


def level(time_s: float) -> int:
    return int(round(10 * time_s) % 256)


@dataclass(frozen=True)
class Scene:
    """What to record.

    Attributes:
        seconds: how long.
        drop: images of ``/cam`` that never arrive.
        rate_hz: of ``/cam``.
        jitter_ns: images are taken this much off, in turn early and late.
        encoding: of the images; "jpeg" and "png" for CompressedImage.
        size: height and width of the images.
        wrist: whether there is a second camera, 20 ms after the first.
        silent_from_s: no commands from then on.
        degrees: whether joints are sent in degrees.
        start_ns: capture time of the first image.
    """

    seconds: float = 5.0
    drop: Collection[int] = ()
    rate_hz: float = 10.0
    jitter_ns: int = 0
    encoding: str = "rgb8"
    size: tuple[int, int] = (16, 16)
    wrist: bool = False
    silent_from_s: float = 1e9
    degrees: bool = False
    start_ns: int = START_NS


def image(stamp_ns: int, value: int, encoding: str, size: tuple[int, int]) -> Any:
    pixels = np.full((*size, 3), value, np.uint8)
    pixels[..., 2] = 255 - value  # so that red and blue cannot be mistaken for each other
    if encoding in ("jpeg", "png"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, encoding, **({"quality": 95} if encoding == "jpeg" else {})
        )
        data = np.frombuffer(file.getvalue(), np.uint8)
        kind = "sensor_msgs/msg/CompressedImage"
        return message(kind, header=header(stamp_ns), format=encoding, data=data)
    order = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "mono8": (0,)}
    order |= {"rgba8": (0, 1, 2, 0), "bgra8": (2, 1, 0, 0)}
    chosen = pixels[..., list(order.get(encoding, (0, 1)))]
    return message(
        "sensor_msgs/msg/Image",
        header=header(stamp_ns),
        height=size[0],
        width=size[1],
        encoding=encoding,
        is_bigendian=0,
        step=chosen.shape[1] * chosen.shape[2],
        data=chosen.reshape(-1),
    )


def record(
    path: Path,
    scene: Scene = Scene(),
    plugin: StoragePlugin = StoragePlugin.MCAP,
    more: Collection[tuple[int, str, Any]] = (),
    then: Scene | None = None,
) -> Path:
    """Write a bag; ``more`` are further (recorded ns, topic, message), ``then`` comes after all."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections: dict[str, Any] = {}
        for entries in ([*more, *_entries(scene)], _entries(then) if then else []):
            for recorded, topic, item in sorted(entries, key=lambda entry: entry[0]):
                if topic not in connections:
                    kind = item.__msgtype__
                    connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                kind = connections[topic].msgtype
                writer.write(connections[topic], recorded, TYPES.serialize_cdr(item, kind))
            if plugin is StoragePlugin.MCAP and entries:
                writer.storage.close_chunk()  # type: ignore[union-attr]
    return path


def _entries(scene: Scene) -> list[tuple[int, str, Any]]:
    """(recorded ns, topic, message) of all that happens."""
    entries: list[tuple[int, str, Any]] = []
    for index in range(int(scene.seconds * scene.rate_hz)):
        if index in scene.drop:
            continue
        jitter_ns = scene.jitter_ns * (1 if index % 2 else -1)
        stamp = scene.start_ns + round(index * NS / scene.rate_hz) + jitter_ns
        value = level((stamp - scene.start_ns) / NS)
        taken = image(stamp, value, scene.encoding, scene.size)
        entries.append((stamp + LATENCY_NS["/cam"], "/cam", taken))
        if scene.wrist:
            stamp += 20_000_000
            taken = image(stamp, value, scene.encoding, scene.size)
            entries.append((stamp + LATENCY_NS["/wrist"], "/wrist", taken))
    for index in range(int((scene.seconds + 0.2) * 100)):
        stamp = scene.start_ns - NS // 10 + index * NS // 100
        entries.append((stamp + LATENCY_NS["/joints"], "/joints", _joints(stamp, scene)))
    for index in range(int((scene.seconds + 0.2) * 50)):
        stamp = scene.start_ns - NS // 10 + index * NS // 50
        time_s = (stamp - scene.start_ns) / NS
        if time_s < scene.silent_from_s:
            entries.append((stamp + LATENCY_NS["/cmd"], "/cmd", twist(stamp, time_s)))
    return entries


def _joints(stamp_ns: int, scene: Scene) -> Any:
    time_s = (stamp_ns - scene.start_ns) / NS
    positions = np.array([1 - 0.2 * time_s, 0.1 * time_s])
    return message(
        "sensor_msgs/msg/JointState",
        header=header(stamp_ns),
        name=["b", "a"],  # not the order asked for
        position=np.degrees(positions) if scene.degrees else positions,
        velocity=np.zeros(0),
        effort=np.zeros(0),
    )


def twist(stamp_ns: int, time_s: float) -> Any:
    def vector(x: float) -> Any:
        return message("geometry_msgs/msg/Vector3", x=x, y=0.0, z=0.0)

    kind = "geometry_msgs/msg/Twist"
    value = 0.01 * np.floor(time_s + 1e-6)
    twist = message(kind, linear=vector(float(value)), angular=vector(0.0))
    return message("geometry_msgs/msg/TwistStamped", header=header(stamp_ns), twist=twist)
