"""Moves the tool about in a box, so that there is something to record and learn from.

It takes the agent's place: its plans go through `command_node` and its limits, and nothing moves
before that is armed. `controller.exploration` decides where to.

Subscribes: ``tool_pose`` (PoseStamped). Publishes: ``plan`` (JointTrajectory).
"""

from __future__ import annotations

import sys
import time

import numpy as np
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from controller.exploration import Exploration, ExplorationBox
from ros_nodes import qos
from ros_nodes.convert import plan_to_trajectory, pose_to_position
from ros_nodes.params import ExploreParameters, declare_parameters
from ros_nodes.process import run_node

_ACTION_NAMES = ("tool.vx", "tool.vy", "tool.vz")
_PLAN_S = 0.5  # a plan outlives the command node's patience, which is what stops a robot
_MAX_POSE_AGE_S = 0.2


class ExploreNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Declare parameters, create topics.

        Raises:
            ValueError: a box that is none.
        """
        super().__init__("explore_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, ExploreParameters)
        (x0, y0, z0), (x1, y1, z1) = given.low_m, given.high_m
        box = ExplorationBox((x0, y0, z0), (x1, y1, z1), given.speed_m_s)
        self._exploration = Exploration(box, np.random.default_rng(given.seed))
        self._pose: tuple[np.ndarray, float] | None = None  # position, monotonic arrival
        self._plans = self.create_publisher(JointTrajectory, "plan", qos.COMMAND)
        self.create_subscription(PoseStamped, "tool_pose", self._on_pose, qos.SENSOR)

    def start(self) -> None:
        """Begin to plan."""
        self.create_timer(1.0 / self._given.rate_hz, self._plan)

    def stop(self) -> None:
        """Nothing to stop: without new plans the command node brakes."""

    def _on_pose(self, message: PoseStamped) -> None:
        position_m = pose_to_position(message)
        if message.header.frame_id != self._given.base_frame:
            self._warn(
                f"tool_pose is in frame {message.header.frame_id!r}, expected "
                f"{self._given.base_frame!r}: dropped"
            )
        elif not np.isfinite(position_m).all():
            self._warn("tool_pose is not finite: dropped")
        else:
            self._pose = (position_m, time.monotonic())

    def _plan(self) -> None:
        if self._pose is None or time.monotonic() - self._pose[1] > _MAX_POSE_AGE_S:
            return
        stamp_ns = self.get_clock().now().nanoseconds
        period_s = 1.0 / self._given.rate_hz
        plan = self._exploration.plan(self._pose[0], stamp_ns, period_s, _PLAN_S)
        self._plans.publish(plan_to_trajectory(plan, _ACTION_NAMES, self._given.base_frame))

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=1.0)


def main() -> None:
    """Entry point."""
    sys.exit(run_node("explore_node", ExploreNode))


if __name__ == "__main__":
    main()
