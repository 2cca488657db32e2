"""Stands in for a robot behind ros2_control with a camera: for tests, and for a first try-out.

Its arm has dynamics, delays, noise and a time-out of its own (`sim.fake_robot`), its camera draws
the arm. Nothing is wrong with it: faults are for others to make.

Subscribes, as its parameter ``interface`` says: ``<controller>/commands`` (Float64MultiArray of
joint velocities or positions, in the order of ``joint_names``), ``<controller>/joint_trajectory``
(JointTrajectory) or ``servo_node/delta_twist_cmds`` (TwistStamped); ``<gripper>/commands``.
Publishes: ``joint_states``, ``tool_pose``, latched ``robot_description``; per camera
``<camera>/image_raw`` or ``<camera>/image_raw/compressed`` and ``<camera>/camera_info``;
``evaluation/truth`` (Float64MultiArray: where tool and joints really are; for evaluation alone).
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from controller.types import NS_PER_S
from ros_nodes import qos
from ros_nodes.convert import (
    ns_to_stamp,
    position_to_pose,
    stamp_to_ns,
    twist_to_velocity,
    values_to_labelled_array,
)
from ros_nodes.fake_hardware import Beat, DrawnCamera
from ros_nodes.params import FakeRobotParameters, ParameterError, declare_parameters
from ros_nodes.process import run_node
from sim.arm_model import ArmModel, draw_arm
from sim.assets import panda_urdf
from sim.camera import TABLE_CAMERAS, named_camera
from sim.fake_robot import FakeArm, ServoDynamics

_SERVO_TIMEOUT_S = 0.1  # MoveIt Servo's own
_GRIPPER_M_S = 0.1
_FASTEST_M_S = 10.0


class FakeRobotNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Build the arm and the topics; time stands still until `start`.

        Raises:
            ValueError: a parameter out of range, or one that does not fit the URDF.
            OSError: there is no such URDF.
        """
        super().__init__("fake_robot_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, FakeRobotParameters)
        if given.robot_description_file:
            urdf = Path(given.robot_description_file).read_text(encoding="utf-8")
        else:
            urdf = panda_urdf().read_text(encoding="utf-8")
        self._names = list(given.joint_names)
        self._model = model = ArmModel(urdf, self._names, given.tool_frame)
        if len(given.start_rad) != len(self._names):
            raise ParameterError(
                f"parameter start_rad: {len(given.start_rad)} numbers for {len(self._names)} joints"
            )
        is_servo = given.interface == "twist_stamped"
        dynamics = ServoDynamics(
            given.natural_hz,
            given.damping,
            given.friction_rad_s,
            given.delay_s,
            given.noise_rad,
            # Servo stops what lies below it; a controller of joints does as it is told to.
            0.0 if is_servo else given.command_timeout_s,
        )
        start = np.array(given.start_rad)
        self._lock = threading.Lock()  # guards the arm: commands come on the executor's thread
        self._arm = FakeArm(
            start, model.low, model.high, model.speed, dynamics, time.monotonic(), given.seed
        )
        # (velocity (3,), monotonic arrival): replaced as a whole
        self._twist: tuple[NDArray[np.float64], float] = (np.zeros(3), float("-inf"))
        self._gripper_m = self._gripper_target_m = given.gripper_high_m
        order = np.arange(len(self._names))
        if given.shuffled:
            order = np.random.default_rng(given.seed).permutation(order)
        self._order = order
        self._image_every = max(1, round(given.state_rate_hz / given.image_rate_hz))
        self._beat = Beat(given.state_rate_hz, self._tick)
        self._subscribe()
        self._cameras = {name: self._camera(name) for name in given.cameras}
        self._joints = self.create_publisher(JointState, "joint_states", qos.STATE)
        self._poses = self.create_publisher(PoseStamped, "tool_pose", qos.STATE)
        self._truths = self.create_publisher(Float64MultiArray, "evaluation/truth", qos.STATE)
        self._description = self.create_publisher(String, "robot_description", qos.LATCHED)
        self._description.publish(String(data=urdf))

    def start(self) -> None:
        """Let time run."""
        self._beat.start()

    def stop(self) -> None:
        """Stop time."""
        self._beat.stop()

    def _subscribe(self) -> None:
        given, controller = self._given, self._given.controller
        if given.interface == "twist_stamped":
            self.create_subscription(
                TwistStamped, "servo_node/delta_twist_cmds", self._on_twist, qos.COMMAND
            )
        elif given.interface == "joint_trajectory":
            topic = f"{controller}/joint_trajectory"
            self.create_subscription(JointTrajectory, topic, self._on_path, qos.COMMAND)
        else:
            topic = f"{controller}/commands"
            self.create_subscription(Float64MultiArray, topic, self._on_values, qos.COMMAND)
        if given.gripper:
            topic = f"{given.gripper}/commands"
            self.create_subscription(Float64MultiArray, topic, self._on_gripper, qos.COMMAND)

    def _camera(self, name: str) -> DrawnCamera:
        camera, given = named_camera(TABLE_CAMERAS, name), self._given
        matrix = camera.intrinsics(given.image_size)
        return DrawnCamera(self, name, matrix, given.compressed)

    # Executor thread

    def _on_values(self, message: Float64MultiArray) -> None:
        values = np.array(message.data, np.float64)
        if values.shape != (len(self._names),) or not np.isfinite(values).all():
            self._warn(f"command of {len(values)} numbers, or not finite: dropped")
            return
        with self._lock:
            if self._given.interface == "joint_velocity":
                self._arm.command_velocity(values, time.monotonic())
            else:
                self._arm.command_position(values, time.monotonic())

    def _on_path(self, message: JointTrajectory) -> None:
        try:
            order = [list(message.joint_names).index(name) for name in self._names]
            rows = np.array([list(point.positions) for point in message.points])[:, order]
            times_s = np.array([stamp_to_ns(p.time_from_start) for p in message.points]) / NS_PER_S
            if not (np.isfinite(rows).all() and (np.diff(times_s) > 0).all() and times_s[0] >= 0):
                raise ValueError("not finite, or times that do not ascend")
            if np.any(message.points[-1].velocities):  # as joint_trajectory_controller has it
                raise ValueError("it ends in motion")
        except (ValueError, IndexError) as error:
            self._warn(f"trajectory dropped: {error}")
            return
        begin_ns = stamp_to_ns(message.header.stamp)
        if begin_ns:  # a stamp of 0 begins on arrival
            late_s = (self.get_clock().now().nanoseconds - begin_ns) / NS_PER_S
            times_s = times_s - late_s
        ahead = times_s > 0
        if not ahead.any():
            self._warn("trajectory that is over already: dropped")
            return
        with self._lock:
            self._arm.command_path(times_s[ahead], rows[ahead], time.monotonic())

    def _on_twist(self, message: TwistStamped) -> None:
        velocity = twist_to_velocity(message)
        sane = (np.abs(velocity) <= _FASTEST_M_S).all()  # which NaN is not
        if sane and message.header.frame_id in ("", self._given.base_frame):
            self._twist = (velocity, time.monotonic())
        else:
            self._warn("twist that is not one for an arm, or in another frame: dropped")

    def _on_gripper(self, message: Float64MultiArray) -> None:
        if len(message.data) == 1 and np.isfinite(message.data[0]):
            low, high = self._given.gripper_low_m, self._given.gripper_high_m
            self._gripper_target_m = float(np.clip(message.data[0], low, high))

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=1.0)

    # The robot's thread

    def _tick(self, now_s: float, number: int) -> None:
        self._advance(now_s, 1.0 / self._given.state_rate_hz)
        self._publish_state()
        if number % self._image_every == 0:
            self._publish_images()

    def _advance(self, now_s: float, period_s: float) -> None:
        with self._lock:
            if self._given.interface == "twist_stamped":
                velocity, arrived_s = self._twist
                if now_s - arrived_s > (self._given.command_timeout_s or _SERVO_TIMEOUT_S):
                    velocity = np.zeros(3)
                speeds = self._model.joint_speeds(self._arm.position, velocity)
                self._arm.command_velocity(speeds, now_s)
            self._arm.advance(now_s)
        step_m = _GRIPPER_M_S * period_s
        self._gripper_m += float(np.clip(self._gripper_target_m - self._gripper_m, -step_m, step_m))

    def _publish_state(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        position, velocity = self._arm.reading()
        if self._given.nan_velocity:
            velocity = np.full_like(velocity, np.nan)
        joints = JointState(
            name=[self._names[i] for i in self._order],
            position=position[self._order].tolist(),
            velocity=velocity[self._order].tolist(),
        )
        if self._given.gripper:
            joints.name.append(self._given.gripper_joint)
            joints.position.append(self._gripper_m)
            joints.velocity.append(0.0)
        joints.header.stamp = ns_to_stamp(stamp_ns)
        self._joints.publish(joints)
        place, turn = self._model.tool_pose(position)
        pose = position_to_pose(place, stamp_ns, self._given.base_frame)
        orientation = pose.pose.orientation
        orientation.x, orientation.y, orientation.z, orientation.w = (float(v) for v in turn)
        self._poses.publish(pose)

    def _publish_images(self) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        joints = self._arm.position.copy()
        chain, size = self._model.chain(joints), self._given.image_size
        for name, camera in self._cameras.items():
            camera.publish(draw_arm(chain, TABLE_CAMERAS[name], size), stamp_ns)
        truth = dict(zip(self._names, joints.tolist(), strict=True))
        for axis, value in zip("xyz", chain[-1], strict=True):
            truth[f"tool_position_m.{axis}"] = float(value)
        self._truths.publish(values_to_labelled_array(truth))


def main() -> None:
    """Entry point."""
    sys.exit(run_node("fake_robot_node", FakeRobotNode))


if __name__ == "__main__":
    main()
