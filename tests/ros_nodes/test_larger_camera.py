"""A camera of more pixels than the bundle expects: the robot plans from it and reaches its goal.

The tests share a graph and run in the order they are written in.
"""

from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from conftest import SEED, Running
from PIL import Image as Picture
from std_msgs.msg import String
from waiting import PATIENCE_S, eventually, tool

from ros_nodes import qos
from ros_nodes.client import GraphClient
from ros_nodes.graph import sim_graph
from ros_nodes.params import SimParameters

SIZE = 256
FITTED = f"camera scene: {SIZE}x{SIZE}, scaled to 64x64 as on import"


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Running]:
    run_dir = tmp_path_factory.mktemp("larger")
    with sim_graph(run_dir, bundle, sim=SimParameters(seed=SEED, image_size=SIZE)) as graph:
        graph.wait_ready(PATIENCE_S)
        with GraphClient(graph.domain_id) as client:
            yield Running(graph, client, run_dir)


@pytest.fixture(scope="module")
def sight() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A goal as the larger camera sees it, ``(256, 256, 3)``, and where it is, m."""
    env = gymnasium.make("foresee/Reach-v0", image_size=SIZE)
    observation, _ = env.reset(seed=2)
    yield observation["goal_image"], env.unwrapped.truth()["goal_position_m"]
    env.close()


def test_a_bundle_of_64_px_plans_from_a_larger_camera_to_its_goal(larger, sight):
    client, (image, goal_m) = larger.client, sight
    assert image.shape == (SIZE, SIZE, 3)
    stamp_ns = client.set_goal(image, PATIENCE_S)
    assert eventually(lambda: client.plan_status.usable)
    assert client.plan_status.goal_stamp_ns == stamp_ns
    assert client.frame.shape == (SIZE, SIZE, 3)
    client.arm(timeout_s=PATIENCE_S)
    assert eventually(lambda: np.linalg.norm(tool(client) - goal_m) < 0.08)

    def statuses() -> set[str]:
        return {report.status for report in client.plan_reports(stamp_ns)}

    assert eventually(lambda: "OK" in statuses())
    assert not statuses() & {"BAD_OBSERVATION", "MODEL_FAILED"}
    log = (larger.run_dir / "logs" / "agent_node.log").read_text()
    assert log.count(FITTED) == 1  # once, not for every frame and not for the goal again


def test_a_goal_file_of_yet_another_size_is_fitted_too(larger, sight, tmp_path):
    client, before = larger.client, larger.client.plan_status.goal_stamp_ns
    Picture.fromarray(sight[0]).resize((128, 96)).save(tmp_path / "goal.png")
    files = client._node.create_publisher(String, "goal_file", qos.LATCHED)
    files.publish(String(data=str(tmp_path / "goal.png")))
    assert eventually(lambda: client.plan_status.goal_stamp_ns not in (before, 0))
    log = larger.run_dir / "logs" / "agent_node.log"
    told = "camera scene: 128x96, cropped and scaled to 64x64 as on import"
    assert eventually(lambda: told in log.read_text())
