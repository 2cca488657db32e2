from __future__ import annotations

import json

import numpy as np
import pytest

from world_model.energy import LEVELS, EnergyQuantiles, calibrate, energy, quantiles_from

RNG = np.random.default_rng(0)


def test_the_energy_is_the_mean_squared_difference() -> None:
    observed = np.array([[[1.0, 2.0], [3.0, 4.0]]], np.float32)  # one frame, two tokens of two
    predicted = np.array([[[1.0, 0.0], [3.0, 1.0]]], np.float32)
    assert energy(observed, predicted).tolist() == [(0 + 4 + 0 + 9) / 4]
    assert energy(observed[0], predicted).shape == (1,)  # one frame against many predictions
    with pytest.raises(ValueError, match="cannot be held against"):
        energy(observed, predicted[..., :1])


def test_it_is_what_the_controller_calls_the_distance_to_a_goal() -> None:
    from controller.costs.base import CostContext
    from controller.costs.task import GoalCost
    from controller.types import Goal
    from world_model.runtime import Rollouts

    latents = RNG.normal(size=(5, 1, 2, 3)).astype(np.float32)
    goal = RNG.normal(size=(2, 3)).astype(np.float32)
    context = CostContext(Goal(goal), None, np.zeros(2, np.float32))
    cost = GoalCost(1, 1.0)(Rollouts(latents, latents[..., 0]), np.zeros((5, 1, 2)), context)
    np.testing.assert_allclose(cost, energy(goal, latents[:, 0]), rtol=1e-5)


def test_quantiles_are_exceeded_as_often_as_they_say() -> None:
    energies = RNG.gamma(2.0, size=(4000, 3)) * [1.0, 2.0, 3.0]
    found = calibrate(energies, np.repeat(np.arange(40), 100))
    fresh = RNG.gamma(2.0, size=(4000, 3)) * [1.0, 2.0, 3.0]
    for steps in (1, 2, 3):
        for level in (0.5, 0.9, 0.99):
            within = (fresh[:, steps - 1] <= found.threshold(level, steps)).mean()
            assert within == pytest.approx(level, abs=0.03)
    np.testing.assert_allclose(found.covered, found.levels, atol=0.05)
    assert (found.clips, found.episodes, found.steps) == (4000, 40, 3)


def test_coverage_is_judged_on_episodes_that_were_left_out() -> None:
    """Episodes that differ from each other: a quantile of some says little about the rest."""
    energies = np.repeat(np.geomspace(1e-4, 1.0, 6), 50)[:, None]
    found = calibrate(energies, np.repeat(np.arange(6), 50))
    assert abs(found.covered[LEVELS.index(0.9)] - 0.9) > 0.03


def test_rank_and_surprise_agree_with_the_thresholds() -> None:
    found = calibrate(RNG.gamma(2.0, size=(2000, 2)), np.repeat(np.arange(20), 100))
    for level in (0.05, 0.5, 0.95):
        assert found.rank(found.threshold(level, 2), 2) == pytest.approx(level)
    assert found.surprise(found.threshold(0.99)) == pytest.approx(1.0)
    assert found.rank(0.0) == 0.0
    assert found.rank(1e9) == 1.0
    assert found.rank(float("nan")) == 1.0
    assert found.surprise(float("nan")) == float("inf")
    with pytest.raises(ValueError, match="1 to 2 steps, not 3"):
        found.threshold(0.5, 3)
    with pytest.raises(ValueError, match="not within"):
        found.threshold(0.99999)


def test_quantiles_survive_the_manifest() -> None:
    found = calibrate(RNG.gamma(2.0, size=(300, 2)), np.repeat(np.arange(3), 100))
    manifest = json.loads(json.dumps({"energy": found.to_json()}))
    assert quantiles_from(manifest) == found
    assert quantiles_from({}) is None


@pytest.mark.parametrize(
    ("levels", "quantiles"),
    [
        ((0.5,), ((1.0, 2.0),)),
        ((0.5, 0.4), ((1.0, 2.0),)),
        ((0.5, 0.9), ((2.0, 1.0),)),
        ((0.5, 1.0), ((1.0, 2.0),)),
        ((0.5, 0.9), ((1.0, float("nan")),)),
        ((0.5, 0.9), ((-1.0, 2.0),)),
        ((), ()),
    ],
)
def test_quantiles_that_make_no_sense_are_refused(
    levels: tuple[float, ...], quantiles: tuple[tuple[float, ...], ...]
) -> None:
    with pytest.raises(ValueError, match="energy"):
        EnergyQuantiles(levels, quantiles, 10, 2)


def test_energies_that_are_not_finite_cannot_be_calibrated_on() -> None:
    with pytest.raises(ValueError, match="finite"):
        calibrate(np.array([[np.nan]]), np.zeros(1, np.int64))
