"""Make one planned episode: read what it needs, decode, resize, resample. One episode in memory."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from world_model.data import align
from world_model.data.mapping import NS_PER_S, ActionSignal, Mapping, Signal
from world_model.data.plan import PlannedEpisode
from world_model.data.spec import DatasetError, Episode
from world_model.data.streams import Recording, Stream
from world_model.data.units import FACTORS
from world_model.image_fit import fit_image

Samples = tuple[NDArray[np.int64], NDArray[np.float64]]
# Components of a rotation; what comes before the last dot says which rotation.
_COMPONENT = re.compile(r"(.*(?:orientation|rotation))\.([xyzw])")


def build_episode(
    mapping: Mapping,
    recording: Recording,
    streams: MappingType[str, Stream],
    planned: PlannedEpisode,
) -> Episode:
    """Read and resample one episode.

    Args:
        mapping: what to take.
        recording: where from.
        streams: what its `index` gave.
        planned: which frames.

    Raises:
        DatasetError: something cannot be decoded or is not finite; names topic and time.
    """
    length = len(planned)
    wanted = {
        camera: np.unique(streams[camera].ordinals[index])
        for camera, index in planned.images.items()
    }
    ranges = {
        key: _range(mapping, signal, streams[key], planned.stamps_ns)
        for key, signal in mapping.signals().items()
    }
    for key, part in ranges.items():
        wanted[key] = np.sort(streams[key].ordinals[part])
    images = {
        name: np.zeros((length, *camera.size, 3), np.uint8)
        for name, camera in mapping.cameras.items()
    }
    numbers: dict[str, dict[int, NDArray[np.float64]]] = {key: {} for key in ranges}
    frames_of = {
        camera: _frames_of(streams[camera].ordinals[index])
        for camera, index in planned.images.items()
    }
    for key, ordinal, value in recording.read(wanted):
        if key in numbers:
            if value is not None:
                numbers[key][ordinal] = value
        else:
            assert value is not None  # an image is there or an error
            fitted = fit_image(value, mapping.cameras[key].size, mapping.cameras[key].fit)
            images[key][frames_of[key][ordinal]] = fitted
    columns = {}
    for key, signal in mapping.signals().items():
        samples = _samples(signal, streams[key], ranges[key], numbers[key])
        at = f"{recording.name}: {signal.topic}"
        columns[key] = _resample(signal, samples, planned.stamps_ns, mapping.period_ns, at)
    return Episode(
        images=images,
        proprio=_stack(mapping, "proprio", columns, length),
        actions=_stack(mapping, "actions", columns, length),
        evaluation=_stack(mapping, "evaluation", columns, length),
        task=planned.task or recording.task or mapping.task,
        stamps_ns=planned.stamps_ns,
    )


def _frames_of(ordinals: NDArray[np.int64]) -> dict[int, list[int]]:
    """Which frames show each image."""
    frames: dict[int, list[int]] = {}
    for frame, ordinal in enumerate(ordinals.tolist()):
        frames.setdefault(ordinal, []).append(frame)
    return frames


def _range(mapping: Mapping, signal: Signal, stream: Stream, frames: NDArray[np.int64]) -> slice:
    """The part of a stream that the frames need: a little more at both ends."""
    first, last = frames[0], frames[-1]
    if isinstance(signal, ActionSignal):
        last = last + mapping.period_ns
    else:
        margin_ns = round(signal.max_age_s * NS_PER_S)
        first, last = first - margin_ns, last + margin_ns
    begin = int(np.searchsorted(stream.stamps_ns, first, side="right")) - 1
    end = int(np.searchsorted(stream.stamps_ns, last, side="left")) + 1
    return slice(max(begin, 0), end)


def _samples(
    signal: Signal, stream: Stream, part: slice, numbers: MappingType[int, NDArray[np.float64]]
) -> Samples:
    """Stamps and values, in SI, of the messages that say something; of readings, finite ones."""
    rows = [
        (stamp, numbers[ordinal])
        for stamp, ordinal in zip(
            stream.stamps_ns[part].tolist(), stream.ordinals[part].tolist(), strict=True
        )
        if ordinal in numbers
    ]
    stamps = np.array([stamp for stamp, _ in rows], dtype=np.int64)
    values = np.array([row for _, row in rows]).reshape(len(rows), len(signal.paths))
    values = values * FACTORS[signal.unit]
    if isinstance(signal, ActionSignal):  # what the robot made of one that is not, nothing says
        return stamps, values
    finite = np.isfinite(values).all(axis=1)
    return stamps[finite], values[finite]


def _resample(
    signal: Signal, samples: Samples, frames: NDArray[np.int64], period_ns: int, name: str
) -> NDArray[np.float64]:
    """Values ``(T, F)`` for the frames ``(T,)``.

    Raises:
        DatasetError: messages that should have been there say nothing, or nothing finite; or a
            command that is not finite holds.
    """
    stamps, values = samples
    if isinstance(signal, ActionSignal):
        if signal.silent == "zero":
            assert signal.hold_s is not None  # checked by the mapping
            stamps, values = align.with_silence(stamps, values, round(signal.hold_s * NS_PER_S))
        if not len(stamps) or stamps[0] > frames[0]:
            raise _nothing(name, frames[0])
        if signal.per_step == "mean":
            edges = np.append(frames, frames[-1] + period_ns)
            held = align.hold_mean(stamps, values, edges)
        else:
            held = align.hold(stamps, values, frames)
        bad = ~np.isfinite(held).all(axis=1)
        if bad.any():
            raise _nothing(name, frames[np.argmax(bad)])
        return held
    if not len(stamps):
        raise _nothing(name, frames[0])
    far = align.nearest(stamps, frames)[1] > round(signal.max_age_s * NS_PER_S)
    if far.any():
        raise _nothing(name, frames[np.argmax(far)])
    result = align.interpolate(stamps, values, frames, signal.wrap)
    for columns in _rotations(signal):
        turned = align.interpolate_rotation(stamps, values[:, columns], frames)
        # q and -q are the same: one of them, so that episodes do not differ by what was sent.
        result[:, columns] = -turned if turned[0, 3] < 0 else turned
    return result


def _nothing(name: str, stamp_ns: int) -> DatasetError:
    return DatasetError(
        f"{name}: says nothing finite near {stamp_ns / NS_PER_S:.3f} s; leave the field out of the "
        "mapping, or this part out of the recording"
    )


def _rotations(signal: Signal) -> list[list[int]]:
    """Columns x, y, z, w of each quaternion of a signal that is there with all four of them."""
    found: dict[str, dict[str, int]] = {}
    for column, path in enumerate(signal.paths.values()):
        if (component := _COMPONENT.fullmatch(path)) is not None:
            found.setdefault(component[1], {})[component[2]] = column
    return [[columns[name] for name in "xyzw"] for columns in found.values() if len(columns) == 4]


def _stack(
    mapping: Mapping,
    group: Literal["proprio", "actions", "evaluation"],
    columns: MappingType[str, NDArray[np.float64]],
    length: int,
) -> NDArray[np.float32]:
    """The columns of a group side by side: ``(T, F)`` float32."""
    found = [columns[key] for key in mapping.signals() if key.startswith(f"{group}[")]
    empty = np.zeros((length, 0), np.float32)
    return np.concatenate(found, axis=1).astype(np.float32) if found else empty
