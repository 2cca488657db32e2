"""What a bundle sees and imagines on episodes of a data set. NumPy and ONNX Runtime, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from world_model.bundle import Bundle
from world_model.data.clips import Cache, split_episodes
from world_model.data.spec import DatasetError
from world_model.energy import EnergyQuantiles, calibrate, energy
from world_model.runtime import OnnxWorldModel

Array = NDArray[np.float32]
Rows = NDArray[np.int64]
STEPS_AHEAD = 8  # energies are calibrated up to here
FRAMES = 5000  # of held-out episodes are enough for them
_AT_ONCE = 128
_HELD_OUT = 0.1  # of bundles that do not say


@dataclass(frozen=True)
class Seen:
    """Frames as a bundle's encoder sees them; T of them, one episode after the other.

    Attributes:
        cache: the data set they are from.
        frames: ``(T,)`` their numbers in it.
        episodes: ``(T,)`` which episode each is from.
        latents: ``(T, N, D)``.
    """

    cache: Cache
    frames: Rows
    episodes: Rows
    latents: Array

    def clip_starts(self, length: int) -> Rows:
        """Rows ``(B,)`` at which ``length`` frames of one episode begin.

        Raises:
            DatasetError: no episode is long enough.
        """
        if len(self.frames) < length:
            starts = np.zeros(0, np.int64)
        else:
            ends = self.frames[length - 1 :] - self.frames[: len(self.frames) - length + 1]
            same = self.episodes[length - 1 :] == self.episodes[: len(ends)]
            starts = np.flatnonzero(same & (ends == length - 1))
        if not len(starts):
            raise DatasetError(f"no held-out episode has {length} frames; record longer ones")
        return starts

    def values(self, rows: Rows) -> tuple[tuple[str, ...], Array]:
        """Names and values ``(B, M)`` SI of readings and true state of some rows."""
        spec, frames = self.cache.spec, self.frames[rows]
        numbers = [np.asarray(a)[frames] for a in (self.cache.proprio, self.cache.evaluation)]
        return (*spec.proprio_names, *spec.evaluation_names), np.concatenate(numbers, axis=-1)

    def actions(self, rows: Rows) -> Array:
        """Actions ``(…, A)`` SI that were applied from the frames of ``rows`` on."""
        return np.asarray(self.cache.actions)[self.frames[rows]]

    def images(self, row: int) -> dict[str, NDArray[np.uint8]]:
        """What each camera saw."""
        frame = int(self.frames[row])
        return {name: np.asarray(array[frame]) for name, array in self.cache.images.items()}


@dataclass(frozen=True)
class Imagined:
    """B clips with what came and what the model says would come; C context frames, H steps.

    Attributes:
        starts: ``(B,)`` row of `Seen` each clip begins at; it has C + H frames.
        context: C.
        latents: ``(B, H, N, D)`` imagined with the actions that were applied.
        energies: ``(B, H)``, of what was seen against `latents`.
        copy: ``(B, H)``, the same of "nothing changes".
        episodes: ``(B,)``.
    """

    starts: Rows
    context: int
    latents: Array
    energies: NDArray[np.float64]
    copy: NDArray[np.float64]
    episodes: Rows

    @property
    def now(self) -> Rows:
        """Rows ``(B,)`` from which was imagined."""
        return self.starts + self.context - 1

    @property
    def after(self) -> Rows:
        """Rows ``(B, H)`` of the frames that were imagined."""
        return self.now[:, None] + 1 + np.arange(self.latents.shape[1])


def split_of(bundle: Bundle, cache: Cache) -> tuple[Rows, Rows]:
    """Episodes a bundle was trained on and those held out, if ``cache`` is its training data."""
    training = bundle.manifest.get("training", {})
    share, seed = training.get("held_out", _HELD_OUT), training.get("seed", 0)
    return split_episodes(len(cache.episode_starts), share, seed)


def see(
    model: OnnxWorldModel,
    cache: Cache,
    episodes: Rows,
    at_most: int = FRAMES,
    seed: int = 0,
    progress: bool = False,
) -> Seen:
    """Encode whole episodes, drawn until there are enough frames; one at least.

    Args:
        model: encodes.
        cache: the data set.
        episodes: those to draw from.
        at_most: frames wanted; the last episode is taken whole.
        seed: of the draw.
        progress: show a progress bar.

    Raises:
        DatasetError: the data set has other cameras, readings or actions than the model.
    """
    check_same(model, cache)
    order = np.random.default_rng(seed).permutation(np.asarray(episodes, np.int64))
    needed = int(np.searchsorted(np.cumsum(cache.episode_lengths[order]), at_most)) + 1
    chosen = np.sort(order[:needed])
    return _encode(model, cache, cache.clip_starts(1, chosen), progress)


def see_single(
    model: OnnxWorldModel,
    cache: Cache,
    episodes: Rows,
    at_most: int,
    seed: int = 0,
    progress: bool = False,
) -> Seen:
    """Encode single frames drawn from all episodes: more variety than `see`, and no clips in it.

    Args and errors: as of `see`.
    """
    check_same(model, cache)
    frames = cache.clip_starts(1, np.sort(np.asarray(episodes, np.int64)))
    if len(frames) > at_most:
        frames = np.sort(np.random.default_rng(seed).choice(frames, at_most, replace=False))
    return _encode(model, cache, frames, progress)


def _encode(model: OnnxWorldModel, cache: Cache, frames: Rows, progress: bool) -> Seen:
    """See ascending ``frames (T,)``."""
    latents = np.empty((len(frames), *model.spec.latent_shape), np.float32)
    with tqdm(total=len(frames), desc="encode", unit="frame", disable=not progress) as bar:
        for first in range(0, len(frames), _AT_ONCE):
            part = frames[first : first + _AT_ONCE]
            images = {name: np.asarray(array[part]) for name, array in cache.images.items()}
            latents[first : first + len(part)] = model.encode_batch(images)
            bar.update(len(part))
    episodes = np.searchsorted(cache.episode_starts, frames, side="right") - 1
    return Seen(cache, frames, episodes, latents)


def imagine(
    model: OnnxWorldModel, seen: Seen, horizon: int, at_most: int = 10_000, seed: int = 0
) -> Imagined:
    """Imagine ``horizon`` steps from many frames with the actions that were applied.

    Args:
        model: imagines.
        seen: where from, and what came.
        horizon: H.
        at_most: clips.
        seed: of their choice.

    Raises:
        DatasetError: no episode is long enough.
    """
    context = model.spec.context
    starts = seen.clip_starts(context + horizon)
    if len(starts) > at_most:
        starts = np.sort(np.random.default_rng(seed).choice(starts, at_most, replace=False))
    rows = starts[:, None] + np.arange(context + horizon)
    latents = seen.latents[rows]
    imagined = latents.copy()
    proprio = np.asarray(seen.cache.proprio)[seen.frames[rows]]
    proprio[:, context:] = 0.0  # not known then: filled with what is predicted
    actions = seen.actions(rows)
    for step in range(horizon):
        window = slice(step, step + context)
        imagined[:, step + context], proprio[:, step + context] = model.predict(
            imagined[:, window], proprio[:, window], actions[:, window]
        )
    return Imagined(
        starts=starts,
        context=context,
        latents=imagined[:, context:],
        energies=energy(latents[:, context:], imagined[:, context:]),
        copy=energy(latents[:, context:], latents[:, context - 1 : context]),
        episodes=seen.episodes[starts],
    )


def calibrate_on(
    model: OnnxWorldModel, cache: Cache, held_out: Rows, seed: int = 0
) -> EnergyQuantiles:
    """The quantiles that a bundle carries, from episodes it was not trained on.

    Raises:
        DatasetError: see `see` and `imagine`.
        ValueError: an energy is not finite.
    """
    imagined = imagine(model, see(model, cache, held_out, seed=seed), STEPS_AHEAD, seed=seed)
    return calibrate(imagined.energies, imagined.episodes)


def check_same(model: OnnxWorldModel, cache: Cache) -> None:
    """Make sure that a model and a data set speak of the same cameras, readings and actions.

    Raises:
        DatasetError: they do not; says what differs.
    """
    ours, theirs = model.spec, cache.spec
    for what, expected, given in (
        ("cameras", dict(ours.cameras), dict(theirs.cameras)),
        ("fits of images", dict(ours.fits), dict(theirs.fits)),
        ("readings", tuple(ours.proprio_names), tuple(theirs.proprio_names)),
        ("actions", tuple(ours.action_names), tuple(theirs.action_names)),
    ):
        if expected != given:
            raise DatasetError(
                f"the bundle was trained with {what} {_words(expected)}, the data set has "
                f"{_words(given)}; give a data set of the same robot and cameras"
            )


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {v if isinstance(v, str) else f'{v[1]}x{v[0]}'}" for name, v in value.items()
        )
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
