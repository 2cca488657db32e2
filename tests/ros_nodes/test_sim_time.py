"""The whole graph on the time of its simulation, and what it does when that time is set back."""

import numpy as np
import pytest
from rosgraph_msgs.msg import Clock
from waiting import PATIENCE_S, eventually, stands_still, tool

from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.graph import sim_graph
from ros_nodes.params import CommandParameters, SimParameters


@pytest.fixture(scope="module")
def graph(tmp_path_factory, bundle):
    run_dir = tmp_path_factory.mktemp("run")
    command = CommandParameters(max_plan_age_s=0.5)  # a busy machine's world is slower than it
    with sim_graph(
        run_dir, bundle, sim=SimParameters(seed=0), command=command, sim_time=True, record=False
    ) as graph:
        graph.wait_ready(PATIENCE_S)
        yield graph
        assert set(graph.stop().values()) == {0}


def test_a_reset_of_the_time_stops_the_robot_and_it_can_go_on_after_arming(graph, world):
    clock = []
    with GraphClient(graph.domain_id) as client:
        client._node.create_subscription(
            Clock, "/clock", lambda message: clock.append(message.clock.sec), qos.CLOCK
        )
        image = world.reset(seed=2)[0]["goal_image"]
        goal_m = world.truth()["goal_position_m"]

        def distance_m() -> float:
            return float(np.linalg.norm(tool(client) - goal_m))

        client.arm(timeout_s=PATIENCE_S)
        client.set_goal(image, PATIENCE_S)
        assert eventually(lambda: distance_m() < 0.08)
        # Stamps are the world's: seconds since it began.
        assert eventually(lambda: 0 < client.plan_status.frame_stamp_ns < 1e9 * 600)
        assert eventually(lambda: clock and clock[-1] >= 3)
        client.reset_world(0, PATIENCE_S)
        assert eventually(lambda: clock[-1] < 3)
        # Back where it began, and whatever it was told to do, it is not told any more.
        assert eventually(lambda: client.command_status.get("armed") == "false")
        assert eventually(lambda: stands_still(client))
        assert distance_m() > 0.2
        client.arm(timeout_s=PATIENCE_S)
        assert eventually(lambda: distance_m() < 0.08)
