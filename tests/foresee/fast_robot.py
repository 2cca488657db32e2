"""A simulated robot that lives faster than real time, for a real recorder to record.

Its messages are those of `sim_node`, stamped with the time of the simulation, sent as fast as they
are made. That is how two minutes of two cameras are recorded by the real `recorder_node`, over the
real middleware, in a fraction of them.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, JointState

from foresee.worlds import core_of, make_world
from ros_nodes.convert import array_to_image, ns_to_stamp, position_to_pose, velocity_to_twist
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import RecorderParameters
from ros_nodes.transport import transport_environment

CAMERAS = ("scene", "front")
START_NS = 1_700_000_000_000_000_000
_STATES_PER_FRAME = 4
# Of simulated to real time: what a recorder in Python keeps up with on a busy machine.
_SPEED = 10.0


@dataclass
class Truth:
    """What was sent, by capture time of the frame.

    Attributes:
        images: stamp to camera to pixels.
        tool_m: stamp to position of the tool.
        velocity_m_s: stamp to command that held until the next frame.
    """

    images: dict[int, dict[str, np.ndarray]] = field(default_factory=dict)
    tool_m: dict[int, np.ndarray] = field(default_factory=dict)
    velocity_m_s: dict[int, np.ndarray] = field(default_factory=dict)


def record_fast(run_dir: Path, seconds: float, rate_hz: float) -> tuple[Path, Truth]:
    """Record a robot that wanders about; returns the bag and what is in it."""
    topics = ("joint_states", "tool_pose", "servo_node/delta_twist_cmds")
    topics += tuple(f"{camera}/image_raw" for camera in CAMERAS)
    bag = run_dir / "bag"
    recorder = NodeSpec("recorder_node", RecorderParameters(path=str(bag), topics=topics))
    graph = Graph([recorder], run_dir)
    with graph:
        graph.wait_ready()
        os.environ.update(transport_environment(graph.domain_id))
        context = Context()
        rclpy.init(args=[], context=context, domain_id=graph.domain_id)
        node = Node("fast_robot", context=context, start_parameter_services=False)
        try:
            truth = _live(node, round(seconds * rate_hz), rate_hz)
            time.sleep(1.0)  # the last messages are on their way
        finally:
            node.destroy_node()
            rclpy.try_shutdown(context=context)
        assert set(graph.stop().values()) == {0}
    return bag, truth


def _live(node: Node, frames: int, rate_hz: float) -> Truth:
    world = make_world("foresee/Reach-v0")
    core = core_of(world)
    world.reset(seed=3)
    reliable = QoSProfile(depth=1000)
    images = {c: node.create_publisher(Image, f"{c}/image_raw", reliable) for c in CAMERAS}
    joints = node.create_publisher(JointState, "joint_states", reliable)
    poses = node.create_publisher(PoseStamped, "tool_pose", reliable)
    commands = node.create_publisher(TwistStamped, "servo_node/delta_twist_cmds", reliable)
    everyone = [*images.values(), joints, poses, commands]
    deadline = time.monotonic() + 30
    while not all(publisher.get_subscription_count() for publisher in everyone):
        assert time.monotonic() < deadline, "the recorder did not subscribe"
        time.sleep(0.05)
    names = [name for name in core.proprio_names if name.endswith(".position")]
    joint_names = [name.removesuffix(".position") for name in names]
    index = {name: i for i, name in enumerate(core.proprio_names)}
    step_ns = round(1e9 / rate_hz / _STATES_PER_FRAME)
    rng, velocity, truth = np.random.default_rng(0), np.zeros(3), Truth()
    began = time.monotonic()
    for tick in range(frames * _STATES_PER_FRAME):
        stamp_ns = START_NS + tick * step_ns
        readings = core.proprio().astype(float)
        message = JointState(
            name=joint_names,
            position=[readings[index[name]] for name in names],
            velocity=[readings[index[f"{name}.velocity"]] for name in joint_names],
        )
        message.header.stamp = ns_to_stamp(stamp_ns)
        joints.publish(message)
        tool_m = readings[[index[f"tool.{axis}"] for axis in "xyz"]]
        poses.publish(position_to_pose(tool_m, stamp_ns, "panda_link0"))
        if tick % _STATES_PER_FRAME == 0:
            if tick % (10 * _STATES_PER_FRAME) == 0:
                velocity = rng.uniform(-0.2, 0.2, 3)
            truth.images[stamp_ns] = {camera: core.view(camera) for camera in CAMERAS}
            truth.tool_m[stamp_ns], truth.velocity_m_s[stamp_ns] = tool_m, velocity
            for camera, pixels in truth.images[stamp_ns].items():
                images[camera].publish(array_to_image(pixels, stamp_ns, camera))
        commands.publish(velocity_to_twist(velocity, stamp_ns, "panda_link0"))
        core.command(velocity.astype(np.float32))
        core.advance(step_ns / 1e9)
        ahead_s = began + tick * step_ns / 1e9 / _SPEED - time.monotonic()
        if ahead_s > 0:  # even a sleep of nothing gives the processor away on a busy machine
            time.sleep(ahead_s)
    world.close()
    return truth
