"""The last thing between a plan and the robot: which plan is in force, and what of it may be sent.

Pure functions and small explicit state, so that every decision can be tested without ROS and
replayed from a log. Everything is the velocity of the tool in the robot's base frame, m/s, along
x, y, z; `ros_nodes.command_node` calls this at a fixed rate from a process of its own.

The rule is: *whatever is missing, old or not finite brakes the tool to a stand*, and it brakes
within the acceleration limit, because a jump to zero is itself a command a robot may refuse.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import NS_PER_S, Plan

Vector = NDArray[np.float64]
AXES = ("x", "y", "z")


class CommandState(enum.Enum):
    """Why the command is what it is; anything but FOLLOWING brakes."""

    FOLLOWING = "FOLLOWING"
    NOT_ARMED = "NOT_ARMED"
    NO_PLAN = "NO_PLAN"
    PLAN_STALE = "PLAN_STALE"
    PLAN_UNUSABLE = "PLAN_UNUSABLE"  # the planner itself says stop
    PLAN_NOT_FINITE = "PLAN_NOT_FINITE"
    POSE_STALE = "POSE_STALE"
    POSE_NOT_FINITE = "POSE_NOT_FINITE"


@dataclass(frozen=True)
class CommandLimits:
    """What the robot may be asked to do. Tuples are (x, y, z) in the robot's base frame.

    Attributes:
        speed_m_s: largest speed along each axis, > 0.
        acceleration_m_s2: largest change of speed along each axis, > 0; braking uses the same.
        workspace_low_m: lower corner of the box the tool is kept in.
        workspace_high_m: upper corner; above the lower one on every axis.
        max_plan_age_s: brake when no new plan came for this long. The default lets a 10 Hz planner
            miss two plans in a row and stops the robot at the third.
        max_pose_age_s: brake when the tool position is older than this.
        max_step_s: a late tick may use at most this much time for its acceleration step, so that
            a pause of the process does not turn into a jump of the command.
    """

    speed_m_s: tuple[float, float, float] = (0.25, 0.25, 0.25)
    acceleration_m_s2: tuple[float, float, float] = (5.0, 5.0, 5.0)
    workspace_low_m: tuple[float, float, float] = (0.2, -0.5, 0.0)
    workspace_high_m: tuple[float, float, float] = (0.8, 0.5, 0.8)
    max_plan_age_s: float = 0.35
    max_pose_age_s: float = 0.2
    max_step_s: float = 0.02

    def __post_init__(self) -> None:
        """Raise ValueError for limits that cannot be meant."""
        for name in ("speed_m_s", "acceleration_m_s2", "workspace_low_m", "workspace_high_m"):
            values = np.asarray(getattr(self, name), float)
            if values.shape != (3,) or not np.isfinite(values).all():
                raise ValueError(f"{name} must be three finite numbers (x, y, z), got {values}")
            if name in ("speed_m_s", "acceleration_m_s2") and (values <= 0).any():
                raise ValueError(f"{name} must be above 0 on every axis, got {values}")
        if (np.asarray(self.workspace_low_m) >= np.asarray(self.workspace_high_m)).any():
            raise ValueError(
                f"workspace_low_m {self.workspace_low_m} must be below workspace_high_m "
                f"{self.workspace_high_m} on every axis"
            )
        for name in ("max_plan_age_s", "max_pose_age_s", "max_step_s"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be above 0 s, got {getattr(self, name)}")


@dataclass(frozen=True)
class CommandRequest:
    """What is known at one tick.

    Attributes:
        armed: whether a person has allowed motion.
        wanted_m_s: ``(3,)`` velocity the plan asks for now; ``None`` when there is no plan yet.
        plan_usable: False when the newest plan says stop.
        plan_age_s: time since the newest plan, the larger of what its stamp and its arrival say.
        tool_position_m: ``(3,)``; ``None`` when none has been received yet.
        pose_age_s: time since that position was measured.
    """

    armed: bool
    wanted_m_s: NDArray[np.floating] | None
    plan_usable: bool
    plan_age_s: float
    tool_position_m: NDArray[np.floating] | None
    pose_age_s: float


@dataclass(frozen=True)
class Command:
    """What is sent.

    Attributes:
        velocity_m_s: ``(3,)``, always finite.
        state: why.
        clamps: which limits changed what the plan asked for, such as ``("speed.x",
            "workspace.z")``; empty while braking.
    """

    velocity_m_s: Vector
    state: CommandState
    clamps: tuple[str, ...] = ()


def filter_command(
    limits: CommandLimits, previous_m_s: Vector, request: CommandRequest, dt_s: float
) -> Command:
    """Turn what the plan asks for into what may be sent.

    Order: decide whether to follow or brake; clip to the speed limit; clip so that the tool can
    still stop in front of every wall of the workspace (outside it only the way back is open);
    last, step from the previous command by no more than the acceleration limit allows.

    Args:
        limits: the robot's limits.
        previous_m_s: ``(3,)`` the command sent at the tick before (zeros at the first one).
        request: what is known now.
        dt_s: time since the tick before; clipped to ``[0, limits.max_step_s]``.

    Returns:
        the command; its velocity is finite whatever the request holds.
    """
    state = _judge(limits, request)
    dt_s = min(dt_s, limits.max_step_s) if dt_s > 0.0 else 0.0  # NaN is not above 0
    step = np.asarray(limits.acceleration_m_s2) * dt_s
    if state is not CommandState.FOLLOWING:
        return Command(previous_m_s + np.clip(-previous_m_s, -step, step), state)
    assert request.wanted_m_s is not None  # _judge has seen to both
    assert request.tool_position_m is not None

    wanted = np.asarray(request.wanted_m_s, np.float64)
    speed = np.asarray(limits.speed_m_s)
    slowed = np.clip(wanted, -speed, speed)
    inside = np.clip(slowed, *_stopping_speeds(limits, request.tool_position_m, dt_s))
    sent = previous_m_s + np.clip(inside - previous_m_s, -step, step)
    clamps = [
        f"{name}.{AXES[axis]}"
        for name, before, after in (
            ("speed", wanted, slowed),
            ("workspace", slowed, inside),
            ("acceleration", inside, sent),
        )
        for axis in np.flatnonzero(np.abs(before - after) > 1e-9)
    ]
    return Command(sent, state, tuple(clamps))


def _judge(limits: CommandLimits, request: CommandRequest) -> CommandState:
    """Whether the plan may be followed now, and if not, the first reason."""
    if not request.armed:
        return CommandState.NOT_ARMED
    # `not age <= limit` and not `age > limit`: an age of NaN must brake.
    if request.tool_position_m is None or not request.pose_age_s <= limits.max_pose_age_s:
        return CommandState.POSE_STALE
    if not np.isfinite(request.tool_position_m).all():
        return CommandState.POSE_NOT_FINITE
    if request.wanted_m_s is None:
        return CommandState.NO_PLAN
    if not request.plan_usable:
        return CommandState.PLAN_UNUSABLE
    if not request.plan_age_s <= limits.max_plan_age_s:
        return CommandState.PLAN_STALE
    if not np.isfinite(request.wanted_m_s).all():
        return CommandState.PLAN_NOT_FINITE
    return CommandState.FOLLOWING


def _stopping_speeds(
    limits: CommandLimits, position_m: NDArray[np.floating], dt_s: float
) -> tuple[Vector, Vector]:
    """Lowest and highest velocity ``(3,)`` from which the tool still stops inside the workspace.

    From speed v, braking at a, the tool stops after v²/2a. The position is one tick old and the
    command holds for one, so it goes two ticks at v before it brakes, and while it is braking
    already it was faster by a·dt in the first of them: v²/2a + 2v·dt + a·dt² = d, solved for v.
    """
    braking = np.asarray(limits.acceleration_m_s2)
    held = 2.0 * braking * dt_s

    def fastest(distance: Vector) -> Vector:
        left = np.maximum(distance - braking * dt_s**2, 0.0)
        return np.sqrt(held**2 + 2.0 * braking * left) - held

    speed = np.asarray(limits.speed_m_s)
    to_low = np.asarray(position_m, np.float64) - np.asarray(limits.workspace_low_m)
    to_high = np.asarray(limits.workspace_high_m) - np.asarray(position_m, np.float64)
    return -np.minimum(fastest(to_low), speed), np.minimum(fastest(to_high), speed)


class PlanSchedule:
    """Plans by arrival, and which of them is in force at a stamp.

    A plan made in time arrives *before* it starts, so the one before it stays in force until then.
    The last to arrive is right about the future: it replaces every plan that starts at or after it.
    A plan that says stop takes effect at once. Not thread-safe: the owner locks.
    """

    def __init__(self) -> None:
        """Start with no plan."""
        self._plans: list[Plan] = []
        self._arrival_s = float("-inf")

    def add(self, plan: Plan, arrival_s: float) -> None:
        """Take in a plan that arrived at a monotonic time."""
        self._arrival_s = arrival_s
        if plan.usable:
            self._plans = [p for p in self._plans if p.usable and p.start_ns < plan.start_ns]
        else:
            self._plans = []
        self._plans.append(plan)

    def clear(self) -> None:
        """Forget every plan, so that arming again never replays an old one."""
        self._plans = []

    @property
    def newest(self) -> Plan | None:
        """The last plan that arrived."""
        return self._plans[-1] if self._plans else None

    def in_force(self, stamp_ns: int) -> Plan | None:
        """The newest plan that has started, or the next one when none has."""
        while len(self._plans) > 1 and self._plans[1].start_ns <= stamp_ns:
            self._plans.pop(0)
        return self._plans[0] if self._plans else None

    def age_s(self, stamp_ns: int, now_s: float) -> float:
        """Age of the newest plan: the larger of since-arrival (monotonic) and since-start (stamps).

        Two clocks on purpose: the arrival survives a jump of the wall clock, the stamp a plan
        that was queued somewhere and came late. Infinite when there is no plan.
        """
        newest = self.newest
        if newest is None:
            return float("inf")
        return max(now_s - self._arrival_s, (stamp_ns - newest.start_ns) / NS_PER_S)
