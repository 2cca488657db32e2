"""Train a world model from a data set: one loop, exact resume, early warnings."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from world_model.checkpoint import (
    FILE_NAME,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from world_model.config import TrainConfig
from world_model.data.clips import Cache
from world_model.data.mixture import Mixture
from world_model.data.spec import DatasetError
from world_model.interrupt import HeldInterrupt
from world_model.jepa import Clips, Jepa, Normalization
from world_model.latents import adopt_encoder, encode_frames
from world_model.probe import HORIZON, alarms, validate
from world_model.training_data import open_training_data


class DivergedError(RuntimeError):
    """Loss or gradient stopped being finite; the last checkpoint is from before that."""


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes:
        out: folder with the checkpoint, ``metrics.json`` and the TensorBoard curves.
        step: optimiser steps done.
        finished: False when it was interrupted; `train` with ``resume=True`` goes on.
        validation: the last validation, see `world_model.probe.validate`.
        warnings: what the collapse alarms say of it.
        wall_s: seconds spent in this call.
        data_wait_share: share of the training time spent waiting for data.
        frames: training frames in the data set.
        left_out: damaged episodes that were left out.
    """

    out: Path
    step: int
    finished: bool
    validation: dict[str, Any]
    warnings: list[str]
    wall_s: float
    data_wait_share: float
    frames: int
    left_out: int


def train(
    dataset: Path | Sequence[Path],
    out: Path,
    config: TrainConfig,
    resume: bool = False,
    progress: bool = True,
    skip_bad: bool = False,
) -> TrainResult:
    """Train until ``config.steps``; Ctrl-C ends after the step, saves a checkpoint and returns.

    Args:
        dataset: LeRobotDataset v3 folder, or several that are mixed by ``config.data_weights``.
        out: folder for checkpoint and curves.
        config: settings; with ``resume`` they must be those the run began with.
        resume: go on from the checkpoint in ``out``. The losses are those of a run that was never
            interrupted: clips and projections are drawn from (seed, step) alone.
        progress: show a progress bar.
        skip_bad: leave damaged episodes out instead of refusing the data set.

    Raises:
        DatasetError: the data set cannot be read.
            Or its episodes are shorter than a training clip or a rollout to be judged.
        CheckpointError: ``out`` holds a checkpoint already, or none to resume from, or one of
            another data set or with other settings.
        DivergedError: the loss or its gradient is no longer finite.
    """
    began = time.monotonic()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    with open_training_data(dataset, config, progress, skip_bad) as mixture:
        return _train_on(mixture, out, config, resume, progress, began)


def _train_on(
    mixture: Mixture, out: Path, config: TrainConfig, resume: bool, progress: bool, began: float
) -> TrainResult:
    """`train` on data that is open; ``began`` is when that was begun, by the monotonic clock."""
    cache, fit, held_out = mixture.cache, mixture.fit, mixture.held_out
    for what, names in (
        ("actions", cache.spec.action_names),
        ("proprio", cache.spec.proprio_names),
    ):
        if not names:
            raise DatasetError(
                f"the data holds no {what}, and the model learns from them: import it with "
                f"{what} in the mapping, or train on a data set that has them"
            )
    checkpoint = _checkpoint_to_resume(out, cache, config) if resume else None
    if checkpoint is None and (out / FILE_NAME).exists():
        raise CheckpointError(
            f"{out / FILE_NAME}: there is a run here already; add --resume to go on with it or "
            "choose another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    starts = mixture.clip_starts(config.clip_length)
    cache.clip_starts(config.predictor.context + HORIZON, held_out)  # too short: say so now

    torch.manual_seed(config.seed)
    normalization = _normalization(mixture)
    model = Jepa(config, dict(cache.spec.cameras), normalization)
    if config.encoder_from:
        adopt_encoder(model, Path(config.encoder_from))
    latents = None
    if config.encoder_frozen:
        model.encoder.requires_grad_(False)
        latents = encode_frames(model, cache, progress)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    step, history = 0, []
    if checkpoint is not None:
        model.load_state_dict(checkpoint.model)
        optimizer.load_state_dict(checkpoint.optimizer)
        step, history = checkpoint.step, list(checkpoint.history)

    def save() -> None:
        save_checkpoint(
            out,
            Checkpoint(
                step=step,
                config=config,
                data=_describe(cache, len(fit), len(held_out)),
                normalization={k: v.tolist() for k, v in dataclasses.asdict(normalization).items()},
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                history=history,
            ),
        )

    waited_s, loop_began = 0.0, time.monotonic()
    bar = tqdm(total=config.steps, initial=step, desc="train", unit="step", disable=not progress)
    tensorboard = SummaryWriter(out / "tensorboard", purge_step=step + 1)
    with tensorboard as writer, bar, HeldInterrupt() as interrupt:
        while step < config.steps and not interrupt.requested:
            fetch_began = time.monotonic()
            clips = draw_clips(mixture, starts, config, step, latents)
            waited_s += time.monotonic() - fetch_began
            losses = _optimize(model, optimizer, clips, config, step)
            step += 1
            bar.update()
            if step % 20 == 0:
                for name, value in losses.items():
                    writer.add_scalar(f"loss/{name}", value, step)
                bar.set_postfix(
                    loss=f"{losses['total']:.3f}", predict=f"{losses['prediction']:.4f}"
                )
            _append_losses(out, step, losses)
            if step % config.validate_every == 0 or step == config.steps:
                # Of a stream, the probes are fitted on the episodes just trained on.
                seen = mixture.stream.episodes(step - 1) if mixture.stream else fit
                report = {"step": step, **validate(model, cache, seen, held_out, config.seed)}
                history.append(report)
                _log_validation(writer, report, _latent_width(model), bar)
            if step % config.checkpoint_every == 0 or step == config.steps:
                save()
        if step < config.steps:
            save()
            bar.write(f"interrupted at step {step}; the same command with --resume goes on")
    last = history[-1] if history else {}
    result = TrainResult(
        out=out,
        step=step,
        finished=step >= config.steps,
        validation=last,
        warnings=alarms(last, _latent_width(model)) if last else [],
        wall_s=time.monotonic() - began,
        data_wait_share=waited_s / max(time.monotonic() - loop_began, 1e-9),
        frames=int(sum(cache.episode_lengths[fit])),
        left_out=len(cache.left_out),
    )
    (out / "metrics.json").write_text(
        json.dumps(dataclasses.asdict(result) | {"out": str(out), "history": history}, indent=1)
    )
    return result


def draw_clips(
    mixture: Mixture,
    starts: Sequence[NDArray[np.int64]],
    config: TrainConfig,
    step: int,
    latents: Tensor | None = None,
) -> Clips:
    """The batch of one step: a function of (seed, step) alone, so that a resumed run repeats it.

    Where the ``latents (T, N, D)`` of all frames are given, they take the place of the images.
    Of a stream, the clips are from the shards of the step instead of from all ``starts``.
    """
    if mixture.stream is not None:
        starts = (mixture.stream.clip_starts(step),)
    rng = np.random.default_rng((config.seed, step))
    chosen = mixture.draw(starts, config.batch, rng)
    if latents is not None:
        frames = torch.from_numpy(chosen[:, None] + np.arange(config.clip_length))
        numbers = dataclasses.replace(mixture.cache, images={}).clips(chosen, config.clip_length)
        proprio, actions = torch.from_numpy(numbers.proprio), torch.from_numpy(numbers.actions)
        return Clips({}, proprio, actions, latents[frames])
    batch = mixture.cache.clips(chosen, config.clip_length)
    images = {name: _shift(values, config.shift_px, rng) for name, values in batch.images.items()}
    return Clips(
        images={name: torch.from_numpy(values) for name, values in images.items()},
        proprio=torch.from_numpy(batch.proprio),
        actions=torch.from_numpy(batch.actions),
    )


def read_losses(out: Path) -> dict[int, dict[str, float]]:
    """Every step's losses of a run, by step; a step repeated after a kill counts once."""
    rows: Iterator[dict[str, float]] = map(
        json.loads, (out / "losses.jsonl").read_text().splitlines()
    )
    return {int(row.pop("step")): row for row in rows}


def _checkpoint_to_resume(out: Path, cache: Cache, config: TrainConfig) -> Checkpoint:
    checkpoint = load_checkpoint(out)
    if checkpoint.data["dataset_hash"] != cache.dataset_hash:
        raise CheckpointError(
            f"{out}: this run was trained on another data set; resume it with the one it knows"
        )
    if checkpoint.config != config:
        differing = [
            field.name
            for field in dataclasses.fields(config)
            if getattr(config, field.name) != getattr(checkpoint.config, field.name)
        ]
        raise CheckpointError(
            f"{out}: cannot resume with other settings ({', '.join(differing)}); resume with those "
            "the run began with, or start a new one in another --out"
        )
    return checkpoint


def _optimize(
    model: Jepa, optimizer: torch.optim.Optimizer, clips: Clips, config: TrainConfig, step: int
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(config, step)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    model.train()
    if config.encoder_frozen:
        model.encoder.eval()
    terms: dict[str, Tensor] = model.energy(clips, generator)
    optimizer.zero_grad(set_to_none=True)
    terms["total"].backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip))
    losses = {name: float(value.detach()) for name, value in terms.items()}
    # Before the weights are touched, so that no checkpoint can hold what is not finite.
    if not math.isfinite(losses["total"]) or not math.isfinite(norm):
        raise DivergedError(
            f"the loss is {losses['total']} and its gradient {norm} at step {step}; start again "
            "with a lower learning_rate"
        )
    optimizer.step()
    return losses


def _schedule(config: TrainConfig, step: int) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _shift(images: NDArray[np.uint8], pixels: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move each clip ``(B, T, H, W, 3)`` by up to ``pixels``, edges repeated."""
    if pixels == 0:
        return images
    padded = np.pad(images, ((0, 0), (0, 0), (pixels,) * 2, (pixels,) * 2, (0, 0)), mode="edge")
    height, width = images.shape[2:4]
    moved = np.empty_like(images)
    for row, (y, x) in enumerate(rng.integers(0, 2 * pixels + 1, (len(images), 2))):
        moved[row] = padded[row, :, y : y + height, x : x + width]
    return moved


def _normalization(mixture: Mixture) -> Normalization:
    proprio_mean, proprio_std = _moments(mixture, np.asarray(mixture.cache.proprio))
    action_mean, action_std = _moments(mixture, np.asarray(mixture.cache.actions))
    return Normalization(
        proprio_mean=proprio_mean,
        proprio_std=np.maximum(proprio_std, 1e-3),
        action_mean=action_mean,
        action_std=np.maximum(action_std, 1e-3),
    )


def _moments(
    mixture: Mixture, values: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and std ``(width,)`` of the rows that clips are drawn from, data sets by weight."""
    parts = [
        values[mixture.cache.clip_starts(1, episodes)].astype(np.float64)
        for episodes in mixture.parts
    ]
    if len(parts) == 1:
        return parts[0].mean(0), parts[0].std(0)
    weights = np.array(mixture.weights)[:, None]
    means = np.stack([part.mean(0) for part in parts])
    squares = np.stack([part.var(0) for part in parts]) + means**2
    mean = (weights * means).sum(0)
    return mean, np.sqrt(np.maximum((weights * squares).sum(0) - mean**2, 0.0))


def _describe(cache: Cache, fit: int, held_out: int) -> dict[str, Any]:
    spec = cache.spec
    return {
        "dataset_hash": cache.dataset_hash,
        "frames": int(sum(cache.episode_lengths)),
        "episodes": {"train": fit, "held_out": held_out, "left_out": len(cache.left_out)},
        "env_id": spec.env_id,
        "robot_type": spec.robot_type,
        "fps": float(spec.fps),
        "cameras": {name: [int(h), int(w)] for name, (h, w) in spec.cameras.items()},
        "proprio_names": list(spec.proprio_names),
        "action_names": list(spec.action_names),
        "action_low": [float(v) for v in spec.action_low],
        "action_high": [float(v) for v in spec.action_high],
    }


def _latent_width(model: Jepa) -> int:
    return model.latent_shape[0] * model.latent_shape[1]


def _append_losses(out: Path, step: int, losses: dict[str, float]) -> None:
    with open(out / "losses.jsonl", "a") as file:
        file.write(json.dumps({"step": step, **losses}) + "\n")


def _log_validation(
    writer: SummaryWriter, report: dict[str, Any], latent_width: int, bar: tqdm
) -> None:
    for name in ("std_min", "std_mean", "effective_rank", "rollout_ratio"):
        writer.add_scalar(f"validation/{name}", report[name], report["step"])
    for name, value in report["probe_r2"].items():
        writer.add_scalar(f"probe_r2/{name}", value, report["step"])
    probed = {k: v for k, v in report["probe_r2"].items() if "velocity" not in k}
    worst = min(probed, key=probed.__getitem__) if probed else "none"
    bar.write(
        f"step {report['step']}: latent std {report['std_mean']:.2f}, effective rank "
        f"{report['effective_rank']:.1f} of {latent_width}, rollout error "
        f"{report['rollout_ratio']:.2f} x copy-last, worst probe {worst} "
        f"R² {probed.get(worst, float('nan')):.3f}"
    )
    for line in alarms(report, latent_width):
        bar.write(f"WARNING {line}")
