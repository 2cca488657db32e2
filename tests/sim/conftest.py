"""Shared by the tests of all worlds."""

from __future__ import annotations

import pytest


@pytest.fixture
def where():
    """Position ``(3,)`` of what the robot moves by its actions, from a world's truth."""

    def position(info):
        return info["tool_position_m" if "tool_position_m" in info else "base_position_m"]

    return position
