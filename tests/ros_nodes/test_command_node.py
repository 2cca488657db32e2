"""`command_node` in a process of its own, in front of a robot that is not PyBullet.

The plans come from the test, as does everything that goes wrong. The tests share their robots.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistStamped
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory
from waiting import PATIENCE_S, eventually

from controller.types import NS_PER_S, Plan, PlanStatus
from ros_nodes import qos
from ros_nodes.command_interfaces import (
    action_names,
    message_class,
    message_values,
    positions_are_sent,
)
from ros_nodes.command_interfaces import topic as topic_of
from ros_nodes.convert import (
    TOOL_ACTIONS,
    diagnostic_values,
    labelled_array_to_values,
    ns_to_stamp,
    plan_to_trajectory,
    twist_to_velocity,
)
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import CommandParameters, FakeRobotParameters, as_mapping
from ros_nodes.process import Spinner, use_realtime_priority
from ros_nodes.process_watch import identity
from ros_nodes.transport import transport_environment

ARM = {
    "controller": "arm_controller",
    "tool_frame": "tool",
    "joint_acceleration_rad_s2": (3.0, 1.5, 2.0, 2.5, 3.0, 4.0, 4.0),
    "joint_jerk_rad_s3": (250.0, 125.0, 166.0, 208.0, 250.0, 333.0, 333.0),
    "acceleration_m_s2": (1.0, 1.0, 1.0),
    "jerk_m_s3": (20.0, 20.0, 20.0),
    "bodies": ("panda_link0 0 0 0 0.06", "panda_link4 0 0 0 0.08", "panda_hand 0 0 0.05 0.06"),
    "keep_out": ("sphere 0.5 0.35 0.3 0.05",),
    "robot_delay_s": 0.02,
    "max_plan_age_s": 0.3,  # the test that sends the plans runs on a busy machine too
    "max_pose_age_s": 0.3,
}
ROBOTS = {
    "velocity": CommandParameters(interface="joint_velocity", **ARM),
    "position": CommandParameters(interface="joint_position", **ARM),
    "shadow": CommandParameters(interface="joint_velocity", shadow=True, **ARM),
    "trajectory": CommandParameters(
        interface="joint_trajectory",
        gripper="gripper_controller",
        gripper_joint="panda_finger_joint1",
        **ARM,
    ),
}
ROBOTS["base"] = CommandParameters(
    interface="twist",
    joint_names=("left_wheel", "right_wheel"),
    speed_m_s=(0.3, 0.1, 1.0),
    acceleration_m_s2=(0.5, 0.5, 2.0),
    jerk_m_s3=(5.0, 5.0, 20.0),
    max_plan_age_s=0.3,
    max_pose_age_s=0.3,
)
GIVEN = ROBOTS["velocity"]
DT_S = 0.01


class Robot:
    """One robot, its `command_node`, and the plans it is sent 20 times a second."""

    def __init__(self, node: Node, name: str):
        self.node, self.name, self.given = node, name, ROBOTS[name]
        self.wanted: np.ndarray | None = None  # None: no plans
        self.gripper: list[tuple[float, float]] = []  # commands, m, and their arrival
        self.finger_m = np.nan
        self.status: dict[str, str] = {}
        self.commands: list[tuple[float, np.ndarray]] = []
        self.real: list[float] = []
        self.applied = np.zeros(3)
        self.truth: dict[str, float] = {}
        shadow = "command_node/shadow/" if self.given.shadow else ""
        kind = message_class(self.given)
        topics = (
            (topic_of(self.given), kind, self._on_command, 50),
            ("gripper_controller/commands", Float64MultiArray, self._on_gripper, 50),
            ("joint_states", JointState, self._on_joints, qos.SENSOR),
            ("arm_controller/commands", Float64MultiArray, self._on_real, 50),
            (f"{shadow or 'command_node/'}applied", TwistStamped, self._on_applied, 10),
            ("command_node/status", DiagnosticArray, self._on_status, 10),
            ("evaluation/truth", Float64MultiArray, self._on_truth, 10),
        )
        for topic, kind, callback, depth in topics:
            node.create_subscription(kind, f"{name}/{topic}", callback, depth)
        self.plans = node.create_publisher(JointTrajectory, f"{name}/plan", qos.COMMAND)
        self.statuses = node.create_publisher(DiagnosticArray, f"{name}/plan_status", qos.STATE)
        self.estop = node.create_publisher(Bool, f"{name}/estop", qos.STATE)
        self.agent = node.create_publisher(String, f"{name}/agent_node/process", qos.LATCHED)
        self.joints = node.create_publisher(JointState, f"{name}/joint_states", qos.STATE)
        self._clients = {
            "arm": node.create_client(SetBool, f"{name}/command_node/arm"),
            "estop": node.create_client(Trigger, f"{name}/command_node/estop"),
            "clear_estop": node.create_client(Trigger, f"{name}/command_node/clear_estop"),
        }
        node.create_timer(0.05, self._send_plan)
        if self.given.interface == "twist":
            self.wheels = np.zeros(2)  # rad, of 0.1 m and 0.4 m apart: the test is this robot
            node.create_timer(DT_S, self._roll)

    def _on_command(self, message):
        self.commands.append((time.monotonic(), message_values(self.given, message)))
        if self.given.interface == "twist":
            self.applied = self.commands[-1][1]

    def _roll(self):
        forwards, _, turning = self.applied  # the last one, for ever
        self.wheels += DT_S * np.array([forwards - 0.2 * turning, forwards + 0.2 * turning]) / 0.1
        message = JointState(name=["right_wheel", "left_wheel"], position=self.wheels[::-1])
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.joints.publish(message)
        self.truth = {"turned": float(self.wheels[1] - self.wheels[0])}

    def _on_gripper(self, message):
        self.gripper.append((time.monotonic(), message.data[0]))

    def _on_joints(self, message):
        if self.given.gripper_joint in message.name:
            self.finger_m = message.position[list(message.name).index(self.given.gripper_joint)]

    def _on_real(self, _):
        self.real.append(time.monotonic())

    def _on_applied(self, message):
        self.applied = twist_to_velocity(message)

    def _on_status(self, message):
        self.status = diagnostic_values(message)

    def _on_truth(self, message):
        self.truth = labelled_array_to_values(message)

    def _send_plan(self):
        if self.wanted is None:
            return
        plan = Plan(
            start_ns=self.node.get_clock().now().nanoseconds,
            knot_times_s=np.zeros(1),
            knots=np.array([self.wanted], np.float32),
            duration_s=1.0,
            cost=0.0,
            status=PlanStatus.OK,
        )
        names = action_names(self.given)[: len(self.wanted)]
        self.plans.publish(plan_to_trajectory(plan, names, "panda_link0"))

    def call(self, name, data=True):
        client = self._clients[name]
        assert client.wait_for_service(PATIENCE_S)
        request = SetBool.Request(data=data) if name == "arm" else Trigger.Request()
        done, future = threading.Event(), client.call_async(request)
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE_S)
        return future.result()

    def tool(self) -> np.ndarray:
        return np.array([self.truth[f"tool_position_m.{axis}"] for axis in "xyz"])

    def set_off(self, wanted=(0.0, -0.1, 0.0)):
        """Move, and be on the way."""
        self.call("clear_estop")
        self.wanted = np.array(wanted)
        assert eventually(lambda: self.call("arm").success)
        # Half of the wanted speed; plans that come late on a busy machine make it begin again.
        assert eventually(lambda: np.linalg.norm(self.applied) > 0.05)

    def halt(self):
        self.call("arm", False)
        self.wanted = None
        self.call("clear_estop")
        assert eventually(lambda: self.commands[-1][0] < time.monotonic() - 0.3)

    def velocities(self, since: int) -> np.ndarray:
        """Joint velocities of all commands from number ``since`` on, from rest before them."""
        rows = np.array([values for _, values in self.commands[since:]])
        if positions_are_sent(self.given):
            return np.diff(rows, axis=0) / DT_S
        return rows

    def check_limits(self, since: int):
        """Raise unless speed, acceleration and jerk of all that was sent are within the limits."""
        sent = self.velocities(since)
        accelerations = np.diff(sent, axis=0) / DT_S
        jerks = np.diff(accelerations, axis=0) / DT_S
        assert np.isfinite(sent).all()
        assert (np.abs(sent) <= np.array(self.given.joint_speed_rad_s) * (1 + 1e-6)).all()
        assert (
            np.abs(accelerations) <= np.array(self.given.joint_acceleration_rad_s2) + 1e-6
        ).all()
        assert (np.abs(jerks) <= np.array(self.given.joint_jerk_rad_s3) * (1 + 1e-4)).all()


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    nodes = []
    for name, given in ROBOTS.items():
        if given.interface != "twist":
            robot = FakeRobotParameters(interface=given.interface, gripper=given.gripper)
            nodes.append(NodeSpec("fake_robot_node", robot, namespace=name))
        nodes.append(NodeSpec("command_node", given, namespace=name))
    with Graph(nodes, tmp_path_factory.mktemp("robots")) as graph:
        graph.wait_ready(PATIENCE_S)
        use_realtime_priority(50)  # no command is to be missed, nor times to be those of the test
        os.environ.update(transport_environment(graph.domain_id))
        context = Context()
        rclpy.init(args=[], context=context, domain_id=graph.domain_id)
        node = Node("test", context=context)
        robots = {name: Robot(node, name) for name in ROBOTS}
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        spinner = Spinner(executor)
        assert eventually(lambda: all(r.truth and r.status for r in robots.values()))
        yield robots
        spinner.stop()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
        assert set(graph.stop().values()) == {0}


def test_arming_is_refused_with_a_reason_and_nothing_is_sent(robots):
    robot = robots["velocity"]
    answer = robot.call("arm")
    assert not answer.success
    assert answer.message.startswith("not armed: the newest plan is")
    time.sleep(0.3)
    assert robot.commands == []


@pytest.mark.parametrize("name", ["velocity", "position"])
def test_the_tool_goes_where_the_plan_says_within_the_limits(robots, name):
    robot = robots[name]
    start, count = robot.tool(), len(robot.commands)
    robot.set_off()
    assert eventually(lambda: robot.tool()[1] < start[1] - 0.08)
    assert np.abs(robot.tool() - start)[[0, 2]].max() < 0.02
    np.testing.assert_allclose(robot.applied, [0.0, -0.1, 0.0], atol=0.02)
    assert robot.status["state"] == "FOLLOWING"
    robot.halt()
    robot.check_limits(count)
    assert not robot.velocities(count)[-1].any()


def test_trajectories_and_the_gripper_follow_the_plan_and_rest_when_disarmed(robots):
    robot = robots["trajectory"]
    start, count = robot.tool(), len(robot.commands)
    assert eventually(lambda: robot.finger_m > 0.039)  # open
    robot.set_off((0.0, -0.1, 0.0, -0.02))
    assert eventually(lambda: robot.tool()[1] < start[1] - 0.08)
    assert eventually(lambda: robot.finger_m < 0.03)
    robot.halt()
    robot.check_limits(count)
    assert not robot.velocities(count)[-1].any()
    sent = np.array([position for _, position in robot.gripper])
    steps = np.diff(sent)
    assert steps.min() >= -robot.given.gripper_speed_m_s * DT_S - 1e-9
    assert sent.min() >= robot.given.gripper_low_m
    np.testing.assert_array_equal(steps[-5:], 0.0)  # with the arm
    finger, count = robot.finger_m, len(robot.gripper)
    time.sleep(0.3)
    assert len(robot.gripper) == count
    assert abs(robot.finger_m - finger) < 2e-3


def test_a_base_drives_as_the_plan_says_within_its_limits_and_rests_when_disarmed(robots):
    robot = robots["base"]
    count = len(robot.commands)
    robot.set_off((0.5, 0.0, 0.5))  # faster than it may
    assert eventually(lambda: robot.wheels.min() > 1.0)
    assert robot.truth["turned"] > 0.1
    np.testing.assert_allclose(robot.applied, [0.3, 0.0, 0.5], atol=1e-6)
    robot.halt()
    sent = np.vstack([np.zeros((2, 3)), robot.velocities(count)])
    given, changes = robot.given, np.diff(sent, axis=0) / DT_S
    assert (np.abs(sent) <= np.array(given.speed_m_s) + 1e-9).all()
    assert (np.abs(changes) <= np.array(given.acceleration_m_s2) + 1e-6).all()
    assert (np.abs(np.diff(changes, axis=0)) / DT_S <= np.array(given.jerk_m_s3) + 1e-4).all()
    np.testing.assert_array_equal(sent[-1], 0.0)
    wheels, count = robot.wheels.copy(), len(robot.commands)
    time.sleep(0.3)
    assert len(robot.commands) == count
    np.testing.assert_array_equal(robot.wheels, wheels)


def test_without_plans_it_brakes_within_the_limits_and_goes_on_with_new_ones(robots):
    robot = robots["velocity"]
    count = len(robot.commands)
    robot.set_off((0.0, 0.1, 0.0))
    robot.wanted = None
    assert eventually(lambda: robot.status["state"] == "PLAN_STALE")
    assert eventually(lambda: not robot.commands[-1][1].any())
    assert robot.status["armed"] == "true"
    robot.wanted = np.array([0.0, 0.1, 0.0])
    assert eventually(lambda: robot.status["state"] == "FOLLOWING")
    robot.halt()
    robot.check_limits(count)


@pytest.mark.parametrize("by", ["topic", "call"])
def test_an_estop_is_zero_at_once_and_stays_until_a_person_clears_it(robots, by):
    robot = robots["velocity"]
    robot.set_off((0.0, -0.1, 0.0) if by == "topic" else (0.0, 0.1, 0.0))
    count = len(robot.commands)
    robot.estop.publish(Bool(data=False))  # does nothing
    time.sleep(0.1)
    assert robot.status["estop"] == "false"
    if by == "topic":
        robot.estop.publish(Bool(data=True))
    else:
        assert robot.call("estop").success
    assert eventually(lambda: robot.status["estop"] == "true")
    assert eventually(lambda: not robot.commands[-1][1].any())
    speeds = np.abs(robot.velocities(count)).max(axis=1)
    first = int(np.flatnonzero(speeds == 0.0)[0])
    assert speeds[first - 1] > 0.02  # no ramp: from full speed to zero in one command
    assert not speeds[first:].any()
    assert robot.status["armed"] == "false"
    answer = robot.call("arm")
    assert not answer.success
    assert "e-stop is latched" in answer.message
    robot.estop.publish(Bool(data=False))
    time.sleep(0.1)
    assert robot.status["estop"] == "true"
    assert robot.call("clear_estop").success
    assert eventually(lambda: robot.status["estop"] == "false")
    time.sleep(0.2)
    assert robot.status["armed"] == "false"  # and it needs a new arm
    robot.halt()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_it_brakes_when_the_process_of_the_agent_is_lost(robots, number):
    robot = robots["velocity"]
    script = (
        "from ros_nodes.process_watch import identity; import time;"
        "print(identity(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as agent:
        robot.agent.publish(String(data=agent.stdout.readline().strip()))
        assert eventually(lambda: robot.status["agent"] == "runs")
        robot.set_off((0.0, -0.1, 0.0) if number == signal.SIGSTOP else (0.0, 0.1, 0.0))
        count, when_s = len(robot.commands), time.monotonic()
        os.kill(agent.pid, number)
        expected = "AGENT_LOST" if number == signal.SIGSTOP else "NOT_ARMED"
        assert eventually(lambda: robot.status["state"] == expected)
        assert eventually(lambda: not robot.commands[-1][1].any())
        times = np.array([t for t, _ in robot.commands[count:]]) - when_s
        speeds = np.abs(robot.velocities(count)).max(axis=1)
        slower = np.flatnonzero(np.diff(speeds) < -1e-3)[0]
        print(f"{number.name}: braking began after {1e3 * times[slower + 1]:.0f} ms")
        assert times[slower + 1] < 0.5  # 0.1 on a machine that is not busy
        robot.check_limits(count)
        if number == signal.SIGSTOP:
            os.kill(agent.pid, signal.SIGCONT)
            assert eventually(lambda: robot.status["state"] == "FOLLOWING")
        else:
            assert robot.status["disarmed_by"] == "the agent's process has ended"
            assert "agent's process" in robot.call("arm").message
        agent.kill()
    robot.halt()
    robot.agent.publish(String(data=identity()))
    assert eventually(lambda: robot.status["agent"] == "runs")


def test_an_old_image_stops_it(robots):
    robot = robots["velocity"]
    now_ns = robot.node.get_clock().now().nanoseconds

    def say(age_s):
        message = DiagnosticArray()
        stamp = str(now_ns - round(age_s * NS_PER_S))
        message.status.append(DiagnosticStatus(values=[KeyValue(key="image_news_ns", value=stamp)]))
        robot.statuses.publish(message)

    robot.set_off((0.0, 0.1, 0.0))
    say(3.0)
    assert eventually(lambda: robot.status["state"] == "IMAGE_STALE")
    robot.halt()
    now_ns += 3600 * NS_PER_S
    say(0.0)  # from the future
    robot.wanted = np.zeros(3)
    time.sleep(0.2)
    assert "newest image" in robot.call("arm").message
    say(3600.0)
    robot.wanted = None


def test_in_shadow_mode_the_robot_is_told_nothing(robots):
    robot = robots["shadow"]
    start = robot.tool()
    robot.set_off()
    assert eventually(lambda: len(robot.commands) > 50)
    assert robot.real == []
    robot.halt()
    assert np.abs(robot.tool() - start).max() < 2e-3


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


def test_a_defect_in_a_tick_brakes_the_robot_and_ends_the_process(robots, monkeypatch, tmp_path):
    monkeypatch.setitem(ROBOTS, "failing", ROBOTS["base"])
    settings = tmp_path / "settings.yaml"
    content = {"ros__parameters": dict(as_mapping(ROBOTS["base"]))}
    settings.write_text(yaml.safe_dump({"/**/command_node": content}))
    arguments = ["--ros-args", "-r", "__ns:=/failing", "--params-file", str(settings)]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _FAILING, *arguments], stdout=file, stderr=file
        )
    try:
        robot = Robot(robots["base"].node, "failing")
        assert eventually(lambda: robot.status)
        robot.call("clear_estop")
        robot.wanted = np.array([0.2, 0.0, 0.0])
        assert eventually(lambda: robot.call("arm").success)
        assert process.wait(PATIENCE_S) == 1
    finally:
        process.kill()
    assert "RuntimeError: a defect" in log.read_text()
    sent = np.array([values for _, values in robot.commands])
    assert sent[:, 0].max() > 0.09
    np.testing.assert_array_equal(sent[-1], 0.0)
    changes = np.abs(np.diff(sent, axis=0)) / DT_S
    assert (changes <= np.array(robot.given.acceleration_m_s2) + 1e-6).all()


def test_no_command_comes_of_messages_that_hold_nothing_right(robots):
    robot, rng = robots["position"], np.random.default_rng(0)
    robot.set_off((0.0, 0.08, 0.0))
    count = len(robot.commands)
    names = list(robot.given.joint_names)
    odd = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0]
    for _ in range(300):
        joints = JointState(
            name=list(rng.permutation(names))[: rng.integers(0, 8)],
            position=rng.choice(odd, rng.integers(0, 9)).tolist(),
            velocity=rng.choice(odd, rng.integers(0, 9)).tolist(),
        )
        joints.header.stamp = ns_to_stamp(int(rng.integers(0, 2**31 - 1)) * NS_PER_S)
        robot.joints.publish(joints)
        plan = JointTrajectory(joint_names=[*rng.choice([*TOOL_ACTIONS, "x"], 3).tolist()])
        plan.header.frame_id = str(rng.choice(["", "panda_link0", "moon"]))
        robot.plans.publish(plan)
        robot.agent.publish(String(data=str(rng.choice(["", "1 2", "a b c"]))))
        time.sleep(0.002)
    robot.check_limits(count)
    robot.halt()
    robot.set_off((0.0, -0.08, 0.0))  # and it still works
    robot.halt()
