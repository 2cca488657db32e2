"""A world small enough to know the right answer: a point in the plane that a camera sees.

The image's first two pixels hold the position, the encoder reads them, the model is exact and
linear. What a planner does with it can be compared with the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.types import ModelState, Observation

Array = NDArray[np.float32]
SIZE_M = 2.0  # the plane is seen from -SIZE_M to SIZE_M
CAMERA = "scene"


@dataclass(frozen=True)
class Spec:
    cameras: dict[str, tuple[int, int]] = field(default_factory=lambda: {CAMERA: (4, 4)})
    proprio_names: tuple[str, ...] = ("tool.x", "tool.y")
    action_names: tuple[str, ...] = ("tool.vx", "tool.vy")
    action_low: Array = field(default_factory=lambda: np.full(2, -1.0, np.float32))
    action_high: Array = field(default_factory=lambda: np.full(2, 1.0, np.float32))
    model_dt_s: float = 0.1
    context: int = 3
    latent_shape: tuple[int, int] = (1, 2)


class Rollouts(NamedTuple):
    latents: Array
    proprio: Array


class PointModel:
    """position' = position + dt * velocity, seen through 16-bit pixels."""

    def __init__(self, **spec: object) -> None:
        self.spec = Spec(**spec)
        self.calls: list[tuple[ModelState, Array]] = []
        self.spoil: Callable[[Array], Array] | None = None  # latents in, latents out

    def encode(self, images: dict[str, NDArray[np.uint8]]) -> Array:
        pixels = images[CAMERA][0, :2].astype(np.float32)
        return ((pixels[:, 0] * 256 + pixels[:, 1]) / 65535 * 2 * SIZE_M - SIZE_M)[None]

    def rollout(self, state: ModelState, actions: Array) -> Rollouts:
        self.calls.append((state, actions.copy()))
        moved = np.cumsum(actions, axis=1) * np.float32(self.spec.model_dt_s)
        positions = state.latents[-1, 0] + moved
        latents = positions[:, :, None, :].astype(np.float32)
        if self.spoil is not None:
            latents = self.spoil(latents)
        return Rollouts(latents, positions)

    def image(self, position_m: Array) -> dict[str, NDArray[np.uint8]]:
        values = ((np.asarray(position_m) + SIZE_M) / (2 * SIZE_M) * 65535).round().astype(int)
        image = np.zeros((4, 4, 3), np.uint8)
        image[0, :2, 0], image[0, :2, 1] = values // 256, values % 256
        return {CAMERA: image}

    def observe(self, position_m: Array, stamp_ns: int) -> Observation:
        proprio = np.asarray(position_m, np.float32)
        return Observation(stamp_ns, self.image(position_m), proprio)

    def state(self, position_m: Array, stamp_ns: int = 0) -> ModelState:
        context, size = self.spec.context, len(self.spec.action_names)
        latent = np.asarray(position_m, np.float32)[None]
        return ModelState(
            latents=np.stack([latent] * context),
            proprio=np.stack([latent[0]] * context),
            actions=np.zeros((context - 1, size), np.float32),
            stamp_ns=stamp_ns,
        )


@pytest.fixture
def model() -> PointModel:
    return PointModel()


@pytest.fixture
def make_model() -> type[PointModel]:
    return PointModel


class Clock:
    """Stands still but for what is slept: a busy machine then proves nothing and breaks nothing."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The actor's clock, in the hands of the test."""
    made = Clock()
    monkeypatch.setattr("controller.actor.time", made)
    return made
