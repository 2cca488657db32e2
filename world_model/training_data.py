"""The data of a training run, as its settings say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from world_model.config import TrainConfig
from world_model.data.mixture import Mixture, open_mixture
from world_model.data.stream import Bound


def open_training_data(
    dataset: Path | Sequence[Path],
    config: TrainConfig,
    progress: bool = True,
    skip_bad: bool = False,
) -> Mixture:
    """Open what a run of ``config`` trains on and judges with; close it by ``with``.

    Args:
        dataset: one data set folder or several, in the order of ``config.data_weights``.
        config: settings of the run.
        progress: see `build_cache`.
        skip_bad: see `build_cache`.

    Raises:
        DatasetError: see `open_mixture`.
    """
    bound = None
    if config.cache_gb:
        bound = Bound(int(config.cache_gb * 1e9), config.clip_length, config.batch)
    return open_mixture(
        dataset, config.data_weights, config.held_out, config.seed, progress, skip_bad, bound
    )
