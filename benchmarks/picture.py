"""Is what matters in the picture at all? Read the true state from one image, with supervision.

    python -m benchmarks.picture --data data/rooms [--steps 1500] [--json out.json]

A small convolutional network is fitted from the camera image to the columns a data set has for
evaluation, on 80 % of the episodes, and judged on the others. What it cannot read, no world model
of that camera can: a large error here is the camera's fault, or the image size's. Angles (names
that end in "yaw") are read as sine and cosine. Prints the mean error of each column; metres as cm.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from foresee.summary import write_json
from world_model.data.dataset import open_dataset

_TEST_SHARE = 0.2


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="data set folder")
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", nargs="*", help="columns to read; by default all")
    parser.add_argument("--json", type=Path, help="write the errors here")
    given = parser.parse_args()
    errors = read_errors(given.data, given.steps, given.batch, given.seed, given.columns)
    for name, (mean, p95) in errors.items():
        scale, unit = (180 / np.pi, "°") if name.endswith("yaw") else (100.0, "cm")
        print(f"{name:12} mean {mean * scale:6.2f} {unit}   p95 {p95 * scale:6.2f} {unit}")
    if given.json:
        write_json(given.json, errors)


def read_errors(
    data: Path, steps: int, batch: int, seed: int, columns: list[str] | None = None
) -> dict[str, tuple[float, float]]:
    """Mean and 95th percentile of the absolute error of each column, on held-out episodes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    dataset = open_dataset(data)
    camera = next(iter(dataset.spec.cameras))
    names = [n for n in dataset.spec.evaluation_names if columns is None or n in columns]
    picked = [dataset.spec.evaluation_names.index(n) for n in names]
    images, values, owner = [], [], []
    for index in range(len(dataset)):
        episode = dataset.episode(index)
        images.append(episode.images[camera])
        values.append(episode.evaluation[:, picked])
        owner.append(np.full(len(episode.proprio), index))
    pixels, truth, owners = np.concatenate(images), np.concatenate(values), np.concatenate(owner)
    held_out = rng.permutation(len(dataset))[: max(1, int(_TEST_SHARE * len(dataset)))]
    test = np.isin(owners, held_out)
    targets = _encode(truth, names)
    mean, std = targets[~test].mean(0), targets[~test].std(0) + 1e-6
    net = _network(pixels.shape[1], targets.shape[1])
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, steps)
    train = np.flatnonzero(~test)
    for _ in tqdm(range(steps), desc="fit", unit="step"):
        rows = rng.choice(train, batch)
        wanted = torch.from_numpy(((targets[rows] - mean) / std).astype(np.float32))
        loss = nn.functional.smooth_l1_loss(net(_tensor(pixels[rows])), wanted, beta=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    with torch.no_grad():
        parts = [net(_tensor(part)).numpy() for part in np.array_split(pixels[test], 20)]
    read = _decode(np.concatenate(parts) * std + mean, names)
    error = np.abs(read - truth[test])
    for column, name in enumerate(names):
        if name.endswith("yaw"):
            error[:, column] = np.minimum(
                error[:, column] % (2 * np.pi), -error[:, column] % (2 * np.pi)
            )
    return {
        name: (float(error[:, i].mean()), float(np.percentile(error[:, i], 95)))
        for i, name in enumerate(names)
    }


def _encode(truth: NDArray[np.floating], names: list[str]) -> NDArray[np.float64]:
    parts = []
    for name, column in zip(names, truth.T, strict=True):
        parts += [np.sin(column), np.cos(column)] if name.endswith("yaw") else [column]
    return np.stack(parts, 1).astype(np.float64)


def _decode(values: NDArray[np.floating], names: list[str]) -> NDArray[np.float64]:
    columns, at = [], 0
    for name in names:
        if name.endswith("yaw"):
            columns.append(np.arctan2(values[:, at], values[:, at + 1]))
            at += 2
        else:
            columns.append(values[:, at])
            at += 1
    return np.stack(columns, 1).astype(np.float64)


def _network(size: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    channels = [3, 16, 32, 64, 64]
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    width = 64 * (size // 16) ** 2
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, outputs)
    )


def _tensor(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


if __name__ == "__main__":
    main()
