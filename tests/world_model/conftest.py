from __future__ import annotations

from pathlib import Path

import pytest
from dots import SMALL, SPEC, moving_dot

from world_model.data.dataset import DatasetWriter
from world_model.export import export
from world_model.train import train


@pytest.fixture(scope="session")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 24 episodes of a moving dot; do not change it."""
    path = tmp_path_factory.mktemp("dots") / "set"
    with DatasetWriter(path, SPEC) as writer:
        for seed in range(24):
            writer.add(moving_dot(seed))
    return path


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second, smaller data set of 8 such episodes; do not change it."""
    path = tmp_path_factory.mktemp("other") / "set"
    with DatasetWriter(path, SPEC) as writer:
        for seed in range(100, 108):
            writer.add(moving_dot(seed))
    return path


@pytest.fixture(scope="session")
def trained(dots: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run on `dots`; do not change it."""
    out = tmp_path_factory.mktemp("run") / "dots"
    train(dots, out, SMALL, progress=False)
    return out


@pytest.fixture(scope="session")
def exported(dots: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of `trained`; do not change it."""
    return export(trained, dots, tmp_path_factory.mktemp("bundle") / "dots").path
