"""The types that carry everything between perception, world model, cost and actor.

All arrays are NumPy ``float32`` unless said otherwise, all quantities SI, all stamps integer
nanoseconds of the clock that stamped the camera frames. Shape letters: B samples, C context length,
H horizon steps, K knots, N latent tokens, D latent width, P proprio size, A action size.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from controller.spline import Interpolation, sample_knots

Array = NDArray[np.float32]
NS_PER_S = 1_000_000_000


class ObservationError(ValueError):
    """An observation that must not be planned from: wrong shape, wrong type or not finite."""


@dataclass(frozen=True)
class Observation:
    """What the robot's sensors said at one instant.

    Attributes:
        stamp_ns: capture time of the images.
        images: camera name to ``(H, W, 3)`` uint8, RGB.
        proprio: ``(P,)`` readings in SI units, in the order of ``ModelSpec.proprio_names``.
    """

    stamp_ns: int
    images: Mapping[str, NDArray[np.uint8]]
    proprio: Array


class ModelSpec(Protocol):
    """What a world model expects and produces; the controller reads it, nothing is guessed.

    A protocol, so that the model's side needs nothing of the controller's:
    `world_model.bundle.ModelSpec` is the real one.
    """

    @property
    def cameras(self) -> Mapping[str, tuple[int, int]]:
        """Camera name to image size ``(height, width)`` in pixels; images are RGB."""
        ...

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """P names, in order."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """A names, in order."""
        ...

    @property
    def action_low(self) -> Array:
        """``(A,)`` lowest action the model was trained on, SI."""
        ...

    @property
    def action_high(self) -> Array:
        """``(A,)`` highest action the model was trained on, SI."""
        ...

    @property
    def model_dt_s(self) -> float:
        """Time one rollout step stands for."""
        ...

    @property
    def context(self) -> int:
        """C, the number of past latents the predictor sees."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int]:
        """``(N, D)``."""
        ...


@dataclass(frozen=True)
class ModelState:
    """The world model's explicit carry: everything a rollout starts from.

    Attributes:
        latents: ``(C, N, D)``, oldest first; the last one is of the frame captured at ``stamp_ns``.
        proprio: ``(C, P)`` readings that belong to them, SI.
        actions: ``(C-1, A)`` actions applied between them, SI.
        stamp_ns: capture time of the newest frame.
    """

    latents: Array
    proprio: Array
    actions: Array
    stamp_ns: int


@dataclass(frozen=True)
class Goal:
    """Where to go, as a latent.

    Attributes:
        latent: ``(N, D)``.
        source: where it came from, for logs ("image file x.png", "camera").
        valid_until_ns: after this stamp the goal no longer counts; ``None`` for no limit.
    """

    latent: Array
    source: str = ""
    valid_until_ns: int | None = None


class Rollouts(Protocol):
    """B imagined futures."""

    @property
    def latents(self) -> Array:
        """``(B, H, N, D)`` predicted latents after each action."""
        ...

    @property
    def proprio(self) -> Array:
        """``(B, H, P)`` predicted readings after each action, SI."""
        ...


class PlanStatus(enum.Enum):
    """Whether a plan may be followed."""

    OK = "OK"
    BEST_SO_FAR = "BEST_SO_FAR"  # the deadline cut the search short; the best found is given
    LEAST_VIOLATION = "LEAST_VIOLATION"  # every candidate breaks a guardrail: brake, the least bad
    STALE = "STALE"  # it was made from an observation that is too old
    NO_FINITE_ROLLOUT = "NO_FINITE_ROLLOUT"  # nothing finite to choose from: the robot must stop
    NO_GOAL = "NO_GOAL"  # there is no goal, or its time is over


USABLE = (PlanStatus.OK, PlanStatus.BEST_SO_FAR, PlanStatus.LEAST_VIOLATION)


class Begin(enum.Enum):
    """What a search began with."""

    COLD = "COLD"  # standing still: there was no plan to go on from
    WARM = "WARM"  # the last plan, moved by the time that passed
    DAMAGED = "DAMAGED"  # standing still: the last plan was changed after it was made


class Effort(NamedTuple):
    """How much was searched. Given back to `Actor.plan`, exactly that is searched again.

    Attributes:
        samples: candidates of the first iteration; an optimiser may draw fewer later.
        iterations: done.
        mean_tried: True when the mean of the last update was tried as a candidate too.
        horizon: steps imagined; candidates rest after them.
    """

    samples: int = 0
    iterations: int = 0
    mean_tried: bool = False
    horizon: int = 0


NO_EFFORT = Effort()


@dataclass(frozen=True)
class Plan:
    """Future actions as a spline over knots.

    Attributes:
        start_ns: stamp at which the first knot takes effect.
        knot_times_s: ``(K,)`` float64, seconds after ``start_ns``, ascending from 0.
        knots: ``(K, A)`` SI.
        duration_s: the plan says nothing after this many seconds from ``start_ns``.
        cost: total cost of the chosen sample; NaN when there is none.
        status: whether it may be followed; see `usable`.
        cost_terms: the share of each cost in it, weighted.
        plan_s: how long the search took.
        effort: how much it searched.
        interpolation: how the knots are read between their times, see `controller.spline`.
        elites: ``(E, K, A)`` SI, other good candidates, for the next search; ``None`` for none.
        sample_s: time per candidate, as measured so far, for the next search; 0 when unknown.
        quarantined: candidates left out because something about them was not finite or absurd.
        begin: what the search began with.
        violations: by how much it breaks each guardrail, in the guardrail's SI unit; 0 for not.
            Empty when no candidate was judged.
        checksum: of what the next search goes on from, made with the plan; see `intact`.
    """

    start_ns: int
    knot_times_s: NDArray[np.float64]
    knots: Array
    duration_s: float
    cost: float
    status: PlanStatus
    cost_terms: Mapping[str, float] = field(default_factory=dict)
    plan_s: float = 0.0
    effort: Effort = NO_EFFORT
    interpolation: Interpolation = "hold"
    elites: Array | None = None
    sample_s: float = 0.0
    quarantined: int = 0
    begin: Begin = Begin.COLD
    violations: Mapping[str, float] = field(default_factory=dict)
    checksum: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Seal the plan."""
        object.__setattr__(self, "checksum", self._sum())

    def _sum(self) -> int:
        head = (self.start_ns, self.duration_s, self.status, self.interpolation, self.sample_s)
        total = zlib.crc32(repr(head).encode())
        for array in (self.knot_times_s, self.knots, self.elites):
            if array is not None:
                total = zlib.crc32(array.tobytes(), total)
        return total

    @property
    def intact(self) -> bool:
        """False when anything that counts was changed after the plan was made."""
        return self.checksum == self._sum()

    @property
    def iterations(self) -> int:
        """How many iterations the search did."""
        return self.effort.iterations

    @property
    def usable(self) -> bool:
        """True when the plan may be followed."""
        return self.status in USABLE

    @property
    def end_ns(self) -> int:
        """Stamp from which on the plan says nothing."""
        return self.start_ns + round(self.duration_s * NS_PER_S)

    def action_at(self, stamp_ns: int) -> Array:
        """The action ``(A,)`` in force at a stamp; zero outside the plan or if it is not usable."""
        if not self.usable or not self.start_ns <= stamp_ns < self.end_ns:
            return np.zeros(self.knots.shape[1], np.float32)
        elapsed_s = (stamp_ns - self.start_ns) / NS_PER_S
        return sample_knots(
            self.knot_times_s, self.knots, np.array([elapsed_s]), self.interpolation
        )[0]


class WorldModel(Protocol):
    """What the controller needs of a world model; `world_model.runtime` has the real one."""

    @property
    def spec(self) -> ModelSpec:
        """What it expects and produces."""
        ...

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        """One set of camera images, each ``(H, W, 3)`` uint8 RGB, to a latent ``(N, D)``."""
        ...

    def rollout(self, state: ModelState, actions: Array) -> Rollouts:
        """Imagine ``actions (B, H, A)``, SI, from ``state``."""
        ...


@runtime_checkable
class CriticModel(Protocol):
    """A world model that may know how far it is to a goal."""

    @property
    def has_critic(self) -> bool:
        """Whether `critic` can be called."""
        ...

    def critic(self, latents: Array, goal: Array) -> Array:
        """Steps ``(B,)`` still to go from latents ``(B, N, D)`` to a goal ``(N, D)``."""
        ...
