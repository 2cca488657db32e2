"""How the error of imagined rollouts grows, beside the floor that nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foresee.report_page.material import Data, Material, flat
from foresee.report_page.page import (
    WIDTH,
    Ink,
    Section,
    figures,
    missing,
    paragraph,
    picture,
    table,
)
from foresee.report_page.probes import Readout

TITLE = "Imagined rollouts: error against horizon"
_FEWEST = 5  # clips that a median is told of

Floats = NDArray[np.float64]


def section(material: Material, network: Readout | None) -> Section:
    """Energy of rollouts, of free and contact steps apart, and what it means in metres."""
    data = material.data
    if data is None:
        return missing("rollouts", TITLE, "Left out: give a data set with `--data`.")
    imagined = data.imagined
    step_s = material.model.spec.model_dt_s
    ratio = imagined.energies.mean() / max(imagined.copy.mean(), 1e-12)
    body = paragraph(
        f"{len(imagined.starts)} clips of held-out episodes, {data.horizon} steps of {step_s:g} s "
        "imagined on the model's own output with the actions that were applied. Error is the "
        "energy: the mean squared difference of latents. The floor is that nothing changes. Over "
        f"all steps the model's error is {ratio:.3f} of the floor's."
    )
    pictures = [
        picture(
            lambda ink: _bands(
                ink, {"rollout": imagined.energies, "nothing changes": imagined.copy}
            ),
            "Mean (line), median (dots) and 10–90 % of the clips (band).",
        )
    ]
    rows = _rows("all", imagined.energies, imagined.copy, np.ones_like(imagined.copy, bool))
    if data.objects:
        kinds = data.touched()
        for kind, chosen in kinds.items():
            rows += _rows(kind, imagined.energies, imagined.copy, chosen)
        pictures.append(
            picture(
                lambda ink: _kinds(ink, imagined.energies, imagined.copy, kinds),
                f"Median error where the {_and(data.objects)} was moved until then (contact) and "
                "where it stayed (free). Nothing changes: dashed.",
            )
        )
    else:
        body += paragraph(
            "Free and contact steps are not told apart: the data set has no evaluation signal of "
            "an object that moves.",
            "soft",
        )
    body += figures(*pictures) + _table(rows, data.horizon)
    places: dict[str, Any] = {}
    if network is not None and data.groups:
        places = {owner: in_metres(data, network, owner) for owner in data.groups}
        body += "<h3>In metres</h3>" + paragraph(
            "The same rollouts, read by the network probe of the section above. The floors: the "
            "thing stays where it was, and the probe is given the frame that really came (what "
            "remains then is the probe's and the encoder's error)."
        )
        body += figures(
            *(
                picture(
                    partial(_metres, table=table),
                    f"{owner}: median distance between imagined and true place"
                    + (", clips in which it was moved." if owner in data.objects else "."),
                )
                for owner, table in places.items()
            )
        )
    return Section(
        "rollouts",
        TITLE,
        body,
        {
            "clips": len(imagined.starts),
            "rollout_mse": imagined.energies.mean(0).tolist(),
            "copy_mse": imagined.copy.mean(0).tolist(),
            "rollout_ratio": float(ratio),
            "rows": rows,
            "median_m": places,
        },
    )


def in_metres(data: Data, network: Readout, owner: str) -> dict[str, list[float]]:
    """Median error in m of a thing's imagined place for each step, beside its two floors.

    Of an object only the clips count in which it was moved, as `Data.touched` says; NaN where
    they are too few.
    """
    columns = data.groups[owner]
    values, imagined = data.values_of(data.held), data.imagined
    picked, first = [], 0
    for quantity in data.wanted:
        if quantity.column in columns and not quantity.period:
            picked.append(first)
        first += quantity.width
    truth = values[imagined.after][..., columns]

    def error(latents: NDArray[np.float32]) -> Floats:
        vectors = flat(latents)
        read = network(vectors.reshape(-1, vectors.shape[-1]))[:, picked]
        return np.linalg.norm(read.reshape(truth.shape) - truth, axis=-1).astype(np.float64)

    moved = data.moved(owner)
    counted = data.touched()["contact"] if owner in data.objects else np.ones_like(moved, bool)
    sources = {
        "imagined": error(imagined.latents),
        "stays": moved,
        "seen": error(data.held.latents[imagined.after]),
    }
    return {name: _medians(values, counted) for name, values in sources.items()}


def _medians(values: Floats, chosen: NDArray[np.bool_]) -> list[float]:
    columns = [values[chosen[:, h], h] for h in range(values.shape[1])]
    return [float(np.median(c)) if len(c) >= _FEWEST else float("nan") for c in columns]


def _rows(
    kind: str, energies: Floats, copy: Floats, chosen: NDArray[np.bool_]
) -> list[dict[str, Any]]:
    """Figures of some steps ahead, for the table and the summary."""
    rows = []
    horizon = energies.shape[1]
    for step in sorted({1, 2, 4, 8, horizon} & set(range(1, horizon + 1))):
        mine, floor = (e[chosen[:, step - 1], step - 1] for e in (energies, copy))
        row: dict[str, Any] = {"kind": kind, "step": step, "clips": len(mine)}
        if len(mine) >= _FEWEST:
            row |= {"mean": float(mine.mean()), "copy_mean": float(floor.mean())}
            row |= {f"p{q}": float(np.percentile(mine, q)) for q in (10, 50, 90)}
        rows.append(row)
    return rows


def _table(rows: list[dict[str, Any]], horizon: int) -> str:
    names = ("mean", "p10", "p50", "p90", "copy_mean")
    return table(
        ("clips", "steps ahead", "n", "mean", "10 %", "median", "90 %", "nothing changes (mean)"),
        [
            (r["kind"], r["step"], r["clips"], *(f"{r[n]:.4f}" if n in r else "–" for n in names))
            for r in rows
        ],
    )


def _axes(horizon: int, label: str) -> tuple[Figure, plt.Axes]:
    figure, axes = plt.subplots(figsize=(WIDTH, 3.1), layout="constrained")
    axes.set_xlabel("steps ahead")
    axes.set_ylabel(label)
    axes.set_xticks(range(1, horizon + 1))
    return figure, axes


def _bands(ink: Ink, curves: dict[str, Floats]) -> Figure:
    horizon = next(iter(curves.values())).shape[1]
    figure, axes = _axes(horizon, "energy")
    steps = np.arange(1, horizon + 1)
    for (name, values), colour in zip(curves.items(), (ink.model, ink.floor), strict=True):
        low, middle, high = np.percentile(values, [10, 50, 90], axis=0)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, values.mean(0), color=colour, label=name)
        axes.plot(steps, middle, ":", color=colour)
    axes.set_yscale("log")
    axes.legend()
    return figure


def _kinds(ink: Ink, energies: Floats, copy: Floats, kinds: dict[str, NDArray[np.bool_]]) -> Figure:
    figure, axes = _axes(energies.shape[1], "energy (median)")
    steps = np.arange(1, energies.shape[1] + 1)
    for (kind, chosen), colour in zip(kinds.items(), (ink.floor, ink.model), strict=True):
        axes.plot(steps, _medians(energies, chosen), ".-", color=colour, label=kind)
        axes.plot(steps, _medians(copy, chosen), "--", color=colour, linewidth=1)
    axes.set_yscale("log")
    axes.legend()
    return figure


def _metres(ink: Ink, table: dict[str, list[float]]) -> Figure:
    figure, axes = _axes(len(table["imagined"]), "median error (m)")
    looks: dict[str, tuple[str, Callable[[Ink], str]]] = {
        "imagined": (".-", lambda i: i.model),
        "stays": ("--", lambda i: i.floor),
        "seen": (":", lambda i: i.third),
    }
    words = {"imagined": "imagined", "stays": "floor: it stays", "seen": "floor: frame seen"}
    for name, (line, colour) in looks.items():
        steps = np.arange(1, len(table[name]) + 1)
        axes.plot(steps, table[name], line, color=colour(ink), label=words[name])
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _and(names: list[str]) -> str:
    return " or ".join(names)
