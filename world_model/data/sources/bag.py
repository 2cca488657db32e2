"""ROS 2 bags as recordings."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.data.bags import Bag, RawMessage, header_stamp_ns
from world_model.data.fields import FieldReader
from world_model.data.images import decode_message
from world_model.data.mapping import Mapping as ImportMapping
from world_model.data.recover import unfinished
from world_model.data.spec import DatasetError
from world_model.data.streams import (
    LARGEST_REORDERING_NS,
    NS_PER_S,
    Item,
    Marker,
    Stream,
    make_stream,
)

# A command may hold that was sent long before an episode; it is then read on its own.
_NEAR_NS = 2 * NS_PER_S


def find_bags(path: Path) -> list[Path]:
    """The bags at a path: the bag itself, with its parts, or those in a folder of several, by name.

    Returns:
        Bag folders and single files; empty when there is none.
    """
    if path.suffix in (".mcap", ".db3"):
        return [_bag_of(path)]
    bags = sorted(p.parent for p in _visible(path, "metadata.yaml"))
    # Files that no bag folder claims: recorded by other tools, or left by a killed recorder.
    files = [p for kind in ("*.mcap", "*.db3") for p in _visible(path, kind)]
    return sorted([*bags, *(_bag_of(p) for p in files if p.parent not in bags)])


def _visible(path: Path, pattern: str) -> list[Path]:
    """Files below a path; hidden are those of a repair that was killed."""
    found = path.rglob(pattern)
    return [p for p in found if not any(n.startswith(".") for n in p.relative_to(path).parts)]


def _bag_of(file: Path) -> Path:
    """The folder of a file that a killed recorder left, to be made whole; otherwise the file."""
    return file.parent if unfinished(file.parent) == file else file


class BagRecording:
    """One bag; see `world_model.data.streams.Recording`.

    Args:
        path: bag folder or file.
        mapping: what to take.
        progress: show a progress bar in the first pass.

    Raises:
        DatasetError: the bag is damaged, or lacks a topic.
    """

    def __init__(self, path: Path, mapping: ImportMapping, progress: bool = True) -> None:
        """Open nothing yet."""
        self.name = str(path)
        self.task = ""
        self._path = path
        self._mapping = mapping
        self._progress = progress
        self._sources = mapping.sources()
        self._readers = {
            key: FieldReader(signal.topic, signal.paths)
            for key, signal in mapping.signals().items()
        }
        self._recorded: dict[str, NDArray[np.int64]] = {}
        self._markers: list[Marker] = []

    def index(self) -> dict[str, Stream]:
        """Read the stamps of every message wanted; images are not decoded."""
        marker = self._mapping.episodes.marker
        topics = {source.topic for source in self._sources.values()}
        topics |= {marker} if marker else set()
        headers = {s.topic for s in self._sources.values() if s.stamp == "header"}
        stamps = {topic: array("q") for topic in topics}
        recorded = {topic: array("q") for topic in topics}
        self._markers = []
        silent: dict[str, list[FieldReader]] = {}  # those to which no message has said anything yet
        for key, reader in self._readers.items():
            silent.setdefault(self._sources[key].topic, []).append(reader)
        with Bag(self._path) as bag:
            self._check_topics(bag, topics)
            headers &= {topic for topic in topics if bag.has_header(topic)}
            total = sum(bag.topics[topic][1] for topic in topics)
            bar = tqdm(total=total, desc="stamps", unit="msg", disable=not self._progress)
            with bar:
                for raw in bag.raw(topics):
                    recorded[raw.topic].append(raw.stamp_ns)
                    if raw.topic in headers:
                        stamps[raw.topic].append(self._header_stamp(raw))
                    if raw.topic == marker:
                        self._markers.append(_marker(bag, raw))
                    if waiting := silent.get(raw.topic):
                        message = bag.deserialize(raw)
                        silent[raw.topic] = [r for r in waiting if r(message) is None]
                    bar.update()
            back_ns = bag.set_back_ns()
        if back_ns > LARGEST_REORDERING_NS:
            raise DatasetError(
                f"{self.name}: the clock was set back by {back_ns / NS_PER_S:.1f} s on the way, "
                "what came before and after is mixed; record it again, or leave it out (--skip-bad)"
            )
        for reader in (reader for readers in silent.values() for reader in readers):
            if reader.lacks:
                raise DatasetError(f"{self.name}: {reader.lacks}")
        self._recorded = {topic: np.array(values, np.int64) for topic, values in recorded.items()}
        streams = {}
        for key, source in self._sources.items():
            use_header = source.stamp == "header" and source.topic in headers
            values = (stamps if use_header else recorded)[source.topic]
            name = f"{self.name}: {source.topic}"
            streams[key] = make_stream(name, np.array(values, np.int64), source.delay_s)
        return streams

    def markers(self) -> list[Marker]:
        """Markers by their stamp, or by when they were recorded where they have none."""
        return sorted(self._markers)

    def read(self, wanted: Mapping[str, NDArray[np.int64]]) -> Iterator[Item]:
        """Read the messages wanted: one pass over the part of the bag where they are."""
        times = {
            key: self._recorded[self._sources[key].topic][ordinals]
            for key, ordinals in wanted.items()
            if len(ordinals)
        }
        begin = min(int(times[camera].min()) for camera in self._mapping.cameras) - _NEAR_NS
        end = max(int(values.max()) for values in times.values()) + 1
        with Bag(self._path) as bag:
            early: dict[str, NDArray[np.int64]] = {}
            late = dict(wanted)
            for key, values in times.items():
                if (values < begin).any():
                    early[key] = wanted[key][values < begin]
                    late[key] = wanted[key][values >= begin]
            for key, ordinals in early.items():
                span = self._recorded[self._sources[key].topic][ordinals]
                yield from self._window(bag, {key: ordinals}, int(span.min()), int(span.max()) + 1)
            yield from self._window(bag, late, begin, end)

    def _window(
        self, bag: Bag, wanted: Mapping[str, NDArray[np.int64]], begin: int, end: int
    ) -> Iterator[Item]:
        """The messages wanted among those recorded from ``begin`` to before ``end``."""
        keys: dict[str, list[str]] = {}
        for key, ordinals in wanted.items():
            if len(ordinals):
                keys.setdefault(self._sources[key].topic, []).append(key)
        chosen = {key: set(ordinals.tolist()) for key, ordinals in wanted.items()}
        count = {topic: int(np.searchsorted(self._recorded[topic], begin)) for topic in keys}
        for raw in bag.raw(keys, begin, end):
            ordinal = count[raw.topic]
            count[raw.topic] += 1
            takers = [key for key in keys[raw.topic] if ordinal in chosen[key]]
            if not takers:
                continue
            message = bag.deserialize(raw)
            for key in takers:
                if key in self._readers:
                    yield Item(key, ordinal, self._readers[key](message))
                else:
                    yield Item(key, ordinal, self._pixels(message, raw, ordinal))

    def _pixels(self, message: object, raw: RawMessage, ordinal: int) -> NDArray[np.uint8]:
        try:
            return decode_message(message)
        except (ValueError, TypeError, AttributeError) as error:
            raise DatasetError(f"{self.name}: {raw.topic}: image {ordinal}: {error}") from error

    def _header_stamp(self, raw: RawMessage) -> int:
        try:
            return header_stamp_ns(raw.data)
        except (struct.error, IndexError) as error:
            raise DatasetError(f"{self.name}: {raw.topic}: message without a stamp") from error

    def _check_topics(self, bag: Bag, topics: set[str]) -> None:
        known = bag.topics
        if missing := sorted(topics - set(known)):
            raise DatasetError(
                f"{self.name}: topic {missing[0]!r} is not in the bag; it has {sorted(known)}"
            )
        for camera, source in self._mapping.cameras.items():
            kind = known[source.topic][0]
            if kind not in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"):
                raise DatasetError(
                    f"{self.name}: camera {camera}: {source.topic} is {kind}, not an image"
                )


def _marker(bag: Bag, raw: RawMessage) -> Marker:
    message = bag.deserialize(raw)
    stamp = getattr(getattr(message, "header", None), "stamp", None)
    stamp_ns = raw.stamp_ns if stamp is None else stamp.sec * NS_PER_S + stamp.nanosec
    data = getattr(message, "data", "")
    if isinstance(data, bool | np.bool_):
        return Marker(stamp_ns, bool(data), "")
    return Marker(stamp_ns, True, data if isinstance(data, str) else "")
