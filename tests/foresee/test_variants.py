"""A variant of the rollout is kept when the planner cannot tell, and rejected when it can."""

from __future__ import annotations

import numpy as np
import pytest

from controller.types import ModelState
from foresee.commands import shipped_bundle
from foresee.variants import Search, Verdict, judge_searches, judge_success
from world_model.runtime import OnnxWorldModel, Rollouts, load_world_model


class _Noisy:
    """The model, imagining with noise, and slower or faster than it is."""

    def __init__(self, model: OnnxWorldModel, noise: float, cheap: bool) -> None:
        self._model, self._noise, self._cheap = model, noise, cheap
        self._known: dict[int, Rollouts] = {}

    def rollout(self, state: ModelState, actions: np.ndarray) -> Rollouts:
        if not self._cheap or id(actions) not in self._known:
            if not self._cheap:
                self._model.rollout(state, actions)
            latents, proprio = self._model.rollout(state, actions)[:2]
            noise = np.random.default_rng(0).normal(scale=self._noise, size=latents.shape)
            self._known[id(actions)] = Rollouts(latents + noise.astype(np.float32), proprio)
        return self._known[id(actions)]


@pytest.fixture(scope="module")
def model() -> OnnxWorldModel:
    return load_world_model(shipped_bundle("foresee/Reach-v0"), "cpu")


@pytest.fixture(scope="module")
def searches(model: OnnxWorldModel) -> list[Search]:
    rng = np.random.default_rng(0)
    spec = model.spec
    found = []
    for _ in range(3):
        state = ModelState(
            rng.normal(size=(2, 1, 16)).astype(np.float32),
            np.zeros((2, len(spec.proprio_names)), np.float32),
            np.zeros((1, 3), np.float32),
            0,
        )
        goal = rng.normal(size=(1, 16)).astype(np.float32)
        actions = rng.uniform(spec.action_low, spec.action_high, (2, 100, 6, 3))
        found.append(Search(state, goal, list(actions.astype(np.float32))))
    return found


def test_a_variant_that_picks_the_same_elites_and_is_faster_is_accepted(
    model: OnnxWorldModel, searches: list[Search]
) -> None:
    verdict = judge_searches(model, _Noisy(model, 1e-6, cheap=True), searches, elites=20)
    assert verdict.accepted
    assert verdict.reason == ""
    assert verdict.elite_overlap > 0.99
    assert len(verdict.elite_overlap_by_iteration) == 2


def test_a_bad_variant_is_rejected_with_its_figures(
    model: OnnxWorldModel, searches: list[Search]
) -> None:
    verdict = judge_searches(model, _Noisy(model, 3.0, cheap=True), searches, elites=20)
    assert not verdict.accepted
    assert verdict.elite_overlap < 0.8
    assert verdict.reason == f"elite overlap {verdict.elite_overlap:.1%}, less than 95%"


def test_a_variant_that_is_not_faster_is_rejected(
    model: OnnxWorldModel, searches: list[Search]
) -> None:
    verdict = judge_searches(model, _Noisy(model, 0.0, cheap=False), searches, elites=20)
    assert not verdict.accepted
    assert "not faster than fp32 here" in verdict.reason
    nothing = judge_searches(model, _Noisy(model, np.nan, cheap=False), searches, elites=20)
    assert "elite overlap" in nothing.reason


def test_a_variant_may_cost_two_points_of_success_and_no_more() -> None:
    verdict = Verdict(True, "", 0.99)
    assert judge_success(verdict, fp32_rate=0.90, rate=0.88, episodes=100).accepted
    rejected = judge_success(verdict, fp32_rate=0.90, rate=0.87, episodes=100)
    assert not rejected.accepted
    assert rejected.reason == "success 87.0%, with fp32 90.0%"
    assert (rejected.success_rate, rejected.fp32_success_rate) == (0.87, 0.90)
