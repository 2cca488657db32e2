"""How everything that moves comes to rest: within its acceleration and jerk limits, axis by axis.

One law for all who brake (command filter, supervisor), in the terms in which an actuator sees it.
A command is a velocity held for one tick, so with velocities v and accelerations a of successive
ticks: a' = a + j·dt with |j| ≤ J and |a'| ≤ A, v' = v + a'·dt, q' = q + v'·dt.

The law is the fastest that does not overshoot. With d = J·dt, an acceleration of −x that is taken
back by d a tick removes T(x)·dt = (x + (x−d) + (x−2d) + …)·dt in all, so the hardest braking that
can still be let go in time is x = T⁻¹(v/dt). After it v' = T(x−d)·dt: the next tick asks for x−d,
and the last one ends at rest exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# Part of a limit that rounding may use up.
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class AxisLimits:
    """What N axes (joints: rad, directions of a tool: m) may be asked to do, each way.

    Attributes:
        velocity: ``(N,)`` largest speed, > 0.
        acceleration: ``(N,)`` largest change of speed per second, > 0.
        jerk: ``(N,)`` largest change of acceleration per second, > 0.
    """

    velocity: Vector
    acceleration: Vector
    jerk: Vector

    def __post_init__(self) -> None:
        """Raise ValueError unless all three are finite, above 0 and equally long."""
        for name in ("velocity", "acceleration", "jerk"):
            values = np.array(getattr(self, name), np.float64)
            if values.ndim != 1 or not len(values):
                raise ValueError(f"{name} must hold a number for each axis, got {values}")
            if not (np.isfinite(values).all() and (values > 0).all()):
                raise ValueError(f"{name} must be finite and above 0 on every axis, got {values}")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if not len(self.velocity) == len(self.acceleration) == len(self.jerk):
            raise ValueError(
                f"velocity, acceleration and jerk must be of the same axes, got "
                f"{len(self.velocity)}, {len(self.acceleration)} and {len(self.jerk)}"
            )

    @property
    def axes(self) -> int:
        """N."""
        return len(self.velocity)


def brake(
    velocity: Vector, acceleration: Vector, limits: AxisLimits, dt_s: float
) -> tuple[Vector, Vector]:
    """One tick of the way to rest.

    Args:
        velocity: ``(N,)`` of the command sent last.
        acceleration: ``(N,)`` its change from the one before, per second.
        limits: of the same axes.
        dt_s: from one command to the next, > 0.

    Returns:
        velocity and acceleration ``(N,)`` of the next command, finite whatever comes in: an axis
        that is not finite counts as being at rest. At the end both are exactly zero.
    """
    both = np.array(
        [
            brake_axis(v, a, limit, jerk * dt_s, dt_s)
            for v, a, limit, jerk in zip(
                np.asarray(velocity, np.float64).tolist(),
                np.asarray(acceleration, np.float64).tolist(),
                limits.acceleration.tolist(),
                limits.jerk.tolist(),
                strict=True,
            )
        ]
    )
    return both[:, 0], both[:, 1]


def approach(
    velocity: Vector, acceleration: Vector, wanted: Vector, limits: AxisLimits, dt_s: float
) -> tuple[Vector, Vector]:
    """One tick of the way to a constant velocity ``wanted (N,)``: braking, seen from beside it."""
    change, following = brake(velocity - wanted, acceleration, limits, dt_s)
    return wanted + change, following


def brake_axis(v: float, a: float, limit: float, step: float, dt_s: float) -> tuple[float, float]:
    """`brake` for one axis.

    Args:
        v: velocity.
        a: acceleration.
        limit: largest acceleration.
        step: largest change of the acceleration in one tick, jerk times tick.
        dt_s: the tick.

    Returns:
        the next velocity and acceleration.
    """
    if not (math.isfinite(v) and math.isfinite(a)):
        return 0.0, 0.0
    # Some hundred calls a tick: comparisons, because min and max take twice as long.
    if a > limit:
        a = limit
    elif a < -limit:
        a = -limit
    change = abs(v) / dt_s
    # More than T(limit) in any case, and so large that T⁻¹ is not needed.
    a_next = limit if change > limit * (limit / step + 1.0) else hardest_braking(change, step)
    if a_next > limit:
        a_next = limit
    if v > 0.0:
        a_next = -a_next
    elif not v:
        a_next = 0.0
    if a_next > a + step:
        a_next = a + step
    elif a_next < a - step:
        a_next = a - step
    if abs(a_next) <= ROUNDING * step:
        a_next = 0.0
    v_next = v + a_next * dt_s
    if abs(v_next) <= ROUNDING * step * dt_s and abs(a_next) <= step * (1.0 + ROUNDING):
        v_next = 0.0
    return v_next, a_next


def hardest_braking(change: float, step: float) -> float:
    """T⁻¹: the acceleration which, taken back by ``step`` a tick, sums up to ``change``.

    Args:
        change: velocity to be removed over the length of a tick, at least 0.
        step: largest change of the acceleration in one tick, > 0.
    """
    ticks = math.ceil(0.5 * (math.sqrt(1.0 + 8.0 * change / step) - 1.0) - ROUNDING) or 1
    return change / ticks + 0.5 * step * (ticks - 1)
