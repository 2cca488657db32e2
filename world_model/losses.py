"""What keeps latents from collapsing, SIGReg and VICReg, and what keeps their paths straight.

All are regularisers, not contrastive terms: no negative pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_STILL = 0.01  # change of a latent of unit std from frame to frame, below which it has no direction


def sigreg(
    latents: Tensor, projections: int, generator: torch.Generator, knots: int = 17
) -> Tensor:
    """Sketched isotropic Gaussian regularisation (LeJEPA, Balestriero & LeCun 2025).

    Projects the batch on random unit directions and compares each one-dimensional empirical
    characteristic function with the standard normal's by the Epps-Pulley statistic, integrated
    over ``[0, 3]`` (the integrand is even) by the trapezoidal rule.

    Args:
        latents: ``(B, D)``.
        projections: number of random directions.
        generator: source of the directions.
        knots: integration points.

    Returns:
        The statistic, scalar, averaged over the directions.
    """
    directions = torch.randn(latents.shape[1], projections, generator=generator)
    directions = (directions / directions.norm(dim=0)).to(latents)
    t = torch.linspace(0.0, 3.0, knots).to(latents)
    window = torch.exp(-0.5 * t**2)
    weights = torch.full_like(t, 2 * 3.0 / (knots - 1))
    weights[0] /= 2
    weights[-1] /= 2
    angles = (latents @ directions).unsqueeze(-1) * t
    error = (angles.cos().mean(0) - window) ** 2 + angles.sin().mean(0) ** 2
    return (error @ (weights * window)).mean() * latents.shape[0]


def variance_loss(latents: Tensor, target_std: float = 1.0) -> Tensor:
    """Hinge on the std of each dimension (VICReg, Bardes et al. 2022, eq. 1).

    Args:
        latents: ``(B, D)``.
        target_std: no penalty above it.

    Returns:
        Scalar, 0 when every dimension's std reaches the target.
    """
    std = torch.sqrt(latents.var(dim=0) + 1e-4)
    return torch.relu(target_std - std).mean()


def covariance_loss(latents: Tensor) -> Tensor:
    """Mean squared off-diagonal covariance (VICReg, eq. 3-4).

    Args:
        latents: ``(B, D)``.

    Returns:
        Sum of squared off-diagonal entries over D, scalar.
    """
    centred = latents - latents.mean(dim=0)
    covariance = centred.T @ centred / (latents.shape[0] - 1)
    off_diagonal = covariance - torch.diag(covariance.diagonal())
    return off_diagonal.pow(2).sum() / latents.shape[1]


def straightening_loss(latents: Tensor) -> Tensor:
    """How much latent paths bend: ``1 - cos(z[t+1] - z[t], z[t+2] - z[t+1])`` on average.

    Temporal straightening (Wang et al. 2026, arXiv:2603.12231, section 3), after the hypothesis
    that vision straightens what it sees (Hénaff et al. 2019). Here no gradient is stopped, and what
    stands still does not count as bent.

    Args:
        latents: ``(B, T, N, D)`` of successive frames, T at least 3.

    Returns:
        Scalar: 0 for straight paths, 2 where each change takes back the one before.
    """
    velocity = latents.diff(dim=1).flatten(2)
    still = _STILL * velocity.shape[2] ** 0.5
    cosine = F.cosine_similarity(velocity[:, 1:], velocity[:, :-1], dim=2, eps=still)
    speed = velocity.norm(dim=2)
    moves = (speed[:, 1:] > still) & (speed[:, :-1] > still)
    return torch.where(moves, 1 - cosine, 0.0).mean()
