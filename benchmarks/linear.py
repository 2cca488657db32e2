"""Linear worlds: a planner's cost can be held against the least one there is, by Riccati."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.actor import Actor
from controller.config import CostConfig, PlannerConfig
from controller.costs import build_cost
from controller.optimizers import build_optimizer
from controller.types import Goal, ModelState

Array = NDArray[np.float32]
DT_S = 0.1


@dataclass(frozen=True)
class LinearSpec:
    """What `controller.types.ModelSpec` asks for; the latent is the state itself."""

    latent_shape: tuple[int, int]
    action_names: tuple[str, ...]
    action_low: Array
    action_high: Array
    cameras: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    proprio_names: tuple[str, ...] = ("nothing",)
    model_dt_s: float = DT_S
    context: int = 1


class LinearRollouts(NamedTuple):
    """``latents (B, H, 1, n)``, ``proprio (B, H, 1)``."""

    latents: Array
    proprio: Array


class LinearWorld:
    """``x' = F x + G u``, as a world model; actions between -1 and 1."""

    def __init__(self, transition: Array, control: Array, start: Array, goal: Array) -> None:
        """Take the matrices.

        Args:
            transition: ``(n, n)`` F.
            control: ``(n, m)`` G.
            start: ``(n,)``.
            goal: ``(n,)`` a state that stays as it is without action.
        """
        self._transition = np.asarray(transition, np.float64)
        self._control = np.asarray(control, np.float64)
        self.start, self.goal = np.asarray(start, np.float32), np.asarray(goal, np.float32)
        assert np.allclose(self._transition @ self.goal, self.goal), "the goal must be at rest"
        n, m = self._control.shape
        ones = np.ones(m, np.float32)
        self.spec = LinearSpec((1, n), tuple(f"u{i}" for i in range(m)), -ones, ones)

    def encode(self, images: Mapping[str, NDArray[np.uint8]]) -> Array:
        """There is nothing to see."""
        raise NotImplementedError("a linear world has no camera")

    def rollout(self, state: ModelState, actions: Array) -> LinearRollouts:
        """See `controller.types.WorldModel.rollout`."""
        batch, horizon, _ = actions.shape
        x = np.broadcast_to(state.latents[-1, 0].astype(np.float64), (batch, len(self.start)))
        states = np.empty((batch, horizon, 1, len(self.start)), np.float32)
        for step in range(horizon):
            x = x @ self._transition.T + actions[:, step] @ self._control.T
            states[:, step, 0] = x
        return LinearRollouts(states, np.zeros((batch, horizon, 1), np.float32))

    def state(self, stamp_ns: int = 0) -> ModelState:
        """The start."""
        nothing = np.zeros((0, len(self.spec.action_names)), np.float32)
        return ModelState(self.start[None, None], np.zeros((1, 1), np.float32), nothing, stamp_ns)

    def target(self) -> Goal:
        """The goal."""
        return Goal(self.goal[None])

    def optimum(self, horizon: int, action_weight: float) -> tuple[float, Array]:
        """The finite-horizon linear-quadratic regulator, by the Riccati recursion.

        Args:
            horizon: H.
            action_weight: as in `CostConfig`; ``goal_weight`` and ``goal_growth`` are 1.

        Returns:
            The least cost without regard to bounds, and its actions ``(H, m)``; the caller checks
            that they are within -1 and 1.
        """
        f, g = self._transition, self._control
        n, m = g.shape
        # the mean square over state and horizon, and over action and horizon
        state_cost = np.eye(n) / (horizon * n)
        action_cost = np.eye(m) * action_weight / (horizon * m)
        ahead, gains = state_cost, []
        for step in reversed(range(horizon)):
            gain = np.linalg.solve(action_cost + g.T @ ahead @ g, g.T @ ahead @ f)
            ahead = f.T @ ahead @ (f - g @ gain) + (state_cost if step else 0.0)
            gains.append(gain)
        away = (self.start - self.goal).astype(np.float64)
        least = float(away @ ahead @ away)
        actions = np.empty((horizon, m), np.float32)
        for step, gain in enumerate(reversed(gains)):
            action = -gain @ away
            actions[step] = action
            away = f @ away + g @ action
        return least, actions


def linear_world(name: str) -> LinearWorld:
    """A world by name: ``point`` (velocity), ``mass`` (acceleration), ``pendulum`` (damped)."""
    if name == "point":
        return LinearWorld(np.eye(2), 0.1 * np.eye(2), [0.0, 0.0], [0.25, -0.15])
    if name == "mass":  # positions then velocities of two axes, exact for DT_S
        keep, push = np.eye(4), np.zeros((4, 2))
        keep[:2, 2:] = DT_S * np.eye(2)
        push[:2], push[2:] = 0.5 * DT_S**2 * np.eye(2), DT_S * np.eye(2)
        return LinearWorld(keep, push, [0.0, 0.0, 0.1, 0.0], [0.1, -0.1, 0.0, 0.0])
    if name == "pendulum":  # angle, and speed in units that make a swing a circle; 0.5 Hz, damped
        turn = np.pi * DT_S
        swing = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
        return LinearWorld(0.97 * np.array(swing), [[0.02], [0.2]], [0.2, 0.0], [0.0, 0.0])
    raise ValueError(f"no linear world {name!r}: there are point, mass and pendulum")


def linear_actor(world: LinearWorld, planner: PlannerConfig, action_weight: float) -> Actor:
    """An actor whose cost is the one that `LinearWorld.optimum` minimises."""
    low, high = world.spec.action_low, world.spec.action_high
    config = CostConfig(action_weight=action_weight, smoothness_weight=0.0)
    cost = build_cost(config, planner.horizon, low, high)
    return Actor(world, planner, build_optimizer(planner, low, high), cost)
