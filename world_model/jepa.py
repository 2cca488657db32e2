"""The joint-embedding predictive architecture: encoder, predictor and the training energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model.config import LossConfig, TrainConfig
from world_model.data import clips as data_clips
from world_model.encoder import Encoder
from world_model.losses import covariance_loss, sigreg, straightening_loss, variance_loss
from world_model.predictor import Predictor, Said
from world_model.ranks import count, gathered, own_rows

_OTHERS_SHARE = 0.02  # of the gradient, for the outcomes that did not come true


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
        """One predicted step in SI units: the mean of heads, the likeliest of outcomes.

        Args:
            latents: ``(B, C, N, D)``, oldest first.
            proprio: ``(B, C, P)`` SI.
            actions: ``(B, C, A)`` SI.

        Returns:
            Next latent ``(B, N, D)``, next proprio ``(B, P)`` SI.
        """
        latent, standard = self.step_each(latents, proprio, actions).settled()
        return latent, standard * self.proprio_std + self.proprio_mean

    def step_each(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> Said:
        """What each head or outcome says; arguments as of `step`."""
        return self.predictor(
            latents, self.standardize_proprio(proprio), self.standardize_actions(actions)
        )

    def disagreement(self, latents: Tensor, proprio: Tensor, actions: Tensor) -> Tensor:
        """Variance of the heads' next latents, mean over the latent ``(B,)``; see `step`."""
        each = self.step_each(latents, proprio, actions).latents
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
        _, future, readings = self._rollout(
            latents, proprio, actions, lambda said, _: said.settled()
        )
        return future, readings

    def _rollout(
        self,
        latents: Tensor,
        proprio: Tensor,
        actions: Tensor,
        settle: Callable[[Said, int], tuple[Tensor, Tensor]],
    ) -> tuple[list[Said], Tensor, Tensor]:
        """`rollout`, going on from what ``settle`` makes of what is said at each step.

        Returns:
            What was said at each step, and what `rollout` returns.
        """
        context = latents.shape[1]
        carried, readings, steps = list(latents.unbind(1)), list(proprio.unbind(1)), []
        for step in range(actions.shape[1] - context + 1):
            said: Said = self.predictor(
                torch.stack(carried[-context:], 1),
                torch.stack(readings[-context:], 1),
                actions[:, step : step + context],
            )
            latent, reading = settle(said, step)
            steps.append(said)
            carried.append(latent)
            readings.append(reading)
        return steps, torch.stack(carried[context:], 1), torch.stack(readings[context:], 1)

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
        terms = self._prediction_terms(latents, proprio, actions, generator)
        if clips.latents is not None:  # nothing else depends on what is trained
            terms["total"] = torch.stack(list(terms.values())).sum()
            return terms
        everyone = gathered(latents)
        with torch.autocast(latents.device.type, enabled=False):  # statistics bear no rounding
            for token in range(self.latent_shape[0]):
                steps = everyone[:, :, token].float()
                z = steps.flatten(0, 1)
                if loss.regularizer == "sigreg":
                    sets = steps.unbind(1) if loss.sigreg_per_step else (z,)
                    parts = [sigreg(part, loss.sigreg_projections, generator) for part in sets]
                    value = torch.stack(parts).mean()
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

    def _prediction_terms(
        self, latents: Tensor, proprio: Tensor, actions: Tensor, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Weighted errors of a rollout over clips; arguments and what is drawn as of `energy`.

        Of several outcomes the one that came true counts, ``min_z E(x, y, z)`` (LeCun 2022, section
        4.2), and the rollout goes on from it; the others keep a small share of the gradient, so
        that none is lost for good (Rupprecht et al. 2017).
        """
        context, weight = self.config.predictor.context, self.config.loss.proprio_weight
        seen, read = latents[:, context:], proprio[:, context:]
        true: list[Tensor] = []  # which outcome, at each step

        def settle(said: Said, step: int) -> tuple[Tensor, Tensor]:
            if said.chances is None:
                return said.settled()
            wrong = _errors(said.latents, seen[:, step])
            true.append((wrong + weight * _errors(said.proprio, read[:, step])).argmin(1))
            return said.outcome(true[-1])

        steps, *_ = self._rollout(latents[:, :context], proprio[:, :context], actions, settle)
        if true:
            shares = _outcome_shares(torch.stack(true, 1), self.predictor.outcomes)
        else:
            shares = self._shares(len(latents), generator).to(self.device)
        said = torch.stack([step.latents for step in steps], 1)
        readings = torch.stack([step.proprio for step in steps], 1)
        terms = {
            "prediction": _error(said, seen, shares),
            "proprio": weight * _error(readings, read, shares),
        }
        if true:
            chances = [step.chances for step in steps if step.chances is not None]
            terms["outcome"] = F.cross_entropy(torch.cat(chances), torch.cat(true))
        return terms

    def _shares(self, batch: int, generator: torch.Generator) -> Tensor:
        """How much each head learns from each clip ``(B, 1, K)``: of several, every other one."""
        heads = self.predictor.heads
        if heads == 1:
            return torch.ones(batch, 1, 1)
        rows = batch * count()
        drawn = torch.rand(rows, heads, generator=generator)[own_rows(rows)]
        return 2.0 * (drawn < 0.5).unsqueeze(1)


def _outcome_shares(true: Tensor, outcomes: int) -> Tensor:
    """How much each of K outcomes learns where ``true (B, H)`` came true: ``(B, H, K)``."""
    one = F.one_hot(true, outcomes)
    others = _OTHERS_SHARE / (outcomes - 1)
    return outcomes * torch.where(one > 0, 1.0 - _OTHERS_SHARE, others)


def _errors(said: Tensor, truth: Tensor) -> Tensor:
    """Mean squared errors ``(B, K)`` of K predictions ``(B, K, ...)`` at ``(B, ...)``."""
    return (said - truth.unsqueeze(1)).pow(2).flatten(2).mean(2)


def _error(said: Tensor, truth: Tensor, shares: Tensor) -> Tensor:
    """Mean squared error of what is said, ``(B, H, K, ...)``, at what came, ``(B, H, ...)``."""
    if said.shape[2] == 1:
        return F.mse_loss(said[:, :, 0], truth)
    return (shares * (said - truth.unsqueeze(2)).pow(2).flatten(3).mean(3)).mean()


def _add(terms: dict[str, Tensor], name: str, value: Tensor) -> None:
    terms[name] = terms[name] + value if name in terms else value
