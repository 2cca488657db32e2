"""The shipped `diff_drive.yaml` in front of a base that is not PyBullet.

Two bases side by side: one takes Twist, one TwistStamped. All parameters are the file's own, except
that it is no shadow. The plans come from the test, as they would from an agent; the tests share the
bases and run in the order they are written in.
"""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from commanded import Robot, driven_robots
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool
from test_robot_files import parameters
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.convert import image_to_array, twist_to_base
from ros_nodes.graph import NodeSpec
from ros_nodes.params import FakeBaseParameters, as_mapping

GIVEN = replace(parameters("diff_drive"), shadow=False)
COMMANDS = {"twist": GIVEN, "stamped": replace(GIVEN, cmd_vel_stamped=True)}
BASES = {name: FakeBaseParameters(cmd_vel_stamped=name == "stamped") for name in COMMANDS}
WHEELS = list(GIVEN.joint_names)
# A circle of 19 cm, with all the way aside that a plan may ask for.
CIRCLE = (0.2, 0.3, 0.5)
SPEED_M_S = GIVEN.speed_m_s[0] * GIVEN.speed_scale


@pytest.fixture(scope="module")
def graph_and_bases(tmp_path_factory):
    nodes = []
    for name in COMMANDS:
        nodes.append(NodeSpec("fake_base_node", BASES[name], namespace=name))
        nodes.append(NodeSpec("command_node", COMMANDS[name], namespace=name))
    nodes.append(NodeSpec("fake_base_node", FakeBaseParameters(), namespace="failing"))
    run_dir = tmp_path_factory.mktemp("bases")
    with driven_robots(nodes, COMMANDS, run_dir) as (graph, bases):
        for base in bases.values():
            _hear_all(base)
        yield graph, bases
        codes = graph.stop()
        assert codes.pop("twist/command_node") == -signal.SIGKILL  # the last test
        assert set(codes.values()) == {0}


def _hear_all(base):
    base.heard = {}
    for kind, topic in (
        (JointState, "joint_states"),
        (Odometry, "odom"),
        (Image, "scene/image_raw"),
        (CameraInfo, "scene/camera_info"),
    ):
        base.node.create_subscription(
            kind,
            f"{base.name}/{topic}",
            lambda message, topic=topic: base.heard.__setitem__(topic, message),
            qos.SENSOR,
        )
    assert eventually(lambda: len(base.heard) == 4)


@pytest.fixture
def graph(graph_and_bases):
    return graph_and_bases[0]


@pytest.fixture(params=COMMANDS)
def either(request, graph_and_bases):
    return graph_and_bases[1][request.param]


@pytest.fixture
def base(graph_and_bases):
    return graph_and_bases[1]["twist"]


def rests(base) -> bool:
    """Whether it moves less than a millimetre and a milliradian in half a second."""
    before, heard = base.base(), base.truth
    time.sleep(0.5)
    return base.truth is not heard and np.abs(base.base() - before).max() < 1e-3


def stands(base) -> bool:
    return not base.commands[-1][1].any()


def test_it_has_the_topics_of_a_base(either):
    joints, odometry = either.heard["joint_states"], either.heard["odom"]
    assert list(joints.name) == WHEELS
    assert (odometry.header.frame_id, odometry.child_frame_id) == ("odom", GIVEN.base_frame)
    pixels = image_to_array(either.heard["scene/image_raw"])
    assert pixels.shape == (64, 64, 3)
    orange = np.argwhere(pixels[..., 0].astype(int) - pixels[..., 2] > 120).mean(axis=0)
    # Rows go down, columns right; 15.4 pixels a metre at 3.4 m; it begins 0.8 m left of the middle.
    np.testing.assert_allclose(orange + 0.5, [32.0, 32.0 - 0.8 * 15.4], atol=1.5)
    assert either.heard["scene/camera_info"].k[2] == 32.0


def test_nothing_moves_before_it_is_armed(either):
    start = either.base()
    either.wanted = np.array(CIRCLE)
    time.sleep(0.7)
    assert eventually(lambda: rests(either))
    assert either.commands == []
    np.testing.assert_allclose(either.base(), start, atol=1e-4)
    either.wanted = None


def test_it_drives_as_the_plan_says_within_the_limits_and_rests_when_disarmed(either):
    start, count = either.base(), len(either.commands)
    either.set_off(CIRCLE)
    aside_m_s = GIVEN.speed_m_s[1] * GIVEN.speed_scale
    expected = [SPEED_M_S, aside_m_s, CIRCLE[2]]
    assert eventually(lambda: np.allclose(either.applied, expected, atol=1e-6))
    assert eventually(
        lambda: np.allclose(
            twist_to_base(either.heard["odom"].twist.twist), [SPEED_M_S, 0.0, CIRCLE[2]], atol=0.01
        )
    )
    assert eventually(lambda: either.base()[2] > start[2] + 1.5)
    either.halt()
    assert eventually(lambda: rests(either))
    sent = either.velocities(count)
    assert np.abs(sent[:, 1]).max() <= aside_m_s + 1e-12
    np.testing.assert_array_equal(sent[-1], 0.0)
    either.check_limits(count)
    end, count = either.base(), len(either.commands)
    assert np.linalg.norm(end[:2] - start[:2]) > 0.1
    time.sleep(0.3)
    assert len(either.commands) == count


def test_an_estop_is_zero_in_the_next_command_and_the_base_stands(base):
    base.set_off(CIRCLE)
    assert eventually(lambda: np.abs(base.velocities(-2)).max() > 0.05)
    count = len(base.commands)
    base.estop.publish(Bool(data=True))
    assert eventually(lambda: base.status["estop"] == "true")
    assert eventually(lambda: stands(base))
    speeds = np.abs(base.velocities(count - 1)).max(axis=1)
    first = int(np.flatnonzero(speeds == 0.0)[0])
    assert speeds[first - 1] > 0.05  # no ramp
    assert not speeds[first:].any()
    assert eventually(lambda: rests(base))
    assert "e-stop is latched" in base.call("arm").message
    base.halt()


def test_without_plans_it_stops_and_goes_on_with_new_ones(base):
    count = len(base.commands)
    base.set_off(CIRCLE)
    base.wanted = None
    assert eventually(lambda: base.status["state"] == "PLAN_STALE")
    assert eventually(lambda: stands(base))
    assert eventually(lambda: rests(base))
    base.wanted = np.array(CIRCLE)
    assert eventually(lambda: base.status["state"] == "FOLLOWING")
    base.halt()
    base.check_limits(count)


def test_a_base_that_says_nothing_is_stopped(base, graph):
    base.set_off(CIRCLE)
    count, pid = len(base.commands), graph.pids["twist/fake_base_node"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: base.status["state"] == "POSE_STALE")
        assert eventually(lambda: stands(base))
        base.check_limits(count)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: base.status["state"] == "FOLLOWING")
    base.halt()


_FAILING = """
import sys
from controller.command_filter import CommandFilter
tick = CommandFilter.tick
def failing(self, *arguments):
    command = tick(self, *arguments)
    if command.motion.velocity[0] > 0.1:
        raise RuntimeError("a defect")
    return command
CommandFilter.tick = failing
from ros_nodes import command_node
command_node.main()
"""


def test_a_defect_in_a_tick_brakes_the_robot_and_ends_the_process(base, tmp_path):
    given = replace(GIVEN, speed_scale=1.0)
    settings = tmp_path / "settings.yaml"
    content = {"ros__parameters": dict(as_mapping(given))}
    settings.write_text(yaml.safe_dump({"/**/command_node": content}))
    arguments = ["--ros-args", "-r", "__ns:=/failing", "--params-file", str(settings)]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _FAILING, *arguments], stdout=file, stderr=file
        )
    try:
        robot = Robot(base.node, "failing", given)
        assert eventually(lambda: robot.status)
        robot.call("clear_estop")
        robot.wanted = np.array([0.2, 0.0, 0.0])
        assert eventually(lambda: robot.call("arm").success)
        assert process.wait(PATIENCE_S) == 1
    finally:
        process.kill()
    assert "RuntimeError: a defect" in log.read_text()
    assert eventually(lambda: stands(robot))
    sent = np.array([values for _, values in robot.commands])
    assert sent[:, 0].max() > 0.09
    np.testing.assert_array_equal(sent[-1], 0.0)
    changes = np.abs(np.diff(sent, axis=0)) * given.rate_hz
    assert (changes <= np.array(given.acceleration_m_s2) + 1e-6).all()


def test_when_its_command_node_is_killed_the_base_stops_by_itself(base, graph):
    base.set_off(CIRCLE)
    assert eventually(lambda: twist_to_base(base.heard["odom"].twist.twist)[0] > 0.8 * SPEED_M_S)
    os.kill(graph.pids["twist/command_node"], signal.SIGKILL)
    before = base.base()
    assert eventually(lambda: rests(base))
    assert base.commands[-1][1][0] > 0.0  # nobody told it to
    # The time-out of half a second at 9.3 cm/s is 4.7 cm, lag and a machine that is busy are more.
    assert 0.01 < np.linalg.norm(base.base()[:2] - before[:2]) < 0.15
