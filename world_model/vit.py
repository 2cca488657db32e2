"""A small vision transformer over frames and clips; a frame is a clip of one."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.config import VitConfig

PATCH = 8
_SLOWEST = 100.0
TUBELET = 2  # frames that one token of a clip holds; a single frame is taken twice


class Block(nn.Module):
    """Self-attention and a two-layer perceptron, each on what is normalised, each added."""

    def __init__(self, width: int, heads: int) -> None:
        """Keep ``width``; ``heads`` divide it."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, K, width)`` to the same shape."""
        parts = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2])
        x = x + self.mix(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Blocks, then a normalisation; tokens ``(B, K, width)`` to the same shape."""

    def __init__(self, config: VitConfig) -> None:
        """Build of the width, depth and heads of ``config``."""
        super().__init__()
        self.blocks = nn.Sequential(
            *(Block(config.width, config.heads) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, K, width)`` to the same shape."""
        return self.norm(self.blocks(tokens))


class VitTrunk(nn.Module):
    """Frames to tokens, one for each patch of 8 px and tubelet of two frames.

    Positions are sines and cosines, so that nothing in it knows the size of the image: one trunk
    serves cameras of any size.
    """

    def __init__(self, config: VitConfig) -> None:
        """Build of the size in ``config``."""
        super().__init__()
        self.width = config.width
        cell = (TUBELET, PATCH, PATCH)
        self.embed = nn.Conv3d(3, config.width, cell, stride=cell)
        # As a linear layer over the patch (ViT): what is seen then counts as much as where it is.
        nn.init.xavier_uniform_(self.embed.weight.view(config.width, -1))
        self.transformer = Transformer(config)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.embed.weight.device

    def forward(self, frames: Tensor) -> Tensor:
        """Frames ``(B, 3, H, W)``, each by itself, to tokens ``(B, K, width)``."""
        return self.encode(frames.unsqueeze(1))

    def encode(self, clips: Tensor, visible: Tensor | None = None) -> Tensor:
        """Clips to tokens.

        Args:
            clips: ``(B, T, 3, H, W)``, T = 1 or even.
            visible: ``(B, V)`` positions to look at; the others are as if they were not there.

        Returns:
            ``(B, K, width)``, or ``(B, V, width)`` of the visible ones; K counts tubelets, rows,
            columns, the last one fastest.
        """
        if clips.shape[1] == 1:
            clips = clips.expand(-1, TUBELET, -1, -1, -1)
        cells = self.embed(clips.transpose(1, 2))
        grid = (int(cells.shape[2]), int(cells.shape[3]), int(cells.shape[4]))
        tokens = cells.flatten(2).transpose(1, 2) + positions(grid, self.width).to(cells)
        return self.transformer(tokens if visible is None else pick(tokens, visible))


def grid_of(frames: int, image_size: tuple[int, int]) -> tuple[int, int, int]:
    """Tubelets, rows and columns of the tokens of a clip."""
    return max(frames // TUBELET, 1), image_size[0] // PATCH, image_size[1] // PATCH


def pick(tokens: Tensor, where: Tensor) -> Tensor:
    """``(B, V, width)``: the tokens ``(B, K, width)`` at positions ``(B, V)``."""
    return tokens.gather(1, where.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def positions(grid: tuple[int, int, int], width: int) -> Tensor:
    """Sines and cosines of tubelet, row and column ``(K, width)``, a third of the width each.

    Angles are divided by up to 100: with the usual 10 000 most of them stand still over an image of
    8 patches, and learning is slower (docs/experiments.md).
    """
    pairs = math.ceil(width / 6)
    rates = torch.exp(-math.log(_SLOWEST) / pairs * torch.arange(pairs))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * rates for axis in axes]
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], 1)[:, :width]
