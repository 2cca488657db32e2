"""Memory of actions: the commands that were applied, and the plans that say which come next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from controller.types import NS_PER_S, Plan

Array = NDArray[np.float32]

# A plan is read this often per step of the model when its mean over the step is asked for.
_READS_PER_STEP = 10


class AppliedCommand(NamedTuple):
    """An action that was sent to the robot, in force until the next one.

    Attributes:
        stamp_ns: when, on the clock that stamps the frames.
        action: ``(A,)`` SI.
    """

    stamp_ns: int
    action: Array


@dataclass(frozen=True)
class CommandMemory:
    """The commands of the last moments, oldest first.

    It holds what was *applied*, after limits, and not what was asked for.

    Attributes:
        stamps_ns: ``(n,)`` int64, ascending.
        actions: ``(n, A)`` SI.
    """

    stamps_ns: NDArray[np.int64]
    actions: Array

    @staticmethod
    def empty(action_size: int) -> CommandMemory:
        """A memory before the first command."""
        return CommandMemory(np.zeros(0, np.int64), np.zeros((0, action_size), np.float32))

    def extended(self, commands: Sequence[AppliedCommand], oldest_ns: int) -> CommandMemory:
        """This memory with more commands in it.

        Args:
            commands: in any order; one with the stamp of an earlier one replaces it.
            oldest_ns: what was no longer in force by then is forgotten.

        Returns:
            A new memory.

        Raises:
            ValueError: when a command has the wrong length or is not finite.
        """
        if not commands:
            return self
        size = self.actions.shape[1]
        by_stamp = dict(zip(self.stamps_ns.tolist(), self.actions, strict=True))
        for command in commands:
            action = np.asarray(command.action, np.float32)
            if action.shape != (size,):
                raise ValueError(
                    f"applied command has shape {action.shape}, the model's actions have ({size},)"
                )
            if not np.isfinite(action).all():
                raise ValueError(f"applied command is not finite: {action.tolist()}")
            by_stamp[int(command.stamp_ns)] = action
        stamps = sorted(by_stamp)
        first = max((i for i, stamp in enumerate(stamps) if stamp <= oldest_ns), default=0)
        stamps = stamps[first:]
        return CommandMemory(
            np.array(stamps, np.int64), np.stack([by_stamp[stamp] for stamp in stamps])
        )

    def mean(self, start_ns: int, end_ns: int) -> Array:
        """The mean action applied over ``[start_ns, end_ns)``.

        Each command counts for as long as it was in force; before the first one it is zero.

        Args:
            start_ns: stamp.
            end_ns: later stamp.

        Returns:
            ``(A,)`` SI.
        """
        ends = np.append(self.stamps_ns[1:], np.int64(end_ns))
        in_force_ns = np.minimum(ends, end_ns) - np.maximum(self.stamps_ns, start_ns)
        weights = in_force_ns.clip(0) / (end_ns - start_ns)
        return (weights @ self.actions).astype(np.float32)


def action_in_force(plans: Sequence[Plan], stamp_ns: int, action_size: int) -> Array:
    """The action at a stamp when each plan replaces the one before once it starts.

    Args:
        plans: oldest first.
        stamp_ns: when.
        action_size: A.

    Returns:
        ``(A,)`` SI; zero when no plan has started, or the one in force is over or not usable.
    """
    for plan in reversed(plans):
        if plan.start_ns <= stamp_ns:
            return plan.action_at(stamp_ns)
    return np.zeros(action_size, np.float32)


def planned_commands(
    plans: Sequence[Plan], start_ns: int, end_ns: int, step_ns: int, action_size: int
) -> list[AppliedCommand]:
    """The commands that a robot gives that follows the plans exactly.

    Args:
        plans: oldest first.
        start_ns: from this stamp.
        end_ns: until before this one.
        step_ns: one step of the model; it is read ten times per step.
        action_size: A.
    """
    spacing_ns = max(step_ns // _READS_PER_STEP, 1)
    return [
        AppliedCommand(stamp, action_in_force(plans, stamp + spacing_ns // 2, action_size))
        for stamp in range(start_ns, end_ns, spacing_ns)
    ]


def committed_actions(
    plans: Sequence[Plan], start_ns: int, steps: int, step_s: float, action_size: int
) -> Array:
    """The mean action of each of the coming steps, as already planned.

    Args:
        plans: oldest first.
        start_ns: stamp at which the first step begins.
        steps: M.
        step_s: length of one.
        action_size: A.

    Returns:
        ``(M, A)`` SI.
    """
    step_ns = round(step_s * NS_PER_S)
    spacing_ns = max(step_ns // _READS_PER_STEP, 1)
    actions = np.zeros((steps, action_size), np.float32)
    for step in range(steps):
        begin_ns = start_ns + step * step_ns
        stamps = range(begin_ns + spacing_ns // 2, begin_ns + step_ns, spacing_ns)
        actions[step] = np.mean([action_in_force(plans, at, action_size) for at in stamps], axis=0)
    return actions
