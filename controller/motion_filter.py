"""Turns a wanted velocity into the next command of N axes, never into one that leaves no way out.

Four steps a tick, each with a guarantee of its own:

1. *Bounds* (`controller.viability`): the accelerations after which braking still ends within the
   limits of position, velocity, acceleration and jerk. Braking itself is always among them.
2. *Quality* (`controller.kinematics`, where the axes are joints of an arm): one quadratic programme
   finds the joint velocities within those bounds that follow best and slow down before obstacles.
3. *Shield*: the stop that would follow the command is computed, and the room along it. If it leaves
   the workspace, or touches what it must not, the command gives way to braking, in part or
   altogether. The stop that is fallen back on is the rest of the one that was looked at a tick
   before, so there always is one. (Fail-safe trajectories: Pek and Althoff, "Fail-safe motion
   planning for online verification of autonomous vehicles using convex optimization", T-RO 2021;
   for manipulators Beckert, Pereira and Althoff, "Online verification of multiple safety criteria
   for a robot trajectory", CDC 2017.)
4. *Account*: every limit that changed the command is named.

Where a robot starts outside, "inside" is no farther out than braking would take it anyway, so that
it can only get better: what is allowed in one tick is the braking of the next, nothing is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from controller.braking import AxisLimits, Vector, approach, brake
from controller.viability import AccelerationBounds, Motion, acceleration_bounds, stopping_path

# How much of the wanted acceleration, as against braking, is tried one after the other.
_SHARES = (1.0, 0.6, 0.3, 0.1)
_TOUCHES = 1e-6  # m or rad by which a limit counts as held
# A stop that takes longer than this costs too much time to look at in every tick.
_LONGEST_STOP_S = 2.5

Task = Literal["axes", "tool"]


class Solved(Protocol):
    """What a quadratic programme found."""

    @property
    def velocity(self) -> Vector:
        """``(N,)``."""
        ...

    @property
    def clamps(self) -> tuple[str, ...]:
        """Obstacles that changed it."""
        ...


class Arm(Protocol):
    """What is needed of `controller.kinematics.Kinematics`; see there."""

    @property
    def pairs(self) -> tuple[str, ...]:
        """What is kept apart."""
        ...

    def tool_position(self, position: Vector) -> Vector:
        """Where the tool is, ``(3,)`` m."""
        ...

    def hold_orientation(self, position: Vector) -> None:
        """Keep the tool's orientation as it is at a position of the joints."""
        ...

    def rooms(self, path: Vector, least: Vector | None = None) -> Vector:
        """Least room of each pair along a path; if below ``least``, no more than that is sure."""
        ...

    def solve_tool(
        self, position: Vector, wanted_m_s: Vector, low: Vector, high: Vector, dt_s: float
    ) -> Solved | None:
        """Joint velocities for a velocity of the tool."""
        ...


@dataclass(frozen=True, eq=False)
class MotionLimits:
    """Limits of N axes.

    Attributes:
        names: N names, for reports.
        axes: velocity, acceleration and jerk.
        low: ``(N,)`` lowest position, rad or m; -inf for none.
        high: ``(N,)`` highest position; above ``low``.
        tool_speed_m_s: ``(3,)`` or one number: largest speed of the tool along x, y, z, for tool
            velocities; inf for none. Where one is exceeded all three are scaled down.
    """

    names: tuple[str, ...]
    axes: AxisLimits
    low: Vector
    high: Vector
    tool_speed_m_s: Vector | float = np.inf

    def __post_init__(self) -> None:
        """Raise ValueError for limits that cannot be meant."""
        count = self.axes.axes
        for name in ("low", "high"):
            values = np.array(getattr(self, name), np.float64)
            if values.shape != (count,) or np.isnan(values).any():
                raise ValueError(f"{name} must hold {count} numbers, got {values}")
            object.__setattr__(self, name, values)
        if len(self.names) != count:
            raise ValueError(f"{len(self.names)} names for {count} axes")
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if not low < high:
                raise ValueError(f"{name}: lowest position {low} must be below highest {high}")
        if not (np.asarray(self.tool_speed_m_s) > 0).all():
            raise ValueError(f"tool_speed_m_s must be above 0, got {self.tool_speed_m_s}")
        axes = self.axes
        stops_s = axes.velocity / axes.acceleration + 2.0 * axes.acceleration / axes.jerk
        if (stops_s > _LONGEST_STOP_S).any():
            slow = int(np.argmax(stops_s))
            raise ValueError(
                f"{self.names[slow]}: a stop would take {stops_s[slow]:.1f} s, more than "
                f"{_LONGEST_STOP_S} s: lower its velocity or allow more acceleration or jerk"
            )


@dataclass(frozen=True, eq=False)
class Command:
    """What is sent.

    Attributes:
        motion: of the axes; finite.
        clamps: limits that changed what was wanted, such as ``velocity.panda_joint1``,
            ``room.tool-box0`` or ``shield.workspace.low.z``.
    """

    motion: Motion
    clamps: tuple[str, ...] = ()


def follow(
    limits: MotionLimits,
    motion: Motion,
    wanted: NDArray[np.floating],
    dt_s: float,
    arm: Arm | None = None,
    task: Task = "axes",
) -> Command:
    """The next command towards a wanted velocity.

    Args:
        limits: of the axes.
        motion: the command before, a finite one.
        wanted: ``(N,)`` velocity of the axes, or ``(3,)`` m/s of the tool in the base frame.
        dt_s: the tick.
        arm: its kinematics where ``wanted`` is of its tool; ``None`` where each axis is for itself.
        task: whether ``wanted`` is of the axes or of the ``arm``'s tool.

    Returns:
        a command whose stop was looked at, whatever is wanted; what is not finite brakes.

    Raises:
        ValueError: tool velocities without an arm or an arm without them, or a wrong number of
            velocities.
    """
    wished: Vector = np.array(wanted, np.float64)
    if (task == "tool") != (arm is not None):
        raise ValueError("tool velocities need the robot's kinematics, and those of axes none")
    size = 3 if task == "tool" else limits.axes.axes
    if wished.shape != (size,):
        raise ValueError(f"{size} velocities are expected, got shape {wished.shape}")
    braking = brake(motion.velocity, motion.acceleration, limits.axes, dt_s)[1]
    if not np.isfinite(wished).all():
        return Command(motion.after_braking(limits.axes, dt_s), ("not_finite",))
    clamps: list[str] = []
    if task == "tool":
        excess = float(np.max(np.abs(wished) / limits.tool_speed_m_s))
        if excess > 1.0:
            wished = wished / excess
            clamps.append("tool_speed")
        aim = wished
    else:
        reachable = np.clip(wished, -limits.axes.velocity, limits.axes.velocity)
        aim = approach(motion.velocity, motion.acceleration, reachable, limits.axes, dt_s)[0]
    bounds = acceleration_bounds(motion, limits.axes, limits.low, limits.high, dt_s)
    low = motion.velocity + bounds.low * dt_s
    high = motion.velocity + bounds.high * dt_s
    velocity = aim
    if arm is not None:
        solution = arm.solve_tool(motion.position, aim, low, high, dt_s)
        if solution is None or not np.isfinite(solution.velocity).all():
            return Command(motion.after_braking(limits.axes, dt_s), (*clamps, "no_solution"))
        velocity = solution.velocity
        clamps += solution.clamps
    acceleration = np.clip((velocity - motion.velocity) / dt_s, bounds.low, bounds.high)
    if task == "tool":
        clamps += _held(limits, bounds, velocity, low, high)
    else:
        clamps += _short_of(
            limits, bounds, wished, motion.velocity + acceleration * dt_s, low, high
        )
    free, gave_way = _shield(limits, motion, acceleration, braking, dt_s, arm)
    following = (
        motion.after_braking(limits.axes, dt_s) if free is None else motion.after(free, dt_s)
    )
    return Command(following, (*clamps, *gave_way))


def _held(
    limits: MotionLimits, bounds: AccelerationBounds, velocity: Vector, low: Vector, high: Vector
) -> list[str]:
    """Which bounds the velocities that were found lie on or beyond."""
    slack = _TOUCHES * limits.axes.velocity
    at_high = velocity >= high - slack
    at_low = (velocity <= low + slack) & ~at_high
    return [
        *(f"{bounds.high_cause[i]}.{limits.names[i]}" for i in np.flatnonzero(at_high)),
        *(f"{bounds.low_cause[i]}.{limits.names[i]}" for i in np.flatnonzero(at_low)),
    ]


def _short_of(
    limits: MotionLimits,
    bounds: AccelerationBounds,
    wished: Vector,
    velocity: Vector,
    low: Vector,
    high: Vector,
) -> list[str]:
    """What keeps the axes from the velocities that were wished for."""
    slack = _TOUCHES * limits.axes.velocity
    clamps = []
    for i in np.flatnonzero(np.abs(wished - velocity) > slack):
        if wished[i] > velocity[i] and velocity[i] >= high[i] - slack[i]:
            cause = bounds.high_cause[i]
        elif wished[i] < velocity[i] and velocity[i] <= low[i] + slack[i]:
            cause = bounds.low_cause[i]
        else:
            cause = "velocity" if abs(wished[i]) > limits.axes.velocity[i] else "jerk"
        clamps.append(f"{cause}.{limits.names[i]}")
    return clamps


def _shield(
    limits: MotionLimits,
    motion: Motion,
    wanted: Vector,
    braking: Vector,
    dt_s: float,
    arm: Arm | None,
) -> tuple[Vector | None, tuple[str, ...]]:
    """The acceleration nearest to the wanted one after which the stop is free, and what gave way.

    Returns:
        the acceleration ``(N,)``; ``None`` for braking, which needs no look of its own: it is the
        rest of the stop that was looked at before.
    """
    allowed = _Allowed(
        limits.low - _TOUCHES,
        limits.high + _TOUCHES,
        np.full(len(arm.pairs) if arm is not None else 0, -_TOUCHES),
    )
    reason = ""
    for share in _SHARES:
        tried = braking + share * (wanted - braking)
        following = motion.after(tried, dt_s)
        path = np.vstack([motion.position, stopping_path(following, limits.axes, dt_s)])
        beyond = allowed.beyond(path, limits, arm)
        if beyond and not reason:
            # Looked at only now: where the way is free, it does not matter where braking leads.
            allowed = allowed.or_as_far_as(stopping_path(motion, limits.axes, dt_s), arm)
            beyond = allowed.beyond(path, limits, arm)
        if not beyond:
            return tried, (f"shield.{reason}",) if reason else ()
        reason = reason or beyond
    return None, (f"shield.{reason}",)


@dataclass(frozen=True, eq=False)
class _Allowed:
    """How far out a path may go: nowhere, or as far as braking does.

    Nothing is added to how far braking goes. A path that was allowed is the braking of the tick
    after, so anything added would add up from tick to tick.

    Attributes:
        low: ``(N,)`` lowest positions.
        high: ``(N,)`` highest.
        rooms: ``(P,)`` m, least room of each pair.
    """

    low: Vector
    high: Vector
    rooms: Vector

    def or_as_far_as(self, path: Vector, arm: Arm | None) -> _Allowed:
        """What is allowed, and going as far as ``path (K, N)``."""
        return _Allowed(
            np.minimum(self.low, path.min(axis=0)),
            np.maximum(self.high, path.max(axis=0)),
            self.rooms if arm is None else np.minimum(self.rooms, arm.rooms(path)),
        )

    def beyond(self, path: Vector, limits: MotionLimits, arm: Arm | None) -> str:
        """Which limit a path ``(K, N)`` is beyond; empty for none."""
        inside = (path.min(axis=0) >= self.low) & (path.max(axis=0) <= self.high)
        if not inside.all():
            return f"position.{limits.names[int(np.argmin(inside))]}"
        if arm is not None:
            free = arm.rooms(path, self.rooms) >= self.rooms
            if not free.all():
                return arm.pairs[int(np.argmin(free))]
        return ""
