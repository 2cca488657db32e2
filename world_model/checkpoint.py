"""Training state on disk: written whole or not at all, resumable exactly."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from world_model.config import RunConfig, TrainConfig, train_config_from_dict
from world_model.jepa import Jepa, Normalization
from world_model.pretrain_config import PretrainConfig, pretrain_config_from_dict

FILE_NAME = "checkpoint.pt"
FORMAT = 1
ConfigT = TypeVar("ConfigT", bound=RunConfig, covariant=True)
# What a run learns, as its checkpoint names it; a checkpoint of before names nothing.
_METHODS = {"train": train_config_from_dict, "pretrain": pretrain_config_from_dict}


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged or of another kind."""


@dataclass(frozen=True)
class Checkpoint(Generic[ConfigT]):
    """Everything needed to go on training or to export.

    Attributes:
        step: optimiser steps done.
        config: the settings of the run.
        data: what the model was trained on: ``cameras``, ``dataset_hash``, ``frames``, the data
            set's description (names, units, limits), as plain values.
        normalization: four lists, see `Normalization`; none of a pretrained encoder.
        model: state dict.
        optimizer: state dict.
        history: one entry for each validation so far.
    """

    step: int
    config: ConfigT
    data: dict[str, Any]
    normalization: dict[str, list[float]]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    history: list[dict[str, Any]]


def save_checkpoint(folder: Path, checkpoint: Checkpoint[RunConfig]) -> Path:
    """Write ``checkpoint.pt`` so that a kill at any moment leaves the old file or the new one."""
    path = folder / FILE_NAME
    partial = path.with_suffix(".partial")
    values = {
        field.name: getattr(checkpoint, field.name) for field in dataclasses.fields(checkpoint)
    }
    values["config"] = dataclasses.asdict(checkpoint.config)
    method = "pretrain" if isinstance(checkpoint.config, PretrainConfig) else "train"
    with open(partial, "wb") as file:
        torch.save({"format": FORMAT, "method": method, **values}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    return path


def load_checkpoint(folder: Path) -> Checkpoint[TrainConfig]:
    """Read the checkpoint of a world model.

    Raises:
        CheckpointError: see `load_any_checkpoint`, or it is of a pretrained encoder.
    """
    checkpoint = load_any_checkpoint(folder)
    if not isinstance(checkpoint.config, TrainConfig):
        raise CheckpointError(
            f"{folder}: a pretrained encoder, which predicts no actions; train a model on it with "
            "foresee train --encoder-from"
        )
    return checkpoint


def load_any_checkpoint(folder: Path) -> Checkpoint[Any]:
    """Read the checkpoint of a training or pretraining folder.

    Raises:
        CheckpointError: there is none, it is damaged, or it is of another version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no checkpoint here; give the folder of `foresee train --out`"
        )
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types for a damaged file
        raise CheckpointError(
            f"{path}: damaged checkpoint ({type(error).__name__}); train again"
        ) from error
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise CheckpointError(f"{path}: not a foresee checkpoint of format {FORMAT}; train again")
    try:
        values["config"] = _METHODS[values.pop("method", "train")](values["config"])
        return Checkpoint(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: written by another version of foresee ({error}); train again"
        ) from error


def model_from_checkpoint(checkpoint: Checkpoint[TrainConfig]) -> Jepa:
    """The trained model, in evaluation mode."""
    cameras = {name: (int(h), int(w)) for name, (h, w) in checkpoint.data["cameras"].items()}
    scales = {name: np.array(values) for name, values in checkpoint.normalization.items()}
    model = Jepa(checkpoint.config, cameras, Normalization(**scales))
    model.load_state_dict(checkpoint.model)
    return model.eval()
