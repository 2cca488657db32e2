"""Synthetic episodes: a red blob that moves as its action says over a still background."""

from __future__ import annotations

import numpy as np

from world_model.data import DatasetSpec, Episode

SIZE = 32
SPEC = DatasetSpec(
    fps=10.0,
    cameras={"scene": (SIZE, SIZE)},
    proprio_names=("blob.x", "blob.y", "blob.speed"),
    action_names=("blob.vx", "blob.vy"),
    action_low=(-20.0, -20.0),
    action_high=(20.0, 20.0),
    evaluation_names=("truth.x", "truth.y"),
    robot_type="blob",
    env_id="test/Blob-v0",
    seed=3,
)


def blob_episode(seed: int, length: int = 20, spec: DatasetSpec = SPEC) -> Episode:
    """Make an episode for any specification of two proprio values or more and two actions."""
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-20, 20, (length, len(spec.action_names))).astype(np.float32)
    steps = np.cumsum(np.vstack([rng.uniform(8, 24, (1, 2)), actions[:-1, :2] * spec.dt_s]), axis=0)
    position = np.clip(steps, 4, SIZE - 4).astype(np.float32)
    proprio = np.zeros((length, len(spec.proprio_names)), np.float32)
    proprio[:, :2] = position
    images = {}
    for camera, (height, width) in spec.cameras.items():
        yy, xx = np.mgrid[:height, :width]
        background = np.stack([xx * 3, yy * 3, (xx + yy) * 2], axis=-1) % 200 + 20
        frames = np.repeat(background[None], length, axis=0)
        for frame, (x, y) in zip(frames, position, strict=True):
            frame[(xx - x) ** 2 + (yy - y) ** 2 < 16] = (220, 40, 30)
        images[camera] = frames.astype(np.uint8)
    return Episode(
        images=images,
        proprio=proprio,
        actions=actions,
        evaluation=position[:, : len(spec.evaluation_names)],
        task="watch the blob",
        stamps_ns=1_000_000 + np.arange(length, dtype=np.int64) * int(1e9 * spec.dt_s),
    )


def psnr(seen: np.ndarray, true: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB."""
    return float(10 * np.log10(255**2 / np.mean((seen.astype(float) - true) ** 2)))
