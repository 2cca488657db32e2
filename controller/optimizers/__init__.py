"""Optimisers: each only samples and updates; `controller.actor` has the loop they share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.base import Distribution, Optimizer
from controller.optimizers.cem import CEM
from controller.optimizers.mppi import MPPI

__all__ = ["CEM", "MPPI", "Distribution", "Optimizer", "build_optimizer"]


def build_optimizer(
    config: PlannerConfig, low: NDArray[np.float32], high: NDArray[np.float32]
) -> Optimizer:
    """The optimiser that ``config.method`` names.

    Args:
        config: the planner's settings.
        low: ``(A,)`` lowest action, SI.
        high: ``(A,)`` highest action, SI.
    """
    return CEM(config, low, high) if config.method == "cem" else MPPI(config, low, high)
