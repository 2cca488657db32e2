"""Which episodes are on the disk when: shards in an order that is a function of seed and step."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from world_model.data.spec import DatasetError

RESIDENT = 3  # shards that clips are drawn from; one more is being decoded
HELD_OUT_SHARE = 4  # held-out episodes take at most one part in so many of the frames on the disk


@dataclass(frozen=True)
class Room:
    """How the frames that the disk may hold are divided.

    Attributes:
        held_out: episodes whose frames stay; sorted.
        held_out_frames: how many frames those are.
        shard_frames: frames that one of the ``RESIDENT + 1`` shards may have.
    """

    held_out: NDArray[np.int64]
    held_out_frames: int
    shard_frames: int

    @property
    def frames(self) -> int:
        """Frames on the disk."""
        return self.held_out_frames + (RESIDENT + 1) * self.shard_frames


def frames_needed(
    lengths: NDArray[np.int64], fit: NDArray[np.int64], held_out: NDArray[np.int64]
) -> int:
    """Frames on the disk with which `divide` surely succeeds; arguments as there."""
    shards = (RESIDENT + 1) * int(lengths[fit].max())
    # The shards are sure of all but the share of the held-out episodes.
    for_shards = -(-shards * HELD_OUT_SHARE // (HELD_OUT_SHARE - 1))
    return max(for_shards, HELD_OUT_SHARE * int(lengths[held_out].min()))


def divide(
    frames: int,
    lengths: NDArray[np.int64],
    fit: NDArray[np.int64],
    held_out: NDArray[np.int64],
    seed: int,
) -> Room:
    """Divide the frames that the disk may hold; of too many held-out episodes some are chosen.

    Args:
        frames: that the disk may hold.
        lengths: ``(N,)`` frames of every episode.
        fit: episodes to train on.
        held_out: episodes to judge on.
        seed: of the choice.

    Raises:
        DatasetError: the frames are too few for a held-out episode, or for the longest other one
            in each shard.
    """
    kept: list[int] = []
    left = frames // HELD_OUT_SHARE
    for episode in np.random.default_rng(seed).permutation(held_out).tolist():
        if lengths[episode] <= left:
            kept.append(episode)
            left -= int(lengths[episode])
    chosen = np.sort(np.array(kept, np.int64))
    held_out_frames = int(lengths[chosen].sum())
    room = Room(chosen, held_out_frames, (frames - held_out_frames) // (RESIDENT + 1))
    if not kept or room.shard_frames < lengths[fit].max():
        raise DatasetError(f"{frames} frames are too few on the disk")
    return room


class ShardOrder:
    """An endless row of shards; each pass over the data has every episode once, in a new order.

    Shard n is a function of the arguments and n.

    Args:
        lengths: ``(N,)`` frames of every episode.
        episodes: those to divide into shards.
        room: frames that a shard may have; no episode has more.
        seed: of the order.
    """

    def __init__(
        self, lengths: NDArray[np.int64], episodes: NDArray[np.int64], room: int, seed: int
    ) -> None:
        """Nothing is drawn yet."""
        self._lengths, self._episodes, self._room, self._seed = lengths, episodes, room, seed
        self._firsts = [0]  # number of the first shard of each pass
        self._drawn: dict[int, list[NDArray[np.int64]]] = {}

    def __getitem__(self, number: int) -> NDArray[np.int64]:
        """Episodes of shard ``number``, from 0."""
        while self._firsts[-1] <= number:
            self._firsts.append(self._firsts[-1] + len(self.of_pass(len(self._firsts) - 1)))
        which = bisect_right(self._firsts, number) - 1
        return self.of_pass(which)[number - self._firsts[which]]

    def of_pass(self, which: int) -> list[NDArray[np.int64]]:
        """Shards of one pass over the data, from 0."""
        if which not in self._drawn:
            while len(self._drawn) > 1:  # a window of shards touches two passes
                del self._drawn[min(self._drawn)]
            rng = np.random.default_rng((self._seed, which))
            self._drawn[which] = self._fill(rng.permutation(self._episodes))
        return self._drawn[which]

    def _fill(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut a row of episodes into shards that are as full as they may be."""
        cuts, free = [], self._room
        for place, length in enumerate(self._lengths[order].tolist()):
            if length > free:
                cuts.append(place)
                free = self._room
            free -= length
        return np.split(order, cuts)
