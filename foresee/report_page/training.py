"""Losses, rank and spread over a training run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from foresee.errors import UsageError
from foresee.report_page.material import Material
from foresee.report_page.page import (
    WIDTH,
    Ink,
    Section,
    figures,
    missing,
    paragraph,
    picture,
)

TITLE = "Training"
_LINES = ("-", "--", "-.", ":")
_SHOWN = ("tool", "base", "block", "tee", "door", "wall")


def section(material: Material) -> Section:
    """Curves of ``losses.jsonl`` and of the validations in ``metrics.json``."""
    if material.run is None:
        how = "Left out: give the training run with `--run` (the folder of `foresee train --out`)."
        return missing("training", TITLE, how)
    losses, history = read_run(material.run)
    steps = np.array(sorted(losses))
    names = [name for name in losses[int(steps[0])] if name != "total"]
    curves = {
        n: np.array([losses[int(s)].get(n, np.nan) for s in steps]) for n in (*names, "total")
    }
    pictures = [
        picture(
            lambda ink: _losses(ink, steps, curves),
            "The terms of the training energy, each with its weight, and their sum (total), "
            f"smoothed over {_window(len(steps))} steps. Training clips, not held-out ones.",
        )
    ]
    body = ""
    stored = material.bundle.manifest.get("training", {}).get("validation")
    if not history:
        body += paragraph("No validation is recorded in metrics.json yet.", "missing")
    else:
        if stored and history[-1] != stored:
            body += paragraph(
                "These curves are not of the run that the bundle was exported from: their last "
                "validation is another one.",
                "warning",
            )
        width = int(np.prod(material.bundle.spec.latent_shape))
        pictures += [
            picture(
                lambda ink: _rank(ink, history, width),
                f"Held-out frames: effective rank of the latents (at most {width}; near 1 is "
                "collapse) and the spread of their dimensions (near 0 is collapse).",
            ),
            picture(
                lambda ink: _quality(ink, history),
                "Held-out episodes: rollout error over 8 steps relative to predicting no change "
                "(below 1 is better than that), and R² of linear probes.",
            ),
        ]
        last = history[-1]
        body += paragraph(
            f"{len(steps)} steps recorded, {len(history)} validations. At the last one (step "
            f"{last['step']}): effective rank {last['effective_rank']:.1f} of {width}, std "
            f"{last['std_min']:.2f} at least and {last['std_mean']:.2f} on average, rollout error "
            f"{last['rollout_ratio']:.3f} x that of predicting no change."
        )
    body += figures(*pictures)
    last_losses = {name: float(values[-1]) for name, values in curves.items()}
    return Section(
        "training",
        TITLE,
        body,
        {
            "run": str(material.run),
            "steps": len(steps),
            "last_losses": last_losses,
            "history": history,
        },
    )


def read_run(run: Path) -> tuple[dict[int, dict[str, float]], list[dict[str, Any]]]:
    """Losses by step and validations of a run.

    Raises:
        UsageError: it is not the folder of a run, or a file of it cannot be read.
    """
    from world_model.curves import read_losses

    if not (run / "losses.jsonl").is_file():
        raise UsageError(
            f"{run}: no losses.jsonl here; give the folder of `foresee train --out` with --run"
        )
    try:
        losses = read_losses(run)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run / 'losses.jsonl'}: damaged ({error}); train again") from error
    if not losses:
        raise UsageError(f"{run / 'losses.jsonl'}: holds no step; train longer")
    metrics = run / "metrics.json"
    if not metrics.is_file():
        return losses, []
    try:
        history = json.loads(metrics.read_text(encoding="utf-8"))["history"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{metrics}: damaged ({error}); train again") from error
    return losses, history


def _window(steps: int) -> int:
    return max(steps // 100, 1)


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last ``window`` values at each place; of fewer at the start."""
    total = np.cumsum(np.insert(np.nan_to_num(values), 0, 0.0))
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


def _losses(ink: Ink, steps: np.ndarray, curves: dict[str, np.ndarray]) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 3.1), layout="constrained")
    colours = (ink.model, ink.floor, ink.third)
    for place, (name, values) in enumerate(curves.items()):
        total = name == "total"
        axes.plot(
            steps,
            smooth(values, _window(len(steps))),
            _LINES[place // 3 % len(_LINES)],
            color=ink.text if total else colours[place % 3],
            linewidth=2.0 if total else 1.3,
            label=name.replace("_", " "),
        )
    axes.set_yscale("log")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss")
    axes.legend(ncols=2)
    return figure


def _rank(ink: Ink, history: list[dict[str, Any]], width: int) -> Figure:
    figure, (top, low) = plt.subplots(2, figsize=(WIDTH, 3.1), layout="constrained", sharex=True)
    steps = [entry["step"] for entry in history]
    top.plot(steps, [e["effective_rank"] for e in history], ".-", color=ink.model)
    top.axhline(width, color=ink.faint, linestyle="--")
    top.set_ylim(0, 1.1 * width)
    top.set_ylabel("effective rank")
    low.plot(steps, [e["std_mean"] for e in history], ".-", color=ink.model, label="mean")
    low.plot(steps, [e["std_min"] for e in history], ".--", color=ink.floor, label="smallest")
    low.set_ylim(bottom=0)
    low.set_ylabel("std of a dimension")
    low.set_xlabel("optimiser step")
    low.legend()
    return figure


def _quality(ink: Ink, history: list[dict[str, Any]]) -> Figure:
    figure, (top, low) = plt.subplots(2, figsize=(WIDTH, 3.6), layout="constrained", sharex=True)
    steps = [entry["step"] for entry in history]
    top.plot(steps, [e["rollout_ratio"] for e in history], ".-", color=ink.model)
    top.axhline(1.0, color=ink.floor, linestyle="--")
    top.set_yscale("log")
    top.set_ylabel("error / no change")
    names = [n for n in history[-1]["probe_r2"] if n.startswith(_SHOWN) and ".v" not in n]
    colours = (ink.model, ink.floor, ink.third, ink.text)
    for place, name in enumerate(names):
        low.plot(
            steps,
            [e["probe_r2"].get(name, np.nan) for e in history],
            _LINES[place // 4 % len(_LINES)],
            marker=".",
            color=colours[place % 4],
            label=name,
        )
    low.set_ylim(-0.1, 1.02)
    low.set_ylabel("R² of a linear probe")
    low.set_xlabel("optimiser step")
    if names:
        low.legend(ncols=2)
    return figure
