"""Bring streams of their own rates to the frames of a data set. Times are integer nanoseconds.

Stamps are int64 ``(n,)``, strictly increasing. Differences of stamps are exact in float64, stamps
themselves are not: all arithmetic is relative to a stamp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Stamps = NDArray[np.int64]
Values = NDArray[np.float64]

# Images whose phase says where the frames of an episode are best begun.
_PHASE_IMAGES = 20
# The share of its distance to an image, 1 / 4, by which a frame is drawn towards it.
_PULL = 4


def nearest(stamps: Stamps, times: Stamps) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each time the nearest stamp, the earlier one of two as near.

    Args:
        stamps: ``(n,)``, n at least 1.
        times: ``(T,)``.

    Returns:
        Index into ``stamps`` ``(T,)``, and how far it is from the time ``(T,)``, ns, at least 0.
    """
    after = np.searchsorted(stamps, times).clip(1, max(len(stamps) - 1, 1))
    before = after - 1
    after = after.clip(max=len(stamps) - 1)
    index = np.where(times - stamps[before] <= stamps[after] - times, before, after)
    return index, np.abs(stamps[index] - times)


def frame_times(stamps: Stamps, period_ns: int, count: int) -> Stamps:
    """Times of frames: a period after each other, and drawn towards the image nearest to each.

    So they stay with a camera whose rate is not quite theirs, by up to an eighth of it: its every
    image is a frame, where times of a fixed rate would have to leave one out, or lack one, whenever
    they are an image ahead or behind. Where no image is within half a period they go on alone.

    Args:
        stamps: ``(n,)`` of the images from the episode's first on.
        period_ns: time between frames.
        count: how many times, at most; the last is at most a quarter of a period after the last
            image.

    Returns:
        ``(T,)`` times. The first image is the nearest to the first time.
    """
    first = stamps[:_PHASE_IMAGES] - stamps[0]
    offsets = first - np.round(first / period_ns).astype(np.int64) * period_ns
    phase = int(np.median(offsets)) if len(offsets) > 2 else 0
    image = stamps.item  # of a few images after each other it is faster than by array
    times = [image(0) + phase]
    at, last = 0, len(stamps) - 1
    while len(times) < count and (due := times[-1] + period_ns) <= image(last) + period_ns // 4:
        while at < last and image(at + 1) - due < due - image(at):
            at += 1
        off = image(at) - due
        times.append(due + (off // _PULL if abs(off) <= period_ns // 2 else 0))
    return np.array(times, dtype=np.int64)


def frame_stamps(
    stamps: Stamps, times: Stamps, max_age_ns: int, allow_repeats: bool
) -> tuple[NDArray[np.int64], Stamps, NDArray[np.bool_]]:
    """Choose the image of the first camera for each time, and say when the frame was seen.

    A frame's stamp is the capture time of its image: that is when joints and commands are asked
    for. Where an image must serve again, the frame's stamp is the time on the grid.

    Args:
        stamps: ``(n,)`` of the images.
        times: ``(T,)`` of `frame_times`.
        max_age_ns: an image further away does not count.
        allow_repeats: whether an image may serve for several frames.

    Returns:
        Image index ``(T,)``, frame stamp ``(T,)``, and whether there is an image ``(T,)``.
    """
    index, distance = nearest(stamps, times)
    valid = distance <= max_age_ns
    chosen = stamps[index]
    same = np.concatenate([[False], index[1:] == index[:-1]])
    if not allow_repeats:
        return index, chosen, valid & ~same
    # Of the frames that share an image, the nearest one has the image's stamp.
    group = np.cumsum(~same)
    order = np.lexsort((distance, group))
    best = np.zeros(len(times), dtype=bool)
    best[order[np.concatenate([[True], np.diff(group[order]) > 0])]] = True
    return index, np.where(best, chosen, times), valid


def interpolate(stamps: Stamps, values: Values, at: Stamps, wrap: bool = False) -> Values:
    """Straight lines between readings; before the first and after the last one they stay.

    Args:
        stamps: ``(n,)``.
        values: ``(n, F)``.
        at: ``(T,)`` times.
        wrap: the values are angles in radians; the short way round is taken.

    Returns:
        ``(T, F)``.
    """
    if wrap:
        values = np.unwrap(values, axis=0)
    x, knots = (at - stamps[0]).astype(float), (stamps - stamps[0]).astype(float)
    result = np.stack([np.interp(x, knots, column) for column in values.T], axis=1)
    return (result + np.pi) % (2 * np.pi) - np.pi if wrap else result


def interpolate_rotation(stamps: Stamps, quaternions: Values, at: Stamps) -> Values:
    """Unit quaternions between readings: straight lines between those of like sign, normalised.

    Between readings 10 ms apart this differs from the great circle by far less than a sensor errs.

    Args:
        stamps: ``(n,)``.
        quaternions: ``(n, 4)``, in any order of components; ``q`` and ``-q`` are the same rotation.
        at: ``(T,)`` times.

    Returns:
        ``(T, 4)`` unit quaternions.
    """
    flips = np.where((quaternions[1:] * quaternions[:-1]).sum(axis=1) < 0, -1.0, 1.0)
    signs = np.concatenate([[1.0], np.cumprod(flips)])
    result = interpolate(stamps, quaternions * signs[:, None], at)
    return result / np.linalg.norm(result, axis=1, keepdims=True)


def with_silence(stamps: Stamps, values: Values, hold_ns: int) -> tuple[Stamps, Values]:
    """Add a command of zero wherever no command came for ``hold_ns``, and before the first.

    Args:
        stamps: ``(n,)`` of the commands; n may be 0.
        values: ``(n, F)``.
        hold_ns: how long a command holds.
    """
    ends = stamps + hold_ns
    silent = np.append(ends[:-1] < stamps[1:], True) if len(stamps) else np.zeros(0, bool)
    start = np.array([np.iinfo(np.int64).min // 2])
    stamps = np.concatenate([start, stamps, ends[silent]])
    values = np.concatenate([values, np.zeros((int(silent.sum()), values.shape[1]))])
    values = np.concatenate([np.zeros((1, values.shape[1])), values])
    order = np.argsort(stamps, kind="stable")
    return stamps[order], values[order]


def hold(stamps: Stamps, values: Values, at: Stamps) -> Values:
    """The newest command at each time, one of the same instant included.

    Args:
        stamps: ``(n,)``; the first is not after any time asked for.
        values: ``(n, F)``.
        at: ``(T,)``.

    Returns:
        ``(T, F)``.
    """
    index = np.searchsorted(stamps, at, side="right") - 1
    return np.asarray(values[index.clip(0)])


def hold_mean(stamps: Stamps, values: Values, edges: Stamps) -> Values:
    """The average of the command that holds, from each edge to the next.

    Args:
        stamps: ``(n,)``; the first is not after the first edge.
        values: ``(n, F)``.
        edges: ``(T + 1,)``, strictly increasing.

    Returns:
        ``(T, F)``.
    """
    inside = stamps[(stamps > edges[0]) & (stamps < edges[-1])]
    cuts = np.union1d(edges, inside)
    spans = np.diff(cuts).astype(float)
    held = hold(stamps, values, cuts[:-1]) * spans[:, None]
    totals = np.add.reduceat(held, np.searchsorted(cuts[:-1], edges[:-1]), axis=0)
    return np.asarray(totals / np.diff(edges)[:, None])
