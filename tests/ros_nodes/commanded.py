"""Robots with their `command_node`, as a test drives them: it sends the plans and hears it all."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
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
from ros_nodes.client import _call
from ros_nodes.command_interfaces import (
    action_names,
    message_class,
    message_values,
    positions_are_sent,
)
from ros_nodes.command_interfaces import topic as topic_of
from ros_nodes.convert import (
    diagnostic_values,
    diagnostics,
    labelled_array_to_values,
    plan_to_trajectory,
    twist_to_base,
    twist_to_velocity,
)
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import CommandParameters
from ros_nodes.process import Spinner, use_realtime_priority
from ros_nodes.robot_model import is_joint_interface
from ros_nodes.transport import transport_environment


class Robot:
    """One robot, its `command_node`, and the plans it is sent 20 times a second."""

    def __init__(self, node: Node, name: str, given: CommandParameters):
        self.node, self.name, self.given = node, name, given
        self.dt_s = 1.0 / given.rate_hz
        self.driver = 0  # process id of the robot itself, where a test needs it
        self.wanted: np.ndarray | None = None  # None: no plans
        self.image_age_s: float | None = None  # said with every plan, as an agent does; None: not
        self.places: list[np.ndarray] = []  # of the joints, rad
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
            (topic_of(self.given), kind, self._on_command, 500),
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

    def _on_command(self, message):
        self.commands.append((time.monotonic(), message_values(self.given, message)))

    def _on_gripper(self, message):
        self.gripper.append((time.monotonic(), message.data[0]))

    def _on_joints(self, message):
        by_name = dict(zip(message.name, message.position, strict=False))
        if all(name in by_name for name in self.given.joint_names):
            self.places.append(np.array([by_name[name] for name in self.given.joint_names]))
        if self.given.gripper_joint in message.name:
            self.finger_m = message.position[list(message.name).index(self.given.gripper_joint)]

    def _on_real(self, _):
        self.real.append(time.monotonic())

    def _on_applied(self, message):
        of_base = self.given.interface == "twist"
        self.applied = twist_to_base(message.twist) if of_base else twist_to_velocity(message)

    def _on_status(self, message):
        self.status = diagnostic_values(message)

    def _on_truth(self, message):
        self.truth = labelled_array_to_values(message)

    def _send_plan(self):
        if self.wanted is None:
            return
        if self.image_age_s is not None:
            news_ns = self.node.get_clock().now().nanoseconds - round(self.image_age_s * NS_PER_S)
            says = {"image_news_ns": news_ns}
            self.statuses.publish(diagnostics(0, "agent", "", says, DiagnosticStatus.OK))
        plan = Plan(
            start_ns=self.node.get_clock().now().nanoseconds,
            knot_times_s=np.zeros(1),
            knots=np.array([self.wanted], np.float32),
            duration_s=1.0,
            cost=0.0,
            status=PlanStatus.OK,
        )
        names = action_names(self.given)[: len(self.wanted)]
        self.plans.publish(plan_to_trajectory(plan, names, self.given.base_frame))

    def call(self, name, data=True):
        kind, request = Trigger, Trigger.Request()
        if name == "arm":
            kind, request = SetBool, SetBool.Request(data=data)
        # It asks again where an answer is lost, as one is now and then on a machine that is busy.
        return _call(self._clients[name], request, kind.Response, PATIENCE_S)

    def tool(self) -> np.ndarray:
        return np.array([self.truth[f"tool_position_m.{axis}"] for axis in "xyz"])

    def base(self) -> np.ndarray:
        """Where a base really is: x m, y m, heading rad."""
        names = ("base_position_m.x", "base_position_m.y", "base_heading_rad")
        return np.array([self.truth[name] for name in names])

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
        """Velocities of the axes of all commands from number ``since`` on."""
        rows = np.array([values for _, values in self.commands[since:]])
        if positions_are_sent(self.given):
            return np.diff(rows, axis=0) / self.dt_s
        return rows

    def check_limits(self, since: int):
        """Raise unless speed, acceleration and jerk of all that was sent are within the limits."""
        given = self.given
        speed, acceleration, jerk = map(
            np.array,
            (given.joint_speed_rad_s, given.joint_acceleration_rad_s2, given.joint_jerk_rad_s3)
            if is_joint_interface(given)
            else (given.speed_m_s, given.acceleration_m_s2, given.jerk_m_s3),
        )
        sent = self.velocities(since)
        accelerations = np.diff(sent, axis=0) / self.dt_s
        jerks = np.diff(accelerations, axis=0) / self.dt_s
        assert np.isfinite(sent).all()
        assert (np.abs(sent) <= speed * given.speed_scale * (1 + 1e-6)).all()
        assert (np.abs(accelerations) <= acceleration + 1e-6).all()
        assert (np.abs(jerks) <= jerk * (1 + 1e-4)).all()


@contextlib.contextmanager
def driven_robots(
    nodes: Sequence[NodeSpec], given: Mapping[str, CommandParameters], run_dir: Path
) -> Iterator[tuple[Graph, dict[str, Robot]]]:
    """A graph that is up, and the robots in it by namespace."""
    with Graph(nodes, run_dir) as graph:
        graph.wait_ready(PATIENCE_S)
        use_realtime_priority(50)  # no command is to be missed, nor times to be those of the test
        os.environ.update(transport_environment(graph.domain_id))
        context = Context()
        rclpy.init(args=[], context=context, domain_id=graph.domain_id)
        node = Node("test", context=context)
        robots = {name: Robot(node, name, given[name]) for name in given}
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        spinner = Spinner(executor)
        assert eventually(lambda: all(r.truth and r.status for r in robots.values()))
        yield graph, robots
        spinner.stop()
        node.destroy_node()
        rclpy.try_shutdown(context=context)
