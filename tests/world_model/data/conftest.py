from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from blobs import SPEC, blob_episode

from world_model.data import DatasetWriter


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six episodes of 20 to 25 frames in two files; do not change them."""
    path = tmp_path_factory.mktemp("blobs") / "set"
    with DatasetWriter(path, SPEC, frames_per_file=60) as writer:
        for seed in range(6):
            writer.add(blob_episode(seed, length=20 + seed))
    return path


@pytest.fixture
def dataset_path(written: Path, tmp_path: Path) -> Path:
    """A copy of `written` to spoil."""
    return Path(
        shutil.copytree(written, tmp_path / "set", ignore=shutil.ignore_patterns(".cache*"))
    )
