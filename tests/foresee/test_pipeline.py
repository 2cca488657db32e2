"""Collect, train, export, run and evaluate through the command line, for each kind of world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from made import Made

from controller.agent import Agent
from controller.config import AgentConfig, PlannerConfig
from controller.types import ObservationError
from foresee.cli import main
from foresee.episode import run_episode
from foresee.evaluate import waiting_world
from foresee.worlds import make_world, observation_of
from world_model.data.dataset import open_dataset
from world_model.runtime import load_world_model

QUICK = "planner: {samples: 16, iterations: 1, elites: 4, kept_elites: 2}\n"


@pytest.mark.parametrize("name", ["reach", "push", "rooms"])
def test_every_environment_goes_through_the_same_commands(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made: Made = request.getfixturevalue(name)
    agent = tmp_path / "agent.yaml"
    agent.write_text(QUICK)
    summary = tmp_path / "eval.json"
    common = ["--env", made.env, "--bundle", str(made.bundle), "--agent", str(agent)]
    options = ["--episodes", "2", "--seed", "10000", "--workers", "2", "--json", str(summary)]
    assert main(["eval", *common, *options]) == 0
    result = json.loads(summary.read_text())
    assert result["n"] == 2
    floors = {"zero", "random", "scripted"} | ({"straight"} if name == "rooms" else set())
    assert set(result["floors"]) == floors
    assert set(result["plan_ms"]) == {"p50", "p95", "p99"}
    assert 0 <= result["ci95"][0] <= result["success_rate"] <= result["ci95"][1] <= 1
    assert result["floors"]["zero"]["success_rate"] == 0  # goals are away from the start
    assert len(result["episodes"]) == 2
    table = capsys.readouterr().out
    assert "95 % interval" in table
    assert "n = 2" in table

    assert main(["run", *common, "--goals", "1"]) == 0
    assert "1 goals reached" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_episode(reach: Made) -> None:
    planner = PlannerConfig(samples=16, iterations=1, elites=4, kept_elites=2)
    config = waiting_world(AgentConfig(planner=planner))
    results = []
    for _ in range(2):
        world = make_world(reach.env)
        agent = Agent(load_world_model(reach.bundle), config)
        results.append(run_episode(world, agent, seed=7).final_distance_m)
        world.close()
    assert results[0] == results[1]


def test_the_agent_is_given_images_and_readings_and_no_truth(push: Made) -> None:
    """No reading is, or is named after, where the block or the goal is."""
    world = make_world(push.env, cameras=("scene", "front"))
    obs, info = world.reset(seed=3)
    observation = observation_of(world, obs, 0.0)
    assert set(vars(observation)) == {"stamp_ns", "images", "proprio"}
    assert set(observation.images) == {"scene", "front"}
    truth = np.concatenate([info["block_position_m"][:2], info["goal_position_m"][:2]])
    near = np.abs(observation.proprio[:, None] - truth[None, :]).min(0)
    assert (near > 1e-6).all(), "a reading equals a true block or goal coordinate"
    assert observation.proprio.shape == (len(world.unwrapped.proprio_names),)
    assert not any("block" in name or "goal" in name for name in world.unwrapped.proprio_names)
    world.close()


class _Liar(gymnasium.Wrapper):
    """A world whose truth says something else than what is so, by one metre."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(**options)
        return obs, _moved(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, _, terminated, truncated, info = self.env.step(action)
        return obs, -99.0, terminated, truncated, _moved(info)


def _moved(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name == "success" else value + 1.0 for name, value in info.items()}


def test_a_truth_that_lies_changes_nothing_the_agent_does(push: Made) -> None:
    planner = PlannerConfig(samples=16, iterations=1, elites=4, kept_elites=2)
    model = load_world_model(push.bundle)
    results, knots = [], []
    for wrap in (gymnasium.Wrapper, _Liar):
        world = wrap(make_world(push.env, max_episode_steps=6, cameras=("scene", "front")))
        seen: list[np.ndarray] = []
        agent = Agent(model, waiting_world(AgentConfig(planner=planner)))
        results.append(run_episode(world, agent, 3, lambda s, seen=seen: seen.append(s.plan.knots)))
        knots.append(np.stack(seen))
        world.close()
    assert results[1].final_distance_m == pytest.approx(results[0].final_distance_m + 1.0)
    np.testing.assert_array_equal(knots[0], knots[1])


def test_an_observation_that_is_not_finite_is_refused_before_planning(reach: Made) -> None:
    world = make_world(reach.env)
    obs, _ = world.reset(seed=0)
    world.close()
    agent = Agent(load_world_model(reach.bundle), AgentConfig())
    obs["proprio"][3] = np.nan
    with pytest.raises(ObservationError, match=r"panda_joint4\.position"):
        agent.step(observation_of(world, obs, 0.0))


def test_collection_is_the_same_for_any_number_of_workers(reach: Made, tmp_path: Path) -> None:
    out = tmp_path / "one"
    options = ["--frames", "80", "--episode-frames", "40", "--seed", "5", "--workers", "1"]
    assert main(["collect", "--out", str(out), *options]) == 0
    one, two = open_dataset(out), open_dataset(reach.data)
    for index in range(2):
        np.testing.assert_array_equal(one.episode(index).proprio, two.episode(index).proprio)
        np.testing.assert_array_equal(
            one.episode(index).images["scene"], two.episode(index).images["scene"]
        )
