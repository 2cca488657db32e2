"""LeRobotDataset folders, versions 3.0 and 2.1, as recordings: one episode is one recording."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from world_model.data import layout
from world_model.data.dataset import element_names
from world_model.data.episodes import EpisodeInfo, VideoPart, check_hash, read_episode_table
from world_model.data.images import decode_still
from world_model.data.mapping import ActionSignal, CameraMapping, EpisodeRules, Signal
from world_model.data.mapping import Mapping as ImportMapping
from world_model.data.spec import DatasetError, DatasetSpec
from world_model.data.streams import NS_PER_S, Item, Marker, Stream, make_stream
from world_model.data.tables import integers, read_table, vectors_from_arrow
from world_model.data.video import decode_frames
from world_model.image_fit import DEFAULT_FIT


class LeRobotSource:
    """A LeRobotDataset folder.

    Args:
        path: the folder.

    Raises:
        DatasetError: it is of another version, or its tables are damaged or missing.
    """

    def __init__(self, path: Path) -> None:
        """Read what its ``meta`` folder says."""
        self.path = path
        info = _json(path / layout.INFO)
        self.version = str(info.get("codebase_version"))
        if self.version not in ("v3.0", "v2.1"):
            raise DatasetError(
                f"{path / layout.INFO}: data set of version {self.version!r}; this reads v3.0 "
                "and v2.1"
            )
        try:
            self.features: dict[str, Any] = dict(info["features"])
            self.fps = float(info["fps"])
            self.robot_type = str(info.get("robot_type") or "unknown")
            self._extra = info.get("foresee") or {}
            self.hashes: dict[str, str] = dict(self._extra.get("sha256", {}))
            videos = {k: k for k, column in self.features.items() if column["dtype"] == "video"}
            total, data = int(info["total_episodes"]), str(info["data_path"])
            video = str(info.get("video_path"))
            if self.version == "v3.0":
                self.episodes = read_episode_table(path, videos, self.fps, total, data, video)
            else:
                self.episodes = _episodes_v21(path, videos, info)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"{path / layout.INFO}: is not usable ({error!r})") from error
        # One file holds many episodes: it is read, and its hash compared, once for all of them.
        self.table = lru_cache(maxsize=1)(self._table)
        self.check = lru_cache(maxsize=None)(self._check)

    def mapping(self, size: tuple[int, int] | None = None) -> ImportMapping:
        """The mapping that takes everything as it is.

        Args:
            size: height and width of every camera; None keeps each as it is.

        Raises:
            DatasetError: there is no camera.
        """
        spec = DatasetSpec.from_info(self._extra) if "spec" in self._extra else None
        fits = spec.fits if spec else {}
        cameras = {}
        for key, column in self.features.items():
            if column["dtype"] in ("video", "image"):
                name = key.removeprefix(layout.IMAGES).removeprefix("observation.")
                name = name.replace("/", "_")
                fit = fits.get(name, DEFAULT_FIT)
                cameras[name] = CameraMapping(key, size or _image_size(column), fit)
        actions = []
        if layout.ACTION in self.features:
            names = element_names(self.features, layout.ACTION)
            limits = zip(spec.action_low, spec.action_high, strict=True) if spec else self._limits()
            actions.append(
                ActionSignal(
                    layout.ACTION,
                    {name: f"[{i}]" for i, name in enumerate(names)},
                    limits=dict(zip(names, limits, strict=True)),
                    per_step="first",  # there is one for each frame
                )
            )
        return ImportMapping(
            rate_hz=self.fps,
            cameras=cameras,
            proprio=self._signals(layout.PROPRIO),
            actions=tuple(actions),
            evaluation=self._signals(layout.EVALUATION),
            episodes=EpisodeRules(duration_s=None, min_s=0.0, every_image=True),
            robot_type=spec.robot_type if spec else self.robot_type,
            env_id=spec.env_id if spec else None,
            seed=spec.seed if spec else None,
        )

    def recordings(self, mapping: ImportMapping) -> Sequence[LeRobotRecording]:
        """One recording for each episode."""
        return [LeRobotRecording(self, info, mapping) for info in self.episodes]

    def _check(self, name: str) -> Path:
        """The path of a file that is as it was written, where its hash is known."""
        if self.hashes:
            check_hash(self.path / name, self.hashes.get(name))
        return self.path / name

    def _table(self, name: str) -> pa.Table:
        return read_table(self.check(name))

    def _signals(self, key: str) -> tuple[Signal, ...]:
        names = element_names(self.features, key)
        paths = {name: f"[{i}]" for i, name in enumerate(names)}
        return (Signal(key, paths, max_age_s=0.5 / self.fps),) if names else ()

    def _limits(self) -> list[tuple[float, float]]:
        """Lowest and highest action of each dimension that occurs: nothing says what is allowed."""
        files = dict.fromkeys(info.data_file for info in self.episodes)
        rows = [_vectors(self.table(n), layout.ACTION, self.path / n) for n in files]
        low = np.min([values.min(axis=0) for values in rows], axis=0)
        high = np.max([values.max(axis=0) for values in rows], axis=0)
        return list(zip(low.tolist(), high.tolist(), strict=True))


class LeRobotRecording:
    """One episode; see `world_model.data.streams.Recording`."""

    def __init__(self, source: LeRobotSource, info: EpisodeInfo, mapping: ImportMapping) -> None:
        """Read nothing yet."""
        self.name = f"{source.path}: episode {info.index}"
        self.task = info.task
        self._source, self._info, self._mapping = source, info, mapping

    def index(self) -> dict[str, Stream]:
        """Every column has the stamps of the frames."""
        table, name = self._rows()
        if layout.STAMP in table.column_names:
            stamps = integers(table, layout.STAMP, name)
        else:  # of other software: the time since the episode began
            frames = integers(table, "frame_index", name)
            stamps = np.round(frames * (NS_PER_S / self._source.fps)).astype(np.int64)
        streams = {}
        for key, source in self._mapping.sources().items():
            if source.topic not in self._source.features:
                raise DatasetError(
                    f"{self._source.path}: there is no {source.topic!r}; there are "
                    f"{', '.join(self._source.features)}"
                )
            # Stamps that are not rising are told of by whoever checks the episode.
            streams[key] = make_stream(f"{self.name}: {source.topic}", stamps, source.delay_s)
        return streams

    def markers(self) -> list[Marker]:
        """None: episodes are there already."""
        return []

    def read(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[Item]:
        """Read rows, and decode the videos from the episode's first frame on."""
        table, name = self._rows()
        signals = self._mapping.signals()
        for key, ordinals in wanted.items():
            if key in signals:
                columns = self._columns(signals[key])
                values = _vectors(table, signals[key].topic, name)[:, columns].astype(float)
                for ordinal in ordinals.tolist():
                    yield Item(key, ordinal, values[ordinal])
            elif len(ordinals):
                yield from self._images(key, ordinals, table)

    def _images(self, camera: str, ordinals: NDArray[np.int64], table: pa.Table) -> Iterator[Item]:
        topic = self._mapping.cameras[camera].topic
        if topic not in self._info.videos:
            for ordinal in ordinals.tolist():
                yield Item(camera, ordinal, self._still(table[topic][ordinal].as_py(), ordinal))
            return
        part: VideoPart = self._info.videos[topic]
        path, left = self._source.check(part.file), set(ordinals.tolist())
        for ordinal, pixels in enumerate(decode_frames(path, part.first_frame, self._source.fps)):
            if ordinal in left:
                left.remove(ordinal)
                yield Item(camera, ordinal, pixels)
            if not left:
                return
        raise DatasetError(f"{path}: ends before frame {min(left)} of episode {self._info.index}")

    def _still(self, cell: Any, ordinal: int) -> NDArray[np.uint8]:  # noqa: ANN401
        """An image that a table holds, or names a file of."""
        try:
            data = cell["bytes"] or (self._source.path / cell["path"]).read_bytes()
            return decode_still(data)
        except (ValueError, TypeError, LookupError, OSError) as error:
            raise DatasetError(f"{self.name}: image {ordinal}: {error}") from error

    def _rows(self) -> tuple[pa.Table, Path]:
        """The rows of this episode alone, and the file they are of."""
        name = self._info.data_file
        table = self._source.table(name)
        at = np.flatnonzero(
            integers(table, "episode_index", self._source.path / name) == self._info.index
        )
        if len(at) != self._info.length:
            raise DatasetError(
                f"{self._source.path / name}: {len(at)} rows of episode {self._info.index}, the "
                f"episode table says {self._info.length}"
            )
        return table.take(pa.array(at)), self._source.path / name

    def _columns(self, signal: Signal) -> list[int]:
        """Which elements of a column a signal takes: by name, or ``[2]``, which is never a name."""
        names = element_names(self._source.features, signal.topic)
        columns = []
        for path in signal.paths.values():
            key = path.strip("[]")
            by_place = key.isdigit() and (key != path or key not in names)
            index = int(key) if by_place else names.index(key) if key in names else len(names)
            if index >= len(names):
                raise DatasetError(
                    f"{self._source.path}: {signal.topic} has no element {path!r}, there are "
                    f"{', '.join(names)}"
                )
            columns.append(index)
        return columns


def _vectors(table: pa.Table, key: str, path: Path) -> NDArray[np.float32]:
    try:
        return vectors_from_arrow(table[key])
    except KeyError:
        raise DatasetError(f"{path}: column {key!r} is missing") from None
    except DatasetError as error:
        raise DatasetError(f"{path}: column {key!r}: {error}") from error


def _episodes_v21(
    path: Path, videos: Mapping[str, str], info: Mapping[str, Any]
) -> tuple[EpisodeInfo, ...]:
    """The episode table of version 2.1: JSON lines, and one file for each episode and camera."""
    file = path / "meta/episodes.jsonl"
    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file}: cannot be read ({error})") from error
    if len(rows) != info["total_episodes"]:
        raise DatasetError(f"{file}: holds {len(rows)} of {info['total_episodes']} episodes")
    episodes = []
    for row in rows:
        index = int(row["episode_index"])
        place = {"episode_chunk": index // int(info["chunks_size"]), "episode_index": index}
        parts = {
            key: VideoPart(str(info["video_path"]).format(video_key=key, **place), 0)
            for key in videos
        }
        data_file = str(info["data_path"]).format(**place)
        task = str((row.get("tasks") or [""])[0])
        episodes.append(EpisodeInfo(index, int(row["length"]), task, data_file, parts))
    return tuple(episodes)


def _image_size(column: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of a camera; LeRobot lists channels last, some sets list them first."""
    shape = [int(n) for n in column["shape"]]
    return (shape[1], shape[2]) if shape[0] in (1, 3) else (shape[0], shape[1])


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: holds no JSON object")
    return values
