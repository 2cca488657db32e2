"""The agent under a lifecycle manager, and how nodes end on SIGTERM."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory
from waiting import PATIENCE_S, eventually

from ros_nodes import qos
from ros_nodes.client import GraphClient, _call
from ros_nodes.graph import Graph, NodeSpec
from ros_nodes.params import AgentParameters, RecorderParameters, SimParameters
from ros_nodes.process import Spinner
from world_model.data.bags import read_bag


class Manager:
    """A lifecycle manager and listener to plans, as another node of the graph would be."""

    def __init__(self, domain_id: int) -> None:
        self.context = Context()
        rclpy.init(args=[], context=self.context, domain_id=domain_id)
        self.node = Node("manager", context=self.context)
        self.change = self.node.create_client(ChangeState, "agent_node/change_state")
        self.plans: list[JointTrajectory] = []
        self.node.create_subscription(JointTrajectory, "plan", self.plans.append, qos.COMMAND)
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(self.node)
        self.spinner = Spinner(executor)

    def refused(self, transition: int) -> bool:
        """Asked until there is an answer: whoever has just found a service may not be heard."""
        request = ChangeState.Request(transition=Transition(id=transition))
        return not _call(self.change, request, ChangeState.Response, PATIENCE_S).success

    def ask(self, transition: int) -> bool:
        assert self.change.wait_for_service(PATIENCE_S)
        request = ChangeState.Request(transition=Transition(id=transition))
        future, done = self.change.call_async(request), threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE_S)
        return future.result().success

    def close(self) -> None:
        self.spinner.stop()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def graph(tmp_path: Path, bundle: Path) -> Iterator[Graph]:
    nodes = [
        NodeSpec("recorder_node", RecorderParameters(path=str(tmp_path / "bag"))),
        NodeSpec("sim_node", SimParameters()),
        NodeSpec("agent_node", AgentParameters(bundle=str(bundle), autostart=False)),
    ]
    with Graph(nodes, tmp_path) as graph:
        graph.wait_ready(PATIENCE_S)
        yield graph


def test_the_agent_plans_only_while_active(graph, world):
    with GraphClient(graph.domain_id) as client:
        manager = Manager(graph.domain_id)
        try:
            assert manager.refused(Transition.TRANSITION_ACTIVATE)  # not configured yet
            assert manager.ask(Transition.TRANSITION_CONFIGURE)
            until_s = time.monotonic() + 1.0
            while time.monotonic() < until_s:  # there were frames to plan from
                client.wait_for_truth(PATIENCE_S)
            assert client.plan_status is None
            assert manager.plans == []
            for _ in range(2):  # and all of it again after cleaning up
                assert manager.ask(Transition.TRANSITION_ACTIVATE)
                client.set_goal(world.reset(seed=1)[0]["goal_image"], PATIENCE_S)
                assert eventually(lambda: any(p.points for p in manager.plans))
                assert manager.ask(Transition.TRANSITION_DEACTIVATE)
                assert eventually(lambda: len(manager.plans[-1].points) == 0)  # stop
                assert manager.ask(Transition.TRANSITION_CLEANUP)
                assert manager.ask(Transition.TRANSITION_CONFIGURE)
                manager.plans.clear()
            assert manager.ask(Transition.TRANSITION_ACTIVATE)
            client.set_goal(world.reset(seed=1)[0]["goal_image"], PATIENCE_S)
            assert eventually(lambda: any(p.points for p in manager.plans))
            assert manager.ask(Transition.TRANSITION_ACTIVE_SHUTDOWN)
            assert eventually(lambda: len(manager.plans[-1].points) == 0)
            count = len(manager.plans)
            time.sleep(0.5)
            assert len(manager.plans) == count
            assert set(graph.stop().values()) == {0}
        finally:
            manager.close()


def test_sigterm_ends_every_node_with_status_0_and_a_readable_bag(graph, tmp_path):
    with GraphClient(graph.domain_id) as client:
        client.wait_for_truth(PATIENCE_S)
        assert eventually(lambda: client.frame is not None)
        time.sleep(1.0)  # the recorder looks for new topics five times a second
    pids = graph.pids
    for pid in pids.values():
        os.kill(pid, signal.SIGTERM)
    assert graph.stop() == dict.fromkeys(pids, 0)
    assert any(message.topic == "/joint_states" for message in read_bag(tmp_path / "bag"))
