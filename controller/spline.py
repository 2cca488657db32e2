"""Splines over knots: how a few decision points become an action at any time.

Two kinds. ``hold`` keeps each knot until the next one; ``linear`` draws straight lines between
them. Before the first and after the last knot the nearest knot counts. No kind ever leaves the
range of its knots, so bounds that hold for the knots hold for every action in between.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Times = NDArray[np.float64]
Interpolation = Literal["hold", "linear"]

# Times come from integer nanoseconds divided by 1e9: a time that should equal a knot's may fall
# short of it by a rounding error, and must not then read the knot before.
_SAME_TIME_S = 1e-9


def interpolation_matrix(knot_times_s: Times, times_s: Times, kind: Interpolation) -> Array:
    """The weight of each knot at each time.

    Args:
        knot_times_s: ``(K,)`` seconds, ascending.
        times_s: ``(T,)`` seconds, in any order.
        kind: ``hold`` or ``linear``.

    Returns:
        ``(T, K)``, rows sum to one: ``matrix @ knots`` is the spline at ``times_s``.

    Raises:
        ValueError: for an unknown kind.
    """
    count = len(knot_times_s)
    matrix = np.zeros((len(times_s), count), np.float32)
    rows = np.arange(len(times_s))
    at = np.searchsorted(knot_times_s, times_s + _SAME_TIME_S, side="right") - 1
    left = at.clip(0, count - 1)
    if kind == "hold":
        matrix[rows, left] = 1.0
        return matrix
    if kind != "linear":
        raise ValueError(f"unknown interpolation {kind!r}: 'hold' and 'linear' are known")
    right = (at + 1).clip(0, count - 1)
    span_s = np.where(right > left, knot_times_s[right] - knot_times_s[left], 1.0)
    fraction = ((times_s - knot_times_s[left]) / span_s).clip(0.0, 1.0)
    matrix[rows, left] = 1.0 - fraction
    matrix[rows, right] += fraction
    return matrix


def sample_knots(knot_times_s: Times, knots: Array, times_s: Times, kind: Interpolation) -> Array:
    """Read a spline at given times.

    Args:
        knot_times_s: ``(K,)`` seconds, ascending.
        knots: ``(..., K, A)``.
        times_s: ``(T,)`` seconds, on the same scale as ``knot_times_s``.
        kind: ``hold`` or ``linear``.

    Returns:
        ``(..., T, A)``.
    """
    return interpolation_matrix(knot_times_s, times_s, kind) @ knots


def knot_steps(horizon: int, knots: int, kind: Interpolation) -> NDArray[np.int64]:
    """At which step boundaries the knots of a plan lie, spread evenly, the first at 0.

    Knots lie on boundaries of the model's steps so that the mean action over every step is the
    spline at the middle of the step. ``hold`` needs no knot at the end; ``linear`` has one there.

    Args:
        horizon: H, in steps.
        knots: K, from 1 (``linear``: 2) to H.
        kind: ``hold`` or ``linear``.

    Returns:
        ``(K,)`` int64, strictly ascending.
    """
    intervals = knots if kind == "hold" else knots - 1
    return np.arange(knots) * horizon // intervals
