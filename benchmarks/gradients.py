"""What a gradient costs: finite differences in ONNX Runtime against backpropagation.

    python -m benchmarks.gradients [--rounds 200]

A rollout network of the shape of the shipped Reach bundle (fresh weights: the time does not depend
on them), 12 steps, 4 knots of 3 actions. Backpropagation is measured in torch, forward and backward
of the same rollout; what an exported vector-Jacobian product would take in ONNX Runtime is
estimated as its time for the rollout times torch's ratio of forward and backward to forward. One
thread, everything within one round in turn; medians of CPU time: what else runs counts less then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from controller.types import ModelState
from foresee.commands import BUNDLES
from foresee.summary import write_json
from world_model.config import PredictorConfig, TrainConfig
from world_model.jepa import Jepa, Normalization
from world_model.runtime import load_world_model

HORIZON, KNOTS = 12, 4


@dataclass
class Gradients:
    """Measure what gradients cost."""

    rounds: int = 200
    """Of each measurement."""
    json: Path | None = None
    """Write the figures here."""


def main() -> None:
    """Measure and print."""
    job = tyro.cli(Gradients, description=__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = load_world_model(BUNDLES / "Reach-v0", threads=1)
    spec = model.spec
    proprio, action = len(spec.proprio_names), len(spec.action_names)
    unit = Normalization(np.zeros(proprio), np.ones(proprio), np.zeros(action), np.ones(action))
    config = TrainConfig(predictor=PredictorConfig(context=spec.context))
    net = Jepa(config, dict(spec.cameras), unit).eval()
    torch.nn.init.normal_(net.predictor.outlet[-1].weight, std=0.02)
    state = ModelState(
        np.zeros((spec.context, *spec.latent_shape), np.float32),
        np.zeros((spec.context, proprio), np.float32),
        np.zeros((spec.context - 1, action), np.float32),
        0,
    )
    block = 2 * KNOTS * action + 1
    works: dict[str, Callable[[], object]] = {}
    for batch in (1, 6, block, 6 * block):
        actions = np.random.default_rng(0).normal(size=(batch, HORIZON, action)).astype(np.float32)
        works[f"onnx forward {batch}"] = lambda a=actions: model.rollout(state, a)
        if batch <= 6:
            works[f"torch forward {batch}"] = lambda a=actions: _torch_cost(net, a, False)
            works[f"torch forward and backward {batch}"] = lambda a=actions: _torch_cost(
                net, a, True
            )
    times_ms = _times_ms(works, job.rounds)
    for name, ms in times_ms.items():
        print(f"{name:32s} {ms:8.3f} ms")
    found: dict[str, float] = dict(times_ms)
    for descents in (1, 6):
        ratio = (
            times_ms[f"torch forward and backward {descents}"]
            / times_ms[f"torch forward {descents}"]
        )
        differences = times_ms[f"onnx forward {descents * block}"]
        product = times_ms[f"onnx forward {descents}"] * ratio
        found[f"differences over product, {descents}"] = differences / product
        print(
            f"{descents} descents: differences {differences:.2f} ms; product estimated "
            f"{product:.2f} ms (backward and forward are {ratio:.1f} forwards): "
            f"{differences / product:.1f} times less"
        )
    if job.json:
        write_json(job.json, found)


def _torch_cost(net: Jepa, actions: np.ndarray, backward: bool) -> float:
    """The goal cost of rollouts, and its gradient to the actions."""
    batch, context = len(actions), net.config.predictor.context
    tried = torch.tensor(actions, requires_grad=backward)
    latents = torch.zeros((batch, context, *net.latent_shape))
    proprio = torch.zeros((batch, context, len(net.proprio_mean)))
    past = torch.zeros((batch, context - 1, tried.shape[2]))
    with torch.set_grad_enabled(backward):
        imagined, _ = net.rollout(latents, proprio, torch.cat([past, tried], 1))
        cost = (imagined - 1.0).square().mean()
        if backward:
            cost.backward()
    return cost.item()


def _times_ms(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            begin_s = time.process_time()
            work()
            times[name].append(1e3 * (time.process_time() - begin_s))
    return {name: float(np.median(values)) for name, values in times.items()}


if __name__ == "__main__":
    main()
