"""Decide from stamps alone which frames a recording gives and how they fall into episodes.

Nothing is decoded for it, and nothing read later changes it: that makes an interrupted import go on
exactly where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from world_model.data import align
from world_model.data.mapping import NS_PER_S, ActionSignal, Mapping
from world_model.data.spec import DatasetError
from world_model.data.streams import Marker, Stream

EVERY_IMAGE = 1.12  # up to so many images for a frame, every image is one


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode of T frames.

    Attributes:
        stamps_ns: ``(T,)`` int64, strictly increasing.
        images: camera to ``(T,)`` int64: index into its stream.
        task: what a marker says, or nothing.
    """

    stamps_ns: NDArray[np.int64]
    images: MappingType[str, NDArray[np.int64]]
    task: str

    def __len__(self) -> int:
        """Return T."""
        return len(self.stamps_ns)


@dataclass
class Account:
    """What became of the images of one camera; sums over recordings.

    Attributes:
        received: images in the recording.
        dropped: images that its steady rate lacks.
        used: images that are in the data set.
        repeated: frames that show an image which another frame shows already.
        rate_hz: of the camera, by the median of its intervals; of the last recording.
        oldest_ms: largest time between a frame and its image.
    """

    received: int = 0
    dropped: int = 0
    used: int = 0
    repeated: int = 0
    rate_hz: float = 0.0
    oldest_ms: float = 0.0


@dataclass
class Plan:
    """The episodes of one recording, and why it is not more.

    Attributes:
        episodes: in the order of time.
        cameras: camera to its account.
        ended: why episodes ended, to how often.
        short_frames: frames left out with episodes that are too short.
    """

    episodes: list[PlannedEpisode] = field(default_factory=list)
    cameras: dict[str, Account] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)
    short_frames: int = 0


def plan_recording(
    mapping: Mapping, streams: MappingType[str, Stream], markers: Sequence[Marker], name: str
) -> Plan:
    """Plan the episodes of one recording.

    Args:
        mapping: what to take.
        streams: camera names and signal keys to streams.
        markers: in the order of time; empty where no marker topic is given.
        name: of the recording, for errors.

    Raises:
        DatasetError: a stream is empty, is too slow, or the streams have no time in common.
    """
    for key, stream in streams.items():
        if not len(stream) and not _may_be_silent(mapping, key):
            raise DatasetError(f"{stream.name} has no messages")
    first = next(iter(mapping.cameras))
    reference = streams[first]
    _check_rate(mapping, reference, first)
    plan = Plan(cameras={camera: _account(streams[camera]) for camera in mapping.cameras})
    judge = _Judge(mapping, streams, markers)
    usable = np.flatnonzero(judge.missing(reference.stamps_ns) == "")
    at = 0
    while (here := np.searchsorted(usable, at)) < len(usable):
        begin = int(usable[here])
        episode, reason = _episode(mapping, streams, judge, begin)
        plan.ended[reason] += 1
        if len(episode) < max(2, round(mapping.episodes.min_s * mapping.rate_hz)):
            plan.short_frames += len(episode)
        else:
            plan.episodes.append(episode)
            _count(plan.cameras, streams, episode)
        at = begin + 1
        if len(episode):
            at = int(episode.images[first].max()) + 1
        if len(episode) and not mapping.episodes.every_image:
            # A fast camera's next image is too early: the pace is kept across the cut.
            due = episode.stamps_ns[-1:] + mapping.period_ns
            at = max(at, int(align.nearest(reference.stamps_ns, due)[0][0]))
    if not len(usable):
        raise DatasetError(f"{name}: at no time there is everything a frame needs: {judge.spans()}")
    return plan


def _check_rate(mapping: Mapping, reference: Stream, first: str) -> None:
    ratio = NS_PER_S / reference.period_ns / mapping.rate_hz
    said = f"{reference.name} has {ratio * mapping.rate_hz:.3g} images/s, rate_hz is "
    if ratio < 0.7 and mapping.image_age_ns(first) < mapping.period_ns:
        raise DatasetError(f"{said}{mapping.rate_hz:g}; ask for less")
    if ratio > 1.4 and mapping.episodes.every_image:
        raise DatasetError(f"{said}{mapping.rate_hz:g}; leave every_image away")
    if EVERY_IMAGE < ratio < 1.33 and not mapping.episodes.every_image:
        rate_hz = ratio * mapping.rate_hz
        raise DatasetError(
            f"{said}{mapping.rate_hz:g}: some steps would be of one image and some of two; ask for "
            f"{rate_hz:.3g} or {rate_hz / 2:.3g}"
        )


def _may_be_silent(mapping: Mapping, key: str) -> bool:
    signal = mapping.signals().get(key)
    return isinstance(signal, ActionSignal) and signal.silent == "zero"


class _Judge:
    """Says what is missing for a frame at a time, other than an image of the first camera."""

    def __init__(
        self, mapping: Mapping, streams: MappingType[str, Stream], markers: Sequence[Marker]
    ) -> None:
        self._mapping, self._streams = mapping, streams
        self._marked = bool(mapping.episodes.marker)
        self.markers = list(markers)
        self._starts = np.array([marker.start_ns for marker in markers], dtype=np.int64)
        self._recording = np.array([marker.recording for marker in markers] + [False])

    def interval(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which marker each time ``(T,)`` follows; -1 before the first."""
        return np.searchsorted(self._starts, times, side="right") - 1

    def missing(self, times: NDArray[np.int64]) -> NDArray[np.str_]:
        """What is missing at each time ``(T,)``; "" for nothing."""
        result = np.full(len(times), "", dtype=object)
        if self._marked:
            result[~self._recording[self.interval(times)]] = "marker"
        cameras = list(self._mapping.cameras)
        for camera in cameras[1:]:
            _, distance = align.nearest(self._streams[camera].stamps_ns, times)
            result[distance > self._mapping.image_age_ns(camera)] = f"no image of {camera}"
        for key, signal in self._mapping.signals().items():
            stamps = self._streams[key].stamps_ns
            if isinstance(signal, ActionSignal):
                if signal.silent == "zero":
                    continue
                before = np.searchsorted(stamps, times, side="right") - 1
                bad = before < 0
                if signal.silent == "split":
                    assert signal.hold_s is not None  # checked by the mapping
                    bad |= times - stamps[before.clip(0)] > round(signal.hold_s * NS_PER_S)
            else:
                bad = align.nearest(stamps, times)[1] > round(signal.max_age_s * NS_PER_S)
            result[bad] = f"nothing on {signal.topic}"
        return result

    def spans(self) -> str:
        """From when to when each stream has messages, for an error."""
        rows = {
            stream.name.rsplit(": ", 1)[-1]: f"{stream.stamps_ns[0] / NS_PER_S:.1f} to "
            f"{stream.stamps_ns[-1] / NS_PER_S:.1f} s"
            for stream in self._streams.values()
            if len(stream)
        }
        text = ", ".join(f"{name} {span}" for name, span in rows.items())
        return text + (" (and the marker)" if self._marked else "")


def _episode(
    mapping: Mapping, streams: MappingType[str, Stream], judge: _Judge, begin: int
) -> tuple[PlannedEpisode, str]:
    """The episode that begins with image ``begin`` of the first camera, and why it ended."""
    rules = mapping.episodes
    first = next(iter(mapping.cameras))
    images = streams[first].stamps_ns[begin:]
    most = len(images)
    if rules.duration_s is not None:
        most = max(2, round(rules.duration_s * mapping.rate_hz))
    if rules.every_image:
        index = np.arange(min(most, len(images)))
        stamps, valid = images[index], np.ones(len(index), dtype=bool)
    else:
        age_ns = mapping.image_age_ns(first)
        times = align.frame_times(images, mapping.period_ns, most)
        repeats = age_ns >= mapping.period_ns
        index, stamps, valid = align.frame_stamps(images, times, age_ns, repeats)
        if not repeats:  # a model takes every step for one of a period
            valid[1:] &= np.diff(stamps) <= 1.5 * mapping.period_ns
    missing = judge.missing(stamps)
    missing[~valid] = f"no image of {first}"
    interval = judge.interval(stamps)
    missing[(interval != interval[0]) & (missing == "")] = "marker"
    bad = np.flatnonzero(missing != "")
    length = int(bad[0]) if len(bad) else len(stamps)
    reason = str(missing[bad[0]]) if len(bad) else "duration"
    if not len(bad) and begin + int(index[-1]) + 1 >= len(streams[first]):
        reason = "end"
    chosen = {first: begin + index[:length]}
    for camera in list(mapping.cameras)[1:]:
        chosen[camera] = align.nearest(streams[camera].stamps_ns, stamps[:length])[0]
    task = judge.markers[interval[0]].task if interval[0] >= 0 else ""
    return PlannedEpisode(stamps[:length], chosen, task), reason


def _account(stream: Stream) -> Account:
    rate_hz = NS_PER_S / stream.period_ns if len(stream) > 1 else 0.0
    return Account(received=len(stream), dropped=stream.dropped, rate_hz=rate_hz)


def _count(
    accounts: MappingType[str, Account],
    streams: MappingType[str, Stream],
    episode: PlannedEpisode,
) -> None:
    """Enter an episode into the accounts of the cameras."""
    for camera, index in episode.images.items():
        account, distinct = accounts[camera], len(np.unique(index))
        account.used += distinct
        account.repeated += len(index) - distinct
        age_ns = np.abs(streams[camera].stamps_ns[index] - episode.stamps_ns).max()
        account.oldest_ms = max(account.oldest_ms, float(age_ns) / 1e6)
