"""The joint-embedding predictive architecture: encoder, predictor and the training energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.config import LossConfig, TrainConfig
from world_model.data import clips as data_clips
from world_model.encoder import Encoder
from world_model.losses import covariance_loss, sigreg, straightening_loss, variance_loss
from world_model.predictor import Predictor
from world_model.ranks import count, gathered, own_rows


@dataclass(frozen=True)
class Normalization:
    """Mean and std that take SI readings and actions to unit scale; they go into the bundle.

    Attributes:
        proprio_mean: ``(P,)``.
        proprio_std: ``(P,)``, positive.
        action_mean: ``(A,)``.
        action_std: ``(A,)``, positive.
    """

    proprio_mean: np.ndarray
    proprio_std: np.ndarray
    action_mean: np.ndarray
    action_std: np.ndarray


@dataclass(frozen=True)
class Clips:
    """A training batch as tensors: images ``(B, T, H, W, 3)`` uint8, proprio and actions in SI.

    What is frozen has seen the frames already: with a frozen encoder it carries ``latents
    (B, T, N, D)`` in place of images, with a frozen trunk ``features (B, T, F)``.
    """

    images: Mapping[str, Tensor]
    proprio: Tensor
    actions: Tensor
    latents: Tensor | None = None
    features: Tensor | None = None

    def to(self, device: torch.device) -> Clips:
        """The same on a device."""
        return Clips(
            images={name: values.to(device) for name, values in self.images.items()},
            proprio=self.proprio.to(device),
            actions=self.actions.to(device),
            latents=None if self.latents is None else self.latents.to(device),
            features=None if self.features is None else self.features.to(device),
        )


def tensors(clips: data_clips.Clips) -> Clips:
    """Clips of a data set as tensors; nothing is copied."""
    return Clips(
        images={name: torch.from_numpy(values) for name, values in clips.images.items()},
        proprio=torch.from_numpy(clips.proprio),
        actions=torch.from_numpy(clips.actions),
    )


class Jepa(nn.Module):
    """Encoder and predictor trained together; SI units at every public method.

    Latents of image frames are learned. Proprio is carried beside them: the predictor sees it and
    predicts it, so that limits on future readings can be checked in their own units.
    """

    proprio_mean: Tensor
    proprio_std: Tensor
    action_mean: Tensor
    action_std: Tensor

    def __init__(
        self,
        config: TrainConfig,
        cameras: dict[str, tuple[int, int]],
        normalization: Normalization,
    ) -> None:
        """Build for ``cameras`` (name to height, width) and readings of ``normalization``."""
        super().__init__()
        self.config = config
        self.cameras = cameras
        self.latent_shape = (len(cameras), config.encoder.latent_dim)
        proprio, action = len(normalization.proprio_mean), len(normalization.action_mean)
        self.encoder = Encoder(config.encoder, cameras)
        self.predictor = Predictor(config.predictor, self.latent_shape, proprio, action)
        latent = self.latent_shape[0] * self.latent_shape[1]
        self.inverse_dynamics = nn.Sequential(
            nn.Linear(2 * latent, 256), nn.SiLU(), nn.Linear(256, action)
        )
        for name in ("proprio_mean", "proprio_std", "action_mean", "action_std"):
            values = np.asarray(getattr(normalization, name), np.float32)
            self.register_buffer(name, torch.from_numpy(values.copy()))

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.proprio_mean.device

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Frames ``(B, H, W, 3)`` uint8 of each camera to latents ``(B, N, D)``."""
        return self.encoder(*(images[name] for name in self.cameras))

    def standardize_proprio(self, proprio: Tensor) -> Tensor:
        """``(..., P)`` SI to unit scale."""
        return (proprio - self.proprio_mean) / self.proprio_std

    def standardize_actions(self, actions: Tensor) -> Tensor:
        """``(..., A)`` SI to unit scale."""
        return (actions - self.action_mean) / self.action_std

    def step(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """One predicted step in SI units.

        Args:
            latents: ``(B, C, N, D)``, oldest first.
            proprio: ``(B, C, P)`` SI.
            actions: ``(B, C, A)`` SI.

        Returns:
            Next latent ``(B, N, D)``, next proprio ``(B, P)`` SI.
        """
        latent, standard = self.predictor(
            latents, self.standardize_proprio(proprio), self.standardize_actions(actions)
        )
        return latent, standard * self.proprio_std + self.proprio_mean

    def disagreement(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> Tensor:
        """Variance of the heads' next latents, mean over the latent ``(B,)``; see `step`."""
        each, _ = self.predictor.each(
            latents, self.standardize_proprio(proprio), self.standardize_actions(actions)
        )
        return each.var(1, correction=0).flatten(1).mean(1)

    def rollout(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine on the model's own output; everything standardised.

        Args:
            latents: ``(B, C, N, D)``.
            proprio: ``(B, C, P)`` standardised.
            actions: ``(B, C-1+H, A)`` standardised; the first C-1 belong to the context.

        Returns:
            Latents ``(B, H, N, D)`` and proprio ``(B, H, P)``.
        """
        all_latents, all_proprio = self.rollout_each(latents, proprio, actions)
        return all_latents.mean(2), all_proprio.mean(2)

    def rollout_each(
        self, latents: Tensor, proprio: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What each head says of each step, which goes on from the mean of all; see `rollout`.

        Returns:
            Latents ``(B, H, K, N, D)`` and proprio ``(B, H, K, P)``.
        """
        context = latents.shape[1]
        horizon = actions.shape[1] - context + 1
        carried, carried_proprio = list(latents.unbind(1)), list(proprio.unbind(1))
        said, said_proprio = [], []
        for step in range(horizon):
            each, readings = self.predictor.each(
                torch.stack(carried[-context:], 1),
                torch.stack(carried_proprio[-context:], 1),
                actions[:, step : step + context],
            )
            said.append(each)
            said_proprio.append(readings)
            carried.append(each.mean(1))
            carried_proprio.append(readings.mean(1))
        return torch.stack(said, 1), torch.stack(said_proprio, 1)

    def energy(self, clips: Clips, generator: torch.Generator) -> dict[str, Tensor]:
        """The training energy of a batch and its terms.

        Prediction error over the rollout, plus the regulariser on all latents of the batch, plus
        the optional terms. Gradients flow into both sides of the prediction (no stop-gradient, no
        moving-average target): the regulariser alone prevents collapse, as in LeWorldModel.

        Args:
            clips: ``context + H`` frames each, for a rollout of H steps.
            generator: source of the random projections.

        Returns:
            ``total`` and each weighted term, scalars.
        """
        loss: LossConfig = self.config.loss
        context = self.config.predictor.context
        batch, length = clips.proprio.shape[:2]
        if clips.latents is not None:
            latents = clips.latents
        elif clips.features is not None:
            features = clips.features.flatten(0, 1).to(torch.float32)
            latents = self.encoder.heads(features).unflatten(0, (batch, length))
        else:
            frames = {name: images.flatten(0, 1) for name, images in clips.images.items()}
            latents = self.encode(frames).unflatten(0, (batch, length))
        proprio = self.standardize_proprio(clips.proprio)
        actions = self.standardize_actions(clips.actions[:, :-1])
        said, readings = self.rollout_each(latents[:, :context], proprio[:, :context], actions)
        shares = self._shares(batch, generator).to(self.device)
        terms = {
            "prediction": _error(said, latents[:, context:], shares),
            "proprio": loss.proprio_weight * _error(readings, proprio[:, context:], shares),
        }
        if clips.latents is not None:  # nothing else depends on what is trained
            terms["total"] = terms["prediction"] + terms["proprio"]
            return terms
        everyone = gathered(latents)
        with torch.autocast(latents.device.type, enabled=False):  # statistics bear no rounding
            for token in range(self.latent_shape[0]):
                z = everyone[:, :, token].flatten(0, 1).float()
                if loss.regularizer == "sigreg":
                    value = sigreg(z, loss.sigreg_projections, generator)
                    _add(terms, "sigreg", loss.sigreg_weight * value)
                else:
                    _add(terms, "variance", loss.variance_weight * variance_loss(z))
                    _add(terms, "covariance", loss.covariance_weight * covariance_loss(z))
            if loss.straightening_weight:
                bend = straightening_loss(latents.float())
                terms["straightening"] = loss.straightening_weight * bend
        if loss.inverse_dynamics_weight:
            pairs = torch.cat([latents[:, :-1].flatten(2), latents[:, 1:].flatten(2)], dim=-1)
            error = F.mse_loss(self.inverse_dynamics(pairs), actions)
            terms["inverse_dynamics"] = loss.inverse_dynamics_weight * error
        if loss.time_similarity_weight:
            change = F.mse_loss(latents[:, 1:], latents[:, :-1])
            terms["time_similarity"] = loss.time_similarity_weight * change
        terms["total"] = torch.stack(list(terms.values())).sum()
        return terms

    def _shares(self, batch: int, generator: torch.Generator) -> Tensor:
        """How much each head learns from each clip ``(B, K)``: of several, from every other one."""
        heads = self.predictor.heads
        if heads == 1:
            return torch.ones(batch, 1)
        rows = batch * count()
        drawn = torch.rand(rows, heads, generator=generator)[own_rows(rows)]
        return 2.0 * (drawn < 0.5)


def _error(said: Tensor, truth: Tensor, shares: Tensor) -> Tensor:
    """Mean squared error of heads ``(B, H, K, ...)`` at what was to be said, ``(B, H, ...)``."""
    if said.shape[2] == 1:
        return F.mse_loss(said[:, :, 0], truth)
    errors = (said - truth.unsqueeze(2)).pow(2).flatten(3).mean((1, 3))
    return (shares * errors).mean()


def _add(terms: dict[str, Tensor], name: str, value: Tensor) -> None:
    terms[name] = terms[name] + value if name in terms else value
