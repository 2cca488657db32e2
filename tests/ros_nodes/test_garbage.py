"""Whatever comes over their topics, agent and client go on; and the ways of giving it a goal.

The tests share a graph and run in the order they are written in.
"""

import array
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, TwistStamped
from PIL import Image as Picture
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger
from visualization_msgs.msg import MarkerArray
from waiting import PATIENCE_S, eventually, tool

from ros_nodes import qos
from ros_nodes.client import _call
from ros_nodes.convert import ns_to_stamp

MESSAGES = 600


def junk(rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(0, 400)))


def image(rng) -> Image:
    message = Image(
        height=int(rng.choice([0, 1, 64, 2**31])),
        width=int(rng.choice([0, 3, 64, 2**32 - 1])),
        step=int(rng.choice([0, 192, 2**32 - 1])),
        encoding=str(rng.choice(["rgb8", "bgra8", "mono8", "16UC1", ""])),
    )
    message.data = array.array("B", junk(rng))
    return message


def picture(rng) -> CompressedImage:
    message = CompressedImage(format=str(rng.choice(["jpeg", "png", ""])))
    start = rng.choice([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
    message.data = array.array("B", bytes(start) + junk(rng))
    return message


def joints(rng) -> JointState:
    count = int(rng.integers(0, 9))
    names = [f"panda_joint{i}" for i in rng.integers(1, 8, count)]
    values = rng.choice([0.0, np.nan, np.inf, -1e308], int(rng.integers(0, 9)))
    return JointState(name=names, position=values.tolist(), velocity=values[:2].tolist())


def pose(rng) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id = str(rng.choice(["panda_link0", "moon"]))
    message.pose.position.x = float(rng.choice([np.nan, np.inf, 1e300]))
    return message


def twist(rng) -> TwistStamped:
    message = TwistStamped()
    message.twist.linear.x = float(rng.choice([np.nan, -np.inf, 1e300]))
    return message


def words(rng) -> String:
    return String(data=str(rng.choice(["", "/nowhere.yaml", "\x00", "/dev/null", "é" * 999])))


def status(rng) -> DiagnosticArray:
    values = [KeyValue(key="status", value="OK"), KeyValue(key="frame_stamp_ns", value="soon")]
    some = [DiagnosticStatus(values=values[: int(rng.integers(0, 3))])]
    return DiagnosticArray(status=some[: int(rng.integers(0, 2))])


KINDS = {
    "scene/image_raw": (Image, image),
    "scene/image_raw/compressed": (CompressedImage, picture),
    "scene/goal_image": (Image, image),
    "joint_states": (JointState, joints),
    "tool_pose": (PoseStamped, pose),
    "servo_node/delta_twist_cmds": (TwistStamped, twist),
    "task": (String, words),
    "goal_file": (String, words),
    "plan_status": (DiagnosticArray, status),
}


def test_garbage_on_every_topic_ends_nothing(running):
    node, rng = running.client._node, np.random.default_rng(0)
    pids = running.graph.pids
    publishers = {}
    for topic, (kind, _) in KINDS.items():
        quality = qos.LATCHED if topic in ("task", "goal_file", "scene/goal_image") else qos.STATE
        publishers[topic] = node.create_publisher(kind, topic, quality)
        assert eventually(lambda topic=topic: publishers[topic].get_subscription_count() > 0)
    for number in range(MESSAGES):
        topic = list(KINDS)[number % len(KINDS)]
        message = KINDS[topic][1](rng)
        if hasattr(message, "header"):
            now_ns = node.get_clock().now().nanoseconds
            stamp_ns = rng.choice([0, now_ns - 10**12, now_ns, now_ns + 10**12])
            message.header.stamp = ns_to_stamp(int(stamp_ns))
        publishers[topic].publish(message)
    for publisher in publishers.values():
        node.destroy_publisher(publisher)
    made = len(running.client.plan_reports())
    assert eventually(lambda: len(running.client.plan_reports()) > made + 5)
    assert running.graph.pids == pids
    log = (running.run_dir / "logs" / "agent_node.log").read_text()
    assert "message dropped" in log
    assert "Traceback" not in log


def test_a_pose_in_another_frame_is_refused_and_what_to_do_is_said(running):
    """As the UR driver has it: its tcp_pose_broadcaster speaks of ``base``."""
    node, log = running.client._node, running.run_dir / "logs" / "agent_node.log"
    poses = node.create_publisher(PoseStamped, "tool_pose", qos.STATE)
    message = PoseStamped()
    message.header.frame_id = "base"

    def told() -> bool:
        message.header.stamp = node.get_clock().now().to_msg()
        poses.publish(message)
        return "it is in frame 'base', base_frame is 'panda_link0': publish it" in log.read_text()

    assert eventually(told)
    node.destroy_publisher(poses)


def test_a_bundle_that_cannot_tell_surprise_says_so_with_every_plan(running):
    client = running.client
    assert eventually(lambda: client.plan_status.values.get("surprise_known") == 0.0)
    assert client.plan_status.values["surprise"] == 0.0


def test_what_the_camera_sees_becomes_the_goal_by_service(running):
    client = running.client
    service = client._node.create_client(Trigger, "agent_node/set_goal")
    assert _call(service, Trigger.Request(), Trigger.Response, PATIENCE_S).success
    assert eventually(lambda: client.plan_status.usable and client.plan_status.goal == "topic")


def test_a_file_becomes_the_goal_and_the_plan_is_drawn(running, world, tmp_path):
    client, markers = running.client, []
    client._node.create_subscription(MarkerArray, "plan_markers", markers.append, qos.COMMAND)
    image = world.reset(seed=2)[0]["goal_image"]
    Picture.fromarray(image).save(tmp_path / "goal.png")
    before = client.plan_status.goal_stamp_ns
    files = client._node.create_publisher(String, "goal_file", qos.LATCHED)
    files.publish(String(data=str(tmp_path / "goal.png")))
    assert eventually(lambda: client.plan_status.goal_stamp_ns not in (before, 0))
    time.sleep(0.2)  # what is drawn of the goal before is here by now
    markers.clear()
    assert eventually(lambda: markers)
    line, end = markers[-1].markers
    assert line.header.frame_id == "panda_link0"
    path = np.array([[p.x, p.y, p.z] for p in line.points])
    np.testing.assert_allclose(path[0], tool(client), atol=0.01)
    towards = world.truth()["goal_position_m"] - path[0]
    assert (path[-1] - path[0]) @ towards > 0
    assert end.pose.position == line.points[-1]
