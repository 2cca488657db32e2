"""How long, how large, how much memory: importing a long recording of two cameras.

    python -m benchmarks.import_bags --minutes 30 --out runs/long

Writes a bag as `recorder_node` does of `sim_node` (10 images/s of each of two cameras, 100
readings, poses and commands a second, stamped with simulated time; pictures are drawn, not
rendered), then imports it in a process of its own and prints size, time and peak memory as JSON.
The same with fewer minutes shows what grows with the length. Real half hours are recorded with
the nodes themselves: docs/data.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

ROOT = Path(__file__).parents[1]
TYPES = get_typestore(Stores.ROS2_JAZZY)
START_NS, TICK_NS, TICKS_PER_FRAME, SIDE = 1_700_000_000 * 10**9, 10_000_000, 10, 64
CAMERAS = ("scene", "front")
JOINTS = [f"panda_joint{i}" for i in range(1, 8)]


def make(kind: str, **fields: Any) -> Any:  # noqa: ANN401 - a ROS message
    """A message by its type."""
    return TYPES.types[kind](**fields)


def vector(kind: str, *xyz: float) -> Any:  # noqa: ANN401
    """A Point or Vector3."""
    return make(f"geometry_msgs/msg/{kind}", x=xyz[0], y=xyz[1], z=xyz[2])


def write_recording(path: Path, minutes: float) -> int:
    """Write the bag; returns the number of messages."""
    count = 0
    rows, columns = np.mgrid[:SIDE, :SIDE]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics: dict[str, Any] = {}

        def write(topic: str, stamp_ns: int, message: Any) -> None:  # noqa: ANN401
            nonlocal count
            kind = message.__msgtype__
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=TYPES)
            writer.write(topics[topic], stamp_ns + 3_000_000, TYPES.serialize_cdr(message, kind))
            count += 1

        for tick in range(round(minutes * 60e9 / TICK_NS)):
            stamp_ns = START_NS + tick * TICK_NS
            stamp = make(
                "builtin_interfaces/msg/Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9
            )
            header = make("std_msgs/msg/Header", stamp=stamp, frame_id="panda_link0")
            phase = tick * TICK_NS / 1e9
            angles = np.sin(phase + np.arange(7))
            joints = {"position": angles, "velocity": np.cos(phase + np.arange(7))}
            kind = "sensor_msgs/msg/JointState"
            message = make(kind, header=header, name=JOINTS, effort=np.zeros(0), **joints)
            write("/joint_states", stamp_ns, message)
            point = vector("Point", *(0.5 + 0.1 * angles[:3]).tolist())
            turn = make("geometry_msgs/msg/Quaternion", x=1.0, y=0.0, z=0.0, w=0.0)
            pose = make("geometry_msgs/msg/Pose", position=point, orientation=turn)
            write(
                "/tool_pose",
                stamp_ns,
                make("geometry_msgs/msg/PoseStamped", header=header, pose=pose),
            )
            linear = vector("Vector3", *(0.1 * np.cos(phase + np.arange(3))).tolist())
            twist = make(
                "geometry_msgs/msg/Twist", linear=linear, angular=vector("Vector3", 0.0, 0.0, 0.0)
            )
            command = make("geometry_msgs/msg/TwistStamped", header=header, twist=twist)
            write("/servo_node/delta_twist_cmds", stamp_ns, command)
            if tick % TICKS_PER_FRAME:
                continue
            for number, camera in enumerate(CAMERAS):
                x, y = SIDE * (0.5 + 0.3 * angles[number]), SIDE * (0.5 + 0.3 * angles[number + 2])
                pixels = np.stack([rows * 2, columns * 2, rows + columns], axis=-1).astype(np.uint8)
                pixels[(columns - x) ** 2 + (rows - y) ** 2 < 36] = (230, 60, 30)
                image = {
                    "height": SIDE,
                    "width": SIDE,
                    "step": 3 * SIDE,
                    "data": pixels.reshape(-1),
                }
                kind = "sensor_msgs/msg/Image"
                message = make(kind, header=header, encoding="rgb8", is_bigendian=0, **image)
                write(f"/{camera}/image_raw", stamp_ns, message)
    return count


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True)
    bag, config = arguments.out / "bag", arguments.out / "import.yaml"
    began = time.monotonic()
    messages = write_recording(bag, arguments.minutes)
    wrote_s = time.monotonic() - began
    mapping = yaml.safe_load((ROOT / "config/import.yaml").read_text())
    mapping["cameras"]["front"] = {"topic": "/front/image_raw", "size": [SIDE, SIDE]}
    config.write_text(yaml.safe_dump(mapping, sort_keys=False))
    command = [sys.executable, "-m", "foresee", "data", "import", str(bag), "--config", str(config)]
    began = time.monotonic()
    subprocess.run([*command, "--out", str(arguments.out / "data")], check=True, cwd=ROOT)
    wall_s = time.monotonic() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    report = json.loads((arguments.out / "data/meta/import.json").read_text())
    sizes = {
        name: sum(p.stat().st_size for p in (arguments.out / name).rglob("*") if p.is_file()) / 1e6
        for name in ("bag", "data")
    }
    print(
        json.dumps(
            {
                "minutes": arguments.minutes,
                "messages": messages,
                "wrote_s": round(wrote_s, 1),
                "bag_mb": round(sizes["bag"], 1),
                "data_mb": round(sizes["data"], 1),
                "frames": report["frames"],
                "import_s": round(wall_s, 1),
                "import_cpu_s": round(used.ru_utime + used.ru_stime, 1),
                "peak_mb": round(used.ru_maxrss / 1e3, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
