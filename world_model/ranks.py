"""One training run in several processes, one for each GPU or machine, as ``torchrun`` starts them.

Every process has the same weights and draws the same batch, keeps its own rows of it, and what is
computed over the batch (batch statistics, the regulariser) is computed over all rows. So the losses
are those of one process, but for rounding. Without ``torchrun`` all of this does nothing.

    torchrun --nproc-per-node 2 -m foresee train --data ... --out ...
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from world_model.config import TrainConfigError

_PATIENCE = timedelta(hours=2)  # the others wait while the first decodes data or validates


def is_first() -> bool:
    """Whether this process is the only one, or the one that writes files and speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def count() -> int:
    """Processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_count() -> int:
    """Those of them on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Meet the other processes that ``torchrun`` has started, if it has and they have not met."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process through the block before the others: it leaves files for them."""
    if count() > 1 and not is_first():
        dist.barrier()
    yield
    if count() > 1 and is_first():
        dist.barrier()


def own_rows(rows: int) -> slice:
    """Which of the rows of a batch are this process's.

    Raises:
        TrainConfigError: they cannot be shared out evenly.
    """
    if rows % count():
        raise TrainConfigError(
            f"a batch of {rows} cannot be shared out to {count()} processes; choose a multiple"
        )
    if count() == 1:
        return slice(0, rows)
    own = rows // count()
    return slice(dist.get_rank() * own, (dist.get_rank() + 1) * own)


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes ``(count * B, ...)``, in their order; gradients flow back."""
    return rows if count() == 1 else _Gathered.apply(rows)


class _Gathered(torch.autograd.Function):
    """What comes back to a row is the sum of what it has done to the loss of every process."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        parts = [torch.empty_like(rows) for _ in range(count())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401 - torch's
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total[own_rows(len(total))]


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every process the mean of all their gradients."""
    if count() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]) / count()
    dist.all_reduce(flat)
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def averaged(values: Tensor) -> Tensor:
    """The mean of a tensor over all processes."""
    if count() == 1:
        return values
    total = values / count()
    dist.all_reduce(total)
    return total


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether it is true in any process."""
    return bool(averaged(torch.tensor(float(flag), device=device)) > 0)


class BatchNorm1d(nn.BatchNorm1d):
    """Batch normalisation over the rows of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, width)`` to the same shape."""
        if not self.training or count() == 1:
            return super().forward(input)
        rows = len(input) * count()
        return super().forward(gathered(input))[own_rows(rows)]
