"""Latent and action to the next latent."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.config import PredictorConfig

_PRIOR_WIDTH = 64
_PRIOR_STD = 0.5  # of what it says, about, in latents of unit std
_CHOICE_WIDTH = 64
_APART_STD = 0.1  # of the biases of outcomes, which are not to begin as one


class Said(NamedTuple):
    """What each of K heads, or outcomes, says of the next step.

    Attributes:
        latents: ``(B, K, N, D)``.
        proprio: ``(B, K, P)`` standardised.
        chances: ``(B, K)``, how likely each outcome is, as logits; None of heads, or of a single
            outcome.
    """

    latents: Tensor
    proprio: Tensor
    chances: Tensor | None

    def settled(self) -> tuple[Tensor, Tensor]:
        """``(B, N, D)`` and ``(B, P)``: the mean of heads, the likeliest of outcomes."""
        if self.chances is None:
            return self.latents.mean(1), self.proprio.mean(1)
        return self.outcome(self.chances.argmax(1))

    def outcome(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """What outcome ``which (B,)`` of each row is, ``(B, N, D)`` and ``(B, P)``."""
        # By multiplying: the exporter to ONNX fixes the size of a batch that is gathered from.
        one = F.one_hot(which, self.latents.shape[1]).to(self.latents.dtype).unsqueeze(2)
        return (self.latents * one.unsqueeze(3)).sum(1), (self.proprio * one).sum(1)


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


class Prior(nn.Module):
    """A random function for each head that is never trained (Osband et al. 2018, section 3).

    What is learned reads normalised features, which look familiar wherever they come from; this
    reads the inputs themselves and grows with them. The heads' functions add up to nothing, so that
    their mean is what was learned.
    """

    inlet: Tensor
    bias: Tensor
    outlet: Tensor

    def __init__(self, inputs: int, latent: int, heads: int) -> None:
        """Draw it from torch's generator."""
        super().__init__()
        outlets = torch.randn(heads, latent, _PRIOR_WIDTH)
        outlets = outlets - outlets.mean(0, keepdim=True)
        self.heads = heads
        self.register_buffer("inlet", torch.randn(_PRIOR_WIDTH, inputs) / inputs**0.5)
        self.register_buffer("bias", torch.randn(_PRIOR_WIDTH))
        scale = _PRIOR_STD / _PRIOR_WIDTH**0.5
        self.register_buffer("outlet", (scale * outlets).flatten(0, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, inputs)`` to ``(B, K, latent)``."""
        features = F.silu(F.linear(inputs, self.inlet, self.bias))
        return F.linear(features, self.outlet).unflatten(1, (self.heads, -1))


class Predictor(nn.Module):
    """Residual predictor: it outputs the *change* of the latent and of the proprio.

    With that, a fresh network already predicts "nothing changes", which is the baseline it has
    to beat. Several heads share all but the last layer and have a `Prior` each, which they learn to
    take back where there is data, each from other clips (`Jepa.energy`).

    Several outcomes have a last layer each as well: the latent variable, which action and state do
    not tell, is which of them applies (LeCun 2022, section 4.2). ``choice`` learns how likely each
    of them is.
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
        self.heads = config.heads
        self.outcomes = config.outcomes
        self.ways = config.heads * config.outcomes  # one of the two is 1
        change = nn.Linear(config.hidden, self.ways * (latent + proprio))
        nn.init.zeros_(change.weight)
        nn.init.zeros_(change.bias)
        self.outlet = nn.Sequential(nn.LayerNorm(config.hidden), nn.SiLU(), change)
        self.prior = (
            Prior(self.inlet.in_features, latent, config.heads) if config.heads > 1 else None
        )
        self.choice: nn.Sequential | None = None
        if self.outcomes > 1:
            nn.init.normal_(change.bias, std=_APART_STD)
            self.choice = nn.Sequential(
                nn.Linear(self.inlet.in_features, _CHOICE_WIDTH),
                nn.SiLU(),
                nn.Linear(_CHOICE_WIDTH, self.outcomes),
            )

    def forward(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> Said:
        """One step ahead; proprio and actions are standardised.

        Args:
            latents: ``(B, C, N, D)``, oldest first.
            proprio: ``(B, C, P)``.
            actions: ``(B, C, A)``; the last one is applied from the newest latent on.
        """
        inputs = torch.cat([latents.flatten(1), proprio.flatten(1), actions.flatten(1)], dim=1)
        change = self.outlet(self.blocks(self.inlet(inputs))).unflatten(1, (self.ways, -1))
        latent_size = self.latent_shape[0] * self.latent_shape[1]
        of_latent = change[..., :latent_size].unflatten(2, self.latent_shape)
        next_latents = latents[:, -1].unsqueeze(1) + of_latent
        if self.prior is not None:
            next_latents = next_latents + self.prior(inputs).unflatten(2, self.latent_shape)
        next_proprio = proprio[:, -1].unsqueeze(1) + change[..., latent_size:]
        # Detached: learning what is likely is not to change the latents.
        chances = None if self.choice is None else self.choice(inputs.detach())
        return Said(next_latents, next_proprio, chances)
