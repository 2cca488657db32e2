"""An arm behind ros2_control as a process sees it: late, sluggish, noisy, with stops of its own.

Not PyBullet, so that the nodes are tested against something other than the simulator they were
made with. Each joint is a servo with a second-order lag, friction, a delay before a command takes
effect and noise on what it reports. NumPy alone; time is the caller's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Target = Callable[[float], Vector]  # time to (N,) rad or rad/s

_STEP_S = 0.002
_STUCK_RAD_S = 1e-3


@dataclass(frozen=True)
class ServoDynamics:
    """How the joints follow.

    Attributes:
        natural_hz: natural frequency of the lag, 1 to 60: below, no arm; above, the integration
            is too coarse.
        damping: its damping ratio, above 0.
        friction_rad_s: a commanded speed loses this much, and smaller ones do not move a joint.
        delay_s: from the arrival of a command to its effect, at least 0.
        noise_rad: standard deviation of a reported position; of a speed, 20 times that a second.
        timeout_s: without a command for this long it stops by itself; 0: it never does, like
            ros2_control's forward_command_controller.
    """

    natural_hz: float = 12.0
    damping: float = 0.9
    friction_rad_s: float = 0.002
    delay_s: float = 0.01
    noise_rad: float = 1e-4
    timeout_s: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for what no arm does."""
        if not 1.0 <= self.natural_hz <= 60.0:
            raise ValueError(f"natural_hz must be from 1 to 60, got {self.natural_hz}")
        if not self.damping > 0:
            raise ValueError(f"damping must be above 0, got {self.damping}")
        for name in ("friction_rad_s", "delay_s", "noise_rad", "timeout_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")


class FakeArm:
    """N joints. Not thread-safe.

    Attributes:
        position: ``(N,)`` rad, the truth.
        velocity: ``(N,)`` rad/s, the truth.
    """

    def __init__(
        self,
        start: Vector,
        low: Vector,
        high: Vector,
        speed: Vector,
        dynamics: ServoDynamics,
        now_s: float,
        seed: int = 0,
    ) -> None:
        """At rest.

        Args:
            start: ``(N,)`` rad.
            low: ``(N,)`` mechanical stops, rad.
            high: likewise.
            speed: ``(N,)`` what the motors do at most, rad/s.
            dynamics: how it follows.
            now_s: the time it begins at.
            seed: of the noise.
        """
        self.position = np.clip(start, low, high)
        self.velocity = np.zeros_like(self.position)
        self._low, self._high, self._speed = low, high, speed
        self._given = dynamics
        self._acceleration = np.zeros_like(self.position)
        self._now_s = now_s
        self._waiting: deque[tuple[float, bool, Target]] = deque()
        self._positions = False  # whether the target is of positions
        self._target: Target = self._rest()
        self._commanded_s = float("-inf")
        self._rng = np.random.default_rng(seed)

    def command_velocity(self, velocity: Vector, now_s: float) -> None:
        """Speeds ``(N,)`` rad/s to keep."""
        self._take(False, _constant(velocity), now_s)

    def command_position(self, position: Vector, now_s: float) -> None:
        """Positions ``(N,)`` rad to go to."""
        self._take(True, _constant(position), now_s)

    def command_path(self, times_s: Vector, positions: Vector, now_s: float) -> None:
        """Positions ``(K, N)`` rad to be at after ``(K,)`` seconds, and to stay at the last."""
        times = np.concatenate([[now_s], now_s + times_s])
        rows = np.vstack([self.position, positions])

        def target(at_s: float) -> Vector:
            return np.array([np.interp(at_s, times, column) for column in rows.T])

        self._take(True, target, now_s)

    def advance(self, now_s: float) -> None:
        """Let time pass until ``now_s``."""
        while self._now_s < now_s - 1e-9:
            step_s = min(_STEP_S, now_s - self._now_s)
            self._now_s += step_s
            while self._waiting and self._waiting[0][0] <= self._now_s:
                _, self._positions, self._target = self._waiting.popleft()
            timeout_s = self._given.timeout_s
            if timeout_s and self._now_s - self._commanded_s > timeout_s and not self._waiting:
                self._positions, self._target = False, self._rest()
            self._step(step_s)

    def reading(self) -> tuple[Vector, Vector]:
        """Positions and velocities ``(N,)`` as the encoders give them."""
        noise = self._rng.normal(0.0, self._given.noise_rad, (2, len(self.position)))
        return self.position + noise[0], self.velocity + 20.0 * noise[1]

    def _rest(self) -> Target:
        return _constant(np.zeros_like(self.position))

    def _take(self, positions: bool, target: Target, now_s: float) -> None:
        self._commanded_s = now_s
        self._waiting.append((now_s + self._given.delay_s, positions, target))

    def _step(self, dt_s: float) -> None:
        given, target = self._given, self._target(self._now_s)
        rate = 2.0 * np.pi * given.natural_hz
        if self._positions:
            # The servo of a position controller has no speed to follow: it is pulled to the target.
            pull = rate**2 * (np.clip(target, self._low, self._high) - self.position)
            self._acceleration = pull - 2.0 * given.damping * rate * self.velocity
        else:
            wanted = np.clip(target, -self._speed, self._speed)
            wanted = np.sign(wanted) * np.maximum(np.abs(wanted) - given.friction_rad_s, 0.0)
            jerk = rate**2 * (wanted - self.velocity)
            jerk -= 2.0 * given.damping * rate * self._acceleration
            self._acceleration = self._acceleration + jerk * dt_s
        velocity = self.velocity + self._acceleration * dt_s
        velocity = np.clip(velocity, -self._speed, self._speed)
        if not self._positions:
            stuck = (np.abs(velocity) < _STUCK_RAD_S) & (np.abs(target) <= given.friction_rad_s)
            velocity[stuck] = 0.0
            self._acceleration[stuck] = 0.0
        position = self.position + velocity * dt_s
        self.position = np.clip(position, self._low, self._high)
        self.velocity = np.where(position == self.position, velocity, 0.0)


def _constant(values: Vector) -> Target:
    kept = np.array(values, np.float64)
    return lambda _: kept
