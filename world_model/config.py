"""Settings of the world model and of its training, with the meaning and limits of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal


class TrainConfigError(ValueError):
    """A setting out of its limits, or settings that do not fit the data."""


@dataclass(frozen=True)
class VitConfig:
    """A vision transformer over patches of 8 px: the trunk that `foresee pretrain` trains."""

    width: int = 96
    """Width of a patch's token."""
    depth: int = 3
    """Transformer blocks."""
    heads: int = 3
    """Attention heads; they divide the width."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("width", "depth", "heads"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.width % self.heads == 0, "width must be a multiple of heads", self.width)


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder: a trunk, then a linear head that gives one latent token."""

    kind: Literal["conv", "vit"] = "conv"
    """The trunk: a convolutional patch stem with residual stages, or a vision transformer."""
    width: int = 16
    """conv: channels of the first stage; each later stage doubles them."""
    vit: VitConfig = field(default_factory=VitConfig)
    """vit: its size."""
    latent_dim: int = 16
    """D, the width of one latent token (one token for each camera)."""

    def __post_init__(self) -> None:
        """Check the limits."""
        require(self.kind in ("conv", "vit"), "kind must be 'conv' or 'vit'", self.kind)
        require(self.width > 0 and self.width % 8 == 0, "width must be a multiple of 8", self.width)
        require(self.latent_dim >= 2, "latent_dim must be at least 2", self.latent_dim)


@dataclass(frozen=True)
class PredictorConfig:
    """The action-conditioned predictor: a residual multi-layer perceptron."""

    hidden: int = 256
    """Width of the hidden layers."""
    blocks: int = 1
    """Residual blocks between the first and the last layer."""
    context: int = 2
    """C, the number of past latents it sees."""
    heads: int = 1
    """K, last layers that each predict. What they predict on average is the prediction; from 2 on,
    how much they disagree tells where the data said nothing (the agent's uncertainty_weight)."""
    outcomes: int = 1
    """K, outcomes that the same action may have, where something else decides (a latent variable,
    LeCun 2022). In training the one that came true learns; planning goes on from the likeliest."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("heads", "outcomes"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            self.heads == 1 or self.outcomes == 1,
            "outcomes must be 1 with several heads, whose disagreement would be that of outcomes",
            self.outcomes,
        )
        require(self.hidden >= 8, "hidden must be at least 8", self.hidden)
        require(self.blocks >= 0, "blocks must not be negative", self.blocks)
        require(self.context >= 1, "context must be at least 1", self.context)


@dataclass(frozen=True)
class LossConfig:
    """The terms of the training energy and their weights."""

    regularizer: Literal["sigreg", "vicreg"] = "sigreg"
    """What keeps the latents from collapsing: SIGReg (LeJEPA) or variance + covariance (VICReg)."""
    sigreg_weight: float = 0.05
    """Weight of the isotropic-Gaussian test of SIGReg."""
    sigreg_projections: int = 256
    """Random directions drawn at each step for SIGReg."""
    sigreg_per_step: bool = False
    """SIGReg over the clips at each time step by itself, as LeWorldModel has it, and not over all
    frames at once, which pushes apart those of a clip."""
    variance_weight: float = 16.0
    """VICReg: weight of the hinge that keeps each dimension's std above 1. After the encoder's
    batch normalisation it acts only where there was next to nothing to normalise."""
    covariance_weight: float = 8.0
    """VICReg: weight of the squared off-diagonal covariances."""
    inverse_dynamics_weight: float = 0.0
    """Weight of recovering the action from two successive latents (0 turns it off)."""
    time_similarity_weight: float = 4.0
    """Weight of the squared change of the latent between successive frames (0 turns it off). It
    gives the cost a slope far from the goal, see docs/experiments.md."""
    straightening_weight: float = 0.0
    """Weight of how much the path of the latent bends from frame to frame (0 turns it off): on
    straight paths its distance to a goal is the way to go (Wang et al. 2026)."""
    proprio_weight: float = 1.0
    """Weight of predicting the standardised proprio."""
    rollout_steps: int = 4
    """How many steps the predictor runs on its own output in training."""
    rollout_ramp_steps: int = 0
    """Optimiser steps over which that number grows evenly from 1 to rollout_steps; 0 begins with
    rollout_steps. Each clip then begins with as few frames, so that early steps cost little."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for item in dataclasses.fields(self):
            if item.name.endswith("_weight"):
                value = getattr(self, item.name)
                require(value >= 0, f"{item.name} must not be negative", value)
        for name in ("rollout_steps", "sigreg_projections"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(
            self.regularizer in ("sigreg", "vicreg"),
            "regularizer must be 'sigreg' or 'vicreg'",
            self.regularizer,
        )
        require(
            self.rollout_ramp_steps >= 0,
            "rollout_ramp_steps must not be negative",
            self.rollout_ramp_steps,
        )

    def rollout_steps_at(self, step: int) -> int:
        """How many steps the predictor runs on its own output in step ``step``, from 0."""
        if step >= self.rollout_ramp_steps:
            return self.rollout_steps
        return 1 + step * (self.rollout_steps - 1) // self.rollout_ramp_steps


@dataclass(frozen=True)
class RunConfig:
    """What every training run has, whatever it learns."""

    steps: int = 4000
    """Optimiser steps in all."""
    batch: int = 64
    """Clips of successive frames in a batch."""
    learning_rate: float = 1e-3
    """Peak of the AdamW learning rate (linear warm-up, then cosine to zero)."""
    warmup_steps: int = 200
    """Steps over which the learning rate rises."""
    weight_decay: float = 1e-4
    """AdamW weight decay."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    clip_stride: int = 1
    """Frames of the data from one frame of a clip to the next; actions between are averaged. Things
    that are moved now and then change more in such a clip, and there is more to predict of them."""
    data_weights: tuple[float, ...] = ()
    """One number for each --data: the share of the clips drawn from it (by default its frames)."""
    held_out: float = 0.1
    """Share of the episodes kept back for validation."""
    train_frames: int = 0
    """Train on the first so many frames of the others alone, in whole episodes; 0 takes all. What
    is held out stays the same, so that runs on few frames and on many can be compared."""
    cache_gb: float = 0.0
    """Largest size of the decoded data on the disk in GB; 0 sets no bound. A larger data set is
    streamed: a few shards of episodes are decoded at a time, see docs/data-quality.md."""
    shift_px: int = 0
    """Random image shift in pixels, the same for a whole clip (0 turns it off)."""
    validate_every: int = 500
    """Steps between validations on held-out episodes."""
    checkpoint_every: int = 250
    """Steps between checkpoints."""
    seed: int = 0
    """Seed of the initial weights, the clips and whatever else is drawn."""
    threads: int = 0
    """CPU threads for torch; 0 takes one for each core."""
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", compare=False)
    """Where it computes; auto takes a GPU where torch sees one. A run may go on elsewhere."""
    precision: Literal["auto", "fp32", "bf16"] = field(default="auto", compare=False)
    """bf16 computes in bfloat16 what bears it (autocast); auto does so on a GPU that has it."""
    compile: bool = field(default=False, compare=False)
    """Compile the networks with torch.compile: minutes at first, faster steps then."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for name, known in (
            ("device", ("auto", "cpu", "cuda")),
            ("precision", ("auto", "fp32", "bf16")),
        ):
            value = getattr(self, name)
            require(value in known, f"{name} must be one of {', '.join(known)}", value)
        for name in ("steps", "validate_every", "checkpoint_every", "clip_stride"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("learning_rate", "gradient_clip"):
            require(getattr(self, name) > 0, f"{name} must be positive", getattr(self, name))
        for name in (
            "warmup_steps",
            "weight_decay",
            "shift_px",
            "seed",
            "threads",
            "train_frames",
        ):
            value = getattr(self, name)
            require(value >= 0, f"{name} must not be negative", value)
        require(0 <= self.cache_gb < 1e9, "cache_gb must not be negative", self.cache_gb)
        require(
            not (self.cache_gb and self.train_frames),
            "cache_gb must be 0 with train_frames, which does not choose from a stream",
            self.cache_gb,
        )
        require(0 < self.held_out < 1, "held_out must lie between 0 and 1", self.held_out)
        require(self.batch >= 2, "batch must be at least 2 (batch statistics)", self.batch)

    @property
    def clip_length(self) -> int:
        """Frames in one training clip."""
        raise NotImplementedError

    def frames_at(self, step: int) -> int:
        """How many frames of each clip, its first ones, step ``step`` (from 0) learns from."""
        return self.clip_length

    def span(self, frames: int) -> int:
        """How many frames of the data a clip of so many reaches over."""
        return self.clip_stride * (frames - 1) + 1


@dataclass(frozen=True)
class TrainConfig(RunConfig):
    """Everything that decides the training of a world model; it is stored in each checkpoint.

    A clip has ``context + rollout_steps`` frames.
    """

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    encoder_from: str = ""
    """Folder of a run whose encoder is taken over, of `foresee train` or `foresee pretrain` (then
    its trunk, and the head is trained); empty starts with a fresh one."""
    freeze_encoder: bool = True
    """Keep what was taken over as it is and train the rest alone (as V-JEPA 2-AC does): every
    frame is encoded once, so that long rollouts and large batches cost little."""

    def __post_init__(self) -> None:
        """Check the limits."""
        super().__post_init__()
        require(
            not (self.cache_gb and self.encoder_frozen),
            "cache_gb must be 0 with a frozen encoder, which encodes every frame at once "
            "(or add --no-freeze-encoder)",
            self.cache_gb,
        )
        require(
            not (self.shift_px and self.encoder_frozen),
            "shift_px must be 0 with a frozen encoder, which encodes every frame once as it is "
            "(or add --no-freeze-encoder)",
            self.shift_px,
        )
        require(
            not self.loss.straightening_weight or self.frames_at(0) >= 3,
            "straightening_weight needs clips of at least 3 frames: raise predictor.context to 2",
            self.predictor.context,
        )

    @property
    def encoder_frozen(self) -> bool:
        """Whether what was taken over is not trained."""
        return bool(self.encoder_from) and self.freeze_encoder

    @property
    def clip_length(self) -> int:
        """Frames in one training clip."""
        return self.predictor.context + self.loss.rollout_steps

    def frames_at(self, step: int) -> int:
        """How many frames of each clip, its first ones, step ``step`` (from 0) learns from."""
        return self.predictor.context + self.loss.rollout_steps_at(step)


@dataclass(frozen=True)
class CriticConfig:
    """The critic, a learned cost-to-go over the latents of a trained encoder, and its training."""

    steps: int = 3000
    """Optimiser steps."""
    batch: int = 1024
    """Pairs of a frame and a goal in a batch."""
    hidden: int = 256
    """Width of its hidden layers."""
    learning_rate: float = 1e-3
    """Peak of the Adam learning rate (cosine to zero)."""
    expectile: float = 0.15
    """Weight of a prediction that is too short beside one that is too long (0.5: the mean). Below
    0.5 it tends to the shortest way the data show, and not to the detours of whoever recorded."""
    error_in: Literal["log", "steps"] = "log"
    """What the error is measured in: ``log`` of 1 + steps is most exact near the goal; ``steps``
    tells far places apart as well, which a way round a wall needs, see docs/experiments.md."""
    negatives: float = 0.3
    """Share of the goals taken from anywhere in the data, at ``max_distance_steps``."""
    max_distance_steps: int = 100
    """Distance of what is far or was never seen connected, in frames of the data set."""
    data_weights: tuple[float, ...] = ()
    """One number for each --data: the share of the pairs drawn from it (by default its frames)."""
    held_out: float = 0.1
    """Share of the episodes that only judges; with the world model's own share and seed, episodes
    that neither has seen."""
    train_frames: int = 0
    """Learn from the first so many frames of the others alone, in whole episodes; 0 takes all."""
    seed: int = 0
    """Seed of the weights and the pairs."""
    threads: int = 0
    """CPU threads for torch; 0 takes one for each core."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("steps", "max_distance_steps"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        require(self.batch >= 2, "batch must be at least 2", self.batch)
        require(self.hidden >= 8, "hidden must be at least 8", self.hidden)
        require(self.learning_rate > 0, "learning_rate must be positive", self.learning_rate)
        require(0 < self.expectile < 1, "expectile must lie between 0 and 1", self.expectile)
        require(
            self.error_in in ("log", "steps"), "error_in must be 'log' or 'steps'", self.error_in
        )
        require(0 <= self.negatives < 1, "negatives must lie in [0, 1)", self.negatives)
        require(0 < self.held_out < 1, "held_out must lie between 0 and 1", self.held_out)
        for name in ("seed", "threads", "train_frames"):
            value = getattr(self, name)
            require(value >= 0, f"{name} must not be negative", value)


def train_config_from_dict(values: dict[str, Any]) -> TrainConfig:
    """Rebuild a `TrainConfig` from `dataclasses.asdict` of one."""
    parts = dict(values)
    encoder = dict(parts["encoder"])
    encoder["vit"] = VitConfig(**encoder.get("vit", {}))  # runs of before had none
    parts["encoder"] = EncoderConfig(**encoder)
    parts["predictor"] = PredictorConfig(**parts["predictor"])
    parts["loss"] = LossConfig(**parts["loss"])
    parts["data_weights"] = tuple(parts.get("data_weights", ()))
    return TrainConfig(**parts)


def require(condition: bool, rule: str, value: object) -> None:
    """Raise `TrainConfigError` with the rule unless the condition holds."""
    if not condition:
        raise TrainConfigError(f"{rule}, got {value!r}")
