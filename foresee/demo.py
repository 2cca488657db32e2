"""`foresee demo`: the main job end to end, and something to look at afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from foresee.film import film
from foresee.graph_run import GraphRun, check_request, new_run_folder, run_graph
from foresee.summary import write_json
from world_model.runtime import Provider

# What --scratch does before the graph: fits twenty minutes on two cores.
SCRATCH_FRAMES = 30_000
SCRATCH_SEED = 0


@dataclass(frozen=True)
class DemoJob:
    """What to show.

    Attributes:
        env_id: the world.
        bundle: folder of the model; None to collect, train and export one first.
        agent: YAML file of the controller's settings, or None for the defaults.
        goals: goal images, one after the other.
        seed: of the first goal.
        provider: ONNX Runtime execution provider.
        out: folder for everything; None for ``runs/demo/<time>``.
    """

    env_id: str
    bundle: Path | None
    agent: Path | None
    goals: int
    seed: int
    provider: Provider = "auto"
    out: Path | None = None


def demo(job: DemoJob) -> dict[str, Any]:
    """Run it; writes ``demo.mp4``, ``demo.gif``, ``plot.png``, ``bag/`` and ``summary.json``.

    Returns:
        The summary of `foresee.graph_run.run_graph` with ``scratch`` (how the bundle was made)
        and ``wall_s``.

    Raises:
        BundleError: the bundle cannot be used.
        UsageError: bundle and world do not fit.
    """
    began = time.monotonic()
    out = job.out or new_run_folder("demo")
    bundle = job.bundle or out / "bundle"
    run = GraphRun(
        env_id=job.env_id,
        bundle=bundle,
        agent=job.agent,
        goals=job.goals,
        seed=job.seed,
        provider=job.provider,
        out=out,
    )
    check_request(run)  # a misspelt setting must not wait for the end of the training
    out.mkdir(parents=True, exist_ok=True)
    scratch = _from_scratch(job.env_id, out, bundle) if job.bundle is None else None
    summary = run_graph(run) | {"scratch": scratch}
    write_json(out / "summary.json", summary)
    if summary["finished"] and not summary["failed"]:
        tqdm.write("drawing video and plot")
        summary["files"] = [str(path) for path in film(out / "bag", out)]
    summary["wall_s"] = round(time.monotonic() - began, 1)
    write_json(out / "summary.json", summary)
    return summary


def _from_scratch(env_id: str, out: Path, bundle: Path) -> dict[str, Any]:
    """Collect, train, export, with the defaults of each command; says what each step took."""
    from foresee.collect import Recording, collect
    from world_model.config import TrainConfig
    from world_model.export import export
    from world_model.train import train

    dataset, run = out / "data", out / "training"
    recording = Recording(env_id, 64, 100, SCRATCH_SEED, None)
    collected = collect(recording, SCRATCH_FRAMES, dataset)
    if not collected["finished"]:
        raise KeyboardInterrupt
    trained = train(dataset, run, TrainConfig(seed=SCRATCH_SEED))
    if not trained.finished:
        raise KeyboardInterrupt
    began = time.monotonic()
    export(run, dataset, bundle)
    return {
        "frames": collected["frames"],
        "collect_s": collected["wall_s"],
        "train_s": round(trained.wall_s, 1),
        "export_s": round(time.monotonic() - began, 1),
        "data_wait_share": round(trained.data_wait_share, 4),
        "validation": trained.validation,
        "bundle": str(bundle),
    }
