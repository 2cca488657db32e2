"""Frames to latents: a trunk for each camera, convolutional or a transformer, then a head."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from world_model.config import EncoderConfig, TrainConfigError
from world_model.ranks import BatchNorm1d
from world_model.vit import PATCH, VitTrunk


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection (pre-activation, He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        """Keep ``channels`` at the same resolution."""
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(4, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels, h, w)`` to the same shape."""
        return x + self.body(x)


class CameraEncoder(nn.Module):
    """One camera's frame to one latent token.

    The last layer is a batch normalisation without affine parameters: it fixes the scale of the
    latent, so that the regulariser shapes its distribution instead of fighting over its size.
    """

    def __init__(self, config: EncoderConfig, image_size: tuple[int, int]) -> None:
        """Build for frames of ``image_size`` (height, width), each a multiple of 16."""
        super().__init__()
        height, width = image_size
        if height % 16 or width % 16:
            raise TrainConfigError(
                f"image size must be a multiple of 16 pixels, got {width}x{height}"
            )
        # "stages" is the trunk; checkpoints of conv encoders know it by this name.
        if config.kind == "vit":
            self.stages: nn.Module = VitTrunk(config.vit)
            features = (height // PATCH) * (width // PATCH) * config.vit.width
        else:
            self.stages = _conv_stages(config.width)
            features = (height // 16) * (width // 16) * 4 * config.width
        self.features = features
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, config.latent_dim),
            BatchNorm1d(config.latent_dim, affine=False),
        )

    def trunk(self, images: Tensor) -> Tensor:
        """``(B, H, W, 3)`` uint8 RGB to what the head takes, ``(B, F)``."""
        return self.stages(unit_scale(images.permute(0, 3, 1, 2))).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """``(B, H, W, 3)`` uint8 RGB to ``(B, D)``."""
        return self.head(self.trunk(images))


def unit_scale(images: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1.0


def _conv_stages(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, channels, 8, stride=4, padding=2),
        ResidualBlock(channels),
        nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
        ResidualBlock(2 * channels),
        nn.Conv2d(2 * channels, 4 * channels, 3, stride=2, padding=1),
        ResidualBlock(4 * channels),
        nn.GroupNorm(4, 4 * channels),
        nn.SiLU(),
    )


class Encoder(nn.Module):
    """Every camera's frame to one token of the latent ``(B, N, D)``, in camera order."""

    def __init__(self, config: EncoderConfig, cameras: dict[str, tuple[int, int]]) -> None:
        """Build one `CameraEncoder` for each entry of ``cameras`` (name to height, width)."""
        super().__init__()
        self.cameras = tuple(cameras)
        self.encoders = nn.ModuleList(CameraEncoder(config, size) for size in cameras.values())

    def forward(self, *images: Tensor) -> Tensor:
        """One ``(B, H, W, 3)`` uint8 tensor for each camera to ``(B, N, D)``."""
        tokens = [encoder(image) for encoder, image in zip(self.encoders, images, strict=True)]
        return torch.stack(tokens, dim=1)

    @property
    def of_cameras(self) -> tuple[CameraEncoder, ...]:
        """One for each camera."""
        return tuple(cast("Iterable[CameraEncoder]", self.encoders))

    def trunks(self, *images: Tensor) -> Tensor:
        """One ``(B, H, W, 3)`` uint8 tensor for each camera to the features ``(B, F)`` of all."""
        pairs = zip(self.of_cameras, images, strict=True)
        parts = [encoder.trunk(image) for encoder, image in pairs]
        return torch.cat(parts, dim=1)

    def heads(self, features: Tensor) -> Tensor:
        """`trunks` ``(B, F)`` to ``(B, N, D)``."""
        parts = features.split([encoder.features for encoder in self.of_cameras], dim=1)
        tokens = [encoder.head(part) for encoder, part in zip(self.of_cameras, parts, strict=True)]
        return torch.stack(tokens, dim=1)
