from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from blobs import SPEC, blob_episode, psnr

from world_model.data import DatasetError, DatasetWriter, open_dataset
from world_model.data.select import Selection, export_dataset, parse_indices

TWO = dataclasses.replace(SPEC, cameras={"scene": (32, 32), "wrist": (48, 32)})


@pytest.fixture
def two_cameras(tmp_path: Path) -> Path:
    path = tmp_path / "two"
    with DatasetWriter(path, TWO) as writer:
        for seed in range(3):
            writer.add(blob_episode(seed, length=8, spec=TWO))
    return path


def test_what_is_selected_comes_out_as_it_went_in(two_cameras: Path, tmp_path: Path) -> None:
    selection = Selection(episodes=(2, 0), cameras=("wrist",))
    export_dataset(two_cameras, tmp_path / "out", selection, progress=False)
    source, out = open_dataset(two_cameras), open_dataset(tmp_path / "out")
    assert out.spec == dataclasses.replace(source.spec, cameras={"wrist": (48, 32)})
    assert len(out) == 2
    for index, origin in enumerate((2, 0)):
        given, taken = source.episode(origin), out.episode(index)
        np.testing.assert_array_equal(taken.stamps_ns, given.stamps_ns)
        np.testing.assert_array_equal(taken.proprio, given.proprio)
        np.testing.assert_array_equal(taken.actions, given.actions)
        np.testing.assert_array_equal(taken.evaluation, given.evaluation)
        assert taken.task == given.task
        assert psnr(taken.images["wrist"], given.images["wrist"]) > 40


def test_what_is_not_there_is_named(two_cameras: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no episode 3; episodes are 0 to 2"):
        export_dataset(two_cameras, tmp_path / "out", Selection(episodes=(3,)))
    with pytest.raises(DatasetError, match="no camera 'top'; cameras are scene, wrist"):
        export_dataset(two_cameras, tmp_path / "out", Selection(cameras=("top",)))
    assert not (tmp_path / "out").exists()


def test_indices_as_people_write_them() -> None:
    assert parse_indices("3") == (3,)
    assert parse_indices("0-2, 7") == (0, 1, 2, 7)
    for text in ("", "a", "3-1", "1,,2", "-1"):
        with pytest.raises(DatasetError, match="write them like 0-9,12"):
            parse_indices(text)
