"""An agent drives a base: the whole graph of `diff_drive.yaml`, in front of the fake one.

The model is a measured one (`base_bundle`). The camera's frames come through the test, which can
freeze them. The tests share the graph and run in the order they are written in.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from base_bundle import write_base_bundle
from geometry_msgs.msg import Twist
from sensor_msgs.msg import Image
from test_robot_files import parameters
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.convert import twist_to_base
from ros_nodes.graph import Graph, NodeSpec, supervised
from ros_nodes.params import FakeBaseParameters
from ros_nodes.plan_log import read_plan_log
from ros_nodes.transport import free_domain_id, transport_environment
from sim.camera import ROOM_CAMERAS
from sim.fake_base import draw_base

# A planner and a test that relays frames on two cores: patience, for this is not what is tested.
COMMAND = replace(
    parameters("diff_drive"),
    shadow=False,
    speed_scale=1.0,
    max_plan_age_s=1.0,
    max_pose_age_s=0.5,
    max_image_age_s=1.5,
)
SETTINGS = """
planner: {horizon: 10, knots: 5, samples: 200, iterations: 3, elites: 20}
cost: {action_weight: 0.0001, smoothness_weight: 0.0001}
max_observation_age_s: 1.0
"""
HOME = (-0.8, 0.0, 0.0)
GOALS = {"ahead and left": (-0.2, 0.5, 1.2), "behind": HOME}


@dataclass
class Relay:
    """Hands frames on, and hears commands."""

    client: GraphClient
    commands: list[tuple[float, np.ndarray]] = field(default_factory=list)
    frozen: threading.Event = field(default_factory=threading.Event)
    shown: Image | None = None

    def __post_init__(self):
        node = self.client._node
        self._frames = node.create_publisher(Image, "scene/image_raw", qos.SENSOR)
        node.create_subscription(Image, "real/image_raw", self._on_frame, qos.SENSOR)
        node.create_subscription(Twist, "cmd_vel", self._on_command, qos.COMMAND_LOG)

    def _on_frame(self, message):
        if not self.frozen.is_set() or self.shown is None:
            self.shown = message
        self.shown.header = message.header
        self._frames.publish(self.shown)

    def _on_command(self, message):
        self.commands.append((time.monotonic(), twist_to_base(message)))

    def base(self) -> np.ndarray:
        truth = self.client.wait_for_truth(PATIENCE_S)
        return np.array([truth["base_position_m.x"], truth["base_position_m.y"]])

    def go(self, goal):
        """Arm, and set off to where a picture has the base."""
        self.client.clear_estop(PATIENCE_S)
        self.client.arm(timeout_s=PATIENCE_S)
        picture = draw_base(np.array(goal), ROOM_CAMERAS["scene"], 64)
        self.client.set_goal(picture, PATIENCE_S)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def graph(run_dir):
    speed_m_s, _, turning_rad_s = COMMAND.speed_m_s
    bundle = write_base_bundle(run_dir / "bundle", speed_m_s, turning_rad_s)
    (run_dir / "agent.yaml").write_text(SETTINGS)
    agent = replace(
        parameters("diff_drive", "agent_node"),
        bundle=str(bundle),
        agent_config=str(run_dir / "agent.yaml"),
        plan_log=str(run_dir / "plans.mcap"),
    )
    nodes = [
        NodeSpec("fake_base_node", FakeBaseParameters(start=HOME, camera="real")),
        supervised(NodeSpec("agent_node", agent), NodeSpec("command_node", COMMAND)),
    ]
    with Graph(nodes, run_dir) as graph:
        graph.wait_ready(PATIENCE_S)
        yield graph


@pytest.fixture(scope="module")
def relay(graph):
    with GraphClient(graph.domain_id) as client:
        yield Relay(client)


@pytest.mark.parametrize("name", GOALS)
def test_it_drives_to_where_a_goal_image_has_it_and_never_sideways(relay, name):
    goal = GOALS[name]
    relay.go(goal)
    assert eventually(lambda: np.linalg.norm(relay.base() - goal[:2]) < 0.12)
    relay.client.arm(False)
    assert eventually(lambda: relay.commands[-1][0] < time.monotonic() - 0.3)
    sent = np.array([values for _, values in relay.commands])
    np.testing.assert_array_equal(sent[:, 1], 0.0)
    assert (np.abs(sent) <= np.array(COMMAND.speed_m_s) * (1 + 1e-6)).all()


def test_a_frozen_camera_stops_it(relay):
    relay.go(GOALS["ahead and left"])
    assert eventually(lambda: abs(relay.commands[-1][1][0]) > 0.1)
    relay.frozen.set()
    try:
        assert eventually(lambda: relay.client.command_status.get("state") == "IMAGE_STALE")
        assert eventually(lambda: not relay.commands[-1][1].any())
    finally:
        relay.frozen.clear()
    assert eventually(lambda: relay.client.command_status.get("state") == "FOLLOWING")


def test_a_lost_command_node_is_braked_for_within_the_limits(relay, graph):
    relay.go(HOME)
    assert eventually(lambda: abs(relay.commands[-1][1][0]) > 0.1)
    pid, when_s = graph.pids["command_node"], time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: relay.commands[-1][0] > when_s and not relay.commands[-1][1].any())
    sent = np.array([values for at_s, values in relay.commands if at_s > when_s - 0.1])
    changes = np.abs(np.diff(sent, axis=0)) * COMMAND.rate_hz
    assert (changes <= 2.0 * np.array(COMMAND.acceleration_m_s2) + 1e-6).all()
    assert eventually(lambda: relay.client.command_status.get("estop") == "true")
    assert eventually(lambda: graph.pids.get("command_node", pid) != pid)


def test_a_model_of_what_these_topics_do_not_carry_is_refused_with_one_line(tmp_path):
    bundle = write_base_bundle(tmp_path / "bundle", 0.3, 1.9, ("base.vx", "tool.vx"))
    done = subprocess.run(
        [sys.executable, "-m", "ros_nodes.agent_node", "--ros-args", "-p", f"bundle:={bundle}"],
        env={**os.environ, **transport_environment(free_domain_id())},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 2
    assert "action 'tool.vx' is not a velocity of a base" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_agent_knew_what_was_applied_and_what_odometry_said(graph, run_dir, relay):
    del relay
    assert set(graph.stop().values()) == {0}
    records = [logged.record for logged in read_plan_log(run_dir / "plans.mcap")]
    applied = np.array([record.inputs.state.actions[-1] for record in records])
    odometry = np.array([record.observation.proprio for record in records])
    # Both in their places: forwards never as fast as it turned. How close they are is a matter of
    # the wheels' lag and of how busy the machine is.
    for values in (applied, odometry):
        fastest = np.abs(values).max(axis=0)
        assert 0.1 < fastest[0] < 0.4
        assert fastest[1] > 0.5
    np.testing.assert_array_equal(applied[-1], 0.0)  # the supervisor braked it, and said so
