"""What a trained encoder gives: take it over, encode whole data sets with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from world_model.checkpoint import load_any_checkpoint, model_from_checkpoint
from world_model.config import TrainConfigError
from world_model.data.cache import Cache
from world_model.jepa import Jepa
from world_model.pretrain_config import PretrainConfig

_ENCODED_AT_ONCE = 256


def encode_rows(
    model: Jepa, cache: Cache, rows: slice | NDArray[np.int64], trunk_alone: bool = False
) -> Tensor:
    """B frames of a data set to their latents ``(B, N, D)``, or to ``(B, F)`` of the trunks.

    They are where the model computes.
    """
    images = [
        torch.from_numpy(np.array(cache.images[name][rows])).to(model.device)
        for name in model.cameras
    ]
    return model.encoder.trunks(*images) if trunk_alone else model.encoder(*images)


@torch.no_grad()
def encode_frames(
    model: Jepa, cache: Cache, progress: bool = True, trunk_alone: bool = False
) -> Tensor:
    """Every frame of a data set to its latent ``(T, N, D)``.

    Args:
        model: its encoder is used in evaluation mode, and left in it.
        cache: the frames.
        progress: show a progress bar.
        trunk_alone: return what the heads take, ``(T, F)``, in half precision: it is large.

    Raises:
        TrainConfigError: the data set has other cameras than the model.
    """
    if dict(cache.spec.cameras) != model.cameras:
        raise TrainConfigError(
            f"the data set has cameras {dict(cache.spec.cameras)}, the model was trained with "
            f"{model.cameras}; record with the model's"
        )
    model.encoder.eval()
    features = sum(encoder.features for encoder in model.encoder.of_cameras)
    encoded = (
        torch.empty(cache.frames, features, dtype=torch.half)
        if trunk_alone
        else torch.empty(cache.frames, *model.latent_shape)
    )
    with tqdm(total=cache.frames, desc="encode", unit="frame", disable=not progress) as bar:
        for first in range(0, cache.frames, _ENCODED_AT_ONCE):
            rows = slice(first, min(first + _ENCODED_AT_ONCE, cache.frames))
            encoded[rows] = encode_rows(model, cache, rows, trunk_alone)
            bar.update(rows.stop - rows.start)
    return encoded


def adopt_encoder(model: Jepa, run: Path, dataset_hash: str) -> list[nn.Module]:
    """Give a model the encoder of a run, or the trunk of a pretrained one.

    Args:
        model: its encoder is overwritten, or the trunk of each of its cameras.
        run: folder of `world_model.train.train` or `world_model.pretrain.pretrain`.
        dataset_hash: of the data the model is trained on.

    Returns:
        The parts that were taken over: the encoder, or the trunks.

    Raises:
        CheckpointError: ``run`` has no usable checkpoint.
        TrainConfigError: that encoder is of another shape or of other cameras, or it was trained on
            episodes of the same data that are to be held out.
    """
    checkpoint = load_any_checkpoint(run)
    config, other_config = model.config, checkpoint.config
    split = (other_config.held_out, other_config.seed)
    if checkpoint.data["dataset_hash"] == dataset_hash and split != (config.held_out, config.seed):
        raise TrainConfigError(
            f"{run}: its encoder has learned from episodes that this run would hold out to judge "
            f"by; give --held-out {split[0]:g} --seed {split[1]}, which it was trained with"
        )
    mine = config.encoder
    if isinstance(checkpoint.config, PretrainConfig):
        vit = checkpoint.config.vit
        if mine.kind != "vit" or mine.vit != vit:
            raise TrainConfigError(
                f"{run}: a pretrained transformer; add --encoder.kind vit --encoder.vit.width "
                f"{vit.width} --encoder.vit.depth {vit.depth} --encoder.vit.heads {vit.heads}"
            )
        weights = {
            name.removeprefix("target."): value
            for name, value in checkpoint.model.items()
            if name.startswith("target.")
        }
        trunks = [encoder.stages for encoder in model.encoder.of_cameras]
        for trunk in trunks:
            trunk.load_state_dict(weights)
        return trunks
    other = model_from_checkpoint(checkpoint)
    if other.cameras != model.cameras or other.config.encoder != mine:
        raise TrainConfigError(
            f"{run}: its encoder ({other.config.encoder}, cameras {other.cameras}) is not the one "
            f"asked for ({mine}, cameras {model.cameras}); give its --encoder.* options"
        )
    model.encoder.load_state_dict(other.encoder.state_dict())
    return [model.encoder]
