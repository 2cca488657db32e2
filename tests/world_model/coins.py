"""A dot that a coin sends to the left or to the right, and that comes back: two outcomes."""

from __future__ import annotations

import dataclasses

import numpy as np
from dots import SMALL, draw_dot

from world_model.config import LossConfig, PredictorConfig
from world_model.data.dataset import Episode

RIGHT = 0.7  # how often the coin, which is bent, says so
COINS = dataclasses.replace(
    SMALL,
    predictor=PredictorConfig(hidden=64, blocks=1, context=2, outcomes=2),
    loss=LossConfig(sigreg_projections=64, rollout_steps=3, time_similarity_weight=0.0),
)


def tossed_dot(seed: int, length: int = 40) -> Episode:
    """From the middle to a side by the toss of a coin, then back; up and down by the action.

    The reading is the height, which tells nothing of the coin.
    """
    rng = np.random.default_rng(seed)
    x, y = 0.5, rng.uniform(0.4, 0.6)
    places, actions = [], []
    for _ in range(length):
        places.append((x, y))
        action = rng.uniform(-1, 1, 2)
        actions.append(action)
        side = 1 if rng.random() < RIGHT else -1
        x = 0.5 if x != 0.5 else 0.5 + 0.25 * side
        y = np.clip(y + 0.1 * action[1], 0.35, 0.65)
    true = np.array(places, np.float32)
    return Episode(
        images={"scene": np.stack([draw_dot(np.array(place)) for place in places])},
        proprio=true[:, 1:].copy(),
        actions=np.array(actions, np.float32),
        evaluation=true,
        task="coin",
        stamps_ns=np.arange(length) * 100_000_000,
    )
