"""Write a part of a data set as a new one: some episodes, some cameras, encoded anew."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from world_model.data.dataset import open_dataset
from world_model.data.spec import DatasetError, DatasetSpec, Episode
from world_model.data.writer import DatasetWriter

Value = TypeVar("Value")


@dataclass(frozen=True)
class Selection:
    """What of a data set to take.

    Attributes:
        episodes: episode indices in the order wanted; None for all.
        cameras: camera names in the order wanted; None for all.
    """

    episodes: tuple[int, ...] | None = None
    cameras: tuple[str, ...] | None = None

    def indices(self, n_episodes: int) -> tuple[int, ...]:
        """Return the episodes to take.

        Raises:
            DatasetError: one of them is not there.
        """
        chosen = range(n_episodes) if self.episodes is None else self.episodes
        for index in chosen:
            if not 0 <= index < n_episodes:
                raise DatasetError(
                    f"there is no episode {index}; episodes are 0 to {n_episodes - 1}"
                )
        return tuple(chosen)

    def spec(self, spec: DatasetSpec) -> DatasetSpec:
        """Return the specification of what is taken.

        Raises:
            DatasetError: a camera is not there.
        """
        return dataclasses.replace(spec, cameras=self._cameras(spec.cameras))

    def episode(self, episode: Episode) -> Episode:
        """Return an episode with the cameras wanted alone."""
        return dataclasses.replace(episode, images=self._cameras(episode.images))

    def _cameras(self, values: Mapping[str, Value]) -> dict[str, Value]:
        names = tuple(values) if self.cameras is None else self.cameras
        for name in names:
            if name not in values:
                raise DatasetError(f"there is no camera {name!r}; cameras are {', '.join(values)}")
        return {name: values[name] for name in names}


def parse_indices(text: str) -> tuple[int, ...]:
    """Read ``0-9,12`` as episode indices, both ends of a range included.

    Raises:
        DatasetError: it is something else.
    """
    indices: list[int] = []
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise DatasetError(f"episodes {text!r} are not understood; write them like 0-9,12")
        indices += range(int(found[1]), int(found[2] or found[1]) + 1)
    return tuple(indices)


def export_dataset(
    source: str | Path, out: str | Path, selection: Selection, progress: bool = True
) -> DatasetWriter:
    """Copy what is selected into a new LeRobotDataset v3; one episode at a time is in memory.

    Returns:
        The writer, closed, to ask for ``episodes`` and ``frames``.

    Raises:
        DatasetError: the source is damaged, lacks what is selected, or the folder is not new.
    """
    dataset = open_dataset(source)
    indices: Sequence[int] = selection.indices(len(dataset))
    with DatasetWriter(out, selection.spec(dataset.spec)) as writer:
        for index in tqdm(indices, unit=" episodes", desc="export", disable=not progress):
            writer.add(selection.episode(dataset.episode(index)))
    return writer


def shift_actions(
    source: str | Path, out: str | Path, frames: int, progress: bool = True
) -> DatasetWriter:
    """Copy a data set with its actions moved in time, to undo a lag between command and image.

    With ``frames`` k > 0 the image shows motion k frames after its command, so the action that
    moves frame t to t + 1 is ``actions[t - k]``; the first k frames of an episode lose theirs and
    are left out. With k < 0 the last ones are. Images are encoded anew; episodes of which fewer
    than 2 frames remain are left out.

    Raises:
        DatasetError: the source is damaged, nothing of it remains, or the folder is not new.
    """
    dataset = open_dataset(source)
    kept = [place for place, i in enumerate(dataset.episodes) if i.length - abs(frames) >= 2]
    if not kept:
        raise DatasetError(f"{dataset.path}: no episode is longer than {abs(frames) + 1} frames")
    with DatasetWriter(out, dataset.spec) as writer:
        for place in tqdm(kept, unit=" episodes", desc="fix lag", disable=not progress):
            writer.add(_shifted(dataset.episode(place), frames))
    return writer


def _shifted(episode: Episode, frames: int) -> Episode:
    seen = slice(max(frames, 0), len(episode) + min(frames, 0))
    told = slice(max(-frames, 0), len(episode) + min(-frames, 0))
    return dataclasses.replace(
        episode,
        images={camera: images[seen] for camera, images in episode.images.items()},
        proprio=episode.proprio[seen],
        actions=episode.actions[told],
        evaluation=episode.evaluation[seen],
        stamps_ns=episode.stamps_ns[seen],
    )
