"""Write episodes as an MCAP file, which Foxglove and ``ros2 bag`` open.

MCAP and not rerun: `rosbags` writes it and is a dependency already, rerun-sdk would be 100 MB more.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from world_model.data.dataset import Dataset

_GAP_NS = 1_000_000_000  # between two episodes
_JPEG_QUALITY = 95


def write_mcap(dataset: Dataset, places: Sequence[int], out: Path) -> None:
    """Write ``/<camera>/image_raw/compressed``, ``/readings`` and ``/actions``.

    The numbers are `sensor_msgs/JointState`, so that each carries its name. Episodes follow each
    other in the order given; one begins a second after the last frame of the one before it.

    Args:
        dataset: what to write.
        places: which of its episodes.
        out: ``.mcap`` file to write.
    """
    types = get_typestore(Stores.ROS2_JAZZY)
    header = types.types["std_msgs/msg/Header"]
    time = types.types["builtin_interfaces/msg/Time"]
    picture = types.types["sensor_msgs/msg/CompressedImage"]
    numbers = types.types["sensor_msgs/msg/JointState"]
    spec, none = dataset.spec, np.zeros(0)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        bag = Path(folder) / "bag"
        with Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            cameras = {
                camera: writer.add_connection(
                    f"/{camera}/image_raw/compressed", picture.__msgtype__, typestore=types
                )
                for camera in spec.cameras
            }
            vectors = [
                (writer.add_connection(topic, numbers.__msgtype__, typestore=types), names)
                for topic, names in (
                    ("/readings", spec.proprio_names),
                    ("/actions", spec.action_names),
                )
            ]
            next_ns = 0
            for place in places:
                episode = dataset.episode(place)
                stamps = episode.stamps_ns - episode.stamps_ns[0] + next_ns
                for frame, stamp in enumerate(stamps.tolist()):
                    at = time(sec=stamp // 10**9, nanosec=stamp % 10**9)
                    for camera, connection in cameras.items():
                        data = _jpeg(episode.images[camera][frame])
                        image = picture(header(stamp=at, frame_id=camera), "jpeg", data)
                        packed = types.serialize_cdr(image, connection.msgtype)
                        writer.write(connection, stamp, packed)
                    rows = (episode.proprio[frame], episode.actions[frame])
                    for (connection, names), row in zip(vectors, rows, strict=True):
                        values = row.astype(np.float64)
                        message = numbers(
                            header(stamp=at, frame_id=""), list(names), values, none, none
                        )
                        packed = types.serialize_cdr(message, connection.msgtype)
                        writer.write(connection, stamp, packed)
                next_ns = int(stamps[-1]) + _GAP_NS
        shutil.move(str(next(bag.glob("*.mcap"))), out)


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return np.frombuffer(buffer.getvalue(), np.uint8)
