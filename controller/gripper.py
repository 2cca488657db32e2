"""Where a gripper's fingers are to be next, from how fast they are wanted to open."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GripperLimits:
    """What a gripper may be told.

    Attributes:
        low_m: position of the closed gripper.
        high_m: position of the open one.
        speed_m_s: of its fingers, at most.
        ahead_m: how far a moving target may be from where the fingers are: that is what squeezes a
            thing between them, and no more.
    """

    low_m: float
    high_m: float
    speed_m_s: float
    ahead_m: float


def allowed_speed(wanted_m_s: float, limits: GripperLimits) -> float:
    """The wanted opening speed, m/s, within the limit; 0 where it is not finite."""
    if not math.isfinite(wanted_m_s):
        return 0.0
    return min(max(wanted_m_s, -limits.speed_m_s), limits.speed_m_s)


def next_target(
    target_m: float, measured_m: float, speed_m_s: float, dt_s: float, limits: GripperLimits
) -> float:
    """The target a moment later; it stays where it is with speed 0, so that a grip is kept.

    What is squeezed is let go at once: opening begins where the fingers are.

    Args:
        target_m: what the gripper was told last.
        measured_m: where its fingers are.
        speed_m_s: from `allowed_speed`.
        dt_s: time since the last target, s.
        limits: of this gripper.
    """
    if not speed_m_s:
        return target_m
    begin_m = max(target_m, measured_m) if speed_m_s > 0.0 else min(target_m, measured_m)
    wanted_m = begin_m + speed_m_s * dt_s
    # One that begins outside its limits is not made to jump back.
    wanted_m = min(max(wanted_m, min(limits.low_m, target_m)), max(limits.high_m, target_m))
    return min(max(wanted_m, measured_m - limits.ahead_m), measured_m + limits.ahead_m)
