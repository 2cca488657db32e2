"""From a training checkpoint to a bundle, with proof that ONNX computes what torch does."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from world_model.bundle import (
    ENCODER,
    MANIFEST,
    PREDICTOR,
    Bundle,
    ModelSpec,
    add_network,
    open_bundle,
    write_manifest,
)
from world_model.checkpoint import Checkpoint, load_checkpoint, model_from_checkpoint
from world_model.data.mixture import Mixture
from world_model.energy import FIELD, EnergyQuantiles
from world_model.held_out import calibrate_on
from world_model.image_fit import Fit
from world_model.jepa import Jepa
from world_model.rollout_graph import OPSET, rollout_graph
from world_model.runtime import ROLLOUT, OnnxWorldModel, Start, load_world_model
from world_model.training_data import open_training_data

PARITY_TOLERANCE = 1e-4
_PARITY_HORIZON = 12


class ExportError(ValueError):
    """A bundle that cannot be written, above all one that does not compute what torch does."""


class _EncoderGraph(nn.Module):
    def __init__(self, model: Jepa) -> None:
        super().__init__()
        self.encoder = model.encoder

    def forward(self, *images: Tensor) -> Tensor:
        return self.encoder(*images)


class _PredictorGraph(nn.Module):
    def __init__(self, model: Jepa) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        step = self.model.step(latents, proprio, actions)
        if self.model.predictor.outcomes > 1:
            return (*step, self.model.step_each(latents, proprio, actions).latents)
        if self.model.predictor.heads > 1:
            return (*step, self.model.disagreement(latents, proprio, actions))
        return step


def export(
    run: Path,
    dataset: Path | Sequence[Path],
    out: Path,
    overwrite: bool = False,
    skip_bad: bool = False,
) -> Bundle:
    """Write a bundle from a training run.

    Args:
        run: folder of `world_model.train.train`.
        dataset: the data set it was trained on, or all of them in the same order, for the parity
            check on held-out episodes.
        out: bundle folder to write; it appears whole or not at all.
        overwrite: replace an existing bundle.
        skip_bad: the run was trained without the damaged episodes.

    Raises:
        CheckpointError: ``run`` has no usable checkpoint.
        DatasetError: the data set cannot be read.
        ExportError: the largest difference between torch and ONNX Runtime on held-out data is over
            `PARITY_TOLERANCE`, the data set is not the one of the run, or ``out`` exists and
            ``overwrite`` is not set or it is not a bundle.
    """
    checkpoint = load_checkpoint(run)
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: exists already; choose another --out or add --overwrite")
    if out.exists() and not (out / MANIFEST).is_file():
        raise ExportError(f"{out}: not a bundle, so it is not replaced; choose another --out")
    model = model_from_checkpoint(checkpoint)
    config = checkpoint.config
    if config.clip_stride > 1:
        raise ExportError(
            f"{run}: its step is {config.clip_stride} frames (clip_stride), a plan's is one; train "
            "a predictor on its encoder (foresee train --encoder-from) and export that run"
        )
    with open_training_data(dataset, config, skip_bad=skip_bad) as mixture:
        if mixture.cache.dataset_hash != checkpoint.data["dataset_hash"]:
            named = dataset if isinstance(dataset, Path) else ", ".join(map(str, dataset))
            raise ExportError(f"{named}: not the data that {run} was trained on")
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            spec = _spec(checkpoint, model, mixture.cache.spec.fits)
            _write_networks(model, spec, staging)
            details = _details(checkpoint)
            write_manifest(staging, spec, details)
            bundle = add_rollout(staging, ROLLOUT, rollout_graph(model), {})
            details["networks"] = bundle.manifest["networks"]
            details["parity"] = _parity(model, staging, mixture)
            details[FIELD] = _energies(staging, mixture).to_json()
            write_manifest(staging, spec, details)
            staging.chmod(0o755)
            if out.exists():
                shutil.rmtree(out)
            os.replace(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return open_bundle(out)


def add_rollout(path: Path, name: str, graph: onnx.ModelProto, details: dict[str, Any]) -> Bundle:
    """Put a rollout graph into a bundle under ``name``; see `add_network`."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        file = Path(folder) / f"{name}.onnx"
        onnx.save(graph, file)
        return add_network(path, name, file, details)


def _spec(checkpoint: Checkpoint, model: Jepa, fits: Mapping[str, Fit]) -> ModelSpec:
    data = checkpoint.data
    return ModelSpec(
        cameras=dict(model.cameras),
        proprio_names=tuple(data["proprio_names"]),
        action_names=tuple(data["action_names"]),
        action_low=np.array(data["action_low"], np.float32),
        action_high=np.array(data["action_high"], np.float32),
        model_dt_s=1.0 / data["fps"],
        context=checkpoint.config.predictor.context,
        latent_shape=model.latent_shape,
        fits=fits,
    )


def _details(checkpoint: Checkpoint) -> dict[str, Any]:
    data, last = checkpoint.data, checkpoint.history[-1] if checkpoint.history else {}
    return {
        "env_id": data["env_id"],
        "robot_type": data["robot_type"],
        "normalization": checkpoint.normalization,
        "training": {
            "step": checkpoint.step,
            "seed": checkpoint.config.seed,
            "held_out": checkpoint.config.held_out,
            "dataset_hash": data["dataset_hash"],
            "frames": data["frames"],
            "regularizer": checkpoint.config.loss.regularizer,
            "validation": last,
        },
    }


def _write_networks(model: Jepa, spec: ModelSpec, folder: Path) -> None:
    context, (tokens, width) = spec.context, spec.latent_shape
    # Two example rows: with one, the exporter takes the batch size for a constant.
    images = tuple(torch.zeros(2, h, w, 3, dtype=torch.uint8) for h, w in spec.cameras.values())
    batch = torch.export.Dim("batch", min=1, max=65536)
    write_onnx(
        _EncoderGraph(model).eval(),
        images,
        folder / ENCODER,
        [f"image.{name}" for name in spec.cameras],
        ["latent"],
        (tuple({0: batch} for _ in images),),
    )
    arguments = (
        torch.zeros(2, context, tokens, width),
        torch.zeros(2, context, len(spec.proprio_names)),
        torch.zeros(2, context, len(spec.action_names)),
    )
    outputs = ["next_latent", "next_proprio"]
    if model.predictor.ways > 1:
        outputs.append("outcomes" if model.predictor.outcomes > 1 else "disagreement")
    write_onnx(
        _PredictorGraph(model).eval(),
        arguments,
        folder / PREDICTOR,
        ["latents", "proprio", "actions"],
        outputs,
        tuple({0: batch} for _ in arguments),
    )


def write_onnx(
    graph: nn.Module,
    arguments: tuple[Tensor, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    dynamic_shapes: tuple[Any, ...],
) -> None:
    """Write a network as one ONNX file without any trace of the machine it was written on.

    Args:
        graph: in evaluation mode.
        arguments: examples; with two rows at least where the size is to stay open.
        path: file to write.
        inputs: names.
        outputs: names.
        dynamic_shapes: for each input, which axes may vary, as `torch.export` takes them.
    """
    # It would tell the user that torchvision is not there, which nothing here needs.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations; parity is checked below
        torch.onnx.export(
            graph,
            arguments,
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    _forget_where(path)


def _forget_where(path: Path) -> None:
    """Drop the exporter's notes: they hold source paths of this machine and are of no use."""
    network = onnx.load(path)
    graph = network.graph
    parts = (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (network, graph, *parts):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(network, path)


@torch.no_grad()
def _parity(model: Jepa, folder: Path, mixture: Mixture) -> dict[str, Any]:
    """Largest absolute difference between torch and the ONNX networks on held-out clips."""
    cache, context = mixture.cache, model.config.predictor.context
    starts = cache.clip_starts(context + 1, mixture.held_out)
    starts = starts[:: max(len(starts) // 64, 1)][:64]
    clips = cache.clips(starts, context + 1)
    runtime = load_world_model(folder, provider="cpu")
    onnx_latents = np.stack(
        [
            [
                runtime.encode({n: v[row, t] for n, v in clips.images.items()})
                for t in range(context)
            ]
            for row in range(len(starts))
        ]
    )
    frames = {
        name: torch.from_numpy(v[:, :context]).flatten(0, 1) for name, v in clips.images.items()
    }
    latents = model.encode(frames).unflatten(0, (len(starts), context))
    proprio = torch.from_numpy(clips.proprio[:, :context])
    actions = torch.from_numpy(clips.actions[:, :context])
    next_latent, next_proprio = model.step(latents, proprio, actions)
    before, outcomes = (onnx_latents, proprio.numpy(), actions.numpy()), model.predictor.outcomes
    onnx_next = runtime.predict(*before)
    each = model.step_each(latents, proprio, actions).latents
    states = [
        Start(latent, clips.proprio[row, :context], clips.actions[row, : context - 1])
        for row, latent in enumerate(onnx_latents)
    ]
    error = {
        "encoder": float(np.abs(onnx_latents - latents.numpy()).max()),
        "predictor_latent": _largest(_differences(onnx_next[0], next_latent.numpy()), outcomes),
        "predictor_proprio": _largest(_differences(onnx_next[1], next_proprio.numpy()), outcomes),
        "rollout": _largest(_rollout_error(runtime, states), outcomes),
    }
    if outcomes > 1:
        error["outcomes"] = _largest(_differences(runtime.outcomes(*before), each.numpy()))
    worst = float(np.max(list(error.values())))  # a NaN wins, as it does not with the built-in max
    if not worst <= PARITY_TOLERANCE:
        raise ExportError(
            f"ONNX differs from torch by {worst:.2e} on held-out data, more than "
            f"{PARITY_TOLERANCE:.0e}; the bundle was not written"
        )
    return {"max_abs_error": error, "tolerance": PARITY_TOLERANCE, "samples": len(starts)}


def _energies(folder: Path, mixture: Mixture) -> EnergyQuantiles:
    """How large the energy of predictions is on episodes that were not trained on."""
    runtime = load_world_model(folder, provider="cpu")
    try:
        return calibrate_on(runtime, mixture.cache, mixture.held_out)
    except ValueError as error:
        raise ExportError(f"{error}; the bundle was not written") from error


def _differences(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest absolute difference in each row ``(B, ...)``: ``(B,)``."""
    return np.abs(one - other).reshape(len(one), -1).max(1)


def _largest(differences: NDArray[np.float32], outcomes: int = 1) -> float:
    """The largest of `_differences`.

    Of several outcomes the hundredth part does not count: where two are as good as equally likely,
    rounding decides which is taken.
    """
    return float(np.quantile(differences, 1.0 if outcomes == 1 else 0.99, method="lower"))


def _rollout_error(runtime: OnnxWorldModel, states: list[Start]) -> NDArray[np.float32]:
    """`_differences` of fused and stepwise rollouts, of random actions from states."""
    spec, rng = runtime.spec, np.random.default_rng(0)
    shape = (16, _PARITY_HORIZON, len(spec.action_names))
    differences = []
    for state in states:
        actions = rng.uniform(spec.action_low, spec.action_high, shape).astype(np.float32)
        fused, stepwise = runtime.rollout(state, actions), runtime.rollout_stepwise(state, actions)
        parts = zip(fused, stepwise, strict=True)
        both = [_differences(a, b) for a, b in parts if a is not None and b is not None]
        differences.append(np.max(both, axis=0))
    return np.concatenate(differences)
