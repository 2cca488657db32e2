from __future__ import annotations

import numpy as np
import pytest
import torch

from world_model.losses import covariance_loss, sigreg, straightening_loss, variance_loss


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _gaussian(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(1))


def test_sigreg_prefers_an_isotropic_gaussian() -> None:
    gaussian = _gaussian(512, 8)
    stretched = gaussian * torch.tensor([3.0] + [1.0] * 7)
    flat = gaussian * torch.tensor([1.0] * 4 + [0.0] * 4)
    two_lumps = torch.sign(gaussian)
    value = sigreg(gaussian, 256, _generator())
    for worse in (stretched, flat, two_lumps, gaussian * 0.0, gaussian + 2.0):
        assert sigreg(worse, 256, _generator()) > 2 * value


def test_sigreg_of_a_collapsed_batch_is_the_integral_it_should_be() -> None:
    # All latents 0: characteristic function 1 everywhere. Trapezoid of 2 (1 - w)^2 w over [0, 3]
    # with w = exp(-t^2 / 2), times the batch size 10.
    t = np.linspace(0.0, 3.0, 17)
    w = np.exp(-(t**2) / 2)
    expected = 10 * 2 * np.trapezoid((1 - w) ** 2 * w, t)
    value = sigreg(torch.zeros(10, 4), 32, _generator())
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_sigreg_draws_its_directions_from_the_generator() -> None:
    latents = _gaussian(64, 8)
    assert sigreg(latents, 16, _generator()) == sigreg(latents, 16, _generator())
    other = torch.Generator().manual_seed(2)
    assert sigreg(latents, 16, _generator()) != sigreg(latents, 16, other)


def test_variance_loss_is_a_hinge_on_the_std() -> None:
    # Std 0 in one dimension, 2 in the other: mean of (1 - 0.01, 0), 0.01 being sqrt(1e-4).
    latents = torch.tensor([[0.0, -2.0], [0.0, 2.0], [0.0, -2.0], [0.0, 2.0]])
    assert float(variance_loss(latents)) == pytest.approx(0.99 / 2, abs=1e-4)


def test_covariance_loss_is_the_squared_off_diagonal() -> None:
    # Two equal columns with variance 4/3 (values -1, 1, -1, 1): 2 entries of (4/3)^2, over D = 2.
    column = torch.tensor([-1.0, 1.0, -1.0, 1.0])
    latents = torch.stack([column, column], dim=1)
    assert float(covariance_loss(latents)) == pytest.approx((4 / 3) ** 2, rel=1e-5)
    independent = torch.stack([column, torch.tensor([-1.0, -1.0, 1.0, 1.0])], dim=1)
    assert float(covariance_loss(independent)) == pytest.approx(0.0, abs=1e-6)


def path_of(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32)[None, :, None]  # one clip, one token


def test_straightening_is_one_minus_the_cosine_of_successive_changes() -> None:
    assert float(straightening_loss(path_of((0, 0), (1, 0), (3, 0)))) == pytest.approx(0.0)
    assert float(straightening_loss(path_of((0, 0), (1, 0), (1, 2)))) == pytest.approx(1.0)
    assert float(straightening_loss(path_of((0, 0), (1, 0), (0, 0)))) == pytest.approx(2.0)
    # A turn of 45 degrees, then none: the mean of 1 - sqrt(1/2) and 0.
    turn = path_of((0, 0), (1, 0), (2, 1), (3, 2))
    assert float(straightening_loss(turn)) == pytest.approx((1 - 0.5**0.5) / 2, rel=1e-5)


def test_what_stands_still_is_not_bent_and_pulls_at_nothing() -> None:
    begins_to_move = path_of((0, 0), (0, 0), (1, 0), (1, 1)).requires_grad_()
    value = straightening_loss(begins_to_move)
    assert float(value.detach()) == pytest.approx((0 + 1) / 2)
    value.backward()
    gradient = begins_to_move.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert (gradient[0, 0] == 0).all()
    assert gradient.abs().max() < 1.5
