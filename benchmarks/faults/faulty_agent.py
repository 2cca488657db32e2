"""`agent_node` with a world model that fails on request; everything else of it is the real one.

The file named by ``FORESEE_MODEL_FAULT`` holds one JSON object, read again before every rollout:
``{"fault": "nan"}`` or ``inf`` (with ``share`` of the candidates), ``slow`` (``factor``),
``hung`` (until the file changes); empty for nothing.
"""

from __future__ import annotations

import functools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ros_nodes import agent_node, loaded_agent
from world_model.runtime import OnnxWorldModel, Rollouts, State

_FILE = Path(os.environ["FORESEE_MODEL_FAULT"])
_LOOK_S = 0.01


def _fault() -> dict[str, Any]:
    text = _FILE.read_text()
    return json.loads(text) if text.strip() else {}


class FaultyWorldModel(OnnxWorldModel):
    """The bundle's model, and what the file says is wrong with it."""

    def rollout(self, state: State, actions: NDArray[np.float32]) -> Rollouts:
        """As the model's own, then spoilt."""
        began_s = time.perf_counter()
        rollouts = super().rollout(state, actions)
        fault = _fault()
        kind = fault.get("fault")
        if kind in ("nan", "inf"):
            bad = np.random.default_rng(0).random(len(rollouts.latents)) < fault["share"]
            latents = np.array(rollouts.latents)
            latents[bad] = np.nan if kind == "nan" else np.inf
            return Rollouts(latents, rollouts.proprio)
        if kind == "slow":
            time.sleep((fault["factor"] - 1) * (time.perf_counter() - began_s))
        while kind == "hung" and _fault() == fault:
            time.sleep(_LOOK_S)
        return rollouts


def main() -> None:
    """Run the node."""
    load = loaded_agent.load_world_model

    @functools.wraps(load)
    def load_faulty(*args: object, **options: object) -> OnnxWorldModel:
        model = load(*args, **options)
        model.__class__ = FaultyWorldModel
        return model

    loaded_agent.load_world_model = load_faulty
    agent_node.main()


if __name__ == "__main__":
    main()
