"""The last thing between a plan and the robot: whether it may be followed, and what is sent.

No ROS and no clock of its own, so that every decision can be tested and replayed from a log;
`ros_nodes.command_node` calls this at a fixed rate from a process of its own.

The rule is: *whatever is missing, old or not finite brakes the robot to a stand*, within its limits
of acceleration and jerk, because a jump to zero is itself a command a robot may refuse. Only the
e-stop is zero within one tick.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from controller.braking import AxisLimits, Vector, approach
from controller.motion_filter import Arm, MotionLimits, Task, follow
from controller.tracking import Tracker
from controller.viability import Motion

# How much of the difference between reading and command is taken over with each reading.
_CORRECTION = 0.2
# A robot that takes velocities and is not where it was commanded to stands for this long; one that
# takes positions stands until it is armed again.
_LOST_S = 1.0
# One that does not go where it is told is known by what is taken back of the way it was told to go
# in two seconds: so much of it, where the way is at least this share of `StopTimes.tracking`.
_TAKEN_BACK = 0.8
_LEAST_WAY = 0.3
# A late tick held its command for longer; more than this is not believed of one.
_LONGEST_TICK_S = 0.2
_KEPT_S = 1.0  # of what was commanded, beyond the age of the oldest reading that counts


class CommandState(enum.Enum):
    """Why the command is what it is; anything but FOLLOWING brakes."""

    FOLLOWING = "FOLLOWING"
    ESTOP = "ESTOP"  # latched, until a person clears it
    NOT_ARMED = "NOT_ARMED"
    POSE_STALE = "POSE_STALE"  # nobody knows where the robot is
    POSE_NOT_FINITE = "POSE_NOT_FINITE"
    NOT_TRACKING = "NOT_TRACKING"  # the robot is not where it was commanded to
    NO_PLAN = "NO_PLAN"
    PLAN_UNUSABLE = "PLAN_UNUSABLE"  # the planner itself says stop
    PLAN_STALE = "PLAN_STALE"
    PLAN_NOT_FINITE = "PLAN_NOT_FINITE"
    AGENT_LOST = "AGENT_LOST"  # its process has ended or stands still
    IMAGE_STALE = "IMAGE_STALE"
    SURPRISED = "SURPRISED"  # what is seen is not what was predicted


@dataclass(frozen=True)
class StopTimes:
    """When a robot stops by itself. An age counts as stale when it is not at most the limit.

    Attributes:
        plan_s: since the newest plan.
        state_s: since the newest reading of where the robot is.
        image_s: since the image that the newest plan was made from; 0 to leave it unwatched.
        ahead_s: readings and images may be stamped so far in the future; more is a wrong clock.
        plan_ahead_s: a plan may start so far in the future.
        slow_surprise: from here on the robot slows down, to a stand at ``stop_surprise``; 0 for
            never. In units of what is rare, see `controller.surprise`.
        stop_surprise: above ``slow_surprise``.
        tracking: largest distance between reading and command, rad or m; also of what readings
            corrected in two seconds.
    """

    plan_s: float = 0.15
    state_s: float = 0.1
    image_s: float = 0.5
    ahead_s: float = 0.05
    plan_ahead_s: float = 1.0
    slow_surprise: float = 0.0
    stop_surprise: float = 0.0
    tracking: float = 0.1

    def __post_init__(self) -> None:
        """Raise ValueError for times that cannot be meant."""
        may_be_zero = ("image_s", "slow_surprise", "stop_surprise")
        for item in fields(self):
            value, low_ok = getattr(self, item.name), item.name in may_be_zero
            if not np.isfinite(value) or value < 0 or (value == 0 and not low_ok):
                raise ValueError(f"{item.name} must be above 0, got {value}")
        if self.slow_surprise > 0 and not self.stop_surprise > self.slow_surprise:
            raise ValueError(
                f"stop_surprise {self.stop_surprise} must be above slow_surprise "
                f"{self.slow_surprise}"
            )


@dataclass(frozen=True, eq=False)
class Situation:
    """What is known at one tick. An age is the larger of since-arrival and now-minus-stamp.

    Attributes:
        armed: whether a person has allowed motion.
        estop: whether it is latched.
        wanted: velocity the plan asks for now, of the tool ``(3,)`` m/s or the axes ``(N,)``;
            ``None`` when there is no plan yet.
        plan_usable: False when the newest plan says stop.
        plan_age_s: of the newest plan; infinite when there is none.
        plan_ahead_s: how far in the future it starts.
        position: ``(N,)`` reading of the axes; ``None`` when none has been received yet.
        position_age_s: of that reading; negative where it is stamped in the future.
        image_age_s: of the image the newest plan was made from.
        agent_alive: False when the agent's process has ended or stands still.
        surprise: of the newest image.
        position_stamp_ns: of the reading, to tell it from the one before: the same one is there
            at every tick until the next comes. ``None`` where each tick has a new one.
    """

    armed: bool
    wanted: NDArray[np.floating] | None
    plan_usable: bool
    plan_age_s: float
    position: NDArray[np.floating] | None
    position_age_s: float
    estop: bool = False
    plan_ahead_s: float = 0.0
    image_age_s: float = 0.0
    agent_alive: bool = True
    surprise: float = 0.0
    position_stamp_ns: int | None = None


@dataclass(frozen=True, eq=False)
class Command:
    """What is sent.

    Attributes:
        motion: of the axes: position, velocity, acceleration; always finite.
        state: why.
        clamps: which limits changed what the plan asked for, such as ``("jerk.x",
            "room.workspace.low.z")``; empty while braking.
    """

    motion: Motion
    state: CommandState
    clamps: tuple[str, ...] = ()


def judge(times: StopTimes, situation: Situation) -> CommandState:
    """Whether the plan may be followed now, and if not, the first reason."""
    s = situation
    if s.estop:
        return CommandState.ESTOP
    if not s.armed:
        return CommandState.NOT_ARMED
    reading = judge_reading(times, s)
    if reading is not None:
        return reading
    # `not age <= limit` and not `age > limit`: an age of NaN must brake.
    if s.wanted is None:
        return CommandState.NO_PLAN
    if not s.plan_usable:
        return CommandState.PLAN_UNUSABLE
    if not s.plan_age_s <= times.plan_s or not s.plan_ahead_s <= times.plan_ahead_s:
        return CommandState.PLAN_STALE
    if not np.isfinite(s.wanted).all():
        return CommandState.PLAN_NOT_FINITE
    if not s.agent_alive:
        return CommandState.AGENT_LOST
    if times.image_s and not -times.ahead_s <= s.image_age_s <= times.image_s:
        return CommandState.IMAGE_STALE
    if times.slow_surprise and not s.surprise < times.stop_surprise:
        return CommandState.SURPRISED
    return CommandState.FOLLOWING


def judge_reading(times: StopTimes, situation: Situation) -> CommandState | None:
    """What is wrong with what is known of where the robot is; ``None`` for nothing."""
    if situation.position is None:
        return CommandState.POSE_STALE
    if not -times.ahead_s <= situation.position_age_s <= times.state_s:
        return CommandState.POSE_STALE
    if not np.isfinite(situation.position).all():
        return CommandState.POSE_NOT_FINITE
    return None


def why_not_armed(times: StopTimes, situation: Situation) -> str:
    """Why a robot may not be armed now, in words; empty when it may."""
    s = situation
    if s.estop:
        return "the e-stop is latched: clear it first"
    if s.position is None:
        return "there is no reading of where the robot is"
    reading = judge_reading(times, s)
    if reading is CommandState.POSE_STALE:
        return f"the reading of where the robot is, is {s.position_age_s:.2f} s old"
    if reading is not None:
        return "the reading of where the robot is, is not finite"
    if not s.agent_alive:
        return "the agent's process does not run"
    if not s.plan_age_s <= times.plan_s:
        return f"the newest plan is {s.plan_age_s:.2f} s old"
    if times.image_s and not -times.ahead_s <= s.image_age_s <= times.image_s:
        return f"the newest image is {s.image_age_s:.2f} s old"
    return ""


def pace(times: StopTimes, surprise: float) -> float:
    """Share of the planned speed, from 1 down to 0 as surprise goes from slow to stop."""
    if not times.slow_surprise or surprise <= times.slow_surprise:
        return 1.0
    share = (times.stop_surprise - surprise) / (times.stop_surprise - times.slow_surprise)
    return max(0.0, share) if np.isfinite(share) else 0.0


class CommandFilter:
    """Judges, filters, and remembers what was sent. Not thread-safe: the ticking thread's alone.

    Args:
        limits: of the axes.
        times: when it stops.
        dt_s: from one command to the next.
        arm: kinematics, where the axes are the joints of an arm.
        shadow: True where the robot does not follow: the readings are then all that counts.
        tool_limits: of x, y and z of that arm's tool: how fast a wish about it may change.
        task: what plans are about: the axes or the arm's tool.
        positions_are_sent: True for robots that take positions: where they are to be is then known
            exactly. False for those that take velocities: it is taken from the readings.
        located: False for a base, of whose position nothing depends.
        robot_delay_s: from a command to the reading that shows it, if that much is known.
    """

    def __init__(
        self,
        limits: MotionLimits,
        times: StopTimes,
        dt_s: float,
        arm: Arm | None = None,
        task: Task = "axes",
        positions_are_sent: bool = False,
        located: bool = True,
        robot_delay_s: float = 0.0,
        tool_limits: AxisLimits | None = None,
        shadow: bool = False,
    ) -> None:
        self.limits = limits
        self.times = times
        self._dt_s = dt_s
        self._arm = arm
        self._task: Task = task
        self._corrected = shadow or not positions_are_sent
        self._shadow = shadow
        self._located = located
        self._delay_s = robot_delay_s
        self._tool_limits = tool_limits if task == "tool" else None
        self._tool = Motion.at_rest(np.zeros(3))
        self._tracker = Tracker(times.state_s + robot_delay_s + _KEPT_S)
        self._lost_track = False
        self._lost_for_s = 0.0
        self._released = True
        self._was_armed = False
        # While released: the last two readings, the newest last, each with its stamp.
        self._readings: list[tuple[int | None, Vector]] = []
        self.motion = Motion.at_rest(np.zeros(limits.axes.axes))

    def begin(self, position: Vector) -> None:
        """Motion begins here, at rest: on arming.

        Raises:
            ValueError: a position that is not finite.
        """
        if not np.isfinite(position).all():
            raise ValueError(f"cannot begin at {position}")
        self.motion = Motion.at_rest(position)
        self._tool = Motion.at_rest(np.zeros(3))
        self._tracker.clear()
        self._lost_track = self._released = False
        self._lost_for_s, self._was_armed = 0.0, True
        if self._arm is not None:
            self._arm.hold_orientation(self.motion.position)

    @property
    def begun(self) -> bool:
        """Whether it is known where motion begins; until then nothing may be sent."""
        return not (self._located and self._released)

    def release(self) -> None:
        """Nothing is sent from now on: motion begins anew where the robot is when it is armed."""
        if self.motion.rests and not self._released:
            self._released, self._readings = True, []

    def tool_velocity(self) -> Vector | None:
        """Velocity ``(3,)`` m/s of the tool that the last command asks for; ``None`` for a base."""
        if self._arm is None:
            return self.motion.velocity if self._located else None
        before = self.motion.position - self.motion.velocity * self._dt_s
        step = self._arm.tool_position(self.motion.position) - self._arm.tool_position(before)
        return np.asarray(step / self._dt_s)

    def tick(self, situation: Situation, now_s: float, elapsed_s: float) -> Command:
        """The next command.

        Args:
            situation: what is known now.
            now_s: monotonic.
            elapsed_s: since the tick before; more than a tick when this one is late.

        Returns:
            the command; finite whatever the situation holds. Its motion is kept as `motion`.
        """
        if situation.armed and not self._was_armed:
            self.release()  # also where the last motion ended a moment ago
        self._was_armed = situation.armed
        self._take_in(situation, now_s, elapsed_s)
        state = judge(self.times, situation)
        if state is CommandState.FOLLOWING and self._lost_track:
            state = CommandState.NOT_TRACKING
        if state is CommandState.FOLLOWING and not self.begun:
            state = CommandState.POSE_STALE
        clamps: tuple[str, ...] = ()
        if state is CommandState.ESTOP:
            self.motion = Motion.at_rest(self.motion.position)
        elif state is CommandState.FOLLOWING:
            assert situation.wanted is not None  # the judge has seen to it
            share = pace(self.times, situation.surprise)
            wish, too_fast = self._no_faster(np.asarray(situation.wanted, np.float64) * share)
            wanted = self._smooth(wish)
            command = follow(self.limits, self.motion, wanted, self._dt_s, self._arm, self._task)
            clamps = (*command.clamps, *too_fast, *(("surprise",) if share < 1.0 else ()))
            self.motion = command.motion
        else:
            self._smooth(np.zeros(3))
            self.motion = self.motion.after_braking(self.limits.axes, self._dt_s)
        self._tracker.note(now_s + self._dt_s, self.motion.position)
        return Command(self.motion, state, clamps)

    def _no_faster(self, wanted: Vector) -> tuple[Vector, tuple[str, ...]]:
        """A wish about the tool, as fast as it may be in its direction; which limits asked for it.

        Each axis of a base is for itself: one that cannot go sideways may go forwards all the same.
        """
        if not self._located:
            return wanted, ()
        names = self.limits.names if self._task == "axes" else ("tool.x", "tool.y", "tool.z")
        limits = self.limits.axes if self._task == "axes" else self._tool_limits
        if limits is None or wanted.shape != limits.velocity.shape:
            return wanted, ()
        excess = np.abs(wanted) / limits.velocity
        if not excess.max() > 1.0:  # NaN is not above 1: it is stopped elsewhere
            return wanted, ()
        over = tuple(f"velocity.{names[i]}" for i in np.flatnonzero(excess > 1.0))
        return wanted / excess.max(), over

    def _smooth(self, wanted: Vector) -> Vector:
        """A wish about the tool, as steady as the limits of the tool ask for."""
        if self._tool_limits is None or wanted.shape != self._tool.velocity.shape:
            return wanted
        reachable = np.clip(wanted, -self._tool_limits.velocity, self._tool_limits.velocity)
        velocity, acceleration = approach(
            self._tool.velocity, self._tool.acceleration, reachable, self._tool_limits, self._dt_s
        )
        self._tool = Motion(self._tool.position, velocity, acceleration)
        return velocity

    def _take_in(self, situation: Situation, now_s: float, elapsed_s: float) -> None:
        """Bring the position up to date with time and with what was read."""
        if not self._located:
            return
        late_s = elapsed_s - self._dt_s
        if late_s > 0.0 and self._corrected:  # NaN is not above 0
            self._move(self.motion.velocity * min(late_s, _LONGEST_TICK_S))
            self._tracker.note(now_s, self.motion.position)
        if judge_reading(self.times, situation) is not None:
            return
        assert situation.position is not None
        reading = np.asarray(situation.position, np.float64)
        if self._released:
            # With the newest reading, as one from before may be of another place; and with two that
            # agree, as one alone may be an odd one, which agrees with itself at the next tick.
            stamp_ns = situation.position_stamp_ns
            if stamp_ns is None or not self._readings or stamp_ns != self._readings[-1][0]:
                self._readings = [*self._readings[-1:], (stamp_ns, reading)]
            apart = np.abs(reading - self._readings[0][1]).max()
            if len(self._readings) == 2 and apart <= self.times.tracking:
                self.begin(reading)
                self._released = situation.estop or not situation.armed
            return
        taken_s = now_s - max(0.0, situation.position_age_s) - self._delay_s
        error = self._tracker.error(taken_s, reading)
        if error is None:
            return
        far = bool(np.abs(error).max() > self.times.tracking) or self._stuck()
        self._lost_track = (self._lost_track or far) and not self._shadow
        stands = self._lost_track and self.motion.rests
        self._lost_for_s = self._lost_for_s + self._dt_s if stands else 0.0
        if self._corrected and self.motion.rests and self._lost_for_s > _LOST_S:
            self.begin(reading)  # it takes velocities and was told to stand: it is where it is
            return
        if self._corrected and not self._lost_track:
            self._tracker.shift(_CORRECTION * error)
            self._move(_CORRECTION * error)

    def _stuck(self) -> bool:
        """Whether the robot stays or goes elsewhere while it is told to move."""
        back, way = self._tracker.taken_back()
        told = way > _LEAST_WAY * self.times.tracking
        return bool((back > self.times.tracking).any() or (told & (back > _TAKEN_BACK * way)).any())

    def _move(self, change: Vector) -> None:
        self.motion = replace(self.motion, position=self.motion.position + change)
