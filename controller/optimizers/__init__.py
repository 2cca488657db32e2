"""Optimisers: each only samples and updates; `controller.actor` has the loop they share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from controller.config import PlannerConfig
from controller.optimizers.base import Distribution, Optimizer
from controller.optimizers.cem import CEM
from controller.optimizers.gradient import GradientDescent
from controller.optimizers.icem import ICEM
from controller.optimizers.mppi import MPPI
from controller.optimizers.predictive import PredictiveSampling

__all__ = [
    "CEM",
    "ICEM",
    "METHODS",
    "MPPI",
    "Distribution",
    "GradientDescent",
    "Optimizer",
    "PredictiveSampling",
    "build_optimizer",
]

Array = NDArray[np.float32]
METHODS: dict[str, Callable[[PlannerConfig, Array, Array], Optimizer]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "predictive": PredictiveSampling,
    "gradient": GradientDescent,
}


def build_optimizer(config: PlannerConfig, low: Array, high: Array) -> Optimizer:
    """The optimiser that ``config.method`` names.

    Args:
        config: the planner's settings.
        low: ``(A,)`` lowest action, SI.
        high: ``(A,)`` highest action, SI.
    """
    return METHODS[config.method](config, low, high)
