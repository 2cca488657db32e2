"""One real graph, shared by the tests that only talk to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import pytest
from servo_bundle import write_servo_bundle
from waiting import PATIENCE_S

import sim  # noqa: F401 registers the environments
from ros_nodes.client import GraphClient
from ros_nodes.graph import Graph, sim_graph
from ros_nodes.params import SimParameters
from sim.envs.table import TableEnv

SEED = 0  # starts 40 cm from the goal of seed 2


@dataclass
class Running:
    """A graph that is up."""

    graph: Graph
    client: GraphClient
    run_dir: Path
    seed: int = SEED


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, world: TableEnv) -> Path:
    return write_servo_bundle(tmp_path_factory.mktemp("bundle") / "servo", world)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[Running]:
    run_dir = tmp_path_factory.mktemp("run")
    with sim_graph(run_dir, bundle, sim=SimParameters(seed=SEED)) as graph:
        graph.wait_ready(PATIENCE_S)
        with GraphClient(graph.domain_id) as client:
            yield Running(graph, client, run_dir)


@pytest.fixture(scope="session")
def world() -> Iterator[TableEnv]:
    """The simulated world in this process, to say where a seed starts and what its goal is."""
    env = gymnasium.make("foresee/Reach-v0")
    yield env.unwrapped
    env.close()
