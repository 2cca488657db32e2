"""Stands in for a mobile base behind diff_drive_controller, with a camera above: a first try-out.

Its wheels have dynamics, delay, noise and slip, its controller a time-out of its own
(`sim.fake_base`). It cannot go sideways, and what asks for that is ignored, as the controller does.
Nothing is wrong with it: faults are for others to make.

Subscribes: ``cmd_vel`` (Twist, or TwistStamped with ``cmd_vel_stamped``).
Publishes: ``joint_states`` of the wheels, ``odom`` (Odometry; there is no tf); ``scene/image_raw``
or ``scene/image_raw/compressed`` and ``scene/camera_info``; ``evaluation/truth``
(Float64MultiArray: where the base really is; for evaluation alone).
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from ros_nodes import qos
from ros_nodes.convert import base_to_twist, ns_to_stamp, twist_to_base, values_to_labelled_array
from ros_nodes.fake_hardware import Beat, DrawnCamera
from ros_nodes.params import FakeBaseParameters, ParameterError, declare_parameters
from ros_nodes.process import run_node
from sim.camera import ROOM_CAMERAS
from sim.fake_base import FakeBase, Wheels, draw_base
from sim.fake_robot import ServoDynamics

_CAMERA = ROOM_CAMERAS["scene"]
_FASTEST = 10.0  # m/s or rad/s


class FakeBaseNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Build the base and the topics; time stands still until `start`.

        Raises:
            ValueError: a parameter out of range.
        """
        super().__init__("fake_base_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, FakeBaseParameters)
        if len(given.joint_names) != 2:
            raise ParameterError(f"parameter joint_names: two wheels, not {given.joint_names}")
        wheels = Wheels(
            given.wheel_radius_m, given.wheel_separation_m, given.wheel_speed_rad_s, given.slip
        )
        dynamics = ServoDynamics(
            given.natural_hz,
            given.damping,
            given.friction_rad_s,
            given.delay_s,
            given.noise_rad,
            given.command_timeout_s,
        )
        self._lock = threading.Lock()  # guards the base: commands come on the executor's thread
        start = np.array(given.start)
        self._base = FakeBase(start, wheels, dynamics, time.monotonic(), given.seed)
        self._image_every = max(1, round(given.state_rate_hz / given.image_rate_hz))
        self._beat = Beat(given.state_rate_hz, self._tick)
        matrix = _CAMERA.intrinsics(given.image_size)
        self._camera = DrawnCamera(self, given.camera, matrix, given.compressed)
        self._joints = self.create_publisher(JointState, "joint_states", qos.STATE)
        self._odometry = self.create_publisher(Odometry, "odom", qos.STATE)
        self._truths = self.create_publisher(Float64MultiArray, "evaluation/truth", qos.STATE)
        kind = TwistStamped if given.cmd_vel_stamped else Twist
        self.create_subscription(kind, "cmd_vel", self._on_command, qos.COMMAND)

    def start(self) -> None:
        """Let time run."""
        self._beat.start()

    def stop(self) -> None:
        """Stop time."""
        self._beat.stop()

    # Executor thread

    def _on_command(self, message: Twist | TwistStamped) -> None:
        twist = message.twist if self._given.cmd_vel_stamped else message
        forwards, _, turning = twist_to_base(twist).tolist()
        if not (abs(forwards) <= _FASTEST and abs(turning) <= _FASTEST):  # which NaN is not
            self.get_logger().warning(
                f"cmd_vel {forwards} m/s, {turning} rad/s is not one for a base: dropped",
                throttle_duration_sec=1.0,
            )
            return
        with self._lock:
            self._base.command(forwards, turning, time.monotonic())

    # The base's thread

    def _tick(self, now_s: float, number: int) -> None:
        with self._lock:
            self._base.advance(now_s)
        stamp_ns = self.get_clock().now().nanoseconds
        self._publish_state(stamp_ns)
        if number % self._image_every == 0:
            pose = self._base.pose
            self._camera.publish(draw_base(pose, _CAMERA, self._given.image_size), stamp_ns)
            names = ("base_position_m.x", "base_position_m.y", "base_heading_rad")
            truth = dict(zip(names, pose.tolist(), strict=True))
            self._truths.publish(values_to_labelled_array(truth))

    def _publish_state(self, stamp_ns: int) -> None:
        reading = self._base.reading()
        joints = JointState(
            name=list(self._given.joint_names),
            position=reading.position.tolist(),
            velocity=reading.velocity.tolist(),
        )
        joints.header.stamp = ns_to_stamp(stamp_ns)
        self._joints.publish(joints)
        message = Odometry(child_frame_id=self._given.base_frame)
        message.header.stamp = ns_to_stamp(stamp_ns)
        message.header.frame_id = self._given.odom_frame
        x_m, y_m, heading = reading.pose.tolist()
        pose = message.pose.pose
        pose.position.x, pose.position.y = x_m, y_m
        pose.orientation.z, pose.orientation.w = np.sin(heading / 2.0), np.cos(heading / 2.0)
        velocity = np.array([reading.forwards_m_s, 0.0, reading.turning_rad_s])
        message.twist.twist = base_to_twist(velocity, stamp_ns, self._given.base_frame).twist
        self._odometry.publish(message)


def main() -> None:
    """Entry point."""
    sys.exit(run_node("fake_base_node", FakeBaseNode))


if __name__ == "__main__":
    main()
