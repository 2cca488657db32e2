"""Settings of masked video pretraining, with the meaning and limits of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from world_model.config import RunConfig, VitConfig, require


@dataclass(frozen=True)
class MaskConfig:
    """What is hidden: two masks for each clip, as V-JEPA has (Bardes et al. 2024, appendix C).

    Each is the union of blocks of an image's area, hidden in all frames of the clip.
    """

    short_blocks: int = 8
    """Blocks of the short-range mask."""
    short_scale: float = 0.15
    """Share of the image that one of them covers."""
    long_blocks: int = 2
    """Blocks of the long-range mask."""
    long_scale: float = 0.7
    """Share of the image that one of them covers."""
    max_aspect: float = 1.5
    """Height over width of a block lies between ``1/max_aspect`` and this."""
    min_visible: float = 0.1
    """Share of the image that stays visible whatever is drawn."""

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("short_blocks", "long_blocks"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        for name in ("short_scale", "long_scale", "min_visible"):
            value = getattr(self, name)
            require(0 < value < 1, f"{name} must lie between 0 and 1", value)
        require(self.max_aspect >= 1, "max_aspect must be at least 1", self.max_aspect)


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Everything that decides a pretraining run; it is stored in each checkpoint."""

    batch: int = 32
    """Clips of successive frames in a batch."""
    learning_rate: float = 3e-3
    """Peak of the AdamW learning rate (linear warm-up, then cosine to zero)."""
    weight_decay: float = 0.04
    """AdamW weight decay."""
    gradient_clip: float = 10.0
    """Largest norm of the gradient."""
    frames: int = 4
    """Frames in a clip, an even number (V-JEPA); 1 learns from single frames (I-JEPA)."""
    still_share: float = 0.25
    """Share of the steps that learn from the single frames of the clips. The planner's encoder sees
    one frame at a time, and V-JEPA 2 mixes images into its videos as well."""
    vit: VitConfig = field(default_factory=VitConfig)
    predictor: VitConfig = field(default_factory=lambda: VitConfig(width=48, depth=2, heads=3))
    """What predicts the hidden tokens; narrower than the encoder, as in I-JEPA."""
    mask: MaskConfig = field(default_factory=MaskConfig)
    centre_targets: bool = True
    """Take the mean over the batch away from the targets of each position, and bring what is left
    to unit scale. A camera that stands still sees the same background in every frame; without it
    most of the loss is a table of that background. Off, targets are V-JEPA's."""
    momentum: float = 0.99
    """Of the moving average that gives the targets, at the first step; it rises to 1 in a straight
    line. V-JEPA begins with 0.998, for runs fifty times as long."""

    def __post_init__(self) -> None:
        """Check the limits."""
        super().__post_init__()
        require(
            self.frames == 1 or (self.frames > 0 and self.frames % 2 == 0),
            "frames must be 1 or even",
            self.frames,
        )
        require(0 <= self.still_share <= 1, "still_share must lie in [0, 1]", self.still_share)
        require(0 <= self.momentum < 1, "momentum must lie in [0, 1)", self.momentum)

    @property
    def clip_length(self) -> int:
        """Frames in one training clip."""
        return self.frames


def pretrain_config_from_dict(values: dict[str, Any]) -> PretrainConfig:
    """Rebuild a `PretrainConfig` from `dataclasses.asdict` of one."""
    parts = dict(values)
    parts["vit"] = VitConfig(**parts["vit"])
    parts["predictor"] = VitConfig(**parts["predictor"])
    parts["mask"] = MaskConfig(**parts["mask"])
    parts["data_weights"] = tuple(parts["data_weights"])
    return PretrainConfig(**parts)
