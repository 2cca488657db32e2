"""The energy of what was seen against what was predicted, and the quantiles a robot judges by."""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foresee.report_page.material import Material
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
from world_model.energy import EnergyQuantiles, calibrate

TITLE = "Energy: when to be surprised"
_SHOWN = (0.5, 0.95, 0.99)


def section(material: Material) -> Section:
    """Distribution of one-step and k-step energies on held-out episodes, with quantiles."""
    data = material.data
    if data is None:
        return missing("energy", TITLE, "Left out: give a data set with `--data`.")
    imagined, stored = data.imagined, material.bundle.energies
    quantiles = stored or calibrate(imagined.energies, imagined.episodes)
    furthest = min(quantiles.steps, data.horizon)
    steps = sorted({1, min(4, furthest), furthest})
    body = paragraph(
        "energy(observed, predicted) is the mean squared difference of two latents. While all is "
        "well it stays within what held-out episodes show; far above, something happened that the "
        "model does not know. The quantiles are for the data's own motion: other motion, light or "
        "objects raise the energy too."
    )
    if stored is None:
        body += paragraph(
            "This bundle carries no quantiles; those below are of the very clips shown. "
            "`--store-energies` puts such quantiles in; new exports have them.",
            "warning",
        )
    else:
        body += paragraph(
            f"The bundle carries quantiles for 1 to {stored.steps} steps ahead, from "
            f"{stored.clips} clips of {stored.episodes} held-out episodes."
        )
    within = {k: _within(quantiles, imagined.energies[:, k - 1], k) for k in steps}
    body += figures(
        *(
            picture(
                partial(
                    _histogram, energies=imagined.energies[:, k - 1], quantiles=quantiles, step=k
                ),
                f"{_ahead(k)}: {len(imagined.starts)} held-out clips; lines are the quantiles "
                f"{'the bundle carries' if stored else 'of these clips'}.",
            )
            for k in steps
        )
    )
    head = ("level", *(w for k in steps for w in (_ahead(k), "clips within")))
    rows = [
        (
            f"{level:.1%}",
            *(w for k in steps for w in (f"{_at(quantiles, i, k):.5f}", f"{within[k][i]:.1%}")),
        )
        for i, level in enumerate(quantiles.levels)
    ]
    body += table(head, rows)
    if quantiles.covered:
        pairs = zip(quantiles.levels, quantiles.covered, strict=True)
        worst = max((c - q for q, c in pairs), key=abs)
        body += paragraph(
            "Checked on episodes that the quantiles are not from (one half of the episodes against "
            f"the other): the share within differs by at most {abs(worst):.1%} from the level.",
            "soft",
        )
    return Section(
        "energy",
        TITLE,
        body,
        {
            "stored": stored is not None,
            "quantiles": quantiles.to_json(),
            "within": {str(k): values for k, values in within.items()},
        },
    )


def _within(quantiles: EnergyQuantiles, energies: NDArray[np.float64], step: int) -> list[float]:
    return [float((energies <= v).mean()) for v in quantiles.quantiles[step - 1]]


def _at(quantiles: EnergyQuantiles, place: int, step: int) -> float:
    return quantiles.quantiles[step - 1][place]


def _ahead(step: int) -> str:
    return "one step ahead" if step == 1 else f"{step} steps ahead"


def _histogram(
    ink: Ink, energies: NDArray[np.float64], quantiles: EnergyQuantiles, step: int
) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 2.7), layout="constrained")
    positive = np.maximum(energies, 1e-12)
    low, high = np.percentile(positive, 0.1), positive.max()
    axes.hist(
        positive, bins=np.geomspace(low, high * 1.01, 60).tolist(), color=ink.model, alpha=0.8
    )
    axes.set_xscale("log")
    for level in _SHOWN:
        at = quantiles.threshold(level, step)
        axes.axvline(at, color=ink.floor, linewidth=1.2)
        axes.text(
            at, 1.0, f" {level:.0%}", transform=axes.get_xaxis_transform(), va="top", fontsize=8
        )
    axes.set_xlabel("energy")
    axes.set_ylabel("clips")
    return figure
