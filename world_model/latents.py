"""What a trained encoder gives: take it over, encode whole data sets with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from world_model.checkpoint import load_checkpoint, model_from_checkpoint
from world_model.config import TrainConfigError
from world_model.data.cache import Cache
from world_model.jepa import Jepa

_ENCODED_AT_ONCE = 256


def encode_rows(model: Jepa, cache: Cache, rows: slice | NDArray[np.int64]) -> Tensor:
    """Some frames of a data set, B rows of it, to their latents ``(B, N, D)``."""
    return model.encode(
        {n: torch.from_numpy(np.array(cache.images[n][rows])) for n in model.cameras}
    )


@torch.no_grad()
def encode_frames(model: Jepa, cache: Cache, progress: bool = True) -> Tensor:
    """Every frame of a data set to its latent ``(T, N, D)``.

    Args:
        model: its encoder is used in evaluation mode, and left in it.
        cache: the frames.
        progress: show a progress bar.

    Raises:
        TrainConfigError: the data set has other cameras than the model.
    """
    if dict(cache.spec.cameras) != model.cameras:
        raise TrainConfigError(
            f"the data set has cameras {dict(cache.spec.cameras)}, the model was trained with "
            f"{model.cameras}; record with the model's"
        )
    model.encoder.eval()
    chunks = []
    with tqdm(total=cache.frames, desc="encode", unit="frame", disable=not progress) as bar:
        for first in range(0, cache.frames, _ENCODED_AT_ONCE):
            chunks.append(encode_rows(model, cache, slice(first, first + _ENCODED_AT_ONCE)))
            bar.update(len(chunks[-1]))
    return torch.cat(chunks)


def adopt_encoder(model: Jepa, run: Path) -> None:
    """Give a model the encoder of a run.

    Args:
        model: its encoder is overwritten.
        run: folder of `world_model.train.train`.

    Raises:
        CheckpointError: ``run`` has no usable checkpoint.
        TrainConfigError: that encoder is of another shape or of other cameras.
    """
    other = model_from_checkpoint(load_checkpoint(run))
    if other.cameras != model.cameras or other.config.encoder != model.config.encoder:
        raise TrainConfigError(
            f"{run}: its encoder ({other.config.encoder}, cameras {other.cameras}) is not the one "
            f"asked for ({model.config.encoder}, cameras {model.cameras}); give its --encoder.* "
            "options"
        )
    model.encoder.load_state_dict(other.encoder.state_dict())
