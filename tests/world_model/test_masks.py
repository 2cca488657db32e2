"""What is hidden of a clip, whatever is drawn."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from world_model.masks import Mask, draw_masks
from world_model.pretrain_config import MaskConfig


@settings(max_examples=150, deadline=None)
@given(
    tubelets=st.integers(1, 4),
    rows=st.integers(1, 8).map(lambda n: 2 * n),
    columns=st.integers(1, 8).map(lambda n: 2 * n),
    count=st.integers(1, 6),
    scale=st.floats(0.02, 0.98),
    min_visible=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**31),
)
def test_a_mask_hides_something_in_all_frames_and_leaves_enough(
    tubelets: int,
    rows: int,
    columns: int,
    count: int,
    scale: float,
    min_visible: float,
    seed: int,
) -> None:
    config = MaskConfig(short_scale=scale, long_scale=scale, min_visible=min_visible)
    grid = (tubelets, rows, columns)
    for mask in draw_masks(config, grid, count, np.random.default_rng(seed)):
        assert mask.visible.shape[0] == mask.hidden.shape[0] == count
        assert mask.hidden.shape[1] >= tubelets  # one patch at least, in each tubelet
        least = min(max(math.ceil(min_visible * rows * columns), 1), rows * columns - 1)
        assert mask.visible.shape[1] >= tubelets * least
        for visible, hidden in zip(mask.visible, mask.hidden, strict=True):
            both = np.concatenate([visible, hidden])
            assert len(np.unique(both)) == len(both)
            assert both.min() >= 0
            assert both.max() < math.prod(grid)
            for chosen in (visible, hidden):  # the same places in every tubelet
                places = chosen.reshape(tubelets, -1)
                assert (np.diff(places, axis=1) > 0).all()
                np.testing.assert_array_equal(
                    places % (rows * columns), places[:1].repeat(tubelets, 0)
                )


def test_the_long_range_mask_leaves_less_than_the_short_range_one() -> None:
    """8 x 8 patches: 8 blocks of 3 x 3 hide at most 72 of 64, two of 7 x 7 or so nearly all."""
    short, long = draw_masks(MaskConfig(), (4, 8, 8), 64, np.random.default_rng(0))
    seen = [mask.visible.shape[1] / (4 * 64) for mask in (short, long)]
    assert 0.15 < seen[0] < 0.6
    assert seen[1] < 0.25
    again = draw_masks(MaskConfig(), (4, 8, 8), 64, np.random.default_rng(0))
    np.testing.assert_array_equal(again[0].hidden, short.hidden)


def test_clips_of_a_batch_are_hidden_in_different_places() -> None:
    mask: Mask = draw_masks(MaskConfig(), (1, 8, 8), 16, np.random.default_rng(1))[0]
    assert len(np.unique(mask.hidden, axis=0)) == 16
