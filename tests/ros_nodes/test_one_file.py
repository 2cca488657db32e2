"""A robot is deployed by its file alone: a shipped one, edited as a person would edit it."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sensor_msgs.msg import Image
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.children import start_child
from ros_nodes.client import GraphClient
from ros_nodes.params import ParameterError
from ros_nodes.robot_file import remapped_names, remapping_arguments, ros_arguments
from ros_nodes.transport import free_domain_id, transport_environment
from world_model.data.bags import read_bag

FOLDER = Path(__file__).parents[2] / "config" / "robots"
CAMERA = "/camera/camera/color/image_raw"
COMMANDS = "/forward_velocity_controller/commands"
SHADOW = "/command_node/shadow"
# The stand-in has the robot's names too: it is a child of the same supervisor.
STAND_IN = """
/**/fake_robot_node:
  ros__parameters:
    controller: forward_velocity_controller
    cameras: [scene, front]
"""


def robot_file(path: Path, bundle: Path) -> Path:
    text = (FOLDER / "franka_panda.yaml").read_text()
    for before, after in (
        ('bundle: ""', f'bundle: "{bundle}"'),
        ("# - front/image_raw:=", "- front/image_raw:="),
        (
            "    remappings:",
            "    nodes: [fake_robot_node, agent_node, command_node]\n    remappings:",
        ),
        ("tool_frame: panda_hand ", "tool_frame: tool "),
        # A busy machine's plans and readings are late, which is not what is tested here.
        ("max_plan_age_s: 0.15", "max_plan_age_s: 5.0"),
        ("max_pose_age_s: 0.1", "max_pose_age_s: 5.0"),
        ("max_image_age_s: 0.5", "max_image_age_s: 0.0"),
    ):
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path.write_text(text + STAND_IN)
    return path


@contextmanager
def supervisor(domain_id: int, log: Path, *arguments: str) -> Iterator[None]:
    environment = {**os.environ, **transport_environment(domain_id)}
    child = start_child("supervisor_node", arguments, environment, log)
    try:
        assert child.reported(PATIENCE_S)
        child.take_report()
        yield
    finally:
        code = child.end()
    assert code == 0, log.read_text()


def test_camera_bundle_and_shadow_recording_by_one_file(bundle, tmp_path):
    file, bag = robot_file(tmp_path / "robot.yaml", bundle), tmp_path / "bag"
    # In front of what the file says of this camera, as in robot.launch.py.
    both = ("--params-file", str(file), "-p", "remappings:=['front/image_raw:=/wrist/image_raw']")
    recorder = (  # as in record.launch.py
        *("-r", "__node:=recorder_supervisor", *both, "-p", "nodes:=['recorder_node']"),
        *("-p", f"settings:=['recorder_node.path:={bag}', 'recorder_node.topics:=']"),
    )
    robot = (*both, "-p", "settings:=['agent_node.bundle:=']")  # no value: what the file says
    domain_id, seen = free_domain_id(), []
    with (
        supervisor(domain_id, tmp_path / "robot.log", *robot),
        supervisor(domain_id, tmp_path / "recorder.log", *recorder),
        GraphClient(domain_id) as client,
    ):
        node = client._node

        def hear(topic: str) -> set[str]:
            return {info.node_name for info in node.get_subscriptions_info_by_topic(topic)}

        def say(topic: str) -> set[str]:
            return {info.node_name for info in node.get_publishers_info_by_topic(topic)}

        for topic in (CAMERA, f"{CAMERA}/compressed", "/pose_broadcaster/pose"):
            assert eventually(lambda topic=topic: "agent_node" in hear(topic))
        for topic in (CAMERA, "/wrist/image_raw"):
            assert eventually(lambda topic=topic: say(topic) == {"fake_robot_node"})
        assert not hear("/scene/image_raw") & {"agent_node", "recorder_node"}
        assert not say("/front_camera/image_raw")
        node.create_subscription(Image, CAMERA, seen.append, qos.SENSOR)
        client.arm(timeout_s=PATIENCE_S)
        assert eventually(lambda: "recorder_node" in hear(f"{SHADOW}{COMMANDS}"))
        assert eventually(lambda: seen)
        time.sleep(1.0)
        assert not say(COMMANDS)  # shadow: true, as the file comes
    topics = {message.topic for message in read_bag(bag)}
    # By our names, so that the import is the same for every robot.
    expected = {"/scene/image_raw", "/front/image_raw", "/tool_pose", "/joint_states", "/plan"}
    assert topics >= expected | {f"{SHADOW}{COMMANDS}", f"{SHADOW}/applied"}
    assert CAMERA not in topics


def test_what_is_remapped_goes_on_to_the_nodes():
    arguments = ["node", "--x", "--ros-args", "-r", "__node:=n", "-r", "__ns:=/left", "-p", "a:=1"]
    arguments += ["--params-file", "f.yaml", "--remap", "odom:=/o", "-r", "n:plan:=p", "--", "-r"]
    kept = ros_arguments(arguments)
    assert kept == [
        *("-r", "__ns:=/left", "--params-file", "f.yaml"),
        *("--remap", "odom:=/o", "-r", "n:plan:=p"),
    ]
    of_file = remapping_arguments(["", "wrist/image_raw:=/cam/image"])
    assert of_file[3] == "wrist/image_raw/compressed:=/cam/image/compressed"
    names = {"odom", "wrist/image_raw", "wrist/image_raw/compressed"}
    assert remapped_names([*kept, *of_file]) == names


@pytest.mark.parametrize("text", ["odom", "odom:=", ":=odom", "odom:/o"])
def test_what_is_no_remapping_is_refused(text):
    with pytest.raises(ParameterError, match=f"remappings: '{text}' is not ours:=theirs"):
        remapping_arguments([text])
