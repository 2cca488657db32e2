"""An agent in real time: how many plans come after their deadline, and what becomes of those?"""

from __future__ import annotations

import multiprocessing
import os
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from controller.agent import Agent
from controller.config import AgentConfig
from controller.types import Observation
from foresee.statistics import wilson_interval
from world_model.runtime import OnnxWorldModel

_PERIOD_S = 0.1
_DEADLINE_S = 0.08


def deadlines(model: OnnxWorldModel, seconds: float) -> list[dict[str, Any]]:
    """Run at 10 Hz for a while, the machine as it is, then with every core kept busy."""
    rows = [{"name": "as it is", **_run(model, seconds, "as it is")}]
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)]
    for burner in burners:
        burner.start()
    try:
        time.sleep(2.0)
        rows.append({"name": "every core loaded", **_run(model, seconds, "every core loaded")})
    finally:
        for burner in burners:
            burner.terminate()
            burner.join()
    return rows


def _run(model: OnnxWorldModel, seconds: float, name: str) -> dict[str, Any]:
    agent = Agent(model, AgentConfig(deadline_s=_DEADLINE_S))
    spec, rng = model.spec, np.random.default_rng(0)

    def images() -> dict[str, np.ndarray]:
        return {
            camera: rng.integers(0, 256, (*size, 3), np.uint8)
            for camera, size in spec.cameras.items()
        }

    agent.set_goal(images())
    proprio = np.zeros(len(spec.proprio_names), np.float32)
    late, unusable, handled, took, searched = 0, 0, 0, [], []
    count = round(seconds / _PERIOD_S)
    begin_s = time.monotonic()
    for number in tqdm(range(count), desc=f"deadlines, {name}", unit="plan"):
        due_s = begin_s + number * _PERIOD_S
        time.sleep(max(due_s - time.monotonic(), 0.0))
        stamp_ns = round(number * _PERIOD_S * 1e9)
        seen = Observation(stamp_ns, images(), proprio)
        began_s = time.monotonic()
        plan = agent.step(seen)
        took.append(time.monotonic() - began_s)
        searched.append(plan.effort.samples * plan.effort.iterations)
        action = plan.action_at(stamp_ns)
        within = bool(np.all(action >= spec.action_low) and np.all(action <= spec.action_high))
        missed = took[-1] > _DEADLINE_S
        late += missed
        unusable += not plan.usable
        # A miss is handled when what comes is still a plan in bounds, or says that it is none.
        handled += missed and within
    low, high = wilson_interval(late, count)
    return {
        "n": count,
        "misses": late,
        "miss_share": round(late / count, 5),
        "ci95": [round(low, 5), round(high, 5)],
        "misses_handled": int(handled),
        "unusable": int(unusable),
        "candidates_p50": float(np.median(searched)),
        "plan_ms": {
            "p50": round(1e3 * float(np.median(took)), 1),
            "p99": round(1e3 * float(np.percentile(took, 99)), 1),
            "max": round(1e3 * float(np.max(took)), 1),
        },
    }


def _burn() -> None:
    matrix = np.zeros((256, 256), np.float32)
    while True:
        matrix @ matrix
