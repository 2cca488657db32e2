"""Two robots side by side in one domain, each in its namespace: neither hears the other.

The left one takes joint velocities and keeps the last for ever; the right one takes twists, and its
camera sends JPEG. Neither is PyBullet.
"""

import os
import signal
import time

import numpy as np
import pytest
from std_msgs.msg import Float64MultiArray
from waiting import PATIENCE_S, eventually, stands_still, tool

from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.graph import Graph, NodeSpec, supervised
from ros_nodes.params import AgentParameters, CommandParameters, FakeRobotParameters
from sim.arm_model import ArmModel, draw_arm
from sim.assets import panda_urdf
from sim.camera import TABLE_CAMERAS

ROBOTS = {
    "left": FakeRobotParameters(interface="joint_velocity", shuffled=True),
    "right": FakeRobotParameters(interface="twist_stamped", compressed=True),
}
START = np.array(FakeRobotParameters().start_rad)
GOAL_M = np.array([0.12, 0.12, -0.1])  # from where it begins


@pytest.fixture(scope="module")
def robots(tmp_path_factory, bundle):
    nodes = []
    for name, robot in ROBOTS.items():
        command = CommandParameters(
            interface=robot.interface, controller=robot.controller, tool_frame="tool"
        )
        # Two planners on two cores: patience with plans, for this is not what is tested here.
        command = _patient(command)
        agent = AgentParameters(bundle=str(bundle))
        nodes += [
            NodeSpec("fake_robot_node", robot, namespace=name),
            supervised(
                NodeSpec("agent_node", agent),
                NodeSpec("command_node", command),
                namespace=name,
            ),
        ]
    with Graph(nodes, tmp_path_factory.mktemp("run")) as graph:
        graph.wait_ready(PATIENCE_S)
        clients = {name: GraphClient(graph.domain_id, namespace=name) for name in ROBOTS}
        yield graph, clients
        for client in clients.values():
            client.close()
        assert set(graph.stop().values()) == {0}


def _patient(command):
    from dataclasses import replace

    return replace(command, max_plan_age_s=1.0, max_pose_age_s=0.5)


def goal() -> tuple[np.ndarray, np.ndarray]:
    """An image of the arm elsewhere, and where its tool is then."""
    model, joints = ArmModel(panda_urdf().read_text(), ROBOTS["left"].joint_names, "tool"), START
    target = model.tool_pose(START)[0] + GOAL_M
    for _ in range(100):
        joints = joints + 0.1 * model.joint_speeds(joints, target - model.tool_pose(joints)[0])
    return draw_arm(model.chain(joints), TABLE_CAMERAS["scene"], 64), model.tool_pose(joints)[0]


def test_one_moves_to_its_goal_and_the_other_stands(robots):
    _, clients = robots
    image, goal_m = goal()
    for name, other in (("left", "right"), ("right", "left")):
        client = clients[name]
        stood = tool(clients[other])
        client.arm(timeout_s=PATIENCE_S)
        client.set_goal(image, PATIENCE_S)

        def distance_m(client=client) -> float:
            return float(np.linalg.norm(tool(client) - goal_m))

        assert eventually(lambda near=distance_m: near() < 0.07)
        assert np.abs(tool(clients[other]) - stood).max() < 2e-3
        client.arm(False)
        assert eventually(lambda client=client: stands_still(client))


def test_a_lost_command_node_ends_joint_commands_that_nobody_else_would_end(robots):
    graph, clients = robots
    client, commands = clients["left"], []
    client._node.create_subscription(
        Float64MultiArray,
        "arm_controller/commands",
        lambda message: commands.append((time.monotonic(), np.array(message.data))),
        qos.COMMAND_LOG,
    )
    client.arm(timeout_s=PATIENCE_S)
    client.set_goal(draw_arm(_chain_at_start(), TABLE_CAMERAS["scene"], 64), PATIENCE_S)
    assert eventually(lambda: commands and np.abs(commands[-1][1]).max() > 0.1)
    pid = graph.pids["left/command_node"]
    when_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: commands[-1][0] > when_s and not commands[-1][1].any())
    rows = np.array([values for at_s, values in commands if at_s > when_s - 0.1])
    limits = CommandParameters()
    # One tick at a time: nothing jumps, although two processes took turns.
    changes = np.abs(np.diff(rows, axis=0)) / 0.01
    assert (changes <= 2.0 * np.array(limits.joint_acceleration_rad_s2) + 1e-6).all()
    assert eventually(lambda: stands_still(client))
    assert eventually(lambda: client.command_status.get("estop") == "true")
    assert eventually(lambda: graph.pids.get("left/command_node", pid) != pid)
    assert clients["right"].command_status.get("estop") == "false"


def _chain_at_start() -> np.ndarray:
    model = ArmModel(panda_urdf().read_text(), ROBOTS["left"].joint_names, "tool")
    return model.chain(START)
