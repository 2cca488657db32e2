"""Latent and action to the next latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from world_model.config import PredictorConfig


class MlpBlock(nn.Module):
    """``x + W2 silu(W1 norm(x))``."""

    def __init__(self, width: int) -> None:
        """Keep ``width``."""
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, width)`` to the same shape."""
        return x + self.body(x)


class Predictor(nn.Module):
    """Residual predictor: it outputs the *change* of the latent and of the proprio.

    With that, a fresh network already predicts "nothing changes", which is the baseline it has
    to beat.
    """

    def __init__(
        self, config: PredictorConfig, latent_shape: tuple[int, int], proprio: int, action: int
    ) -> None:
        """Build for latents ``(N, D)``, ``proprio`` readings and ``action`` numbers."""
        super().__init__()
        self.latent_shape = latent_shape
        latent = latent_shape[0] * latent_shape[1]
        self.inlet = nn.Linear(config.context * (latent + proprio + action), config.hidden)
        self.blocks = nn.Sequential(*(MlpBlock(config.hidden) for _ in range(config.blocks)))
        change = nn.Linear(config.hidden, latent + proprio)
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        self.outlet = nn.Sequential(nn.LayerNorm(config.hidden), nn.SiLU(), change)

    def forward(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """One step ahead; proprio and actions are standardised.

        Args:
            latents: ``(B, C, N, D)``, oldest first.
            proprio: ``(B, C, P)``.
            actions: ``(B, C, A)``; the last one is applied from the newest latent on.

        Returns:
            The next latent ``(B, N, D)`` and proprio ``(B, P)``.
        """
        inputs = torch.cat([latents.flatten(1), proprio.flatten(1), actions.flatten(1)], dim=1)
        change = self.outlet(self.blocks(self.inlet(inputs)))
        latent_size = self.latent_shape[0] * self.latent_shape[1]
        next_latent = latents[:, -1] + change[:, :latent_size].unflatten(1, self.latent_shape)
        return next_latent, proprio[:, -1] + change[:, latent_size:]
