"""What may never happen at the actuator, judged from what arrived there.

Pure functions over arrays, so that a test can break every rule on purpose. Nothing here knows what
the nodes think: limits and stop times are given, commands are what the robot was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Of a limit: what rounding of stamps and of single precision may make of it.
_TOLERANCE = 1e-3
_SILENCE_S = 0.2  # between commands: one in motion may not be followed by so much
_PUT = 0.03  # between two readings: nothing moves as fast, it was put there
_EQUAL = 1e-7  # of speeds that came as single precision or were rounded
_LATER_S = 0.05  # a plan may be heard here so much later than by the one it is for
_HELD_UP_S = 0.05  # a gap so long, made up for by a burst after it, is the recorder's own
_STOP_S = 0.1  # after an e-stop was heard here it is in force there
_BEGUN_S = 0.1  # after a stop was due, and was late by what messages are, it has begun


@dataclass(frozen=True)
class Rules:
    """What the robot was promised.

    Attributes:
        velocity: ``(N,)`` largest speed of each axis.
        acceleration: ``(N,)``.
        jerk: ``(N,)``; infinite where none is promised.
        period_s: from one command to the next.
        low: ``(M,)`` lower end of where the robot may be.
        high: ``(M,)`` upper end.
        position_margin: how far beyond them the robot, which follows late, may be seen.
        stop_s: after the last plan, commands may be other than braking for no longer than this.
        braking_s: from any speed, braking within the limits takes no longer than this.
    """

    velocity: Array
    acceleration: Array
    jerk: Array
    period_s: float
    low: Array
    high: Array
    position_margin: float
    stop_s: float
    braking_s: float


@dataclass(frozen=True)
class Heard:
    """What an independent process heard, in the order of arrival.

    Attributes:
        command_s: ``(T,)`` monotonic arrival of each command.
        stamp_s: ``(T,)`` stamp of each; NaN for a message that has none.
        velocity: ``(T, N)`` commanded.
        plan_s: ``(P,)`` monotonic arrival of each usable plan.
        plan_start_s: ``(P,)`` from when on each plans, monotonic: a plan that was held up is as old
            as that.
        position_s: ``(S,)`` arrival of each true position of the robot.
        position: ``(S, M)``.
        armed_s: ``(E,)`` when arming changed, as the service was answered.
        armed: ``(E,)`` bool, to what.
        stop_asked_s: ``(X,)`` when an e-stop was latched.
        rest: from when until when the robot had to be told to brake and then to rest, because what
            it moves by had failed.
        paused_s: ``(U,)`` how long that process itself did not run, each time it did not: what
            arrived meanwhile has the time of the end.
        killed_s: ``(K,)`` when the sender of commands was killed. A message is handed to its
            readers one after the other: what was being sent may have reached others and not us.
        put: from when until when the robot was put elsewhere, which may be near.
    """

    command_s: Array
    stamp_s: Array
    velocity: Array
    plan_s: Array
    plan_start_s: Array
    position_s: Array
    position: Array
    armed_s: Array
    armed: NDArray[np.bool_]
    stop_asked_s: Array
    rest: tuple[tuple[float, float], ...] = ()
    paused_s: Array = field(default_factory=lambda: np.zeros(0))
    killed_s: Array = field(default_factory=lambda: np.zeros(0))
    put: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Violation:
    """One broken rule: which, when (monotonic s), by how much."""

    rule: str
    time_s: float
    detail: str


def judge(heard: Heard, rules: Rules) -> list[Violation]:
    """Every violation of every rule, in the order of the rules."""
    found = _finite(heard)
    if found:  # differences of what is not finite say nothing
        return found
    return [
        *_rates(heard, rules),
        *_positions(heard, rules),
        *_stamps(heard),
        *_silence(heard),
        *_armed(heard, rules),
        *_command_age(heard, rules),
        *_rest(heard, rules),
    ]


def _finite(heard: Heard) -> list[Violation]:
    rows = np.flatnonzero(~np.isfinite(heard.velocity).all(axis=1))
    return [Violation("finite", heard.command_s[i], f"{heard.velocity[i].tolist()}") for i in rows]


def _rates(heard: Heard, rules: Rules) -> list[Violation]:
    """Speed, and its first two differences from tick to tick.

    Where a sender was killed, one command more may have been sent than was heard here, or none.
    """
    found = _rates_with(heard, rules, np.zeros(0))
    if found and len(heard.killed_s):
        return min(found, _rates_with(heard, rules, heard.killed_s), key=len)
    return found


def _rates_with(heard: Heard, rules: Rules, missed_s: Array) -> list[Violation]:
    """The same, with one command put between where one is missing soon after these times.

    An e-stop is zero within one tick. A stream that was silent goes on from rest or, where it was
    cut off in motion and the robot may have held its last command, from there.
    """
    found = []
    period_s, velocity = rules.period_s, heard.velocity
    over = np.abs(velocity) > rules.velocity * (1 + _TOLERANCE)
    for i in np.flatnonzero(over.any(axis=1)):
        found.append(Violation("velocity", heard.command_s[i], f"{velocity[i].tolist()}"))
    if len(velocity) < 2:
        return found
    # Hearing may begin in the midst of motion: the first two are taken as they are.
    previous, before = velocity[1], (velocity[1] - velocity[0]) / period_s
    for i, now in enumerate(velocity[2:], 2):
        gap_s = heard.command_s[i] - heard.command_s[i - 1]
        if gap_s > _SILENCE_S:
            before = np.zeros_like(now)
            if _broken_rate(now, np.zeros_like(now), before, rules) is None:
                previous = np.zeros_like(now)
        elif gap_s > 1.5 * period_s and _within(missed_s, heard.command_s[i], gap_s + period_s):
            mean, most = (now - previous) / (2 * period_s), rules.jerk * period_s
            before = np.clip(mean, before - most, before + most)
            previous = previous + before * period_s
        stopped = not now.any() and _within(heard.stop_asked_s, heard.command_s[i], 0.5)
        broken = None if stopped else _broken_rate(now, previous, before, rules)
        if broken is not None:
            rule, value = broken
            detail = f"{value.tolist()} after {gap_s:.3f} s"
            found.append(Violation(rule, heard.command_s[i], detail))
        before = np.zeros_like(now) if stopped else (now - previous) / period_s
        previous = now
    return found


def _broken_rate(
    now: Array, previous: Array, before: Array, rules: Rules
) -> tuple[str, Array] | None:
    """Which limit a command breaks after a velocity and an acceleration, and with what value."""
    acceleration = (now - previous) / rules.period_s
    jerk = (acceleration - before) / rules.period_s
    # Single precision of a message is 6e-8 of the speed, over the period once or twice.
    slack = 1e-6 * rules.velocity / rules.period_s
    if (np.abs(acceleration) > rules.acceleration * (1 + _TOLERANCE) + slack).any():
        return "acceleration", acceleration
    if (np.abs(jerk) > rules.jerk * (1 + _TOLERANCE) + slack / rules.period_s).any():
        return "jerk", jerk
    return None


def _positions(heard: Heard, rules: Rules) -> list[Violation]:
    """Beyond the limits by more than the margin.

    Where it was put there it may not go further out by that much, and what is left of the way
    back in stays behind it. Put there in motion, it has the way to rest besides.
    """
    if not heard.position.size:
        return []
    beyond = np.maximum(rules.low - heard.position, heard.position - rules.high).max(axis=1)
    jumps = np.abs(np.diff(heard.position, axis=0)).max(axis=1, initial=0.0)
    put = jumps > _PUT
    for from_s, until_s in heard.put:
        at = np.flatnonzero((heard.position_s[1:] >= from_s) & (heard.position_s[1:] <= until_s))
        if len(at):
            put[at[np.argmax(jumps[at])]] = True
    found, margin = [], rules.position_margin
    allowed, rests_s = margin + max(0.0, float(beyond[0])), -np.inf
    for i, out in enumerate(beyond):
        if i and put[i - 1]:
            put_s = heard.position_s[i]
            rests_s = put_s + rules.braking_s
            allowed = margin + max(0.0, float(out)) + _way_to_rest(heard, rules, put_s)
        if out > allowed:
            found.append(Violation("position", heard.position_s[i], f"{out:.4f} beyond"))
        if heard.position_s[i] >= rests_s:
            allowed = min(allowed, margin + max(0.0, float(out)))
    return found


def _way_to_rest(heard: Heard, rules: Rules, time_s: float) -> float:
    """How far the robot goes on, at most, when it brakes from the speed it is told at a time."""
    row = int(np.searchsorted(heard.command_s, time_s)) - 1
    if row < 0:
        return 0.0
    speed = np.abs(heard.velocity[row])
    seconds = speed / rules.acceleration + rules.acceleration / rules.jerk
    return float((speed / 2 * seconds).max())


def _stamps(heard: Heard) -> list[Violation]:
    """Stamps ascend within one motion; after rest and silence the clock may be another."""
    silent = np.diff(heard.command_s) > _SILENCE_S
    back = np.flatnonzero((np.diff(heard.stamp_s) <= 0) & ~silent) + 1
    return [
        Violation("stamps", heard.command_s[i], f"{heard.stamp_s[i] - heard.stamp_s[i - 1]:.6f} s")
        for i in back
    ]


def _silence(heard: Heard) -> list[Violation]:
    """Who tells the robot to move goes on telling it: it may hold its last command for ever."""
    if not len(heard.command_s):
        return []
    end_s = max(heard.command_s[-1], heard.position_s.max(initial=-np.inf))
    silent_s = np.diff(heard.command_s, append=end_s)
    return [
        Violation("silence", heard.command_s[i], f"moving, then no command for {silent_s[i]:.3f} s")
        for i in np.flatnonzero(heard.velocity.any(axis=1) & (silent_s > _SILENCE_S))
    ]


def _armed(heard: Heard, rules: Rules) -> list[Violation]:
    """Nothing but zeros outside ARMED, once braking is over; and after an e-stop at once."""
    found = []
    for i, time_s in enumerate(heard.command_s):
        if not heard.velocity[i].any():
            continue
        index = int(np.searchsorted(heard.armed_s, time_s, side="right")) - 1
        armed = bool(heard.armed[index]) if index >= 0 else False
        since_s = time_s - heard.armed_s[index] if index >= 0 else np.inf
        # Arming is known here a little later than it is in force.
        soon = index + 1 < len(heard.armed) and heard.armed[index + 1]
        if soon and heard.armed_s[index + 1] - time_s < 0.5:
            continue
        if not armed and since_s > rules.braking_s:
            found.append(Violation("armed", time_s, f"{heard.velocity[i].tolist()}"))
            continue
        stop = int(np.searchsorted(heard.stop_asked_s, time_s, side="right")) - 1
        stop_s = heard.stop_asked_s[stop] if stop >= 0 else -np.inf
        if stop_s > time_s - since_s and time_s - stop_s > _STOP_S:
            found.append(Violation("e-stop", time_s, f"moves {time_s - stop_s:.3f} s after it"))
    return found


def _command_age(heard: Heard, rules: Rules) -> list[Violation]:
    """Without a plan for ``stop_s`` it gets no faster, and rests after ``braking_s`` more."""
    found = []
    speed = np.linalg.norm(heard.velocity, axis=1)
    silence, begun = -2, 0.0  # the plan that none came after, and the speed when braking had begun
    from_s = np.maximum.accumulate(np.minimum(heard.plan_s, heard.plan_start_s))
    for i in range(1, len(heard.command_s)):
        time_s = heard.command_s[i]
        index = int(np.searchsorted(heard.plan_s, time_s + _LATER_S, side="right")) - 1
        # Before the first plan that was heard there may have been one.
        since_s = from_s[index] if index >= 0 else heard.command_s[0]
        age_s = time_s - since_s
        if age_s <= rules.stop_s + _BEGUN_S:
            continue
        if silence != index:
            silence, begun = index, speed[i]
        if age_s > rules.stop_s + rules.braking_s and heard.velocity[i].any():
            found.append(Violation("command age", time_s, f"moves {age_s:.3f} s after the plan"))
        elif speed[i] > begun * (1 + _TOLERANCE) + _EQUAL:
            detail = f"{speed[i]:.4f} {age_s:.3f} s after the plan, from {begun:.4f}"
            found.append(Violation("command age", time_s, detail))
    return found


def _rest(heard: Heard, rules: Rules) -> list[Violation]:
    """Nothing but zeros where the robot had to brake and rest, once braking is over."""
    found = []
    moves = heard.velocity.any(axis=1)
    for from_s, until_s in heard.rest:
        from_s += rules.braking_s
        for i in np.flatnonzero(moves & (heard.command_s > from_s) & (heard.command_s < until_s)):
            time_s = heard.command_s[i]
            detail = f"moves {time_s - from_s:.3f} s after it had to rest"
            found.append(Violation("rest", time_s, detail))
    return found


def _within(times_s: Array, time_s: float, seconds: float) -> bool:
    index = int(np.searchsorted(times_s, time_s, side="right")) - 1
    return index >= 0 and time_s - times_s[index] <= seconds


def held_up_s(heard: Heard) -> float:
    """For how long messages were held up on their way here, at most; 0 where none were.

    The robot says where it is at a steady rate and by itself: where nothing of it comes and then
    all of it at once, the others got it in time, and the commands too.
    """
    times_s = heard.position_s
    if len(times_s) < 3:
        return 0.0
    gaps_s = np.diff(times_s)
    period_s = float(np.median(gaps_s))
    longest_s = 0.0
    for i in np.flatnonzero(gaps_s > _HELD_UP_S):
        at_once = np.searchsorted(times_s, times_s[i + 1] + period_s / 2) - (i + 1)
        if at_once > 0.5 * gaps_s[i] / period_s:
            longest_s = max(longest_s, float(gaps_s[i]))
    return longest_s


def rest_s(heard: Heard, rules: Rules) -> float:
    """For how long `judge` held the robot to rest, by ``heard.rest``."""
    return sum(max(0.0, until_s - from_s - rules.braking_s) for from_s, until_s in heard.rest)


def braking_delay_s(heard: Heard, fault_s: float, until_s: float) -> float:
    """How long after an event braking begins.

    Braking within a jerk limit lets the acceleration fall, holds it, and lets go of it again. Its
    beginning is the first command in which the acceleration along the motion has fallen towards the
    hardest braking on the way to rest.

    Returns:
        Seconds from ``fault_s``; 0 when nothing moved then or braking had begun already; infinite
        when the robot was not at rest at ``until_s``.
    """
    before = int(np.searchsorted(heard.command_s, fault_s)) - 1
    rows = np.arange(max(before, 1), int(np.searchsorted(heard.command_s, until_s)))
    speed = np.linalg.norm(heard.velocity, axis=1)
    if not len(rows) or not speed[rows[0]] > 0:
        return 0.0
    if speed[rows[-1]] > 0:
        return float("inf")
    rest = rows[np.flatnonzero(speed[rows] == 0)[0]]
    change = np.diff(speed, prepend=speed[:1])
    hardest = rows[0] + int(np.argmin(change[rows[0] : rest + 1]))
    begin = hardest
    # Back through slowing down, then through an acceleration that was taken back before.
    while begin > rows[0] and change[begin] - _EQUAL <= change[begin - 1] < -_EQUAL:
        begin -= 1
    while begin > rows[0] and change[begin - 1] > change[begin] + _EQUAL:
        begin -= 1
    if begin == rows[0] and change[begin] < -_EQUAL:
        return 0.0  # before the event
    return max(0.0, float(heard.command_s[begin + 1] - fault_s))
