"""The T of PushT: its shape, how far a point is from it, and ways round it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from sim.world import BlockShape

Array = NDArray[np.float64]

# In units, as the field's T: a bar of 4 × 1 and below it a stem of 1 × 3.
UNIT_M = 0.035
HEIGHT_M = 0.05
_DROP = 3 * 2 / 7  # units from the middle of the bar to the centre of mass: (3·2) / (4 + 3)
TEE = BlockShape(
    (
        ((2 * UNIT_M, UNIT_M / 2), (0.0, _DROP * UNIT_M)),
        ((UNIT_M / 2, 1.5 * UNIT_M), (0.0, (_DROP - 2) * UNIT_M)),
    ),
    HEIGHT_M,
)
RADIUS_M = float(np.hypot(0.5, 3.5 - _DROP) * UNIT_M)  # of the circle about its centre of mass
_SPACING_M = 0.008  # between the places where it may be pushed


def distance_m(points: Array) -> Array:
    """How far points ``(N, 2)`` in the T's frame are from it ``(N,)``; 0 inside."""
    gaps = [
        np.linalg.norm(np.maximum(np.abs(points - centre) - half, 0.0), axis=1)
        for half, centre in TEE.boxes
    ]
    return np.minimum(*gaps)


@cache
def contacts(clear_m: float) -> tuple[Array, Array]:
    """Places ``(N, 2)`` on the outline where a ball may push, and the inward normals ``(N, 2)``.

    Args:
        clear_m: radius of the ball; places in the inner corners that it does not fit are left out.
    """
    places, normals = [], []
    for half, centre in TEE.boxes:
        for axis in (0, 1):
            for side in (-1.0, 1.0):
                along = np.arange(-half[1 - axis] + 0.004, half[1 - axis] - 0.003, _SPACING_M)
                edge = np.empty((len(along), 2))
                edge[:, axis] = side * half[axis]
                edge[:, 1 - axis] = along
                normal = np.zeros(2)
                normal[axis] = -side
                edge += centre
                free = distance_m(edge - (clear_m + 0.005) * normal) > clear_m + 0.004
                places.append(edge[free])
                normals.append(np.tile(normal, (int(free.sum()), 1)))
    return np.concatenate(places), np.concatenate(normals)


def clear(start: Array, ends: Array, gap_m: float) -> NDArray[np.bool_]:
    """Whether the straight ways from ``start (2,)`` to ``ends (N, 2)`` keep off the T by a gap."""
    shares = np.linspace(0.0, 1.0, 25)[:, None, None]
    points = start + shares * (ends - start)
    gaps = distance_m(points.reshape(-1, 2)).reshape(len(shares), len(ends))
    # Who is too near already may go, but only away.
    return np.all(gaps[1:] >= np.minimum(gap_m, gaps[:1] + 1e-4), axis=0)


@cache
def corners(gap_m: float) -> Array:
    """Points ``(6, 2)`` off the convex corners, by which a way goes round at a distance."""
    points = []
    for number, (half, centre) in enumerate(TEE.boxes):
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                if number == 1 and y > 0:
                    continue  # the stem begins inside the bar
                points.append(
                    (centre[0] + x * (half[0] + gap_m), centre[1] + y * (half[1] + gap_m))
                )
    return np.array(points)


@cache
def corner_ways(gap_m: float, keep_m: float) -> Array:
    """Lengths ``(6, 6)`` of the shortest ways between `corners`, along corners; m."""
    nodes = corners(gap_m)
    lengths = np.full((len(nodes), len(nodes)), np.inf)
    for i, node in enumerate(nodes):
        seen = clear(node, nodes, keep_m)
        lengths[i, seen] = np.linalg.norm(nodes - node, axis=1)[seen]
        lengths[i, i] = 0.0
    for k in range(len(nodes)):  # Floyd & Warshall
        lengths = np.minimum(lengths, lengths[:, k : k + 1] + lengths[k : k + 1])
    return lengths


def way(start: Array, ends: Array, gap_m: float, keep_m: float) -> tuple[Array, Array]:
    """How a ball gets from ``start (2,)`` to each of ``ends (N, 2)`` round the T, in its frame.

    Args:
        start: where it is.
        ends: where it may want to be.
        gap_m: distance at which it goes round the corners.
        keep_m: distance that it must keep, less than ``gap_m``.

    Returns:
        lengths ``(N,)`` m, infinite where there is no way, and the next points to go to ``(N, 2)``.
    """
    nodes = corners(gap_m)
    between = corner_ways(gap_m, keep_m)
    first = np.where(clear(start, nodes, keep_m), np.linalg.norm(nodes - start, axis=1), np.inf)
    last = np.full((len(nodes), len(ends)), np.inf)
    for i, node in enumerate(nodes):
        seen = clear(node, ends, keep_m)
        last[i, seen] = np.linalg.norm(ends - node, axis=1)[seen]
    via = first[:, None] + between  # (first corner, last corner)
    best_first = via.argmin(0)
    through = via.min(0)[:, None] + last  # (last corner, end)
    best_last = through.argmin(0)
    lengths, steps = through.min(0), nodes[best_first[best_last]]
    direct = clear(start, ends, keep_m)
    lengths = np.where(direct, np.linalg.norm(ends - start, axis=1), lengths)
    return lengths, np.where(direct[:, None], ends, steps)
