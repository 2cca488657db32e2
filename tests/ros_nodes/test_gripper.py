"""An arm with fingers: a block is picked up through the nodes, and an agent closes its hand."""

import time
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import yaml
from commanded import driven_robots
from servo_bundle import write_servo_bundle
from waiting import PATIENCE_S, eventually

from foresee.cli import main
from ros_nodes.client import GraphClient
from ros_nodes.graph import NodeSpec, sim_graph
from ros_nodes.params import CommandParameters, SimParameters
from ros_nodes.plan_log import read_plan_log
from sim.assets import FINGER_JOINTS
from sim.gripper import MAX_SPEED_M_S, OPEN_M
from sim.policies.pick import pick_to_goal
from world_model.data import open_dataset

ROOT = Path(__file__).parents[2]

WORLD = SimParameters(env_id="foresee/PickPlace-v0", seed=3)
COMMAND = CommandParameters(
    gripper=WORLD.gripper,
    gripper_joint=FINGER_JOINTS[0],
    gripper_speed_m_s=MAX_SPEED_M_S,
    max_plan_age_s=0.5,  # what sends the plans is a test on a busy machine
)
DT_S = 1.0 / COMMAND.rate_hz


def info_of(truth: dict[str, float]) -> dict:
    """The truth as the world tells it."""
    names = ("tool_position_m", "block_position_m", "goal_position_m")
    return {**truth, **{n: np.array([truth[f"{n}.{a}"] for a in "xyz"]) for n in names}}


def test_plans_pick_a_block_up_and_place_it(tmp_path):
    nodes = [
        NodeSpec("sim_node", replace(WORLD, image_rate_hz=20.0), namespace="arm"),
        NodeSpec("command_node", COMMAND, namespace="arm"),
    ]
    with driven_robots(nodes, {"arm": COMMAND}, tmp_path) as (graph, robots):
        robot = robots["arm"]

        def placed() -> bool:
            robot.wanted = pick_to_goal(info_of(robot.truth)).astype(float)
            return bool(robot.truth["success"])

        robot.wanted = np.zeros(4)
        assert eventually(lambda: robot.call("arm").success)
        assert eventually(placed)
        assert robot.truth["success_lift"]
        robot.halt()
        count = len(robot.gripper)
        robot.wanted = np.zeros(4)
        assert eventually(lambda: robot.call("arm").success)
        assert eventually(lambda: robot.status["state"] == "FOLLOWING")
        robot.halt()
        assert len(robot.gripper) == count  # what it holds it holds: nothing was asked of it
        sent = np.array([position for _, position in robot.gripper])
        assert 0.0 <= sent.min() < 0.025  # it squeezed
        assert sent.max() <= OPEN_M
        # It opens from where it is, and closes from there: the fingers may be a trifle ahead.
        assert np.diff(sent).min() >= -MAX_SPEED_M_S * DT_S - 1e-5
        assert set(graph.stop().values()) == {0}


@pytest.fixture(scope="module")
def world():
    env = gymnasium.make(WORLD.env_id)
    yield env.unwrapped
    env.close()


def test_an_agent_moves_the_fingers_and_knows_how_they_were_moved(tmp_path, world):
    bundle = write_servo_bundle(tmp_path / "bundle", world)
    run_dir = tmp_path / "run"
    goal = world.reset(seed=WORLD.seed)[0]["image"]
    goal[:, :20, 2] = 255  # the model has it that closing makes the image bluer
    with sim_graph(run_dir, bundle, sim=WORLD, command=COMMAND) as graph:
        graph.wait_ready(PATIENCE_S)
        with GraphClient(graph.domain_id) as client:

            def fingers_m() -> float:
                return client.wait_for_truth(PATIENCE_S)["gripper_m"]

            assert fingers_m() == pytest.approx(OPEN_M, abs=1e-3)
            client.arm(timeout_s=PATIENCE_S)
            client.set_goal(goal, PATIENCE_S)
            assert eventually(lambda: fingers_m() < 0.005)
            client.arm(False)
            time.sleep(0.3)
        assert set(graph.stop().values()) == {0}
    records = [logged.record for logged in read_plan_log(run_dir / "plans.mcap")]
    applied = np.array([record.inputs.state.actions[-1] for record in records])
    assert applied.shape[1] == 4
    assert applied[:, 3].min() < -0.5 * MAX_SPEED_M_S
    np.testing.assert_array_equal(applied[0], 0.0)
    check_what_is_imported(run_dir / "bag", tmp_path)


def check_what_is_imported(bag: Path, folder: Path) -> None:
    """Raise unless a recording becomes a data set with fingers that close."""
    mapping = yaml.safe_load((ROOT / "config/import.yaml").read_text())
    for joints in mapping["proprio"][:2]:
        joints["joints"] = [*joints["joints"], FINGER_JOINTS[0]]
    arm = mapping["actions"][0]
    mapping["actions"].append(
        arm | {"topic": "/command_node/applied_gripper", "fields": {"gripper.v": "velocity[0]"}}
    )
    config, data = folder / "import.yaml", folder / "data"
    # Half the frames: a loaded machine does not render all of them.
    config.write_text(yaml.safe_dump(mapping | {"rate_hz": 2, "episodes": {"min_s": 0.5}}))
    import_bag = ["data", "import", str(bag), "--config", str(config), "--out", str(data)]
    assert main(import_bag) == 0
    dataset = open_dataset(data)
    assert dataset.spec.action_names[-1] == "gripper.v"
    actions = np.concatenate([dataset.episode(i).actions for i in range(len(dataset))])
    assert actions[:, 3].min() < -0.1 * MAX_SPEED_M_S
