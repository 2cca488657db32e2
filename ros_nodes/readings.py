"""From timed robot readings to the proprio vector a model wants: by name, of the right moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from ros_nodes.convert import BASE_ACTIONS, twist_to_base

Reading = TypeVar("Reading")
_KEPT_NS = 1_000_000_000
_KEPT = 2000  # where stamps do not go on
_ANEW_NS = 100_000_000


class ReadingBuffer(Generic[Reading]):
    """The last readings of one topic with their stamps.

    One thread adds, another looks up: a deque's append, popleft and copy are each one step of the
    interpreter.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._readings: deque[tuple[int, Reading]] = deque(maxlen=_KEPT)

    def add(self, stamp_ns: int, reading: Reading) -> None:
        """Take in a reading; one from long before the last begins a new time (a reset clock)."""
        if self._readings and stamp_ns < self._readings[-1][0] - _ANEW_NS:
            self._readings.clear()
        while self._readings and stamp_ns - self._readings[0][0] > _KEPT_NS:
            self._readings.popleft()
        self._readings.append((stamp_ns, reading))

    def nearest(self, stamp_ns: int, max_skew_ns: int) -> Reading | None:
        """The reading taken nearest to a stamp; ``None`` when none is near enough."""
        readings = self._readings.copy()
        if not readings:
            return None
        taken_ns, reading = min(readings, key=lambda item: abs(item[0] - stamp_ns))
        return reading if abs(taken_ns - stamp_ns) <= max_skew_ns else None


def assemble_proprio(
    names: Sequence[str],
    joints: JointState | None,
    pose: PoseStamped | None,
    odometry: Odometry | None = None,
) -> NDArray[np.float32]:
    """The readings a model names, in its order.

    Args:
        names: ``<joint>.position`` (rad), ``<joint>.velocity`` (rad/s), ``tool.x|y|z`` (m),
            ``base.vx|vy`` (m/s), ``base.wz`` (rad/s).
        joints: indexed by name, never by order; its velocities may be missing if nobody asks.
        pose: of the tool.
        odometry: of the base.

    Returns:
        ``(P,)``; values are passed on as they are, NaN included, for the agent to judge.

    Raises:
        ValueError: a reading that is not there; names it.
    """
    values = np.empty(len(names), np.float32)
    index = {name: i for i, name in enumerate(joints.name)} if joints is not None else {}
    for slot, name in enumerate(names):
        source, _, quantity = name.rpartition(".")
        if source == "tool" and quantity in ("x", "y", "z"):
            if pose is None:
                raise ValueError(f"reading {name}: no tool_pose of that moment")
            values[slot] = getattr(pose.pose.position, quantity)
        elif name in BASE_ACTIONS:
            if odometry is None:
                raise ValueError(f"reading {name}: no odom of that moment")
            values[slot] = twist_to_base(odometry.twist.twist)[BASE_ACTIONS.index(name)]
        elif quantity in ("position", "velocity"):
            if joints is None:
                raise ValueError(f"reading {name}: no joint_states of that moment")
            if source not in index:
                raise ValueError(f"reading {name}: joint_states has no joint {source!r}")
            numbers = getattr(joints, quantity)
            if index[source] >= len(numbers):
                raise ValueError(f"reading {name}: joint_states gives no {quantity}")
            values[slot] = numbers[index[source]]
        else:
            raise ValueError(f"reading {name}: nothing on this robot is called that")
    return values
