"""Waiting for what other processes do, as long as a loaded machine needs for it."""

import time
from collections.abc import Callable

import numpy as np

from ros_nodes.client import GraphClient

PATIENCE_S = 120.0  # only a test that fails waits that long


def eventually(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.02)
    return False


def tool(client: GraphClient) -> np.ndarray:
    """Where the tool really is now, ``(3,)`` m."""
    truth = client.wait_for_truth(PATIENCE_S)
    return np.array([truth[f"tool_position_m.{axis}"] for axis in "xyz"])


def stands_still(client: GraphClient) -> bool:
    """Whether the tool moves less than 1 mm in half a second."""
    before = tool(client)
    time.sleep(0.5)
    return bool(np.abs(tool(client) - before).max() < 1e-3)
