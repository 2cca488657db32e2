"""A coin decides where a dot goes: outcomes tell left from right, one prediction is between."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from coins import COINS, tossed_dot
from dots import SMALL, SPEC, draw_dot
from interruption import interrupted_at
from numpy.typing import NDArray

from world_model.bundle import open_bundle
from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.config import PredictorConfig, TrainConfig, TrainConfigError
from world_model.curves import read_losses
from world_model.data.dataset import DatasetWriter
from world_model.data.mixture import open_mixture
from world_model.energy import energy, least_energy
from world_model.export import export
from world_model.held_out import see
from world_model.rollout_graph import VARIANTS, rollout_graph
from world_model.runtime import OnnxWorldModel, Start, load_world_model
from world_model.train import train


@dataclass(frozen=True)
class Made:
    """Predictors with one and with two outcomes on one encoder, and where they come from."""

    data: Path
    encoder: Path
    one: Path
    two: Path
    bundle: Path


@dataclass(frozen=True)
class Steps:
    """Held-out steps: B of them, as the runtime takes them, and what came."""

    before: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
    seen: NDArray[np.float32]
    places: NDArray[np.float32]
    tossed: NDArray[np.bool_]


def on_encoder(encoder: Path, outcomes: int, steps: int = 300) -> TrainConfig:
    return dataclasses.replace(
        COINS,
        predictor=dataclasses.replace(COINS.predictor, outcomes=outcomes),
        encoder_from=str(encoder),
        steps=steps,
        validate_every=steps,
        batch=128,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("coins")
    names = ("data", "encoder", "one", "two", "bundle")
    made = Made(*(folder / name for name in names))
    with DatasetWriter(made.data, SPEC) as writer:
        for seed in range(60):
            writer.add(tossed_dot(seed))
    single = dataclasses.replace(COINS.predictor, outcomes=1)
    whole = dataclasses.replace(COINS, predictor=single)
    train(made.data, made.encoder, whole, progress=False)
    for out, outcomes in ((made.one, 1), (made.two, 2)):
        train(made.data, out, on_encoder(made.encoder, outcomes), progress=False)
    export(made.two, made.data, made.bundle)
    return made


@pytest.fixture(scope="module")
def model(made: Made) -> OnnxWorldModel:
    return load_world_model(made.bundle)


@pytest.fixture(scope="module")
def steps(made: Made, model: OnnxWorldModel) -> Steps:
    mixture = open_mixture(made.data, progress=False)
    seen = see(model, mixture.cache, mixture.held_out)
    rows = seen.clip_starts(3)[:, None] + np.arange(3)
    frames = seen.frames[rows[:, :2]]
    places = mixture.cache.evaluation[seen.frames[rows]]
    return Steps(
        (seen.latents[rows[:, :2]], mixture.cache.proprio[frames], mixture.cache.actions[frames]),
        seen.latents[rows[:, 2]],
        places,
        places[:, 1, 0] == 0.5,
    )


def test_the_outcome_that_came_true_is_told_where_one_prediction_is_between(
    made: Made, model: OnnxWorldModel, steps: Steps
) -> None:
    single = model_from_checkpoint(load_checkpoint(made.one))
    with torch.no_grad():
        between = single.step(*(torch.from_numpy(part) for part in steps.before))[0].numpy()
    least = least_energy(steps.seen, model.outcomes(*steps.before))
    assert least[steps.tossed].mean() < 0.4 * energy(steps.seen, between)[steps.tossed].mean()
    assert (least <= energy(steps.seen, model.predict(*steps.before)[0]) + 1e-5).all()


def dots_seen(model: OnnxWorldModel, places: NDArray[np.floating]) -> NDArray[np.float32]:
    """Latents of the dot at places ``(B, 2)``."""
    return model.encode_batch({"scene": np.stack([draw_dot(place) for place in places])})


def test_the_outcomes_are_left_and_right(model: OnnxWorldModel, steps: Steps) -> None:
    outcomes = model.outcomes(*(part[steps.tossed] for part in steps.before))
    which = energy(steps.seen[steps.tossed][:, None], outcomes).argmin(1)
    other = outcomes[np.arange(len(which)), 1 - which]
    # The other outcome is what did not happen: the dot at the same height on the other side.
    came = steps.places[steps.tossed][:, 2].astype(np.float64)
    not_come = dots_seen(model, np.stack([1.0 - came[:, 0], came[:, 1]], 1))
    assert energy(not_come, other).mean() < 0.2 * energy(dots_seen(model, came), other).mean()


def test_planning_goes_on_from_the_likeliest(model: OnnxWorldModel, steps: Steps) -> None:
    before = tuple(part[steps.tossed] for part in steps.before)
    heights = steps.places[steps.tossed][:, 2, 1].astype(np.float64)
    left, right = (
        dots_seen(model, np.stack([np.full_like(heights, x), heights], 1)) for x in (0.25, 0.75)
    )
    likeliest = model.predict(*before)[0]
    assert (energy(right, likeliest) < energy(left, likeliest)).mean() > 0.8  # the coin is bent


def test_the_fused_rollout_says_what_the_steps_say(
    made: Made, model: OnnxWorldModel, steps: Steps
) -> None:
    actions = np.random.default_rng(2).uniform(-1, 1, (64, 5, 2)).astype(np.float32)
    latents, proprio, applied = (part[0] for part in steps.before)
    start = Start(latents, proprio, applied[:1])
    fused, stepwise = model.rollout(start, actions), model.rollout_stepwise(start, actions)
    assert model.fused
    assert fused.disagreement is stepwise.disagreement is None
    same = np.isclose(fused.latents, stepwise.latents, atol=1e-4).all((1, 2, 3))
    assert same.mean() > 0.98  # rounding may decide between two that are equally likely
    assert np.allclose(fused.proprio[same], stepwise.proprio[same], atol=1e-4)
    assert set(open_bundle(made.bundle).manifest["parity"]["max_abs_error"]) == {
        *("encoder", "predictor_latent", "predictor_proprio", "rollout", "outcomes")
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_faster_variants_choose_too(made: Made, variant: str) -> None:
    graph = rollout_graph(model_from_checkpoint(load_checkpoint(made.two)), variant).graph
    body = next(node for node in graph.node if node.op_type == "Scan").attribute
    kinds = {node.op_type for attribute in body for node in attribute.g.node}
    assert {"ArgMax", "GatherND"} <= kinds


def test_a_resumed_run_with_outcomes_repeats_its_losses(made: Made, tmp_path: Path) -> None:
    config = on_encoder(made.encoder, 3, steps=30)
    train(made.data, tmp_path / "whole", config, progress=False)
    with interrupted_at(15):
        assert not train(made.data, tmp_path / "cut", config, progress=False).finished
    assert train(made.data, tmp_path / "cut", config, resume=True, progress=False).finished
    losses = read_losses(tmp_path / "cut")
    assert losses == read_losses(tmp_path / "whole")
    assert set(losses[1]) == {"prediction", "proprio", "outcome", "total"}


def test_a_single_outcome_is_the_prediction(exported: Path) -> None:
    model = load_world_model(exported)
    rng = np.random.default_rng(0)
    shapes = (4, 2, *model.spec.latent_shape), (4, 2, 1), (4, 2, 2)
    latents, proprio, actions = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    outcomes = model.outcomes(latents, proprio, actions)
    np.testing.assert_array_equal(outcomes[:, 0], model.predict(latents, proprio, actions)[0])
    seen = rng.normal(size=outcomes[:, 0].shape)
    np.testing.assert_allclose(least_energy(seen, outcomes), energy(seen, outcomes[:, 0]))


def test_heads_and_outcomes_do_not_go_together() -> None:
    with pytest.raises(TrainConfigError, match=r"outcomes must be 1 with several heads.*got 2"):
        PredictorConfig(heads=5, outcomes=2)
    with pytest.raises(TrainConfigError, match="outcomes must be at least 1, got 0"):
        dataclasses.replace(SMALL.predictor, outcomes=0)
