"""Which accelerations leave a way out: after them, braking still ends inside every joint limit.

A state is *viable* when the stop that `controller.braking` makes of it stays within the limits of
position and velocity. An acceleration is allowed when the state it leads to is viable. Braking
itself is then always allowed, because what follows one tick of a stop is the rest of that stop: the
bounds below are never empty, whatever was done before. (Del Prete, "Joint position and velocity
bounds in discrete-time acceleration/torque control of robot manipulators", RA-L 2018, has the
viable set without a limit of jerk, in closed form; with one it is found here by bisection.)

Where a state is not viable to begin with (the robot was pushed, or started outside), "inside" is
as far out as braking goes at once: only the way back is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.braking import ROUNDING, AxisLimits, Vector, brake, brake_axis, hardest_braking

# How finely the largest allowed acceleration is searched: 2^-16 of the range.
_HALVINGS = 16
_TINY = 1e-12  # of a position, rad or m


@dataclass(frozen=True, eq=False)
class Motion:
    """What N axes were commanded last.

    Attributes:
        position: ``(N,)`` rad or m: where they are by the end of this tick.
        velocity: ``(N,)`` per second, held during the tick.
        acceleration: ``(N,)`` change of velocity from the tick before, per second.
    """

    position: Vector
    velocity: Vector
    acceleration: Vector

    @staticmethod
    def at_rest(position: Vector) -> Motion:
        """Standing still at ``position (N,)``."""
        where = np.array(position, np.float64)
        return Motion(where, np.zeros_like(where), np.zeros_like(where))

    @property
    def rests(self) -> bool:
        """Whether nothing moves or is about to."""
        return not (self.velocity.any() or self.acceleration.any())

    def after(self, acceleration: Vector, dt_s: float) -> Motion:
        """One tick on with an acceleration ``(N,)``."""
        velocity = self.velocity + acceleration * dt_s
        return Motion(self.position + velocity * dt_s, velocity, np.asarray(acceleration))

    def after_braking(self, limits: AxisLimits, dt_s: float) -> Motion:
        """One tick on, on the way to rest."""
        velocity, acceleration = brake(self.velocity, self.acceleration, limits, dt_s)
        return Motion(self.position + velocity * dt_s, velocity, acceleration)


@dataclass(frozen=True, eq=False)
class AccelerationBounds:
    """What the next acceleration may be, and which limit says so.

    Attributes:
        low: ``(N,)``.
        high: ``(N,)``, nowhere below ``low``.
        low_cause: by axis ``jerk``, ``acceleration``, ``velocity`` or ``position``.
        high_cause: the same for ``high``.
    """

    low: Vector
    high: Vector
    low_cause: tuple[str, ...]
    high_cause: tuple[str, ...]


def stopping_path(motion: Motion, limits: AxisLimits, dt_s: float) -> Vector:
    """Where the axes pass on their way to rest: ``(K, N)``, the present position first."""
    paths: list[list[float]] = []
    for q, v, a, most, jerk in zip(
        motion.position.tolist(),
        motion.velocity.tolist(),
        motion.acceleration.tolist(),
        limits.acceleration.tolist(),
        limits.jerk.tolist(),
        strict=True,
    ):
        path, step = [q], jerk * dt_s
        while v or a:
            v, a = brake_axis(v, a, most, step, dt_s)
            q += v * dt_s
            path.append(q)
        paths.append(path)
    ticks = max(map(len, paths))
    return np.array([path + [path[-1]] * (ticks - len(path)) for path in paths]).T


def acceleration_bounds(
    motion: Motion, limits: AxisLimits, low: Vector, high: Vector, dt_s: float
) -> AccelerationBounds:
    """The accelerations after which every axis can still stop inside.

    Args:
        motion: what was commanded last.
        limits: of the axes.
        low: ``(N,)`` lowest position, may be -inf.
        high: ``(N,)`` highest position, may be inf.
        dt_s: the tick.
    """
    below, above = [], []
    for q, v, a, speed, most, jerk, floor, ceiling in zip(
        motion.position.tolist(),
        motion.velocity.tolist(),
        motion.acceleration.tolist(),
        limits.velocity.tolist(),
        limits.acceleration.tolist(),
        limits.jerk.tolist(),
        low.tolist(),
        high.tolist(),
        strict=True,
    ):
        axis = _Axis(speed, most, jerk * dt_s, dt_s)
        above.append(axis.largest(q, v, a, ceiling))
        bound, cause = axis.largest(-q, -v, -a, -floor)
        below.append((-bound, cause))
    return AccelerationBounds(
        np.array([bound for bound, _ in below]),
        np.array([bound for bound, _ in above]),
        tuple(cause for _, cause in below),
        tuple(cause for _, cause in above),
    )


@dataclass(frozen=True)
class _Axis:
    """One axis: speed, acceleration, change of acceleration a tick, tick."""

    speed: float
    most: float
    step: float
    dt_s: float

    def largest(self, q: float, v: float, a: float, ceiling: float) -> tuple[float, str]:
        """The largest allowed acceleration and the limit it comes from."""
        braking = brake_axis(v, a, self.most, self.step, self.dt_s)[1]
        bound, cause = a + self.step, "jerk"
        if self.most < bound:
            bound, cause = self.most, "acceleration"
        # What it takes to let go of the acceleration adds to the speed: v + T(a')·dt <= V.
        left = (self.speed - v) / self.dt_s
        over = left < -ROUNDING * self.speed / self.dt_s
        fastest = braking if over else hardest_braking(max(left, 0.0), self.step)
        if fastest < bound:
            bound, cause = fastest, "velocity"
        bound = max(bound, braking)
        if q + self._farthest() <= ceiling or bound == braking:
            return bound, cause
        allowed = max(ceiling + _TINY, self._peak(q, v, braking))
        if self._peak(q, v, bound) <= allowed:
            return bound, cause
        inside, outside = braking, bound
        for _ in range(_HALVINGS):
            middle = 0.5 * (inside + outside)
            if self._peak(q, v, middle) <= allowed:
                inside = middle
            else:
                outside = middle
        return inside, "position"

    def _farthest(self) -> float:
        """No stop is longer: at full speed for as long as any stop takes."""
        ramps_s = 2.0 * self.most / self.step * self.dt_s
        return self.speed * (self.speed / self.most + ramps_s + 4.0 * self.dt_s)

    def _peak(self, q: float, v: float, a: float) -> float:
        """The highest position from the tick with acceleration ``a`` until rest."""
        v += a * self.dt_s
        q += v * self.dt_s
        peak = q
        while v > 0.0 or a > 0.0:
            v, a = brake_axis(v, a, self.most, self.step, self.dt_s)
            q += v * self.dt_s
            peak = max(peak, q)
        return peak
