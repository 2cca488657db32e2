"""What the parts of the page are made from, worked out once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from world_model.bundle import Bundle
from world_model.data.clips import Cache
from world_model.held_out import Imagined, Seen, imagine, see, see_single, split_of
from world_model.readout import Linear, Quantity, encode_all, fit_linear, quantities
from world_model.runtime import OnnxWorldModel

HORIZON = 12  # steps imagined, where the episodes are long enough
_OBJECT_STILL_M = 0.002  # an object that moved less was not touched
_OBJECT_PUSHED_M_PER_STEP = 0.008  # one that moved more each step, up to 4 cm in all, was
_OBJECT_PUSHED_M = 0.04


@dataclass(frozen=True)
class Data:
    """A data set seen by the bundle; the same draw gives the same figures.

    Attributes:
        path: its folder.
        same: it is the one that the bundle was trained on.
        model: the bundle's.
        fit: frames of episodes that the model was trained on, if `same`; probes are fitted on them.
        held: whole episodes, which everything is judged on.
        seed: of every choice.
    """

    path: Path
    same: bool
    model: OnnxWorldModel
    fit: Seen
    held: Seen
    seed: int

    @cached_property
    def horizon(self) -> int:
        """Steps imagined: `HORIZON`, or what the held-out episodes have."""
        lengths = np.bincount(self.held.episodes)
        return int(min(HORIZON, max(lengths.max() - self.model.spec.context, 1)))

    @cached_property
    def imagined(self) -> Imagined:
        """Rollouts from held-out frames with the actions that were applied."""
        return imagine(self.model, self.held, self.horizon, at_most=4000, seed=self.seed)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the signals in `values_of`."""
        return self.held.values(np.arange(1))[0]

    @cached_property
    def wanted(self) -> list[Quantity]:
        """What should be readable from a latent."""
        return quantities(self.names, self.values_of(self.held))

    @cached_property
    def places(self) -> list[Quantity]:
        """Those of `wanted` that say where things are, the joints left out."""
        return [q for q in self.wanted if q.unit == "m" or q.period]

    def values_of(self, seen: Seen) -> NDArray[np.float32]:
        """Every signal of every frame, ``(T, M)`` SI."""
        return seen.values(np.arange(len(seen.frames)))[1]

    @cached_property
    def linear(self) -> Linear:
        """The linear probe of `wanted`."""
        targets = encode_all(self.wanted, self.values_of(self.fit))
        return fit_linear(flat(self.fit.latents), targets)

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """Things whose place is known ("tool", "block", …) and the columns of their x, y, z."""
        found: dict[str, list[int]] = {}
        for quantity in self.places:
            owner, _, axis = quantity.name.rpartition(".")
            if axis in ("x", "y", "z"):
                found.setdefault(owner, []).append(quantity.column)
        return found

    @cached_property
    def objects(self) -> list[str]:
        """Those of `groups` that the robot's own readings do not tell and that move in episodes."""
        own = {name.rpartition(".")[0] for name in self.model.spec.proprio_names}
        own |= {name.rpartition(".")[0] for name in self.model.spec.action_names}
        values, episodes = self.values_of(self.held), self.held.episodes
        moving = []
        for owner, columns in self.groups.items():
            steps = np.diff(values[:, columns], axis=0)[np.diff(episodes) == 0]
            if owner not in own and np.abs(steps).max(initial=0.0) > _OBJECT_STILL_M:
                moving.append(owner)
        return moving

    def moved(self, owner: str) -> NDArray[np.float64]:
        """How far a thing moved in each of `imagined`, ``(B, H)`` m."""
        places = self.values_of(self.held)[:, self.groups[owner]].astype(np.float64)
        after, now = places[self.imagined.after], places[self.imagined.now]
        return np.linalg.norm(after - now[:, None], axis=-1)

    def touched(self) -> dict[str, NDArray[np.bool_]]:
        """Which of `imagined` ``(B, H)`` moved an object, and which left all where they were."""
        moved = np.max([self.moved(owner) for owner in self.objects], axis=0)
        steps = np.arange(1, moved.shape[1] + 1)
        pushed = np.minimum(_OBJECT_PUSHED_M, _OBJECT_PUSHED_M_PER_STEP * steps)
        return {"contact": moved > pushed, "free": moved < _OBJECT_STILL_M}


@dataclass(frozen=True)
class Material:
    """All that a page is made from.

    Attributes:
        bundle: checked.
        model: loaded.
        data: what it sees on a data set, if one was given.
        run: folder of its training run, if given.
        evaluation: the summary of `foresee eval`, if there is one.
        probe_steps: training steps of the network probe.
        decoder_steps: training steps of the decoder.
        seed: of every choice.
        progress: show progress bars.
    """

    bundle: Bundle
    model: OnnxWorldModel
    data: Data | None
    run: Path | None
    evaluation: dict[str, Any] | None
    probe_steps: int
    decoder_steps: int
    seed: int
    progress: bool


def see_data(
    bundle: Bundle,
    model: OnnxWorldModel,
    cache: Cache,
    path: Path,
    frames: int,
    seed: int,
    progress: bool,
) -> Data:
    """Encode what the page is made from: ``frames`` of training episodes, as many of others.

    The first are drawn singly from all episodes, the others as whole episodes, for rollouts.

    Raises:
        DatasetError: the data set does not fit the bundle, or has a single episode.
    """
    training = bundle.manifest.get("training", {})
    fit, held = split_of(bundle, cache)
    return Data(
        path=path,
        same=cache.dataset_hash == training.get("dataset_hash"),
        model=model,
        fit=see_single(model, cache, fit, frames, seed, progress),
        held=see(model, cache, held, frames, seed, progress),
        seed=seed,
    )


def flat(latents: NDArray[np.float32]) -> NDArray[np.float64]:
    """Latents ``(…, N, D)`` as vectors ``(…, N*D)``."""
    return latents.reshape(*latents.shape[:-2], -1).astype(np.float64)


def spread_out(scores: Sequence[float], count: int, apart: NDArray[np.int64]) -> list[int]:
    """The places of the highest scores, at most one for each value of ``apart``."""
    chosen: list[int] = []
    for place in np.argsort(-np.asarray(scores), kind="stable").tolist():
        if all(apart[place] != apart[other] for other in chosen):
            chosen.append(place)
        if len(chosen) == count:
            break
    return chosen
