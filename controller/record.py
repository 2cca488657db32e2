"""What one search was given and what it found: enough to do it again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import Goal, ModelState, Observation, Plan

Array = NDArray[np.float32]


@dataclass(frozen=True)
class PlanInputs:
    """Everything one search depends on beside the model and the settings.

    Attributes:
        state: where the robot was when the newest frame was captured.
        goal: where to go.
        warm_start: the last plan that was usable.
        committed: ``(M, A)`` SI, what no plan can change any more.
        candidates: ``(S, K, A)`` SI, what memory offers; ``None`` for nothing.
        seed: of the search, and the number of the step.
    """

    state: ModelState
    goal: Goal
    warm_start: Plan | None
    committed: Array
    candidates: Array | None
    seed: tuple[int, int]


@dataclass(frozen=True)
class PlanRecord:
    """One search: what went in and what came out, for a log.

    Attributes:
        observation: what the sensors said.
        inputs: what the search was given.
        plan: what it found.
    """

    observation: Observation
    inputs: PlanInputs
    plan: Plan
