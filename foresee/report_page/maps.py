"""Energy maps: the cost to a goal over the two first axes of a constant action."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from foresee.report_page.material import Data, Material, spread_out
from foresee.report_page.neighbours import show
from foresee.report_page.page import WIDTH, Ink, Section, figures, missing, paragraph, picture
from world_model.bundle import ModelSpec, unit_of
from world_model.energy import energy
from world_model.runtime import OnnxWorldModel, Start

TITLE = "Energy maps"
GRID = 15
_STEPS = 8
_PAIRS = 4
_JUDGED = 100
_ARROW = {
    True: "the velocity that truly led there",
    False: "the mean of the actions that truly led there",
}

Array = NDArray[np.float32]


@dataclass(frozen=True)
class EnergyMap:
    """The energy of a goal after H steps of one constant action, over two axes of it.

    Attributes:
        x: ``(G,)`` values of the first action.
        y: ``(G,)`` of the second.
        values: ``(G, G)``; row i is at ``y[i]``, column j at ``x[j]``.
        true: ``(2,)`` the constant action that is known to lead there; where two would (a wall
            stops the robot), the one that it really moved by.
    """

    x: Array
    y: Array
    values: NDArray[np.float64]
    true: Array

    @property
    def best(self) -> Array:
        """``(2,)`` the constant action of least energy."""
        row, column = np.unravel_index(int(self.values.argmin()), self.values.shape)
        return np.array([self.x[column], self.y[row]], np.float32)

    @property
    def off_rad(self) -> float:
        """Angle between the directions of `best` and `true`; NaN where one stands still."""
        lengths = np.linalg.norm(self.best) * np.linalg.norm(self.true)
        if lengths < 1e-9:
            return float("nan")
        return float(np.arccos(np.clip(self.best @ self.true / lengths, -1.0, 1.0)))


def energy_map(
    model: OnnxWorldModel, start: Start, goal: Array, course: Array, true: Array
) -> EnergyMap:
    """Imagine every constant action of a grid and hold the last latent against a goal.

    Args:
        model: imagines.
        start: where from.
        goal: ``(N, D)`` latent.
        course: ``(H, A)`` actions known to lead there; axes beyond the second keep its values.
        true: ``(2,)`` what the least energy should be at.
    """
    spec = model.spec
    x, y = axes_of(spec)
    courses = np.repeat(course[None].astype(np.float32), GRID * GRID, axis=0)
    courses[..., :2] = np.stack(np.meshgrid(x, y), -1).reshape(-1, 1, 2)
    last = model.rollout(start, courses).latents[:, -1]
    return EnergyMap(x, y, energy(goal, last).reshape(GRID, GRID), true)


def axes_of(spec: ModelSpec) -> tuple[Array, Array]:
    """The grid's values of the first and of the second action."""
    low, high = spec.action_low[:2], spec.action_high[:2]
    grid = np.linspace(low, high, GRID, dtype=np.float32)
    return grid[:, 0], grid[:, 1]


def section(material: Material) -> Section:
    """Maps for start and goal frames of held-out episodes, the true direction marked."""
    data, spec = material.data, material.model.spec
    if data is None:
        return missing("maps", TITLE, "Left out: give a data set with `--data`.")
    if len(spec.action_names) < 2:
        return missing("maps", TITLE, "Left out: the model has a single action; a map needs two.")
    steps = min(_STEPS, data.horizon)
    judged = _steady(data, steps, _JUDGED, np.ones(len(data.imagined.starts), bool))
    off = np.array([_map_of(data, clip, steps).off_rad for clip in judged])
    off = off[np.isfinite(off)]
    chosen = {"": judged[:_PAIRS]}
    if data.objects:
        touched = data.touched()
        half = _PAIRS // 2
        chosen = {
            f", the {' or '.join(data.objects)} {words}": _steady(
                data, steps, half, touched[kind][:, steps - 1]
            )
            for kind, words in (("free", "untouched"), ("contact", "pushed"))
        }
    first, second = spec.action_names[:2]
    body = paragraph(
        f"Start and goal are frames of one held-out episode, {steps} steps apart. Each point of a "
        f"map is a constant {first}, {second} for {steps} steps and, in colour, the energy of the "
        "imagined last latent against the goal's (dark is close). The cross is the least energy, "
        f"the arrow {_ARROW[_owner(data) is not None]}. Pairs with the steadiest motion are "
        "taken, because only those a constant action can repeat."
    )
    if len(off):
        body += paragraph(
            f"Over the {len(off)} steadiest pairs the least energy is "
            f"{np.degrees(np.median(off)):.0f}° (median) from the true direction; 90 % are within "
            f"{np.degrees(np.percentile(off, 90)):.0f}°."
        )
    pictures = [
        picture(
            partial(_figure, data=data, clip=clip, steps=steps),
            f"Episode {data.imagined.episodes[clip]}{words}: start, goal {steps} steps later, map.",
        )
        for words, clips in chosen.items()
        for clip in clips
    ]
    numbers: dict[str, Any] = {"steps": steps, "pairs": len(off)}
    if len(off):
        numbers |= {"median_rad": float(np.median(off)), "p90_rad": float(np.percentile(off, 90))}
    return Section("maps", TITLE, body + figures(*pictures), numbers)


def _steady(data: Data, steps: int, count: int, allowed: NDArray[np.bool_]) -> list[int]:
    """Clips whose actions stayed nearest to one that is not zero; each of another episode."""
    spec, imagined = data.model.spec, data.imagined
    rows = imagined.now[:, None] + np.arange(steps)
    actions = data.held.actions(rows)[..., :2] / (spec.action_high - spec.action_low)[:2]
    score = np.linalg.norm(actions.mean(1), axis=1) - np.linalg.norm(actions.std(1), axis=1)
    places = np.flatnonzero(allowed)
    return [int(places[i]) for i in spread_out(score[places], count, imagined.episodes[places])]


def _map_of(data: Data, clip: int, steps: int) -> EnergyMap:
    """The map of one of the imagined clips, from its context to its frame ``steps`` later."""
    held, imagined = data.held, data.imagined
    now = int(imagined.now[clip])
    rows = np.arange(now - imagined.context + 1, now + 1)
    proprio = np.asarray(held.cache.proprio)[held.frames[rows]]
    start = Start(held.latents[rows], proprio, held.actions(rows[:-1]))
    course = held.actions(np.arange(now, now + steps))
    true = course.mean(0)[:2]
    if (columns := _owner(data)) is not None:
        places = held.values(np.array([now, now + steps]))[1][:, columns]
        true = (places[1] - places[0]) / (steps * data.model.spec.model_dt_s)
    return energy_map(data.model, start, held.latents[now + steps], course, true)


def _owner(data: Data) -> list[int] | None:
    """Columns of the places that the two first actions are the velocities of, if they are known."""
    names = [name.replace(".v", ".") for name in data.model.spec.action_names[:2]]
    if any(name not in data.names for name in names):
        return None
    return [data.names.index(name) for name in names]


def _figure(ink: Ink, data: Data, clip: int, steps: int) -> Figure:
    found, now = _map_of(data, clip, steps), int(data.imagined.now[clip])
    camera = next(iter(data.model.spec.cameras))
    images = [data.held.images(row)[camera] for row in (now, now + steps)]
    return draw_map(ink, found, data.model.spec, images)


def draw_map(
    ink: Ink, found: EnergyMap, spec: ModelSpec, images: list[NDArray[np.uint8]]
) -> Figure:
    """Start and goal above each other, the map beside them."""
    figure, grid = plt.subplot_mosaic(
        [["start", "map"], ["goal", "map"]],
        figsize=(WIDTH, 2.7),
        width_ratios=[1, 2.6],
        layout="constrained",
    )
    for name, image in zip(("start", "goal"), images, strict=True):
        show(grid[name], image, name)
    axes = grid["map"]
    mesh = axes.pcolormesh(found.x, found.y, found.values, cmap="viridis", shading="nearest")
    figure.colorbar(mesh, ax=axes, label="energy to the goal")
    axes.annotate(
        "", tuple(found.true), (0, 0), arrowprops={"arrowstyle": "-|>", "color": "white", "lw": 2}
    )
    axes.plot(*found.best, "x", color="#ff5a4e", ms=9, mew=2.5)
    axes.set_aspect("equal")
    across, up = (f"{name} ({unit_of(name)})" for name in spec.action_names[:2])
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure
