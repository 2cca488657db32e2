"""Motion to learn from: it goes everywhere in a box, slowly and fast, straight and in curves.

What a model is trained on before there is a model to plan with ("motor babbling"). It needs no
camera and knows no object: pieces of a second or two, each one of

- noise: velocities with a memory (an Ornstein-Uhlenbeck process), which is what curves look like;
- way point: straight towards a place in the box, now and then on one of its walls, braking there;
- rest: standing still, so that "nothing happens" is in the data as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.types import Plan, PlanStatus

Vector = NDArray[np.float64]

_KINDS = ("noise", "way point", "rest")
_SHARES = (0.45, 0.50, 0.05)
_PIECE_S = (0.8, 2.5)
_MEMORY_S = (0.15, 2.0)  # how long noise remembers
_WALL_SHARE = 0.25  # of the way points that lie on a wall
_GAIN_HZ = 4.0  # towards a way point
_SLOWEST = 0.3  # of the speed allowed


@dataclass(frozen=True)
class ExplorationBox:
    """Where to go and how fast; (x, y, z) in the frame of the commands.

    Attributes:
        low_m: lower corner. Equal to the upper one along an axis that is not to be used.
        high_m: upper corner.
        speed_m_s: largest speed along each axis, > 0.
    """

    low_m: tuple[float, float, float]
    high_m: tuple[float, float, float]
    speed_m_s: float

    def __post_init__(self) -> None:
        """Raise ValueError for a box that is none."""
        low, high = np.asarray(self.low_m, float), np.asarray(self.high_m, float)
        if low.shape != (3,) or high.shape != (3,) or not np.isfinite([low, high]).all():
            raise ValueError(f"low_m and high_m must be three finite numbers, got {low} and {high}")
        if (low > high).any() or (low == high).all():
            raise ValueError(f"low_m {self.low_m} must be below high_m {self.high_m}")
        if not (np.isfinite(self.speed_m_s) and self.speed_m_s > 0):
            raise ValueError(f"speed_m_s must be above 0, got {self.speed_m_s}")


class Exploration:
    """A stream of short plans that together cover a box. The same generator, the same motion.

    Outside the box only the way back in is taken. Limits of the robot are not this class's to
    keep: its plans go through the command filter like any other.

    Args:
        box: where to go.
        rng: where its randomness comes from.
    """

    def __init__(self, box: ExplorationBox, rng: np.random.Generator) -> None:
        self._box = box
        self._low, self._high = np.asarray(box.low_m, float), np.asarray(box.high_m, float)
        self._axes = self._high > self._low
        self._rng = rng
        self._left_s = 0.0
        self._noise = np.zeros(3)

    def plan(
        self, position_m: NDArray[np.floating], stamp_ns: int, step_s: float, duration_s: float
    ) -> Plan:
        """What to do from a stamp on, for a little while.

        Args:
            position_m: ``(3,)`` of the tool now.
            stamp_ns: now; the plan starts here.
            step_s: time since the call before, which is when the next one is due as well.
            duration_s: the plan ends after this, in case no other follows.

        Returns:
            a plan with one knot ``(1, 3)`` m/s.

        Raises:
            ValueError: a position that is not finite, or a time that is not above 0.
        """
        position: Vector = np.asarray(position_m, np.float64)
        if position.shape != (3,) or not np.isfinite(position).all():
            raise ValueError(f"position must be three finite numbers, got {position}")
        if not (step_s > 0 and duration_s > 0):
            raise ValueError(f"times must be above 0 s, got {step_s} and {duration_s}")
        if self._left_s <= 0:
            self._begin_piece()
        self._left_s -= step_s
        velocity = self._wanted(position, step_s)
        return Plan(
            start_ns=stamp_ns,
            knot_times_s=np.zeros(1),
            knots=velocity[None].astype(np.float32),
            duration_s=duration_s,
            cost=float("nan"),
            status=PlanStatus.OK,
        )

    def _wanted(self, position_m: Vector, step_s: float) -> Vector:
        keep = np.exp(-step_s / self._memory_s)
        self._noise = keep * self._noise + np.sqrt(1 - keep**2) * self._rng.standard_normal(3)
        velocity = self._noise_m_s * self._noise
        if self._kind == "way point":
            to_place = _GAIN_HZ * (self._place_m - position_m)
            velocity = velocity + np.clip(to_place, -self._top_m_s, self._top_m_s)
        back = np.clip(position_m, self._low, self._high) - position_m
        velocity = np.where(back != 0, _GAIN_HZ * back, velocity)
        speed = self._box.speed_m_s
        # A wall is come up to slowly, so that noise does not spend its time pressed against it.
        low = np.minimum(_GAIN_HZ * (self._low - position_m), 0) * self._axes
        high = np.maximum(_GAIN_HZ * (self._high - position_m), 0) * self._axes
        inside = np.where(back != 0, velocity, np.clip(velocity, low, high))
        return np.clip(inside, -speed, speed)

    def _begin_piece(self) -> None:
        rng, speed = self._rng, self._box.speed_m_s
        self._kind = str(rng.choice(_KINDS, p=_SHARES))
        self._left_s = rng.uniform(*_PIECE_S)
        self._memory_s = rng.uniform(*_MEMORY_S)
        self._top_m_s = speed * rng.uniform(_SLOWEST, 1.0)
        self._noise_m_s = 0.1 * speed
        self._place_m = rng.uniform(self._low, self._high)
        if self._kind == "rest":
            self._noise_m_s = 0.0
        elif self._kind == "noise":
            self._noise_m_s = speed * rng.uniform(_SLOWEST, 1.0)
        elif rng.random() < _WALL_SHARE:
            axis = rng.choice(np.flatnonzero(self._axes))
            self._place_m[axis] = rng.choice([self._low[axis], self._high[axis]])
