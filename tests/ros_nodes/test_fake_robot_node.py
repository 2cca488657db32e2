"""The stand-in for hardware as nodes see it: four robots side by side in one domain, namespaced."""

import os
import time

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.convert import image_to_array
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import FakeRobotParameters
from ros_nodes.process import Spinner
from ros_nodes.transport import transport_environment
from world_model.data.images import decode_message

ROBOTS = {
    "velocity": FakeRobotParameters(interface="joint_velocity", gripper="gripper_controller"),
    "position": FakeRobotParameters(interface="joint_position", shuffled=True, seed=3),
    "trajectory": FakeRobotParameters(interface="joint_trajectory", nan_velocity=True),
    "servo": FakeRobotParameters(interface="twist_stamped", compressed=True),
}
NAMES = list(FakeRobotParameters().joint_names)
START = np.array(FakeRobotParameters().start_rad)


class World:
    """Listens to all of them and can command each."""

    def __init__(self, domain_id):
        os.environ.update(transport_environment(domain_id))
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        self.node = Node("test", context=self.context)
        self.joints: dict[str, JointState] = {}
        self.images: dict[str, object] = {}
        self.infos: dict[str, CameraInfo] = {}
        self.descriptions: dict[str, String] = {}
        for name, given in ROBOTS.items():
            self._listen(name, given)
        self.publishers = {
            "velocity": self._publisher(Float64MultiArray, "velocity/arm_controller/commands"),
            "gripper": self._publisher(Float64MultiArray, "velocity/gripper_controller/commands"),
            "position": self._publisher(Float64MultiArray, "position/arm_controller/commands"),
            "trajectory": self._publisher(
                JointTrajectory, "trajectory/arm_controller/joint_trajectory"
            ),
            "servo": self._publisher(TwistStamped, "servo/servo_node/delta_twist_cmds"),
        }
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        self.spinner = Spinner(executor)

    def _publisher(self, kind, topic):
        return self.node.create_publisher(kind, topic, qos.COMMAND_LOG)

    def _listen(self, name, given):
        def put(where):
            return lambda message: where.__setitem__(name, message)

        image = (
            (CompressedImage, "image_raw/compressed") if given.compressed else (Image, "image_raw")
        )
        for kind, topic, where, quality in (
            (JointState, "joint_states", self.joints, qos.SENSOR),
            (image[0], f"scene/{image[1]}", self.images, qos.SENSOR),
            (CameraInfo, "scene/camera_info", self.infos, qos.SENSOR),
            (String, "robot_description", self.descriptions, qos.LATCHED),
        ):
            self.node.create_subscription(kind, f"{name}/{topic}", put(where), quality)

    def send(self, name, message):
        publisher = self.publishers[name]
        assert eventually(lambda: publisher.get_subscription_count() > 0)
        publisher.publish(message)

    def at(self, name) -> np.ndarray:
        """Joint positions by name."""
        message = self.joints[name]
        return np.array([message.position[list(message.name).index(n)] for n in NAMES])

    def close(self):
        self.spinner.stop()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    nodes = [NodeSpec("fake_robot_node", p, namespace=name) for name, p in ROBOTS.items()]
    with Graph(nodes, tmp_path_factory.mktemp("robots")) as graph:
        graph.wait_ready(PATIENCE_S)
        world = World(graph.domain_id)
        assert eventually(lambda: world.joints.keys() == world.images.keys() == ROBOTS.keys())
        yield world
        world.close()
        assert set(graph.stop().values()) == {0}


def _text(world, name) -> str:
    return world.descriptions[name].data if name in world.descriptions else ""


def test_each_stands_where_it_begins_and_describes_itself(world):
    for name in ROBOTS:
        np.testing.assert_allclose(world.at(name), START, atol=1e-3)
        assert eventually(lambda name=name: "panda_joint7" in _text(world, name))
    assert list(world.joints["position"].name) != NAMES  # another order
    assert np.isnan(world.joints["trajectory"].velocity).all()


def test_a_velocity_is_kept_until_another_comes(world):
    world.send("velocity", Float64MultiArray(data=[0.1, 0, 0, 0, 0, 0, 0]))
    assert eventually(lambda: world.at("velocity")[0] > 0.1)  # a second without a command
    world.send("velocity", Float64MultiArray(data=[np.nan] * 7))
    world.send("velocity", Float64MultiArray(data=[0.0] * 6))
    before = world.at("velocity")[0]
    assert eventually(lambda: world.at("velocity")[0] > before + 0.02)  # both were dropped
    world.send("velocity", Float64MultiArray(data=[0.0] * 7))

    def rests() -> bool:
        message = world.joints["velocity"]
        velocities = dict(zip(message.name, message.velocity, strict=True))
        return abs(velocities["panda_joint1"]) < 0.02

    assert eventually(rests)
    np.testing.assert_allclose(world.at("velocity")[1:], START[1:], atol=1e-3)


def test_the_gripper_is_a_joint_of_its_own(world):
    names = list(world.joints["velocity"].name)
    assert "panda_finger_joint1" in names
    world.send("gripper", Float64MultiArray(data=[0.01]))
    finger = names.index("panda_finger_joint1")
    assert eventually(
        lambda: world.joints["velocity"].position[finger] == pytest.approx(0.01, abs=1e-3)
    )


def test_positions_and_trajectories_are_gone_to(world):
    target = START + 0.1
    world.send("position", Float64MultiArray(data=target.tolist()))
    points = []
    for share in (0.5, 1.0):
        points.append(JointTrajectoryPoint(positions=(START + share * 0.1)[::-1].tolist()))
        points[-1].time_from_start.nanosec = round(share * 4e8)
    world.send("trajectory", JointTrajectory(joint_names=NAMES[::-1], points=points))
    for name in ("position", "trajectory"):
        assert eventually(lambda name=name: np.abs(world.at(name) - target).max() < 0.01)


def test_twists_move_the_tool_and_time_out(world):
    message = TwistStamped()
    message.twist.linear.x = 0.1
    for _ in range(50):
        message.header.stamp = world.node.get_clock().now().to_msg()
        world.send("servo", message)
        time.sleep(0.01)
    assert eventually(lambda: np.abs(world.at("servo") - START).max() > 0.02)

    def rests() -> bool:
        before = world.at("servo")
        time.sleep(0.3)
        return np.abs(world.at("servo") - before).max() < 2e-3

    assert eventually(rests)


def test_images_come_raw_or_compressed_with_their_camera(world):
    for name, given in ROBOTS.items():
        pixels = decode_message(world.images[name])
        assert pixels.shape == (64, 64, 3)
        assert pixels.std() > 10
        assert eventually(lambda name=name: name in world.infos)
        assert world.infos[name].k[2] == 32.0
        assert given.compressed or image_to_array(world.images[name]).shape == (64, 64, 3)
    assert world.images["servo"].format.startswith("rgb8; jpeg")
