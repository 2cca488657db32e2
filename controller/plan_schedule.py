"""Which of the plans that arrived is in force."""

from __future__ import annotations

from controller.types import NS_PER_S, Plan


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
