"""What can be read out of a latent: a linear probe and beside it a small network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial

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
    folded,
    missing,
    paragraph,
    picture,
    table,
)
from world_model.readout import Quantity, Score, encode_all, judge

TITLE = "What can be read out of a latent"
_DOTS = 800
_MOST_PLOTS = 6

Readout = Callable[[NDArray[np.floating]], NDArray[np.floating]]


def section(material: Material, network: Readout | None) -> Section:
    """Tables of R² and error, and what was read against what is true."""
    data = material.data
    if data is None:
        return missing("probes", TITLE, "Left out: give a data set with `--data`.")
    if not data.wanted:
        how = "Left out: no reading or evaluation signal of this data set says where anything is."
        return missing("probes", TITLE, how)
    latents, values = flat(data.held.latents), data.values_of(data.held)
    linear = judge(data.linear, data.wanted, latents, values)
    bent = judge(network, data.wanted, latents, values) if network else [None] * len(linear)
    body = paragraph(
        f"Probes are fitted on {len(data.fit.frames)} frames of "
        f"{len(np.unique(data.fit.episodes))} training episodes and judged on "
        f"{len(latents)} frames of {len(np.unique(data.held.episodes))} episodes that were held "
        "out, one frame at a time. A linear probe says what a distance of latents can use, a "
        "network (2 hidden layers) what is there at all. Velocities are not looked for: one frame "
        "cannot show them."
    )
    head = ("", *(f"{kind} {what}" for kind in ("linear", "network") for what in _COLUMNS))
    rows = [
        (q, (q.title, *_cells(q, a), *_cells(q, b)))
        for q, a, b in zip(data.wanted, linear, bent, strict=True)
    ]
    body += table(head, [row for q, row in rows if q in data.places])
    joints = [row for q, row in rows if q not in data.places]
    if joints:
        body += folded(f"Joints and others ({len(joints)})", table(head, joints))
    if any(q.period for q in data.wanted):
        body += paragraph(
            "Yaw is read as cosine and sine; a cube looks the same after a quarter turn, so of its "
            "yaw only the part mod 90° can be seen.",
            "soft",
        )
    body += figures(
        *(
            picture(
                partial(
                    _scatter, data=data, quantity=q, network=network, latents=latents, values=values
                ),
                f"{q.name} as read from held-out frames against the truth; right is on the line.",
            )
            for q in [q for q in data.places if not q.period][:_MOST_PLOTS]
        )
    )
    numbers = {
        q.title: {"linear": asdict(a), "network": None if b is None else asdict(b)}
        for q, a, b in zip(data.wanted, linear, bent, strict=True)
    }
    return Section("probes", TITLE, body, {"frames": len(latents), "probes": numbers})


def fit(data: Data, steps: int, seed: int, progress: bool) -> Readout | None:
    """The small network; None where torch is not installed or there is nothing to read."""
    if not data.wanted:
        return None
    try:
        from world_model.decoder import fit_network
    except ModuleNotFoundError:
        return None
    targets = encode_all(data.wanted, data.values_of(data.fit))
    return fit_network(flat(data.fit.latents), targets, steps, seed, progress=progress)


_COLUMNS = ("R²", "median error", "95 % within")


def _cells(quantity: Quantity, score: Score | None) -> tuple[str, ...]:
    if score is None:
        return ("–",) * len(_COLUMNS)
    unit = quantity.unit
    return f"{score.r2:.3f}", f"{score.median:.4f} {unit}", f"{score.p95:.4f} {unit}"


def _scatter(
    ink: Ink,
    data: Data,
    quantity: Quantity,
    network: Readout | None,
    latents: NDArray[np.float64],
    values: NDArray[np.float32],
) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 3.4), layout="constrained")
    rows = np.linspace(0, len(latents) - 1, min(len(latents), _DOTS)).astype(int)
    truth = values[rows, quantity.column]
    place = data.wanted.index(quantity)
    column = sum(q.width for q in data.wanted[:place])
    kinds: list[tuple[str, Readout, str]] = [("linear", data.linear, ink.floor)]
    kinds += [("network", network, ink.model)] if network else []
    for name, readout, colour in kinds:
        axes.plot(truth, readout(latents[rows])[:, column], ".", color=colour, ms=2.5, label=name)
    ends = [truth.min(), truth.max()]
    axes.plot(ends, ends, color=ink.text, linewidth=0.8)
    axes.set_xlabel(f"true {quantity.name} ({quantity.unit})")
    axes.set_ylabel(f"read ({quantity.unit})")
    axes.legend(markerscale=4)
    return figure
