"""Several data sets mixed with weights: shares as asked, order by the seed, resume exact."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import SMALL, SPEC, moving_dot

from world_model.checkpoint import CheckpointError, load_checkpoint
from world_model.curves import read_losses
from world_model.data import DatasetError, DatasetWriter, build_cache, split_episodes
from world_model.data.mixture import Mixture, open_mixture
from world_model.train import draw_clips, train


def draws(mixture: Mixture, steps: int = 40) -> np.ndarray:
    """Starts of the clips of some steps, as training draws them."""
    starts = mixture.clip_starts(SMALL.clip_length)
    return np.concatenate(
        [mixture.draw(starts, 32, np.random.default_rng((0, step))) for step in range(steps)]
    )


def test_the_clips_come_by_weight_from_episodes_that_are_not_held_out(
    dots: Path, other: Path
) -> None:
    mixture = open_mixture([dots, other], (0.2, 0.8), progress=False)
    drawn = draws(mixture)
    share = float((drawn >= 24 * 40).mean())
    assert abs(share - 0.8) < 0.05  # 1280 draws: std 0.011
    episodes = np.searchsorted(mixture.cache.episode_starts, drawn, side="right") - 1
    assert set(episodes) <= set(mixture.fit)
    assert not set(mixture.fit) & set(mixture.held_out)
    assert sum(mixture.held_out < 24) == 2
    assert sum(mixture.held_out >= 24) == 1
    clips = mixture.cache.clips(drawn, SMALL.clip_length)
    first, second = (build_cache(path, progress=False) for path in (dots, other))
    for row in range(0, len(drawn), 97):
        start = int(drawn[row])
        source, at = (first, start) if start < 960 else (second, start - 960)
        true = source.clips(np.array([at]), SMALL.clip_length)
        np.testing.assert_array_equal(clips.images["scene"][row], true.images["scene"][0])
        np.testing.assert_array_equal(clips.actions[row], true.actions[0])


def test_without_weights_each_set_counts_by_its_frames(dots: Path, other: Path) -> None:
    assert open_mixture([dots, other], progress=False).weights == (0.75, 0.25)


def test_few_frames_are_the_first_of_many_and_what_is_held_out_stays(
    dots: Path, other: Path
) -> None:
    whole = open_mixture([dots, other], progress=False)
    few, more = (
        open_mixture([dots, other], progress=False, train_frames=n) for n in (145, 290)
    )  # of 880 and 280, in episodes of 40: 110 and 35; 220 and 70
    for mixture, counts in ((few, [3, 1]), (more, [6, 2])):
        np.testing.assert_array_equal(mixture.held_out, whole.held_out)
        assert [len(part) for part in mixture.parts] == counts
        for part, of_all in zip(mixture.parts, whole.parts, strict=True):
            np.testing.assert_array_equal(part, of_all[: len(part)])
    many = open_mixture([dots, other], progress=False, train_frames=10**6)
    np.testing.assert_array_equal(many.fit, whole.fit)


def test_the_order_is_a_function_of_seed_and_step(dots: Path, other: Path) -> None:
    one, two = (open_mixture([dots, other], (1, 1), progress=False) for _ in range(2))
    np.testing.assert_array_equal(draws(one), draws(two))


def test_one_set_is_drawn_from_as_ever(dots: Path) -> None:
    cache = build_cache(dots, progress=False)
    fit, held_out = split_episodes(24, SMALL.held_out, SMALL.seed)
    mixture = open_mixture(dots, (), SMALL.held_out, SMALL.seed, progress=False)
    np.testing.assert_array_equal(mixture.fit, fit)
    np.testing.assert_array_equal(mixture.held_out, held_out)
    drawn = draw_clips(mixture, mixture.clip_starts(SMALL.clip_length), SMALL, step=7)
    rng = np.random.default_rng((SMALL.seed, 7))
    starts = rng.choice(cache.clip_starts(SMALL.clip_length, fit), SMALL.batch)
    true = cache.clips(starts, SMALL.clip_length)
    np.testing.assert_array_equal(drawn.images["scene"].numpy(), true.images["scene"])


def test_training_on_a_mixture_resumes_exactly(dots: Path, other: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, steps=30, data_weights=(0.3, 0.7), checkpoint_every=10)
    whole = train([dots, other], tmp_path / "whole", config, progress=False)
    assert whole.finished
    ended = tmp_path / "ended"
    train([dots, other], ended, config, progress=False)
    checkpoint = torch.load(ended / "checkpoint.pt", weights_only=True)
    assert checkpoint["data"]["frames"] == 32 * 40
    again = tmp_path / "again"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("world_model.loop.HeldInterrupt", _AfterTen)
        assert train([dots, other], again, config, progress=False).step == 10
    assert train([dots, other], again, config, resume=True, progress=False).finished
    assert read_losses(again) == read_losses(tmp_path / "whole")
    one, two = load_checkpoint(again).model, load_checkpoint(tmp_path / "whole").model
    assert all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(CheckpointError, match="another data set"):
        train([other, dots], again, config, resume=True, progress=False)
    changed = dataclasses.replace(config, data_weights=(0.5, 0.5))
    with pytest.raises(CheckpointError, match=r"other settings \(data_weights\)"):
        train([dots, other], again, changed, resume=True, progress=False)


class _AfterTen:
    """Asks to end after ten steps, as Ctrl-C does."""

    def __init__(self) -> None:
        self._asked = 0

    def __enter__(self) -> _AfterTen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def requested(self) -> bool:
        self._asked += 1
        return self._asked > 10


def test_what_does_not_fit_together_is_told(dots: Path, tmp_path: Path) -> None:
    for name, other in (("action_names", ("tool.vx", "gripper")), ("fits", {"scene": "stretch"})):
        with DatasetWriter(tmp_path / name, dataclasses.replace(SPEC, **{name: other})) as writer:
            for seed in range(3):
                writer.add(moving_dot(seed))
        with pytest.raises(DatasetError, match=rf"cannot be mixed with .* its {name} are"):
            open_mixture([dots, tmp_path / name], progress=False)
    with pytest.raises(DatasetError, match="2 data weights for 1 data sets"):
        open_mixture([dots], (0.5, 0.5), progress=False)
    with pytest.raises(DatasetError, match="must be positive"):
        open_mixture([dots, dots], (1.0, -1.0), progress=False)
