"""The training loop, whatever is learned: exact resume, curves, validations, Ctrl-C, SIGTERM."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from world_model import ranks
from world_model.checkpoint import (
    FILE_NAME,
    Checkpoint,
    CheckpointError,
    load_any_checkpoint,
    save_checkpoint,
)
from world_model.config import RunConfig, TrainConfigError
from world_model.curves import SHOWN_EVERY, Curves
from world_model.data import layout
from world_model.data.clips import Cache
from world_model.data.mixture import Mixture
from world_model.interrupt import HeldInterrupt
from world_model.training_data import open_training_data

Batch = TypeVar("Batch")


class DivergedError(RuntimeError):
    """Loss or gradient stopped being finite; the last checkpoint is from before that."""


class Method(ABC, Generic[Batch]):
    """What is learned and how it is judged. Built once the data is open.

    Attributes:
        model: what is trained; parameters that are frozen require no gradient.
        normalization: see `Checkpoint`.
    """

    model: nn.Module
    normalization: dict[str, list[float]]

    @abstractmethod
    def draw(self, step: int) -> Batch:
        """The batch of a step: a function of (seed, step) alone, so that a resumed run repeats.

        Of several processes each gets its own rows, see `world_model.ranks`.
        """

    def prepare(self, progress: bool) -> None:
        """Called once, when the model has the weights that training begins or goes on with."""

    @abstractmethod
    def energy(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """``total``, what is minimised, and its terms, ``prediction`` among them; scalars."""

    @abstractmethod
    def validate(self, step: int) -> dict[str, Any]:
        """Judge it on held-out episodes; numbers, or names to numbers."""

    @abstractmethod
    def sentence(self, report: dict[str, Any]) -> str:
        """What a validation says, in one line."""

    @abstractmethod
    def alarms(self, report: dict[str, Any]) -> list[str]:
        """What a validation says is going wrong, one line each with what to do."""

    def train_mode(self) -> None:
        """Put the model in training mode, but for what is frozen."""
        self.model.train()

    def updated(self, step: int) -> None:
        """Follow the optimiser, which has made step ``step`` (from 0)."""

    def compile(self) -> None:
        """Have the networks compiled when they are first called."""
        for part in self.model.children():
            part.compile()


@dataclass(frozen=True)
class TrainResult:
    """What a training run came to.

    Attributes:
        out: folder with the checkpoint, ``metrics.json`` and the TensorBoard curves.
        step: optimiser steps done.
        finished: False when it was interrupted; the same with ``resume=True`` goes on.
        validation: the last validation, see `Method.validate`.
        warnings: what the alarms say of it.
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


def run_method(
    begin: Callable[[Mixture, torch.device], Method[Any]],
    dataset: Path | Sequence[Path],
    out: Path,
    config: RunConfig,
    resume: bool = False,
    progress: bool = True,
    skip_bad: bool = False,
) -> TrainResult:
    """Train until ``config.steps``.

    Ctrl-C and SIGTERM end it after the step: a checkpoint is saved, and it returns.

    Args:
        begin: builds what is learned from the data, on a device, its weights drawn from torch's
            generator.
        dataset: LeRobotDataset v3 folder, or several that are mixed by ``config.data_weights``.
        out: folder for checkpoint and curves.
        config: settings; with ``resume`` they must be those the run began with.
        resume: go on from the checkpoint in ``out``. The losses are those of a run that was never
            interrupted: whatever is drawn is drawn from (seed, step) alone.
        progress: show a progress bar.
        skip_bad: leave damaged episodes out instead of refusing the data set.

    Raises:
        DatasetError: the data set cannot be read, or its episodes are too short.
        CheckpointError: ``out`` holds a checkpoint already, or none to resume from, or one of
            another data set or with other settings; or ``out`` is a data set.
        DivergedError: the loss or its gradient is no longer finite.
        TrainConfigError: the machine lacks what ``config`` asks for, or several processes cannot
            share it out.
    """
    began = time.monotonic()
    if (out / layout.INFO).is_file():
        raise CheckpointError(f"{out}: a data set; choose another --out for the run")
    torch.set_num_threads(config.threads or max((os.cpu_count() or 1) // ranks.local_count(), 1))
    device = _device(config)
    progress = progress and ranks.is_first()
    with ExitStack() as stack:
        stack.enter_context(ranks.joined(device))
        ranks.own_rows(config.batch)  # say so now where they cannot be shared out
        if config.cache_gb and ranks.count() > 1:
            raise TrainConfigError(
                "cache_gb bounds the decoded data of one process; with several it must be 0"
            )
        with ranks.first_alone():
            mixture = stack.enter_context(open_training_data(dataset, config, progress, skip_bad))
        checkpoint = _checkpoint_to_resume(out, mixture.cache, config) if resume else None
        if checkpoint is None and (out / FILE_NAME).exists():
            raise CheckpointError(
                f"{out / FILE_NAME}: there is a run here already; add --resume to go on with it or "
                "choose another --out"
            )
        torch.manual_seed(config.seed)
        method = begin(mixture, device)
        if config.compile:
            method.compile()
        out.mkdir(parents=True, exist_ok=True)
        return _loop(method, mixture, out, config, checkpoint, progress, began)


def _loop(
    method: Method[Any],
    mixture: Mixture,
    out: Path,
    config: RunConfig,
    checkpoint: Checkpoint[RunConfig] | None,
    progress: bool,
    began: float,
) -> TrainResult:
    """`run_method` once all is open; ``began`` is when that was begun, by the monotonic clock."""
    model = method.model
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
    method.prepare(progress)

    def save() -> None:
        save_checkpoint(
            out,
            Checkpoint(
                step=step,
                config=config,
                data=_describe(mixture),
                normalization=method.normalization,
                model=model.state_dict(),
                optimizer=optimizer.state_dict(),
                history=history,
            ),
        )

    waited_s, loop_began = 0.0, time.monotonic()
    first = ranks.is_first()
    bar = tqdm(total=config.steps, initial=step, desc="train", unit="step", disable=not progress)
    device = next(model.parameters()).device
    with (
        Curves(out, step) if first else nullcontext() as curves,
        bar,
        HeldInterrupt() as interrupt,
    ):
        while step < config.steps and not ranks.any_of(interrupt.requested, device):
            fetch_began = time.monotonic()
            batch = method.draw(step)
            waited_s += time.monotonic() - fetch_began
            losses = _optimize(method, optimizer, batch, config, step)
            step += 1
            bar.update()
            if curves is None:
                continue
            curves.add_losses(step, losses)
            if step % SHOWN_EVERY == 0:
                bar.set_postfix(
                    loss=f"{losses['total']:.3f}", predict=f"{losses['prediction']:.4f}"
                )
            if step % config.validate_every == 0 or step == config.steps:
                report = {"step": step, **method.validate(step)}
                history.append(report)
                curves.add_validation(report)
                bar.write(f"step {step}: {method.sentence(report)}")
                for line in method.alarms(report):
                    bar.write(f"WARNING {line}")
            if step % config.checkpoint_every == 0 or step == config.steps:
                save()
        if first and step < config.steps:
            save()
            bar.write(f"interrupted at step {step}; the same command with --resume goes on")
    last = history[-1] if history else {}
    result = TrainResult(
        out=out,
        step=step,
        finished=step >= config.steps,
        validation=last,
        warnings=method.alarms(last) if last else [],
        wall_s=time.monotonic() - began,
        data_wait_share=waited_s / max(time.monotonic() - loop_began, 1e-9),
        frames=int(sum(mixture.cache.episode_lengths[mixture.fit])),
        left_out=len(mixture.cache.left_out),
    )
    if first:
        summary = dataclasses.asdict(result) | {"out": str(out), "history": history}
        (out / "metrics.json").write_text(json.dumps(summary, indent=1))
    return result


def _checkpoint_to_resume(out: Path, cache: Cache, config: RunConfig) -> Checkpoint[RunConfig]:
    checkpoint = load_any_checkpoint(out)
    if type(checkpoint.config) is not type(config):
        raise CheckpointError(
            f"{out}: a run of another method (`foresee train` or `foresee pretrain`); choose "
            "another --out"
        )
    if checkpoint.data["dataset_hash"] != cache.dataset_hash:
        raise CheckpointError(
            f"{out}: this run was trained on another data set; resume it with the one it knows"
        )
    if checkpoint.config != config:
        differing = [
            field.name
            for field in dataclasses.fields(config)
            if field.compare
            and getattr(config, field.name) != getattr(checkpoint.config, field.name)
        ]
        raise CheckpointError(
            f"{out}: cannot resume with other settings ({', '.join(differing)}); resume with those "
            "the run began with, or start a new one in another --out"
        )
    return checkpoint


def _optimize(
    method: Method[Batch],
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: RunConfig,
    step: int,
) -> dict[str, float]:
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * _schedule(config, step)
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    method.train_mode()
    parameters = list(method.model.parameters())
    kind = parameters[0].device.type
    with torch.autocast(kind, torch.bfloat16, enabled=_in_bf16(config, kind)):
        terms = method.energy(batch, generator)
    optimizer.zero_grad(set_to_none=True)
    terms["total"].backward()
    ranks.average_gradients(parameters)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.gradient_clip))
    values = ranks.averaged(torch.stack([value.detach() for value in terms.values()]))
    losses = dict(zip(terms, values.tolist(), strict=True))
    # Before the weights are touched, so that no checkpoint can hold what is not finite.
    if not math.isfinite(losses["total"]) or not math.isfinite(norm):
        raise DivergedError(
            f"the loss is {losses['total']} and its gradient {norm} at step {step}; start again "
            "with a lower learning_rate"
        )
    optimizer.step()
    method.updated(step)
    return losses


def _device(config: RunConfig) -> torch.device:
    """Where to compute; of several processes each takes the GPU of its number on the machine.

    Raises:
        TrainConfigError: a GPU is asked for and torch sees none.
    """
    if config.device == "cpu" or (config.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainConfigError(
            f"device is cuda, and torch {torch.__version__} sees no GPU; install a build of torch "
            "for CUDA, or leave device at auto"
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _in_bf16(config: RunConfig, kind: str) -> bool:
    if config.precision == "auto":
        return kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return config.precision == "bf16"


def _schedule(config: RunConfig, step: int) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _describe(mixture: Mixture) -> dict[str, Any]:
    cache, spec = mixture.cache, mixture.cache.spec
    counts = {"train": len(mixture.fit), "held_out": len(mixture.held_out)}
    lengths = cache.episode_lengths
    if mixture.stream is None:  # of which some may have been left alone
        lengths = lengths[[*mixture.fit, *mixture.held_out]]
    return {
        "dataset_hash": cache.dataset_hash,
        "frames": int(lengths.sum()),
        "episodes": counts | {"left_out": len(cache.left_out)},
        "env_id": spec.env_id,
        "robot_type": spec.robot_type,
        "fps": float(spec.fps),
        "cameras": {name: [int(h), int(w)] for name, (h, w) in spec.cameras.items()},
        "proprio_names": list(spec.proprio_names),
        "action_names": list(spec.action_names),
        "action_low": [float(v) for v in spec.action_low],
        "action_high": [float(v) for v in spec.action_high],
    }
