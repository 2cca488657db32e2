"""The command filter alone, with everything wrong that can be wrong with what it is given.

    python -m benchmarks.filter_boundary --trials 3000 --json boundary.json

Each trial is one seeded stretch of commands to a robot whose readings are 20 ms old, of one of
these kinds in turn: a Panda commanded by joint velocities or joint positions among keep-out
volumes, and a tool behind MoveIt Servo. What goes wrong in it is one class: numbers that are not
finite, wishes beyond every limit, input that is stale, late or from the future, ticks that come
late, a start outside the limits, e-stops, or all of it at once. Judged is what was sent, as an
actuator sees it (differences of successive commands), and where it leads:

- every number finite; velocity, acceleration and jerk within the limits, but for an e-stop, which
  is zero within one tick;
- no joint, tool or body farther outside than where it began, or than where a tick that came late
  left it and braking took it from there, which no filter can undo;
- nothing but braking while anything needed is stale, and rest in the end.

Ctrl-C ends it early, with the figures so far. Zero failures in n trials of a class bound its rate
of failure by 3/n with 95 % confidence.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.panda import DT_S, HOME, panda_arm, panda_limits
from controller.braking import AxisLimits
from controller.command_filter import CommandFilter, CommandState, Situation, StopTimes, judge
from controller.kinematics import Kinematics
from controller.motion_filter import MotionLimits
from controller.viability import Motion, stopping_path
from foresee.summary import write_json

Vector = NDArray[np.float64]

CLASSES = ("not finite", "beyond limits", "stale", "late ticks", "start outside", "e-stop", "all")
ROBOTS = ("joint velocity", "joint position", "tool velocity")
_TICKS = 80
_REST_TICKS = 150  # any of the three robots stops within this
_SLACK = 1e-6  # of a limit
_ODD = (np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-308)
_READING_S = 0.02  # age of what is known of where the robot is


@dataclass(frozen=True)
class Options:
    """How much of it."""

    trials: int = 3000
    """trials of each class"""
    seed: int = 0
    """of the first trial; trial i has seed + i"""
    json: Path | None = None
    """file for the figures"""


@dataclass
class Robot:
    """A filter and where its robot begins."""

    name: str
    filter: CommandFilter
    arm: Kinematics | None
    start: Vector


class Robots:
    """One of each kind, made once: loading kinematics takes longer than a trial."""

    def __init__(self) -> None:
        """Load the Panda."""
        self._arm = panda_arm()
        self._times = StopTimes(slow_surprise=5.0, stop_surprise=10.0)

    def make(self, name: str, rng: np.random.Generator, outside: bool) -> Robot:
        """A robot at rest somewhere, outside its limits if asked for."""
        tool = AxisLimits([0.4] * 3, [5.0] * 3, [200.0] * 3)
        if name == "tool velocity":
            low, high = np.array([0.2, -0.5, 0.0]), np.array([0.8, 0.5, 0.8])
            limits = MotionLimits(("x", "y", "z"), tool, low, high)
            start = rng.uniform(low, high)
            if outside:
                start = start + rng.choice([-1.0, 1.0], 3) * rng.uniform(0.0, 0.5, 3)
            made = CommandFilter(limits, self._times, DT_S)
            robot = Robot(name, made, None, start)
        else:
            limits = panda_limits(jerk_share=float(rng.choice([1.0, 0.1, 0.03])))
            start = HOME + rng.uniform(-0.1, 0.1, 7)
            if outside:
                start = HOME + rng.uniform(-1.2, 1.2, 7)
            made = CommandFilter(
                limits,
                self._times,
                DT_S,
                arm=self._arm,
                task="tool",
                positions_are_sent=name == "joint position",
                tool_limits=tool,
            )
            robot = Robot(name, made, self._arm, start)
        robot.filter.begin(robot.start)
        return robot


def trial(robots: Robots, number: int, seed: int) -> tuple[str, str, list[str]]:
    """One trial; its class, its robot, and what went wrong, which is nothing."""
    rng = np.random.default_rng(seed)
    kind = CLASSES[number % len(CLASSES)]
    robot = robots.make(ROBOTS[number // len(CLASSES) % len(ROBOTS)], rng, kind == "start outside")
    wrong, problems = _Wrong(kind, rng), _Judge(robot)
    # Where the robot really is, at which times: it moves straight from one to the next.
    now_s, times_s, places = 100.0, [0.0, 100.0], [robot.start, robot.start]
    wanted = np.zeros(3)
    for tick in range(_TICKS + _REST_TICKS):
        if tick % 20 == 0:
            wanted = rng.uniform(-0.6, 0.6, 3)
        known = np.array(
            [np.interp(now_s - _READING_S, times_s, row) for row in np.transpose(places)]
        )
        asked = Situation(True, wanted, True, 0.05, known, _READING_S)
        elapsed_s = DT_S
        if tick < _TICKS:
            asked, elapsed_s = wrong.make(asked)
        elif robot.filter.motion.rests:
            break
        else:
            asked = replace(asked, armed=False)
        before = robot.filter.motion
        late_s = min(elapsed_s - DT_S, 0.2) if elapsed_s > DT_S else 0.0  # NaN is not above
        if late_s and robot.name != "joint position":
            # A velocity that was held for longer; this is what the reading does not show yet.
            problems.excuse(before, late_s)
            now_s += late_s
            times_s.append(now_s)
            places.append(places[-1] + before.velocity * late_s)
            if asked.position is known:
                asked = replace(asked, position=_place(now_s - _READING_S, times_s, places))
        command = robot.filter.tick(asked, now_s, elapsed_s)
        problems.look(before, command.motion, command.state, asked, robot.filter)
        now_s += DT_S
        times_s.append(now_s)
        moved = places[-1] + command.motion.velocity * DT_S
        places.append(command.motion.position if robot.name == "joint position" else moved)
    if not robot.filter.motion.rests:
        problems.found.append("does not come to rest")
    return kind, robot.name, problems.found


def _place(time_s: float, times_s: list[float], places: list[Vector]) -> Vector:
    return np.array([np.interp(time_s, times_s, row) for row in np.transpose(places)])


class _Wrong:
    """Makes one class of things wrong."""

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self._kind, self._rng = kind, rng
        self._until = 0  # ticks that what is wrong now still lasts

    def make(self, good: Situation) -> tuple[Situation, float]:
        """The situation with, for a while, something wrong; and how long the tick took."""
        rng, kind = self._rng, self._kind
        if kind == "all":
            kind = str(rng.choice(CLASSES[:6]))
        if kind in ("beyond limits", "start outside"):
            scale = 10.0 ** rng.uniform(-1, 6) if kind == "beyond limits" else 1.0
            return replace(good, wanted=np.asarray(good.wanted) * scale), DT_S
        self._until -= 1
        if self._until < 0 and rng.uniform() < 0.1:
            self._until = int(rng.integers(1, 20))
        if self._until < 0:
            return good, DT_S
        if kind == "late ticks":
            return good, float(rng.choice([0.0, 0.02, 0.05, 0.2, -1.0, 5.0, np.nan]))
        if kind == "e-stop":
            return replace(good, estop=True, armed=False), DT_S
        if kind == "not finite":
            field = str(rng.choice(["wanted", "position", "plan_age_s", "surprise"]))
            if field in ("wanted", "position"):
                numbers = np.array(getattr(good, field))
                numbers[rng.integers(len(numbers))] = rng.choice(_ODD)
                return replace(good, **{field: numbers}), DT_S
            return replace(good, **{field: float(rng.choice(_ODD[:3]))}), DT_S
        field = str(rng.choice(["plan_age_s", "position_age_s", "image_age_s", "plan_ahead_s"]))
        ages = {"position_age_s": (0.11, 1.0, -0.06, 3600.0), "plan_ahead_s": (1.1, 3600.0)}
        chosen = rng.choice(ages.get(field, (0.6, 2.0, 3600.0, np.inf)))
        if rng.uniform() < 0.2:
            return replace(good, position=None, agent_alive=False), DT_S
        return replace(good, **{field: float(chosen)}), DT_S


class _Judge:
    """Looks at each command as the actuator gets it.

    Speeds, accelerations and jerks it counts by itself. Where braking leads, how far bodies are
    apart and what stops the robot it takes from the code that the filter uses, which has tests of
    its own.
    """

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._limits = robot.filter.limits
        self._velocity = np.zeros(self._limits.axes.axes)
        self._acceleration = np.zeros_like(self._velocity)
        start = robot.start[None]
        self._low = np.minimum(start.min(axis=0), self._limits.low)
        self._high = np.maximum(start.max(axis=0), self._limits.high)
        self._room_m = min(0.0, robot.arm.room(start)[0]) if robot.arm else 0.0
        self.found: list[str] = []

    def excuse(self, before: Motion, late_s: float) -> None:
        """A command was held for too long: where braking takes it from there is excused."""
        there = replace(before, position=before.position + before.velocity * late_s)
        way = stopping_path(there, self._limits.axes, DT_S)
        self._low = np.minimum(way.min(axis=0), self._low)
        self._high = np.maximum(way.max(axis=0), self._high)
        if self._robot.arm is not None:
            self._room_m = min(self._room_m, float(self._robot.arm.rooms(way).min()))

    def look(
        self,
        before: Motion,
        sent: Motion,
        state: CommandState,
        asked: Situation,
        command_filter: CommandFilter,
    ) -> None:
        """Judge one command."""
        axes, found = self._limits.axes, self.found
        if not np.isfinite([sent.position, sent.velocity]).all():
            found.append("not finite")
            return
        acceleration = (sent.velocity - self._velocity) / DT_S
        jerk = (acceleration - self._acceleration) / DT_S
        slack = 1.0 + _SLACK
        if state is CommandState.ESTOP:
            if sent.velocity.any():
                found.append("moves after an e-stop")
        elif (np.abs(sent.velocity) > axes.velocity * slack).any():
            found.append("velocity")
        elif (np.abs(acceleration) > axes.acceleration * slack).any():
            found.append("acceleration")
        elif (np.abs(jerk) > axes.jerk * slack + 1e-6).any():
            found.append("jerk")
        self._velocity = sent.velocity
        self._acceleration = np.zeros_like(jerk) if state is CommandState.ESTOP else acceleration
        if state is not CommandState.FOLLOWING:
            # On the way to rest: the acceleration is that of braking, nothing else.
            still = before.after_braking(axes, DT_S).velocity
            if state is not CommandState.ESTOP and np.abs(sent.velocity - still).max() > 1e-9:
                found.append(f"does not brake while {state.value}")
        elif judge(command_filter.times, asked) is not CommandState.FOLLOWING:
            found.append("follows what it must not")
        self._look_where(sent)

    def _look_where(self, sent: Motion) -> None:
        robot, allowed = self._robot, 1e-4
        if robot.name != "joint position":
            allowed += _READING_S * 0.05
        if (sent.position > self._high + allowed).any() or (
            sent.position < self._low - allowed
        ).any():
            self.found.append("position")
        if robot.arm is not None:
            end = stopping_path(sent, self._limits.axes, DT_S)[-1:]
            room_m = min(robot.arm.room(sent.position[None])[0], robot.arm.room(end)[0])
            if room_m < self._room_m - allowed:
                self.found.append("touches")


def campaign(trials: int, seed: int) -> dict[str, Any]:
    """Run so many trials of each class; figures by class and by robot."""
    robots = Robots()
    count: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    by_robot: Counter[str] = Counter()
    first: dict[str, str] = {}
    for number in tqdm(range(trials * len(CLASSES)), desc="trials", unit="trial"):
        try:
            kind, name, problems = trial(robots, number, seed + number)
        except KeyboardInterrupt:
            break
        count[kind] += 1
        by_robot[name] += 1
        if problems:
            failed[kind] += 1
            first.setdefault(f"{kind}, {name}", f"seed {seed + number}: {problems[0]}")
    return {
        "trials": max(count.values(), default=0),
        "altogether": count.total(),
        "seed": seed,
        "failed": sum(failed.values()),
        "by_class": {
            kind: {"n": count[kind], "failed": failed[kind], "bound": round(3.0 / count[kind], 4)}
            for kind in CLASSES
            if count[kind]
        },
        "by_robot": dict(by_robot),
        "first_failures": first,
    }


def section(found: dict[str, Any]) -> str:
    """Of docs/results.md."""
    lines = [
        "## The command filter and what may be wrong with its input\n",
        f"`python -m benchmarks.filter_boundary --trials {found['trials']}` (trial i has seed "
        f"{found['seed']} + i): the filter with all that can be wrong with its input, judged by "
        f"what is sent, {found['altogether']} trials in all. With no failure in n trials the bound "
        "is 3/n.\n",
        "| wrong | n | failed | bound (95 %) |",
        "|---|---|---|---|",
    ]
    for name, row in found["by_class"].items():
        bound = "" if row["failed"] else f"< {row['bound']:.2%}"
        lines.append(f"| {name} | {row['n']} | {row['failed']} | {bound} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Entry point; exit status 1 when any trial failed."""
    options = tyro.cli(Options, description=__doc__)
    figures = campaign(options.trials, options.seed)
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        write_json(options.json, figures)
    return 1 if figures["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
