"""Which frames the encoder takes for alike: nearest neighbours in other episodes."""

from __future__ import annotations

from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foresee.report_page.material import Data, Material
from foresee.report_page.page import WIDTH, Ink, Section, figures, missing, paragraph, picture
from world_model.energy import energy

TITLE = "Nearest neighbours"
_QUERIES = 6
_NEAREST = 4
_JUDGED = 200


def section(material: Material) -> Section:
    """Held-out frames, and beside each the nearest frames of other episodes."""
    data = material.data
    if data is None:
        return missing("neighbours", TITLE, "Left out: give a data set with `--data`.")
    queries = np.linspace(0, len(data.held.frames) - 1, _QUERIES + 2).round().astype(np.int64)[1:-1]
    strips = [nearest(data, int(query)) for query in queries]
    body = paragraph(
        "Left: a held-out frame. Right of it the frames of training episodes whose latents are "
        "nearest, one of an episode, each with its energy to the left one"
        + (" and how far things are from where the left one has them." if data.groups else ".")
        + " Who looks alike here is alike to the planner."
    )
    told = {owner: nearest_m(data, owner) for owner in data.groups}
    for owner, (by_latent, by_truth) in told.items():
        body += paragraph(
            f"Of {min(_JUDGED, len(data.held.frames))} held-out frames, the nearest by latent has "
            f"the {owner} {100 * by_latent:.1f} cm away (median); the nearest there is, by the "
            f"truth about the {owner} alone, {100 * by_truth:.1f} cm."
        )
    camera = next(iter(material.bundle.spec.cameras))
    body += figures(
        *(
            picture(
                partial(_strips, data=data, strips=part, camera=camera),
                f"Camera {camera}: frame asked for, and its {_NEAREST} nearest.",
            )
            for part in (strips[: _QUERIES // 2], strips[_QUERIES // 2 :])
        )
    )
    return Section("neighbours", TITLE, body, {"strips": strips, "median_m": told})


def nearest(data: Data, query: int) -> dict[str, Any]:
    """The nearest training frames of a held-out frame, one for each episode.

    Returns:
        ``query``, a row of `Data.held`; ``nearest``, rows of `Data.fit`; their ``energies`` and
        ``apart_m``: for each thing of `Data.groups`, how far its true places in the two frames
        are apart.
    """
    held, fit = data.held, data.fit
    energies = energy(fit.latents, held.latents[query])
    order = np.argsort(energies, kind="stable")
    _, first = np.unique(fit.episodes[order], return_index=True)
    rows = order[np.sort(first)[:_NEAREST]]
    places, here = fit.values(rows)[1], held.values(np.array([query]))[1]
    return {
        "query": query,
        "nearest": rows.tolist(),
        "energies": energies[rows].tolist(),
        "apart_m": {
            owner: np.linalg.norm((places - here)[:, columns], axis=-1).tolist()
            for owner, columns in data.groups.items()
        },
    }


def nearest_m(data: Data, owner: str) -> tuple[float, float]:
    """Median distance in m of a thing in the nearest frame by latent, and in the nearest by truth.

    The second is what a perfect encoder of this one thing would give with these frames.
    """
    columns = data.groups[owner]
    count = len(data.held.frames)
    rows = np.linspace(0, count - 1, min(_JUDGED, count)).round().astype(np.int64)
    known = data.values_of(data.fit)[:, columns]
    by_latent, by_truth = [], []
    for row, place in zip(rows, data.held.values(rows)[1][:, columns], strict=True):
        away = np.linalg.norm(known - place, axis=1)
        by_latent.append(away[energy(data.fit.latents, data.held.latents[row]).argmin()])
        by_truth.append(away.min())
    return float(np.median(by_latent)), float(np.median(by_truth))


def show(axes: plt.Axes, image: NDArray[Any], title: str = "") -> None:
    """A small image, pixel by pixel, without axes."""
    axes.imshow(image, interpolation="nearest")
    axes.set_title(title, fontsize=7.5, pad=2)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _strips(ink: Ink, data: Data, strips: list[dict[str, Any]], camera: str) -> Figure:
    lines = 1 + min(len(data.groups), 2)
    figure, grid = plt.subplots(
        len(strips),
        1 + _NEAREST,
        figsize=(WIDTH, len(strips) * (0.92 + 0.13 * lines)),
        squeeze=False,
    )
    figure.subplots_adjust(0.01, 0.02, 0.99, 1 - 0.12 * lines / len(strips), 0.06, 0.16 * lines)
    for row, strip in zip(grid, strips, strict=True):
        held = data.held
        show(
            row[0], held.images(strip["query"])[camera], f"episode {held.episodes[strip['query']]}"
        )
        for place, axes in enumerate(row[1:]):
            if place >= len(strip["nearest"]):
                axes.set_visible(False)
                continue
            words = [f"energy {strip['energies'][place]:.3f}"]
            for owner, apart in list(strip["apart_m"].items())[:2]:
                words.append(f"{owner} {100 * apart[place]:.1f} cm")
            show(axes, data.fit.images(strip["nearest"][place])[camera], "\n".join(words))
        row[0].spines["bottom"].set_visible(True)
        row[0].spines["bottom"].set_color(ink.floor)
        row[0].spines["bottom"].set_linewidth(2.5)
    return figure
