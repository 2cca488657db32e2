"""Predict in latent space what a camera's clip hides (V-JEPA, Bardes et al. 2024).

With clips of one frame it is I-JEPA (Assran et al. 2023), but for one thing: the blocks of a mask
are predicted together, not one by one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.masks import Mask
from world_model.pretrain_config import PretrainConfig
from world_model.ranks import gathered
from world_model.vit import Transformer, VitTrunk, grid_of, pick, positions


class MaskedPredictor(nn.Module):
    """From the tokens that are visible to those that are hidden."""

    def __init__(self, width: int, config: PretrainConfig) -> None:
        """Build for tokens of ``width``."""
        super().__init__()
        narrow = config.predictor.width
        self.inlet = nn.Linear(width, narrow)
        self.mask_token = nn.Parameter(torch.zeros(narrow))
        self.transformer = Transformer(config.predictor)
        self.outlet = nn.Linear(narrow, width)

    def forward(
        self, tokens: Tensor, visible: Tensor, hidden: Tensor, grid: tuple[int, int, int]
    ) -> Tensor:
        """Predict.

        Args:
            tokens: ``(B, V, width)`` of the visible positions.
            visible: ``(B, V)`` positions.
            hidden: ``(B, M)`` positions.
            grid: tubelets, rows and columns of the clip.

        Returns:
            ``(B, M, width)``.
        """
        places = positions(grid, len(self.mask_token)).to(self.mask_token)
        seen = self.inlet(tokens) + places[visible]
        asked = self.mask_token + places[hidden]
        return self.outlet(self.transformer(torch.cat([seen, asked], 1))[:, seen.shape[1] :])


class MaskedJepa(nn.Module):
    """A trunk that sees the visible tokens, a predictor, and the trunk's moving average.

    The moving average sees everything and gives the targets; it is what is used afterwards.
    """

    def __init__(self, config: PretrainConfig) -> None:
        """Build; the moving average begins as the trunk."""
        super().__init__()
        self.centre_targets = config.centre_targets
        self.trunk = VitTrunk(config.vit)
        self.predictor = MaskedPredictor(config.vit.width, config)
        self.target = copy.deepcopy(self.trunk).requires_grad_(False)

    def energy(self, clips: Tensor, masks: Sequence[Mask]) -> Tensor:
        """Mean over the masks of the absolute error at what they hide, scalar.

        Args:
            clips: ``(B, T, 3, H, W)`` float, see `VitTrunk.encode`.
            masks: each for all B clips.
        """
        targets = self.targets(clips)
        errors = [
            F.l1_loss(self.predict(clips, mask), pick(targets, _on(clips, mask.hidden)))
            for mask in masks
        ]
        return torch.stack(errors).mean()

    def predict(self, clips: Tensor, mask: Mask) -> Tensor:
        """Clips ``(B, T, 3, H, W)`` to what is predicted where they are hidden, ``(B, M, W)``."""
        visible, hidden = _on(clips, mask.visible), _on(clips, mask.hidden)
        grid = grid_of(clips.shape[1], (clips.shape[3], clips.shape[4]))
        return self.predictor(self.trunk.encode(clips, visible), visible, hidden, grid)

    @torch.no_grad()
    def targets(self, clips: Tensor) -> Tensor:
        """Every token ``(B, K, W)`` as the moving average has it, normalised to unit scale.

        If targets are centred, over the batch, else each token by itself.
        """
        tokens = self.target.encode(clips)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        if self.centre_targets:
            everyone = gathered(tokens) if self.training else tokens  # one process judges
            mean = everyone.mean(0, keepdim=True)
            scale = (everyone - mean).std().clamp_min(1e-3)  # all alike: nothing to blow up
            tokens = (tokens - mean) / scale
        return tokens

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """``average = momentum * average + (1 - momentum) * trunk``."""
        for average, value in zip(self.target.parameters(), self.trunk.parameters(), strict=True):
            average.lerp_(value, 1.0 - momentum)


def _on(clips: Tensor, positions: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(positions).to(clips.device)
