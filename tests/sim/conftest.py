"""Shared by the tests of all worlds."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import sim  # noqa: F401 registers the environments


@pytest.fixture
def where():
    """Position ``(3,)`` of what the robot moves by its actions, from a world's truth."""

    def position(info):
        return info["tool_position_m" if "tool_position_m" in info else "base_position_m"]

    return position


@pytest.fixture
def env_id(request):
    """The world that a test's module is about."""
    return request.module.ENV


@pytest.fixture
def env(env_id):
    """It, with blank images: most tests look at none, and they are most of the time."""
    env = gymnasium.make(env_id)
    blank = np.zeros((64, 64, 3), np.uint8)
    env.unwrapped._image = blank.copy
    yield env
    env.close()
