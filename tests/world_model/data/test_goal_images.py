"""Single images for goals: from files and from recorded episodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blobs import blob_episode, psnr
from PIL import Image

from world_model.data.goal_images import read_frame, read_image
from world_model.data.spec import DatasetError


def test_a_png_comes_back_exactly(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (24, 40, 3), np.uint8)
    path = tmp_path / "goal.png"
    Image.fromarray(image).save(path)
    np.testing.assert_array_equal(read_image(path), image)


def test_what_is_no_image_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such image file"):
        read_image(tmp_path / "goal.png")
    (tmp_path / "goal.png").write_text("not an image")
    with pytest.raises(DatasetError, match="image cannot be decoded"):
        read_image(tmp_path / "goal.png")


def test_a_frame_of_an_episode_is_the_one_that_was_recorded(written: Path) -> None:
    episode = blob_episode(3, length=23)
    for frame in (0, 7, -1):
        assert psnr(read_frame(written, 3, frame)["scene"], episode.images["scene"][frame]) > 25


@pytest.mark.parametrize(
    ("episode", "frame", "said"),
    [(9, 0, "no episode 9; it has 0 to 5"), (3, 23, "no frame 23; it has 0 to 22")],
)
def test_what_is_not_there_is_told(written: Path, episode: int, frame: int, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        read_frame(written, episode, frame)
