"""A critic of the moving dot: it must tell how far the dot has to go, in steps."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from dots import SPEC, moving_dot

from world_model.bundle import BundleError, open_bundle
from world_model.config import CriticConfig, TrainConfigError
from world_model.critic import CriticResult, draw_pairs, spearman, train_critic
from world_model.data.cache import build_cache
from world_model.data.dataset import DatasetError, DatasetWriter
from world_model.data.mixture import Mixture, open_mixture
from world_model.export import ExportError
from world_model.runtime import load_world_model

SETTINGS = CriticConfig(steps=300, batch=256, hidden=64, max_distance_steps=40, threads=1)


@pytest.fixture(scope="module")
def made(
    dots: Path, trained: Path, exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> CriticResult:
    """A critic in a bundle of its own; do not change it."""
    folder = tmp_path_factory.mktemp("critic")
    shutil.copytree(exported, folder / "bundle")
    return train_critic(trained, dots, folder / "out", SETTINGS, folder / "bundle", progress=False)


def test_what_is_found_equally_far_shares_a_rank() -> None:
    steps = np.arange(6)[::-1]
    assert spearman(np.full(6, 1.0), steps) == 0.0  # says nothing, and not the contrary
    assert spearman(np.array([9.0, 9.0, 3.0, 2.0, 1.0, 0.0]), steps) > 0.95
    assert spearman(np.arange(6.0) ** 2, steps) == pytest.approx(-1.0)


def test_it_ranks_unseen_ways_and_is_recorded_in_the_bundle(made: CriticResult) -> None:
    assert made.spearman > 0.4
    assert made.bundle is not None
    network = open_bundle(made.bundle).networks["critic"]
    assert network.details["spearman"] == made.spearman
    assert network.details["config"]["steps"] == SETTINGS.steps
    assert network.details["parity"]["max_relative_error"] < 1e-3
    assert json.loads((made.out / "critic.json").read_text())["spearman"] == made.spearman
    assert sorted(p.name for p in made.out.iterdir()) == ["critic.json", "critic.onnx"]


def test_the_runtime_counts_steps(made: CriticResult, exported: Path, dots: Path) -> None:
    assert made.bundle is not None
    model = load_world_model(made.bundle)
    assert model.has_critic
    cache = build_cache(dots, progress=False)
    frames = [model.encode({"scene": np.array(cache.images["scene"][i])}) for i in range(40)]
    latents = np.stack(frames)
    steps = model.critic(latents, latents[0])
    assert steps.shape == (40,)
    assert steps.min() >= 0.0
    assert steps.max() <= 40.0
    assert steps[0] < 1.0  # it is there
    # The dot's true distance is what decides how long it takes.
    dots_m = np.asarray(cache.evaluation[:40])
    far = np.linalg.norm(dots_m - dots_m[0], axis=1)
    assert steps[far > np.median(far)].mean() > 1.15 * steps[far <= np.median(far)].mean()
    without = load_world_model(exported)
    assert not without.has_critic
    with pytest.raises(BundleError, match="train-critic"):
        without.critic(latents, latents[0])


def test_errors_in_steps_rank_ways_as_well_and_stay_in_range(
    dots: Path, trained: Path, exported: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, error_in="steps", negatives=0.0)
    bundle = tmp_path / "bundle"
    shutil.copytree(exported, bundle)
    result = train_critic(trained, dots, tmp_path / "out", settings, bundle, progress=False)
    assert result.spearman > 0.4
    model = load_world_model(bundle)
    frames = build_cache(dots, progress=False).images["scene"]
    latents = np.stack([model.encode({"scene": np.array(frames[i])}) for i in range(40)])
    steps = model.critic(latents, latents[0])
    assert steps.min() >= 0.0
    assert 5.0 < steps.max() <= 40.0  # far is far, in steps
    assert steps[0] < 0.5 * steps.mean()


def test_a_critic_of_few_frames_is_another_one_judged_on_the_same_episodes(
    dots: Path, trained: Path, made: CriticResult, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, train_frames=120, steps=20)
    few = train_critic(trained, dots, tmp_path / "few", settings, progress=False)
    settings = dataclasses.replace(SETTINGS, train_frames=10**6, steps=20)
    all_of_them = train_critic(trained, dots, tmp_path / "all", settings, progress=False)
    assert few.spearman != all_of_them.spearman
    assert few.spearman_latent == all_of_them.spearman_latent == made.spearman_latent


def test_the_same_seed_gives_the_same_critic(
    made: CriticResult, dots: Path, trained: Path, tmp_path: Path
) -> None:
    again = train_critic(trained, dots, tmp_path / "out", SETTINGS, progress=False)
    assert again.spearman == made.spearman
    assert again.bundle is None


def episodes_of(mixture: Mixture, frames: np.ndarray) -> np.ndarray:
    return np.searchsorted(mixture.cache.episode_starts, frames, side="right") - 1


def test_pairs_are_of_one_episode_or_at_the_greatest_distance(dots: Path) -> None:
    mixture = open_mixture(dots, held_out=0.9, progress=False)
    settings = CriticConfig(batch=500, negatives=0.4, max_distance_steps=20)
    frames, goals, steps = draw_pairs(mixture, settings, np.random.default_rng(0))
    assert len(mixture.fit) == 2
    for drawn in (frames, goals):
        assert set(episodes_of(mixture, drawn)) == set(mixture.fit)
    near = steps < 20
    assert np.array_equal((goals - frames)[near], steps[near])
    assert 0.35 < 1 - near.mean() < 0.7  # the negatives and what is 20 or more ahead
    assert steps.max() == 20


def test_pairs_of_two_sets_come_by_weight_and_stay_within_an_episode(
    dots: Path, other: Path
) -> None:
    mixture = open_mixture([dots, other], (0.2, 0.8), progress=False)
    settings = CriticConfig(batch=2000, negatives=0.0, max_distance_steps=40)
    frames, goals, steps = draw_pairs(mixture, settings, np.random.default_rng(0))
    assert (frames >= 24 * 40).mean() == pytest.approx(0.8, abs=0.04)  # std 0.009
    episodes = episodes_of(mixture, frames)
    assert set(episodes) == set(mixture.fit)
    assert np.array_equal(episodes, episodes_of(mixture, goals))
    assert np.array_equal(goals - frames, steps)
    anywhere = dataclasses.replace(settings, negatives=0.9)
    frames, goals, _ = draw_pairs(mixture, anywhere, np.random.default_rng(0))
    assert (goals >= 24 * 40).mean() == pytest.approx(0.8, abs=0.04)


def test_a_critic_learns_from_two_sets_and_is_judged_on_both(
    made: CriticResult, dots: Path, other: Path, trained: Path, exported: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(SETTINGS, data_weights=(0.5, 0.5))
    bundle = tmp_path / "bundle"
    shutil.copytree(exported, bundle)
    result = train_critic(
        trained, (dots, other), tmp_path / "out", settings, bundle, progress=False
    )
    assert result.spearman > 0.3  # of three episodes; the distance of latents comes to 0.46
    assert result.spearman_latent != made.spearman_latent  # an episode more was held out
    report = json.loads((tmp_path / "out" / "critic.json").read_text())
    joined = open_mixture([dots, other], progress=False).cache
    assert report["dataset_hash"] == joined.dataset_hash
    assert load_world_model(bundle).has_critic
    with pytest.raises(DatasetError, match="2 data weights for 1 data sets"):
        train_critic(trained, dots, tmp_path / "none", settings, progress=False)


def test_what_does_not_fit_is_refused(
    made: CriticResult, dots: Path, trained: Path, exported: Path, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match="not empty"):
        train_critic(trained, dots, made.out, SETTINGS, progress=False)
    other = tmp_path / "bundle"
    shutil.copytree(exported, other)
    frames = build_cache(dots, progress=False)
    wrong = tmp_path / "set"
    with DatasetWriter(wrong, SPEC) as writer:
        for seed in range(2):
            writer.add(moving_dot(seed))
    assert frames.spec.cameras == SPEC.cameras
    _swap_encoder(other)
    with pytest.raises(BundleError, match="not the checkpoint's"):
        train_critic(trained, wrong, tmp_path / "out", SETTINGS, other, progress=False)


def _swap_encoder(bundle: Path) -> None:
    """Change a weight of the encoder, and its hash with it."""
    import onnx

    from world_model.bundle import ENCODER, MANIFEST, sha256

    network = onnx.load(bundle / ENCODER)
    weight = max(network.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = bytes(-np.frombuffer(weight.raw_data, np.float32))
    onnx.save(network, bundle / ENCODER)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][ENCODER]["sha256"] = sha256(bundle / ENCODER)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps", 0),
        ("batch", 1),
        ("hidden", 4),
        ("learning_rate", 0.0),
        ("expectile", 1.0),
        ("negatives", 1.0),
        ("held_out", 0.0),
        ("threads", -1),
        ("error_in", "miles"),
    ],
)
def test_settings_have_limits(setting: str, value: object) -> None:
    with pytest.raises(TrainConfigError, match=setting):
        CriticConfig(**{setting: value})
