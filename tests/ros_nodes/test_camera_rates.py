"""Surprise with a trained model and real pictures, whatever the rate frames are planned from at.

Everything is in this process: the simulation stands still while the agent plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.surprise import lies
from controller.command_filter import StopTimes, pace
from controller.memory import AppliedCommand, action_in_force
from controller.surprise_hold import SurpriseHold
from controller.types import NS_PER_S
from foresee.commands import shipped_bundle
from foresee.worlds import core_of, make_world, observation_of
from ros_nodes.image_fitter import ImageFitter
from ros_nodes.loaded_agent import LoadedAgent
from ros_nodes.params import AgentParameters

ENV = "foresee/Reach-v0"
TICK_HZ = 120  # commands
LIES_FROM_S = 0.6
TIMES = StopTimes(slow_surprise=1.0, stop_surprise=2.0)  # as they are by default
# Ticks from frame to frame.
GAPS = {
    "10 Hz": (12,),
    "15 Hz": (8,),
    "20 Hz": (6,),
    "30 Hz": (4,),
    "60 Hz": (2,),
    "uneven": (4, 4, 19, 7, 4, 40, 11),
}
Lie = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.uint8]]


def load(given: AgentParameters, said: list[str]) -> LoadedAgent:
    return LoadedAgent(given, said.append, said.append, ImageFitter(said.append))


@dataclass(frozen=True, eq=False)
class Seen:
    """When a frame was taken, s, how surprising it was and where the tool was, ``(3,)`` m."""

    at_s: float
    surprise: float | None
    tool_m: NDArray[np.float64]


@dataclass
class Robot:
    """The simulated one and the agent that moves it."""

    world: gymnasium.Env
    given: AgentParameters
    said: list[str] = field(default_factory=list)

    def frames(
        self,
        seed: int,
        gaps: tuple[int, ...],
        seconds: float,
        lie: Lie | None = None,
        counts: Callable[[float, float], float] | None = None,
    ) -> list[Seen]:
        """Each frame on the way to the goal of a seed.

        Args:
            seed: of start and goal.
            gaps: ticks from frame to frame, over and over.
            seconds: how long.
            lie: what the camera shows from `LIES_FROM_S` on.
            counts: of surprise and time, s, the surprise that slows and stops the robot; ``None``
                for none.
        """
        loaded = load(self.given, self.said)
        agent, core = loaded.agent, core_of(self.world)
        obs, _ = self.world.reset(seed=seed)
        agent.set_goal({"scene": obs["goal_image"]})
        found, applied, then, tick = [], [], None, 0
        while tick < seconds * TICK_HZ:
            obs = core.observe()
            if lie is not None and tick >= LIES_FROM_S * TICK_HZ:
                then = obs["image"] if then is None else then
                obs["image"] = lie(obs["image"], then)
            agent.step(observation_of(self.world, obs, tick / TICK_HZ), applied)
            surprise, share = loaded.watch(), 1.0
            found.append(Seen(tick / TICK_HZ, surprise, core.truth()["tool_position_m"]))
            if counts is not None:
                share = pace(TIMES, counts(surprise or 0.0, tick / TICK_HZ))
            applied = []
            for _ in range(gaps[len(found) % len(gaps)]):
                stamp_ns = tick * NS_PER_S // TICK_HZ
                action = share * action_in_force(agent.state.plans, stamp_ns, 3)
                applied.append(AppliedCommand(stamp_ns, action))
                core.command(action)
                core.advance(1 / TICK_HZ)
                tick += 1
        loaded.close()
        return found


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Robot]:
    config = tmp_path_factory.mktemp("agent") / "agent.yaml"
    config.write_text("planner: {samples: 64, iterations: 2, elites: 10}\n")  # it need not be good
    bundle = str(shipped_bundle(ENV))
    given = AgentParameters(bundle=bundle, agent_config=str(config), deadline_s=10.0)
    world = make_world(ENV)
    yield Robot(world, given)
    world.close()


@pytest.mark.parametrize("camera", GAPS)
def test_an_honest_camera_is_never_a_surprise_and_always_watched(robot, camera):
    for seed in (501, 502):
        found = robot.frames(seed, GAPS[camera], 2.0)
        known = [seen.surprise for seen in found if seen.at_s > 0.35]
        assert None not in known
        assert 0.0 < max(known) < 1.0


@pytest.mark.parametrize("lie", ["black", "frozen", "mirrored", "covered"])
@pytest.mark.parametrize("camera", GAPS)
def test_a_camera_that_lies_is_a_surprise_that_stops(robot, camera, lie):
    found = robot.frames(501, GAPS[camera], 1.6, lies()[lie])
    assert max(seen.surprise or 0.0 for seen in found if seen.at_s < LIES_FROM_S) < 1.0
    assert max(seen.surprise or 0.0 for seen in found) > 2.0


def test_a_robot_that_was_stopped_does_not_creep_on(robot):
    def crept_m(counts: Callable[[float, float], float]) -> float:
        found = robot.frames(503, GAPS["30 Hz"], 3.0, lies()["covered"], counts)
        stop = next(i for i, seen in enumerate(found) if (seen.surprise or 0.0) >= 2.0)
        places = np.array([seen.tool_m for seen in found[stop + 3 :]])  # 0.1 s to brake in
        return float(np.linalg.norm(np.diff(places, axis=0), axis=1).sum())

    assert crept_m(lambda surprise, now_s: surprise) > 0.02  # around the stop level, on and off
    assert crept_m(SurpriseHold(TIMES.slow_surprise, TIMES.stop_surprise).counts) < 0.005


def test_what_cannot_be_watched_is_told_once(robot, bundle: Path):
    robot.said.clear()
    found = robot.frames(501, (60,), 4.0)  # every 5 steps
    assert {seen.surprise for seen in found} == {None}
    assert [line.split(":")[0] for line in robot.said] == ["surprise is not watched"]
    said: list[str] = []
    load(AgentParameters(bundle=str(bundle)), said).close()
    assert "has no quantiles of the energy: surprise is not watched" in said[0]
