"""Fused rollouts against stepwise ones, and each precision of a bundle, shape by shape.

    python -m benchmarks.inference                # the bundle shipped for Reach-v0

CPU time of one thread, in turns; the ratio is to stepwise in the same round. ``bound`` is the fused
graph with IOBinding to buffers made once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import tyro

from foresee.commands import REACH, shipped_bundle
from foresee.summary import write_json
from world_model.bundle import Bundle, open_bundle
from world_model.runtime import ROLLOUT, OnnxWorldModel, Start, load_world_model, variants

SHAPES = ((1, 1), (1, 12), (64, 12), (128, 8), (300, 6), (300, 12), (1024, 16))


@dataclass
class Inference:
    """Time rollouts."""

    bundle: Path | None = None
    """World model; by default the one shipped for Reach-v0."""
    rounds: int = 20
    """Interleaved rounds for each shape."""
    json: Path | None = None
    """Write the rows here too."""


def main() -> int:
    """Measure and print."""
    job = tyro.cli(Inference, description=__doc__)
    bundle = open_bundle(job.bundle or shipped_bundle(REACH))
    models = {
        name: load_world_model(bundle.path, "cpu", threads=1, variant=name)
        for name in variants(bundle)
    }
    rows = [row for shape in SHAPES for row in _rows(bundle, models, shape, job.rounds)]
    print(f"{bundle.path.name}, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    for row in rows:
        print(
            f"{row['shape']:>10} {row['name']:10} {row['ms']:8.3f} ms  "
            f"{row['times_stepwise']:.2f} x stepwise  largest difference {row['difference']:.1e}"
        )
    if job.json is not None:
        write_json(job.json, rows)
    return 0


def _rows(
    bundle: Bundle, models: dict[str, OnnxWorldModel], shape: tuple[int, int], rounds: int
) -> list[dict[str, Any]]:
    spec, rng = bundle.spec, np.random.default_rng(0)
    start = Start(
        rng.standard_normal((spec.context, *spec.latent_shape)).astype(np.float32),
        np.zeros((spec.context, len(spec.proprio_names)), np.float32),
        np.zeros((spec.context - 1, len(spec.action_names)), np.float32),
    )
    size = (*shape, len(spec.action_names))
    actions = rng.uniform(spec.action_low, spec.action_high, size).astype(np.float32)
    exact = models["fp32"]
    ways: dict[str, Callable[[], Any]] = {
        "stepwise": lambda: exact.rollout_stepwise(start, actions),
    }
    for name, model in models.items():
        ways[f"fused {name}"] = lambda model=model: model.rollout(start, actions)
    if ROLLOUT in bundle.networks:
        ways["bound"] = _bound(bundle, start, actions)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, way in ways.items():
            began = time.thread_time()
            way()
            if number >= 3:
                times[name].append(1e3 * (time.thread_time() - began))
    expected = exact.rollout_stepwise(start, actions).latents
    stepwise = np.array(times["stepwise"])
    return [
        {
            "shape": f"{shape[0]} x {shape[1]}",
            "name": name,
            "ms": round(float(np.median(values)), 3),
            "times_stepwise": round(float(np.median(np.array(values) / stepwise)), 3),
            "difference": float(np.abs(ways[name]()[0] - expected).max()),
        }
        for name, values in times.items()
    ]


def _bound(bundle: Bundle, start: Start, actions: np.ndarray) -> Callable[[], Any]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    file = str(bundle.networks[ROLLOUT].path)
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {
        "latents": start.latents,
        "proprio": start.proprio,
        "past_actions": start.actions,
        "actions": actions,
    }
    batch, horizon = actions.shape[:2]
    latents = np.empty((batch, horizon, *bundle.spec.latent_shape), np.float32)
    proprio = np.empty((batch, horizon, len(bundle.spec.proprio_names)), np.float32)
    binding = session.io_binding()

    def run() -> tuple[np.ndarray, np.ndarray]:
        for name, value in feed.items():
            binding.bind_cpu_input(name, value)
        for name, value in (("next_latents", latents), ("next_proprio", proprio)):
            where = value.ctypes.data
            binding.bind_output(name, "cpu", 0, np.float32, value.shape, where)
        session.run_with_iobinding(binding)
        return latents, proprio

    return run


if __name__ == "__main__":
    sys.exit(main())
