"""Write episodes of a data set as ROS 2 bags in MCAP: to play back, to look at, to import again.

One bag for each episode, as recordings usually come: ``episode_000000`` and so on. Topics are
``/<camera>/image_raw`` (Image, rgb8) and ``/proprio``, ``/action`` and ``/evaluation`` (JointState:
a name and a number each), all stamped with the frame's stamp, and ``/episode`` (String: the task).
``import.yaml`` beside them is the mapping that `foresee data import` takes them back with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from tqdm import tqdm

from world_model.data.dataset import open_dataset
from world_model.data.mapping import (
    NS_PER_S,
    ActionSignal,
    CameraMapping,
    EpisodeRules,
    Signal,
)
from world_model.data.mapping import Mapping as ImportMapping
from world_model.data.select import Selection
from world_model.data.spec import DatasetError, DatasetSpec, Episode

MAPPING = "import.yaml"
_TYPES = get_typestore(Stores.ROS2_JAZZY)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written."""

    episodes: int
    frames: int


def export_bags(
    source: str | Path, out: str | Path, selection: Selection, progress: bool = True
) -> Exported:
    """Write what is selected as bags; one episode at a time is in memory.

    Raises:
        DatasetError: the source is damaged, lacks what is selected, or the folder is not new.
    """
    out = Path(out)
    dataset = open_dataset(source)
    spec = selection.spec(dataset.spec)
    indices = selection.indices(len(dataset))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DatasetError(f"{out}: is there already; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(_plain(dataclasses.asdict(mapping_of(spec))), sort_keys=False)
    (out / MAPPING).write_text(text, encoding="utf-8")
    frames = 0
    for number, index in enumerate(
        tqdm(indices, unit=" episodes", desc="export", disable=not progress)
    ):
        episode = selection.episode(dataset.episode(index))
        write_bag(out / f"episode_{number:06d}", episode, spec)
        frames += len(episode)
    return Exported(len(indices), frames)


def mapping_of(spec: DatasetSpec) -> ImportMapping:
    """The mapping that takes bags of `write_bag` back as they were."""

    def paths(names: tuple[str, ...]) -> dict[str, str]:
        return {name: f"position[{name}]" for name in names}

    def signals(topic: str, names: tuple[str, ...]) -> tuple[Signal, ...]:
        return (Signal(topic, paths(names), max_age_s=0.5 * spec.dt_s),) if names else ()

    limits = dict(
        zip(spec.action_names, zip(spec.action_low, spec.action_high, strict=True), strict=True)
    )

    def actions() -> tuple[ActionSignal, ...]:
        fields = paths(spec.action_names)  # one message for each frame
        return (ActionSignal("/action", fields, limits=limits, per_step="first"),) if fields else ()

    return ImportMapping(
        rate_hz=spec.fps,
        cameras={
            name: CameraMapping(f"/{name}/image_raw", size, spec.fits[name])
            for name, size in spec.cameras.items()
        },
        proprio=signals("/proprio", spec.proprio_names),
        actions=actions(),
        evaluation=signals("/evaluation", spec.evaluation_names),
        episodes=EpisodeRules(duration_s=None, min_s=0.0, marker="/episode", every_image=True),
        robot_type=spec.robot_type,
        env_id=spec.env_id,
        seed=spec.seed,
    )


def write_bag(path: Path, episode: Episode, spec: DatasetSpec) -> None:
    """Write one episode as a bag.

    Args:
        path: new folder.
        episode: what to write; its first stamp is at least 0.
        spec: names its numbers.

    Raises:
        DatasetError: the bag cannot be written.
    """
    vectors = {
        "/proprio": (spec.proprio_names, episode.proprio),
        "/action": (spec.action_names, episode.actions),
        "/evaluation": (spec.evaluation_names, episode.evaluation),
    }
    try:
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            topics: dict[str, Any] = {}

            def write(topic: str, kind: str, stamp_ns: int, **fields: Any) -> None:  # noqa: ANN401
                if topic not in topics:
                    topics[topic] = writer.add_connection(topic, kind, typestore=_TYPES)
                message = _TYPES.types[kind](**fields)
                writer.write(topics[topic], stamp_ns, _TYPES.serialize_cdr(message, kind))

            stamps = [int(stamp) for stamp in episode.stamps_ns]
            write("/episode", "std_msgs/msg/String", stamps[0], data=episode.task)
            for frame, stamp_ns in enumerate(stamps):
                for camera, images in episode.images.items():
                    fields = _image(images[frame], stamp_ns, camera)
                    write(f"/{camera}/image_raw", "sensor_msgs/msg/Image", stamp_ns, **fields)
                for topic, (names, rows) in vectors.items():
                    if names:
                        fields = _named(names, rows[frame], stamp_ns)
                        write(topic, "sensor_msgs/msg/JointState", stamp_ns, **fields)
    except OSError as error:
        raise DatasetError(f"{path}: bag cannot be written ({error.strerror})") from error


def _header(stamp_ns: int, frame_id: str) -> object:
    time = _TYPES.types["builtin_interfaces/msg/Time"](
        sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S
    )
    return _TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def _image(pixels: NDArray[np.uint8], stamp_ns: int, camera: str) -> dict[str, object]:
    height, width = pixels.shape[:2]
    return {
        "header": _header(stamp_ns, f"{camera}_optical_frame"),
        "height": height,
        "width": width,
        "encoding": "rgb8",
        "is_bigendian": 0,
        "step": 3 * width,
        "data": np.ascontiguousarray(pixels).reshape(-1),
    }


def _named(names: tuple[str, ...], row: NDArray[np.float32], stamp_ns: int) -> dict[str, object]:
    return {
        "header": _header(stamp_ns, ""),
        "name": list(names),
        "position": row.astype(np.float64),
        "velocity": np.zeros(0),
        "effort": np.zeros(0),
    }


def _plain(value: object) -> object:
    """Tuples as lists, as YAML has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
