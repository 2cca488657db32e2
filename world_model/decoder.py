"""Networks for looking: places and pictures read out of latents, trained on the fly. torch.

No part of the model, which is never told what a pixel or a place is: what these cannot find may
still be in the latent, and what they show is what they were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from world_model.data.frames import Frames

Array = NDArray[np.float32]
SIDE = 64  # most pixels of a decoded image's longer side
_WEIGHT = 20.0  # of what differs from the mean image, where all that moves is


@dataclass(frozen=True)
class NetworkReadout:
    """A small network from a latent ``(B, D)`` to numbers ``(B, E)``, as plain arrays."""

    weights: tuple[Array, ...]
    mean: Array
    std: Array

    def __call__(self, latents: NDArray[np.floating]) -> Array:
        """``(B, D)`` to ``(B, E)``."""
        x = latents.astype(np.float32)
        for index in range(0, len(self.weights), 2):
            x = x @ self.weights[index].T + self.weights[index + 1]
            if index + 2 < len(self.weights):
                x = x / (1 + np.exp(-x))
        return x * self.std + self.mean


def fit_network(
    latents: NDArray[np.floating],
    targets: NDArray[np.floating],
    steps: int = 3000,
    seed: int = 0,
    hidden: int = 256,
    progress: bool = True,
) -> NetworkReadout:
    """Regress ``targets (B, E)`` on ``latents (B, D)`` with two hidden layers.

    Args:
        latents: of frames.
        targets: of the same frames; SI, each column is standardised for the fit.
        steps: of AdamW, batches of 512.
        seed: of weights and batches.
        hidden: width of the layers.
        progress: show a progress bar.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    mean, std = targets.mean(0), np.maximum(targets.std(0), 1e-6)
    x = torch.from_numpy(latents.astype(np.float32))
    y = torch.from_numpy(((targets - mean) / std).astype(np.float32))
    layers = [nn.Linear(x.shape[1], hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
    network = nn.Sequential(*layers, nn.Linear(hidden, y.shape[1]))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in tqdm(range(steps), desc="probe", unit="step", disable=not progress):
        rows = torch.from_numpy(rng.integers(0, len(x), 512))
        loss = (network(x[rows]) - y[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    weights = tuple(p.detach().numpy() for p in network.parameters())
    return NetworkReadout(weights, mean.astype(np.float32), std.astype(np.float32))


class _Picture(nn.Module):
    """Latent ``(B, D)`` to the difference from a mean image ``(B, 3, H, W)``."""

    def __init__(self, width: int, size: tuple[int, int], channels: int = 48) -> None:
        super().__init__()
        self.cells = (channels, size[0] // 4, size[1] // 4)
        self.spread = nn.Sequential(
            nn.Linear(width, 512), nn.SiLU(), nn.Linear(512, int(np.prod(self.cells))), nn.SiLU()
        )
        self.draw = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, latents: Tensor) -> Tensor:
        return self.draw(self.spread(latents).view(-1, *self.cells))


@dataclass(frozen=True)
class Decoder:
    """Draws what one camera would see. For looking only: nothing is planned with it.

    Attributes:
        network: trained by `fit_decoder`.
        mean: ``(3, H, W)`` the mean image, 0 to 1.
    """

    network: nn.Module
    mean: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it draws."""
        return int(self.mean.shape[1]), int(self.mean.shape[2])

    @torch.no_grad()
    def __call__(self, latents: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Latents ``(B, D)`` to images ``(B, H, W, 3)``."""
        drawn = self.network(torch.from_numpy(latents.astype(np.float32))) + self.mean
        return _bytes(drawn)

    def small(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Camera images ``(B, H, W, 3)`` at the size it draws."""
        return _small(images, self.size)


def fit_decoder(
    latents: NDArray[np.floating],
    frames: Frames,
    rows: NDArray[np.int64],
    steps: int = 400,
    seed: int = 0,
    progress: bool = True,
) -> Decoder:
    """Learn to draw frames from their latents; well under a minute on a free core.

    Args:
        latents: ``(B, D)``.
        frames: of the camera.
        rows: ``(B,)``, which of them the latents are of.
        steps: of AdamW, batches of 64.
        seed: of weights and batches.
        progress: show a progress bar.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    size = small_size(frames.shape[1], frames.shape[2])
    images = torch.from_numpy(_small(np.asarray(frames[rows]), size)).permute(0, 3, 1, 2)
    x = torch.from_numpy(latents.astype(np.float32))
    mean = torch.stack([part.float().mean(0) for part in images.split(512)]).mean(0) / 255
    network = _Picture(x.shape[1], size)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, steps)
    for _ in tqdm(range(steps), desc="decoder", unit="step", disable=not progress):
        picked = torch.from_numpy(rng.integers(0, len(x), 64))
        truth = images[picked].float() / 255 - mean
        weight = 1 + _WEIGHT * truth.abs().amax(1, keepdim=True)
        loss = (weight * (network(x[picked]) - truth).abs()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return Decoder(network.eval(), mean)


def small_size(height: int, width: int) -> tuple[int, int]:
    """Height and width, multiples of 4, of which the longer is at most `SIDE`."""
    scale = min(1.0, SIDE / max(height, width))
    return max(round(height * scale / 4) * 4, 4), max(round(width * scale / 4) * 4, 4)


def _small(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """``(B, H, W, 3)`` at another size, averaged over areas."""
    if images.shape[1:3] == size:
        return images
    parts = []
    for part in np.array_split(images, max(len(images) // 256, 1)):
        tensor = torch.from_numpy(np.ascontiguousarray(part)).permute(0, 3, 1, 2).float() / 255
        parts.append(_bytes(F.interpolate(tensor, size, mode="area")))
    return np.concatenate(parts)


def _bytes(images: Tensor) -> NDArray[np.uint8]:
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
