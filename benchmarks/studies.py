"""What `benchmarks.learning` compares: how each world is learned, and the variants of a study."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

Options = tuple[str, ...]


@dataclass(frozen=True)
class Pipeline:
    """How a world is learned: end to end, then a predictor on the frozen encoder, then a critic.

    Attributes:
        steps: of the three when everything is as it was for the shipped bundle; a study that takes
            fewer shortens all three alike. No critic where the last is 0.
        encoder: what the encoder is, for the first and the second.
        terms: of the training end to end.
        predictor: of the second.
        critic: of the third.
        places: names in the data of what the latent should tell, the thing that matters first.
    """

    steps: tuple[int, int, int]
    encoder: Options
    terms: Options
    predictor: Options
    critic: Options
    places: Options


_TOOL = ("tool.x", "tool.y", "tool.z")
_PUSH = Pipeline(
    (12_000, 5000, 3000),
    ("--encoder.latent-dim", "64"),
    ("--loss.time-similarity-weight", "1", "--predictor.hidden", "512", "--predictor.blocks", "2"),
    (
        *("--predictor.hidden", "384", "--predictor.blocks", "2"),
        *("--loss.rollout-steps", "8", "--batch", "128"),
    ),
    (),
    ("block.x", "block.y", "tool.x", "tool.y"),
)
PIPELINES = {
    "foresee/Push-v0": _PUSH,
    "foresee/PushT-v0": replace(
        _PUSH, places=("block.x", "block.y", "block.yaw_cos", "block.yaw_sin", "tool.x", "tool.y")
    ),
    "foresee/PickPlace-v0": replace(_PUSH, places=("block.x", "block.y", *_TOOL)),
    "foresee/Reach-v0": Pipeline(
        (4000, 4000, 0),
        ("--encoder.latent-dim", "16"),
        ("--loss.time-similarity-weight", "4"),
        ("--loss.rollout-steps", "8", "--batch", "128"),
        (),
        _TOOL,
    ),
    "foresee/TwoRooms-v0": Pipeline(
        (4500, 5000, 4500),
        ("--encoder.latent-dim", "16"),
        (
            *("--loss.time-similarity-weight", "0", "--loss.inverse-dynamics-weight", "3"),
            *("--loss.rollout-steps", "2"),
        ),
        ("--predictor.blocks", "2", "--loss.rollout-steps", "6", "--batch", "128"),
        (
            *("--error-in", "steps", "--negatives", "0", "--max-distance-steps", "50"),
            *("--hidden", "320"),
        ),
        ("base.x", "base.y", "wall.x", "door.y"),
    ),
}


@dataclass(frozen=True)
class Variant:
    """One row of a study: what differs from the pipeline of the world.

    Attributes:
        name: of its folder, and in the table.
        says: what it is, for the table.
        of: the variant whose encoder or bundle it takes, as ``takes`` says; "" for its own.
        takes: see there.
        encoder: options of the encoder, added to the pipeline's; of two alike the last counts.
        terms: the same of the training end to end.
        predictor: the same of the second stage; None leaves that stage out.
        trunk: what becomes of a trunk that `foresee pretrain` learns first, in half of the steps;
            None for no pretraining.
        frames: training frames it learns from; 0 for all.
        varied: it learns from frames of a world whose looks, friction and masses vary.
        cost: settings of the agent's cost that differ.
        look: name in `LOOKS` of the world it is judged in.
    """

    name: str
    says: str
    of: str = ""
    takes: Literal["", "encoder", "bundle"] = ""
    encoder: Options = ()
    terms: Options = ()
    predictor: Options | None = ()
    trunk: Literal[None, "frozen", "tuned"] = None
    frames: int = 0
    varied: bool = False
    cost: dict[str, float] = field(default_factory=dict)
    look: str = ""


OURS = "ours"
VARIED = "varied"
_NO_EXTRAS = ("--loss.time-similarity-weight", "0", "--loss.inverse-dynamics-weight", "0")
_VIT = ("--encoder.kind", "vit")

RECIPES = (
    Variant(OURS, "as the shipped bundle"),
    Variant(
        "lewm",
        "LeWorldModel: next latent after 3, SIGReg 0.09 at each time step with 1024 projections, "
        "nothing else",
        terms=(
            *_NO_EXTRAS,
            *("--loss.sigreg-weight", "0.09", "--loss.sigreg-projections", "1024"),
            "--loss.sigreg-per-step",
            *("--loss.rollout-steps", "1", "--predictor.context", "3"),
        ),
    ),
    Variant(
        "vicreg-idm",
        "VICReg and inverse dynamics (EB-JEPA): 8-step rollouts, variance 16, covariance 8, time "
        "similarity 12, inverse dynamics 1",
        terms=(
            *("--loss.regularizer", "vicreg", "--loss.variance-weight", "16"),
            *("--loss.covariance-weight", "8", "--loss.time-similarity-weight", "12"),
            *("--loss.inverse-dynamics-weight", "1", "--loss.rollout-steps", "8"),
        ),
    ),
    Variant("sigreg", "ours without time similarity and inverse dynamics", terms=_NO_EXTRAS),
    Variant(
        "one-stage",
        "ours with the predictor of the training end to end",
        OURS,
        "encoder",
        predictor=None,
    ),
    Variant(
        "no-critic", "ours planned without the critic", OURS, "bundle", cost={"critic_weight": 0.0}
    ),
    Variant(
        "heads",
        "ours with 5 predictor heads",
        OURS,
        "encoder",
        predictor=("--predictor.heads", "5"),
    ),
    Variant("vit", "ours with a vision transformer in place of the convolutions", encoder=_VIT),
    Variant(
        "vit-tuned",
        "the same transformer; its trunk learned without actions in the first half of the steps",
        encoder=_VIT,
        trunk="tuned",
    ),
    Variant("vit-frozen", "the same, that trunk then frozen", encoder=_VIT, trunk="frozen"),
)

# Fewer frames first, which is also the cheapest first; ours has all that there are.
FRAMES = (
    *(
        Variant(f"frames-{count // 1000}k", f"the first {count} frames", frames=count)
        for count in (10_000, 30_000, 100_000, 200_000)
    ),
    RECIPES[0],
)

# How far from the nominal world, always exactly so far and at random where to; see
# `sim.randomization.Randomization`. Values as in its YAML file.
LOOKS: dict[str, dict[str, float | bool]] = {
    "camera 2 cm": {"camera_position_m": 0.02},
    "camera 2°": {"camera_rotation_rad": 0.0349},
    "light": {"light_direction": 0.3},
    "colours": {"color": 0.08},
}
LOOKS["all at once"] = {name: value for look in LOOKS.values() for name, value in look.items()}

_TRAINED = (RECIPES[0], Variant(VARIED, "the same with domain randomisation", varied=True))
ROBUSTNESS = (
    *_TRAINED,
    *(
        Variant(
            f"{trained.name}-{look.replace(' ', '-')}",
            trained.says,
            trained.name,
            "bundle",
            look=look,
        )
        for look in LOOKS
        for trained in _TRAINED
    ),
)

STUDIES = {"recipes": RECIPES, "frames": FRAMES, "robustness": ROBUSTNESS}
