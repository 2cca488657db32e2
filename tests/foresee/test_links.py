"""The simulator as a world model, and the closed loops of benchmarks.links that are kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from made import Made

from benchmarks import links
from benchmarks.true_simulator import TrueSimulator
from controller.types import ModelState
from foresee.worlds import core_of, images_of, world_for
from world_model.runtime import load_world_model

QUICK = "planner: {horizon: 2, knots: 2}\n"


def test_the_simulator_imagines_what_then_happens(push: Made) -> None:
    model = load_world_model(push.bundle)
    simulator, world = TrueSimulator(model, push.env), world_for(push.env, model.spec)
    rng = np.random.default_rng(0)
    unused = ModelState(*(np.zeros(1, np.float32) for _ in range(3)), 0)
    simulator.begin(10_000)
    _, info = world.reset(seed=10_000)
    for _ in range(12):
        # Straight at the block, so that contacts are saved and put back too.
        way = (info["block_position_m"] - info["tool_position_m"])[:2]
        plan = np.tile(0.25 * way / np.abs(way).max(), (1, 3, 1)).astype(np.float32)
        others = rng.uniform(-0.25, 0.25, (2, 3, 2)).astype(np.float32)
        imagined = simulator.rollout(unused, np.concatenate([others, plan, others]))
        assert imagined.latents.shape == (5, 3, *model.spec.latent_shape)
        assert np.abs(imagined.latents[2] - imagined.latents[0]).max() > 1e-3
        obs, _, _, _, info = world.step(plan[0, 0])
        simulator.follow(plan[0, 0])
        np.testing.assert_allclose(imagined.proprio[2, 0], obs["proprio"], atol=1e-6)
        np.testing.assert_allclose(
            imagined.latents[2, 0], model.encode(images_of(world, obs)), atol=1e-4
        )
    assert np.linalg.norm(info["block_position_m"] - world.unwrapped._block_start_m) > 0.02
    assert core_of(world).physics is not simulator._core.physics
    simulator.close()
    world.close()


def test_episodes_of_the_small_search_are_kept(
    push: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agent, path = tmp_path / "agent.yaml", tmp_path / "links.json"
    agent.write_text(QUICK)

    def judged(*words: str) -> int:
        common = ["--bundle", str(push.bundle), "--agent", str(agent), "--json", str(path)]
        small = ["--samples", "4", "--iterations", "1", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", ["links", *common, *small, *words])
        return links.main()

    assert judged("--only", "true_simulator", "small_search", "--episodes", "1") == 0
    told = capsys.readouterr()
    assert "a plan takes" in told.err + told.out
    kept = path.with_suffix(".small_search.jsonl")
    before = kept.read_text()
    assert len(before.splitlines()) == 2
    kept.write_text(before + '{"seed": 10001, "succ')  # killed while it wrote
    assert judged("--only", "small_search", "--episodes", "2") == 0
    assert kept.read_text().startswith(before)
    assert len(kept.read_text().splitlines()) == 3
    found = json.loads(path.read_text())
    assert found["true_simulator"]["n"] == 1
    assert found["small_search"]["n"] == 2
    assert "| the model, the same small search, 4 × 1 | 0% | 0.0% – 65.8% | 2 |" in (
        links.section(found)
    )
    agent.write_text(QUICK + "seed: 7\n")
    assert judged("--only", "small_search", "--episodes", "2") == 2
    assert "of another bundle, world or agent" in capsys.readouterr().err
