from __future__ import annotations

import pytest
from made import Made, make


@pytest.fixture(scope="session")
def reach(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small data set, run and bundle of Reach; do not change them."""
    return make("foresee/Reach-v0", tmp_path_factory.mktemp("reach"), frames=240, steps=30)


@pytest.fixture(scope="session")
def push(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same of Push, seen by two cameras, through the same commands."""
    folder = tmp_path_factory.mktemp("push")
    return make("foresee/Push-v0", folder, 240, 30, cameras=("scene", "front"))


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The same of TwoRooms, which has no arm."""
    return make("foresee/TwoRooms-v0", tmp_path_factory.mktemp("rooms"), frames=240, steps=30)
