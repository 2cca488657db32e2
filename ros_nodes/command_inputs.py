"""What `command_node` knows: the newest plan, reading, plan status and process of the agent.

The executor's thread takes messages in; the ticking thread asks for the situation. Everything kept
is replaced as a whole, so that only the schedule of plans needs a lock.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from controller.command_filter import Situation
from controller.plan_schedule import PlanSchedule
from controller.surprise_hold import SurpriseHold
from controller.types import NS_PER_S
from ros_nodes.command_interfaces import action_names
from ros_nodes.convert import (
    GRIPPER_ACTION,
    diagnostic_values,
    pose_to_position,
    stamp_to_ns,
    trajectory_to_plan,
)
from ros_nodes.params import CommandParameters
from ros_nodes.process_watch import ProcessWatch

# A reading that is older than the one before by less than this came late; by more, its source
# started anew.
_LATE_NS = NS_PER_S
# What is moved meanwhile says how fast a robot is that does not say so itself: long enough for the
# noise of two readings not to look like motion.
_MOMENT_NS = NS_PER_S // 10
_LAST_NS = 2**63  # what a stamp of ROS can be, and more than that


class _Reading(NamedTuple):
    """Where the axes are ``(N,)``, stamp, monotonic arrival, and their speed; NaN if not known."""

    position: NDArray[np.float64]
    stamp_ns: int
    arrived_s: float
    speed: float


class _Gripper(NamedTuple):
    """Where its fingers are, m, NaN included; stamp and monotonic arrival."""

    place_m: float
    stamp_ns: int
    arrived_s: float


class _Status(NamedTuple):
    """Of the newest plan: since when its image is news, surprise, monotonic arrival."""

    image_news_ns: int
    surprise: float
    arrived_s: float


class CommandInputs:
    """See the module's text."""

    def __init__(self, given: CommandParameters) -> None:
        """Nothing is known yet."""
        self._given = given
        self._names = action_names(given)
        self._lock = threading.Lock()
        self._schedule = PlanSchedule()
        self._reading: _Reading | None = None
        self._moment_ago: _Reading | None = None
        self._status: _Status | None = None
        self._agent: ProcessWatch | None = None
        self._gripper: _Gripper | None = None
        self._hold = SurpriseHold(given.slow_surprise, given.stop_surprise)

    # Executor thread; each raises ValueError for a message that is dropped, and says why

    def take_plan(self, message: JointTrajectory, now_s: float) -> None:
        """A plan."""
        frame = message.header.frame_id
        if not message.points:  # stop, whatever else it says
            message = JointTrajectory(header=message.header, joint_names=self._names)
        elif frame not in ("", self._given.base_frame):
            raise ValueError(f"plan is in frame {frame!r}, expected {self._given.base_frame!r}")
        plan = trajectory_to_plan(message, self._names, "an action of this robot")
        with self._lock:
            self._schedule.add(plan, now_s)

    def take_pose(self, message: PoseStamped, now_s: float) -> None:
        """Where the tool is."""
        frame = message.header.frame_id
        if frame != self._given.base_frame:
            raise ValueError(
                f"tool_pose is in frame {frame!r}, expected {self._given.base_frame!r}"
            )
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._take_reading(pose_to_position(message), stamp_ns, now_s, float("nan"))

    def take_gripper(self, message: JointState, now_s: float) -> None:
        """Where the gripper is, if it is one of these joints."""
        if not self._given.gripper_joint:
            return
        places = dict(zip(message.name, message.position, strict=False))
        if self._given.gripper_joint in places:
            place_m = float(places[self._given.gripper_joint])
            self._gripper = _Gripper(place_m, stamp_to_ns(message.header.stamp), now_s)

    def take_joints(self, message: JointState, now_s: float) -> None:
        """Where the joints are; by name, in any order, others among them."""
        index = {name: i for i, name in enumerate(message.name)}
        positions, speed = np.array(message.position), float("nan")
        self.take_gripper(message, now_s)
        missing = [name for name in self._given.joint_names if name not in index]
        if missing:
            raise ValueError(f"joint_states has no joint {missing[0]!r}")
        places = [index[name] for name in self._given.joint_names]
        if max(places) >= len(positions):
            raise ValueError(f"joint_states names {len(index)} joints, has {len(positions)}")
        if max(places) < len(message.velocity):
            speed = float(np.abs(np.array(message.velocity)[places]).max())
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._take_reading(positions[places], stamp_ns, now_s, speed)

    def _take_reading(
        self, position: NDArray[np.float64], stamp_ns: int, now_s: float, speed: float
    ) -> None:
        if not np.isfinite(position).all():
            raise ValueError(f"a reading is not finite: {position.tolist()}")
        before = self._reading
        if before is not None and 0 < before.stamp_ns - stamp_ns < _LATE_NS:
            raise ValueError("a reading came after a newer one")
        if not np.isfinite(speed):
            speed = self._speed(position, stamp_ns)
        self._reading = _Reading(position, stamp_ns, now_s, speed)

    def _speed(self, position: NDArray[np.float64], stamp_ns: int) -> float:
        """How fast the axes were in the last moment, by where they were; NaN if not known."""
        kept, now = self._moment_ago, _Reading(position, stamp_ns, 0.0, float("nan"))
        if kept is None or not 0 <= stamp_ns - kept.stamp_ns < 5 * _MOMENT_NS:
            kept = now
        elif stamp_ns - kept.stamp_ns >= _MOMENT_NS:
            moved = float(np.abs(position - kept.position).max())
            kept = now._replace(speed=moved * NS_PER_S / (stamp_ns - kept.stamp_ns))
        self._moment_ago = kept
        return kept.speed

    def take_status(self, message: DiagnosticArray, now_s: float) -> None:
        """What the agent says of the plan it just made."""
        values = diagnostic_values(message)
        try:
            frame_ns = int(values["image_news_ns"])
            if not -_LAST_NS < frame_ns < _LAST_NS:
                raise ValueError(f"image_news_ns is {frame_ns}")
            known = values.get("surprise_known", "1") != "0" and "surprise" in values
            surprise = float(values["surprise"]) if known else None
        except (KeyError, ValueError) as error:
            raise ValueError(f"plan_status: {error}") from error
        self._status = _Status(frame_ns, self._hold.counts(surprise, now_s), now_s)

    def take_agent(self, text: str) -> None:
        """Which process the agent is."""
        self._agent = ProcessWatch(text)

    def forget_plans(self) -> None:
        """Motion begins with a plan made from now on."""
        with self._lock:
            self._schedule.clear()

    def forget(self) -> None:
        """The clock is another one: no stamp that was heard means anything."""
        self.forget_plans()
        self._reading = self._moment_ago = self._status = self._gripper = None

    # Any thread

    @property
    def agent(self) -> str:
        """What the agent's process does: ``unknown``, ``runs``, ``stands still`` or ``gone``."""
        agent = self._agent
        return "unknown" if agent is None else agent.state()

    @property
    def images_are_watched(self) -> bool:
        """Whether an agent has said how old the images are that it plans from."""
        return self._status is not None and self._given.max_image_age_s > 0.0

    @property
    def speed(self) -> float:
        """The largest speed of an axis, per second, in the newest reading; NaN if not known."""
        return float("nan") if self._reading is None else self._reading.speed

    def gripper_m(self, stamp_ns: int, now_s: float) -> float | None:
        """Where the gripper is; None where that is not known, or no longer."""
        gripper = self._gripper
        if gripper is None or not np.isfinite(gripper.place_m):
            return None
        age_s = _age_s(gripper.stamp_ns, gripper.arrived_s, stamp_ns, now_s)
        return gripper.place_m if abs(age_s) <= self._given.max_pose_age_s else None

    def situation(
        self, stamp_ns: int, now_s: float, armed: bool, estop: bool
    ) -> tuple[Situation, float]:
        """What is known now.

        Args:
            stamp_ns: now, on the node's clock.
            now_s: now, monotonic.
            armed: whether motion is allowed.
            estop: whether the e-stop is latched.

        Returns:
            the situation, and the gripper's speed that the plan asks for.
        """
        with self._lock:
            plan, newest = self._schedule.in_force(stamp_ns), self._schedule.newest
            plan_age_s = self._schedule.age_s(stamp_ns, now_s)
        action = None if plan is None else plan.action_at(stamp_ns).astype(np.float64)
        gripper = 0.0
        if action is not None and self._names[-1] == GRIPPER_ACTION:
            action, gripper = action[:-1], float(action[-1])
        reading, agent = self._reading, self.agent
        situation = Situation(
            armed=armed,
            estop=estop,
            wanted=action,
            plan_usable=newest is not None and newest.usable,
            plan_age_s=plan_age_s,
            plan_ahead_s=0.0 if newest is None else (newest.start_ns - stamp_ns) / NS_PER_S,
            position=None if reading is None else reading.position,
            position_age_s=float("inf")
            if reading is None
            else _age_s(reading.stamp_ns, reading.arrived_s, stamp_ns, now_s),
            image_age_s=self._image_age_s(agent, stamp_ns, now_s),
            agent_alive=agent in ("unknown", "runs"),
            surprise=0.0 if self._status is None else self._status.surprise,
            position_stamp_ns=None if reading is None else reading.stamp_ns,
        )
        return situation, gripper

    def _image_age_s(self, agent: str, stamp_ns: int, now_s: float) -> float:
        """Age of the image that is planned from.

        Where no agent is known of, the plans are a program's, which plans from none. One that is
        known, and never says what it plans from, cannot be trusted to see.
        """
        status = self._status
        if status is None:
            return 0.0 if agent == "unknown" else float("inf")
        return _age_s(status.image_news_ns, status.arrived_s, stamp_ns, now_s)


def _age_s(stamp_ns: int, arrived_s: float, now_ns: int, now_s: float) -> float:
    """The larger of since-arrival and now-minus-stamp; negative for a stamp in the future."""
    by_stamp_s = (now_ns - stamp_ns) / NS_PER_S
    return by_stamp_s if by_stamp_s < 0.0 else max(by_stamp_s, now_s - arrived_s)
