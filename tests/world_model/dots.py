"""A bright dot that actions move: the smallest world worth modelling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from world_model.config import EncoderConfig, LossConfig, PredictorConfig, TrainConfig
from world_model.data.dataset import DatasetSpec, Episode

SIZE = 32
SPEC = DatasetSpec(
    fps=10.0,
    cameras={"scene": (SIZE, SIZE)},
    proprio_names=("tool.x",),
    action_names=("tool.vx", "tool.vy"),
    action_low=(-1.0, -1.0),
    action_high=(1.0, 1.0),
    evaluation_names=("dot.x", "dot.y"),
)
SMALL = TrainConfig(
    encoder=EncoderConfig(width=8, latent_dim=16),
    predictor=PredictorConfig(hidden=64, blocks=1, context=2),
    loss=LossConfig(sigreg_projections=64, rollout_steps=2, time_similarity_weight=0.0),
    steps=120,
    batch=32,
    warmup_steps=10,
    validate_every=60,
    checkpoint_every=20,
    learning_rate=3e-3,
    threads=1,
)


def moving_dot(seed: int, length: int = 40) -> Episode:
    """A bright dot that an action moves: dot(t+1) = dot(t) + 0.2 action(t), in a unit square."""
    rng = np.random.default_rng(seed)
    position = rng.uniform(0.2, 0.8, 2)
    action = np.zeros(2)
    images, positions, actions = [], [], []
    for _ in range(length):
        images.append(draw_dot(position))
        positions.append(position)
        action = np.clip(0.7 * action + rng.normal(0, 0.5, 2), -1, 1)
        actions.append(action)
        position = np.clip(position + 0.2 * action, 0.1, 0.9)
    dots = np.array(positions, np.float32)
    return Episode(
        images={"scene": np.stack(images)},
        proprio=dots[:, :1].copy(),
        actions=np.array(actions, np.float32),
        evaluation=dots,
        task="dot",
        stamps_ns=np.arange(length) * 100_000_000,
    )


def draw_dot(position: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A dot of 0.1 at a position ``(2,)`` of the unit square."""
    grid = (np.arange(SIZE) + 0.5) / SIZE
    distance = (grid[None, :] - position[0]) ** 2 + (grid[:, None] - position[1]) ** 2
    glow = np.exp(-distance / 0.01)[..., None]
    return (40 + glow * np.array([200, 120, 30])).astype(np.uint8)
