"""Several heads: one prediction, and their disagreement tells where the data said nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from dots import SMALL

from controller.costs.base import CostContext
from controller.costs.uncertainty import UncertaintyCost
from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.config import TrainConfigError
from world_model.export import export
from world_model.rollout_graph import VARIANTS, rollout_graph
from world_model.runtime import OnnxWorldModel, Start, load_world_model
from world_model.train import train

HEADS = dataclasses.replace(SMALL, predictor=dataclasses.replace(SMALL.predictor, heads=5))


@pytest.fixture(scope="module")
def run(dots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("heads") / "run"
    train(dots, out, HEADS, progress=False)
    return out


@pytest.fixture(scope="module")
def model(run: Path, dots: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxWorldModel:
    bundle = export(run, dots, tmp_path_factory.mktemp("bundle") / "heads")
    return load_world_model(bundle.path)


def start(model: OnnxWorldModel, scale: float = 1.0) -> Start:
    rng = np.random.default_rng(0)
    context, latent = model.spec.context, model.spec.latent_shape
    return Start(
        (scale * rng.normal(size=(context, *latent))).astype(np.float32),
        np.full((context, len(model.spec.proprio_names)), 0.5, np.float32),
        np.zeros((context - 1, len(model.spec.action_names)), np.float32),
    )


def test_several_heads_learn_as_one_does(run: Path) -> None:
    report = load_checkpoint(run).history[-1]
    assert report["rollout_ratio"] < 0.6
    assert min(report["probe_r2"]["dot.x"], report["probe_r2"]["dot.y"]) > 0.9


def test_they_disagree_more_where_they_were_never_trained(model: OnnxWorldModel) -> None:
    rng = np.random.default_rng(1)
    known = rng.uniform(-1, 1, (64, 4, 2)).astype(np.float32)
    inside = model.rollout(start(model), known)
    assert inside.disagreement is not None
    assert inside.disagreement.shape == (64, 4)
    outside = model.rollout(start(model), 6.0 * known).disagreement
    assert outside is not None
    assert outside.mean() > 3.0 * inside.disagreement.mean()
    imagined = model.rollout(start(model), 6.0 * known)
    context = cast(CostContext, None)  # not looked at
    costs = UncertaintyCost()(imagined, known, context)
    np.testing.assert_allclose(costs, outside.mean(1))


def test_the_fused_rollout_says_what_the_steps_say(model: OnnxWorldModel) -> None:
    actions = np.random.default_rng(2).uniform(-1, 1, (8, 5, 2)).astype(np.float32)
    fused, stepwise = (
        imagine(start(model), actions) for imagine in (model.rollout, model.rollout_stepwise)
    )
    for one, other in zip(fused, stepwise, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_one_head_disagrees_about_nothing(exported: Path) -> None:
    model = load_world_model(exported)
    assert model.rollout(start(model), np.zeros((2, 3, 2), np.float32)).disagreement is None
    with pytest.raises(TrainConfigError, match="heads must be at least 1"):
        dataclasses.replace(SMALL.predictor, heads=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_faster_variants_have_it_too(run: Path, variant: str) -> None:
    graph = rollout_graph(model_from_checkpoint(load_checkpoint(run)), variant).graph
    assert [output.name for output in graph.output][-1] == "disagreement"
