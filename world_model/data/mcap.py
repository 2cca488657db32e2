"""Write episodes as one MCAP file, which Foxglove and ``ros2 bag`` open.

MCAP and not rerun: rosbags writes it and is a dependency already; rerun-sdk would be one more.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from world_model.data.bag_export import write_bag
from world_model.data.dataset import Dataset
from world_model.data.spec import Episode

_GAP_NS = 1_000_000_000  # between two episodes


def write_mcap(dataset: Dataset, places: Sequence[int], out: Path) -> None:
    """Write episodes one after the other, a second between them; topics as of `write_bag`.

    Args:
        dataset: what to write.
        places: which of its episodes; all of them are in memory at once.
        out: ``.mcap`` file to write.
    """
    together = _one_after_the_other([dataset.episode(place) for place in places])
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        bag = Path(folder) / "bag"
        write_bag(bag, together, dataset.spec)
        shutil.move(str(next(bag.glob("*.mcap"))), out)


def _one_after_the_other(episodes: Sequence[Episode]) -> Episode:
    stamps, next_ns = [], 0
    for episode in episodes:
        stamps.append(episode.stamps_ns - episode.stamps_ns[0] + next_ns)
        next_ns = int(stamps[-1][-1]) + _GAP_NS
    return Episode(
        images={
            camera: np.concatenate([episode.images[camera] for episode in episodes])
            for camera in episodes[0].images
        },
        proprio=np.concatenate([episode.proprio for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        evaluation=np.concatenate([episode.evaluation for episode in episodes]),
        task=episodes[0].task,
        stamps_ns=np.concatenate(stamps),
    )
