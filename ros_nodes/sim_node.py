"""A simulated robot with cameras, in real time, behind the topics a ros2_control robot has.

One thread owns the world and steps it with absolute deadlines; the executor's thread only stores
the newest command. The robot stops by itself when commands stop coming, as MoveIt Servo does.

Subscribes: ``servo_node/delta_twist_cmds`` (TwistStamped); with a gripper ``<gripper>/commands``
(Float64MultiArray, one number: where its fingers are to be, m).
Publishes: ``<camera>/image_raw``, ``<camera>/camera_info``, ``joint_states``, ``tool_pose``
(PoseStamped), and ``evaluation/truth`` (Float64MultiArray with names; for evaluation alone, no
agent may subscribe to it). Service: ``~/reset`` (Trigger): start over with the parameter ``seed``.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger

import sim  # noqa: F401 registers the environments
from controller.types import NS_PER_S
from ros_nodes import qos
from ros_nodes.convert import (
    action_axes,
    array_to_image,
    camera_info,
    ns_to_stamp,
    position_to_pose,
    split_gripper,
    twist_to_velocity,
    values_to_labelled_array,
)
from ros_nodes.params import SimParameters, declare_parameters
from ros_nodes.process import run_node
from sim.camera import CameraSpec, named_camera
from sim.envs.base import WorldEnv

# After a pause of the whole machine the world does not race to catch up.
_MAX_ADVANCE_S = 0.1
_RESET_TIMEOUT_S = 5.0
_FASTEST_M_S = 10.0
# The fingers take this long to about where they are told to be, at most at their own speed.
_FINGER_TIME_S = 0.05
_BEGIN_NS = NS_PER_S  # a stamp of 0 means that there is none


class SimNode(Node):
    """See the module's text. Everything public is called by `run_node` on the main thread."""

    def __init__(self) -> None:
        """Build the world and the topics; time stands still until `start`.

        Raises:
            ValueError: unknown world or camera, or a parameter out of range.
        """
        super().__init__("sim_node", automatically_declare_parameters_from_overrides=True)
        self._given = given = declare_parameters(self, SimParameters)
        try:
            env = gymnasium.make(given.env_id, image_size=given.image_size, camera=given.cameras[0])
        except gymnasium.error.Error as error:
            raise ValueError(f"parameter env_id: {error}") from error
        core = env.unwrapped
        assert isinstance(core, WorldEnv)
        try:
            of_arm, has_gripper = split_gripper(core.action_names)
            self._axes = list(action_axes(of_arm))
        except ValueError as error:
            env.close()
            raise ValueError(
                f"parameter env_id: {given.env_id}: {error}, which is all that these topics carry; "
                "it runs in one process: foresee run, foresee eval"
            ) from error
        self._env = core
        self._finger: int | None = None  # which reading says where the fingers are
        names = [n for n in self._env.proprio_names if n.endswith(".position")]
        self._joint_names = [n.removesuffix(".position") for n in names]
        index = {name: i for i, name in enumerate(self._env.proprio_names)}
        self._positions = [index[n] for n in names]
        self._velocities = [index[f"{n}.velocity"] for n in self._joint_names]
        self._tool = [index[f"tool.{axis}"] for axis in "xyz"]
        # (velocity (3,), monotonic arrival): replaced as a whole
        self._command: tuple[np.ndarray, float] = (np.zeros(3), float("-inf"))
        self._finger_target_m: float | None = None
        self._stop = threading.Event()
        self._reset_wanted = threading.Event()
        self._reset_done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="world", daemon=True)

        self._cameras = {
            name: _CameraTopics(
                named_camera(self._env.cameras, name),
                self.create_publisher(Image, f"{name}/image_raw", qos.SENSOR),
                self.create_publisher(CameraInfo, f"{name}/camera_info", qos.SENSOR),
            )
            for name in given.cameras
        }
        self._clock_publisher = None
        self._time_ns = _BEGIN_NS  # of the world, since it began
        if given.publish_clock:
            if self.get_parameter("use_sim_time").value:
                raise ValueError(
                    "parameter publish_clock: the clock cannot follow itself; leave "
                    "use_sim_time to the other nodes"
                )
            self._clock_publisher = self.create_publisher(Clock, "/clock", qos.CLOCK)
        self._joints = self.create_publisher(JointState, "joint_states", qos.STATE)
        self._poses = self.create_publisher(PoseStamped, "tool_pose", qos.STATE)
        self._truths = self.create_publisher(Float64MultiArray, "evaluation/truth", qos.STATE)
        self.create_subscription(
            TwistStamped, "servo_node/delta_twist_cmds", self._on_command, qos.COMMAND
        )
        if has_gripper:
            finger = f"{self._joint_names[-1]}.position"
            self._finger = index[finger]
            topic = f"{given.gripper}/commands"
            self.create_subscription(Float64MultiArray, topic, self._on_gripper, qos.COMMAND)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._env.reset(seed=given.seed)

    def start(self) -> None:
        """Let time run."""
        self._thread.start()

    def stop(self) -> None:
        """Stop time and end the world."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._env.close()

    # Executor thread

    def _on_command(self, message: TwistStamped) -> None:
        velocity = twist_to_velocity(message)
        if message.header.frame_id not in ("", self._given.base_frame):
            self._warn(
                f"command in frame {message.header.frame_id!r}, expected "
                f"{self._given.base_frame!r}: dropped"
            )
        elif not (np.abs(velocity) <= _FASTEST_M_S).all():  # nor NaN: physics would never recover
            self._warn(f"command {velocity.tolist()} m/s is not one for an arm: dropped")
        else:
            self._command = (velocity, time.monotonic())

    def _on_gripper(self, message: Float64MultiArray) -> None:
        if len(message.data) == 1 and math.isfinite(message.data[0]):
            self._finger_target_m = float(message.data[0])
        else:
            self._warn(f"gripper command {list(message.data)[:4]} is not one number: dropped")

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._reset_done.clear()
        self._reset_wanted.set()
        response.success = self._reset_done.wait(_RESET_TIMEOUT_S)
        seed = self.get_parameter("seed").value
        response.message = f"seed {seed}" if response.success else "the world does not answer"
        return response

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=1.0)

    # World thread

    def _run(self) -> None:
        period_s = 1.0 / self._given.state_rate_hz
        image_every = max(1, round(self._given.state_rate_hz / self._given.image_rate_hz))
        tick = 0
        deadline_s = time.monotonic() + period_s
        while not self._stop.is_set():
            time.sleep(max(0.0, deadline_s - time.monotonic()))
            if self._reset_wanted.is_set():
                self._reset_wanted.clear()
                self._env.reset(seed=int(self.get_parameter("seed").value))
                self._finger_target_m = None
                self._time_ns = _BEGIN_NS
                deadline_s = time.monotonic()
                self._reset_done.set()
            behind = max(0, int((time.monotonic() - deadline_s) / period_s))
            self._advance(min((behind + 1) * period_s, _MAX_ADVANCE_S))
            self._publish_state()
            # Of several ticks run as one, any may have been the camera's.
            if (tick + behind) // image_every > (tick - 1) // image_every:
                self._publish_images()
            tick += behind + 1
            deadline_s += (behind + 1) * period_s

    def _advance(self, duration_s: float) -> None:
        velocity, arrival_s = self._command
        if time.monotonic() - arrival_s > self._given.command_timeout_s:
            velocity = np.zeros(3)
        action = velocity[self._axes]
        if self._finger is not None:
            action = np.append(action, self._finger_speed())
        self._env.command(action.astype(np.float32))
        self._env.advance(duration_s)
        self._time_ns += round(duration_s * NS_PER_S)
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=ns_to_stamp(self._time_ns)))

    def _finger_speed(self) -> float:
        """How fast the fingers open on their way to where they were told to be, m/s."""
        if self._finger_target_m is None:
            return 0.0
        return (self._finger_target_m - float(self._env.proprio()[self._finger])) / _FINGER_TIME_S

    def _now_ns(self) -> int:
        if self._clock_publisher is not None:
            return self._time_ns
        return int(self.get_clock().now().nanoseconds)

    def _publish_state(self) -> None:
        stamp_ns = self._now_ns()
        readings = self._env.proprio().astype(float)
        joints = JointState(
            name=self._joint_names,
            position=readings[self._positions].tolist(),
            velocity=readings[self._velocities].tolist(),
        )
        joints.header.stamp = ns_to_stamp(stamp_ns)
        self._joints.publish(joints)
        self._poses.publish(
            position_to_pose(readings[self._tool], stamp_ns, self._given.base_frame)
        )

    def _publish_images(self) -> None:
        # Before rendering: that is the capture time. The world stands still for all cameras.
        stamp_ns = self._now_ns()
        for name, camera in self._cameras.items():
            image = array_to_image(self._env.view(name), stamp_ns, f"{name}_optical_frame")
            camera.images.publish(image)
            matrix = camera.spec.intrinsics(image.height)
            camera.infos.publish(camera_info(matrix, image))
        self._truths.publish(values_to_labelled_array(_flatten(self._env.truth())))


class _CameraTopics(NamedTuple):
    """One camera and where its images go."""

    spec: CameraSpec
    images: Publisher
    infos: Publisher


def _flatten(truth: dict[str, Any]) -> dict[str, float]:
    """``{"tool_position_m": (x, y, z)}`` to ``{"tool_position_m.x": x, …}``."""
    values: dict[str, float] = {}
    for name, value in truth.items():
        if np.ndim(value) == 0:
            values[name] = float(value)
        else:
            values |= {f"{name}.{a}": float(v) for a, v in zip("xyz", value, strict=False)}
    return values


def main() -> None:
    """Entry point."""
    sys.exit(run_node("sim_node", SimNode))


if __name__ == "__main__":
    main()
