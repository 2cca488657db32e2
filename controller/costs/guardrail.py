"""Guardrails: by how much a predicted future breaks a limit. Not a cost: see `rank`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from controller.costs.base import CostContext
from controller.limits import Box, GuardrailConfig
from controller.settings import ConfigError
from controller.types import Rollouts

Array = NDArray[np.float32]


class Guardrails:
    """The worst violation of each limit at any step, in the limit's own SI unit.

    The tool's way is judged at every step of the model and halfway between two.
    """

    def __init__(self, config: GuardrailConfig, proprio_names: Sequence[str]) -> None:
        """Find the readings.

        Args:
            config: the limits.
            proprio_names: P names of the model's readings, in order.

        Raises:
            ConfigError: a limit is on a reading that the model does not have.
        """
        self._config = config
        self._readings = [_index(name, proprio_names) for name in config.readings]
        limits = config.readings.values()
        low = [-np.inf if limit.low is None else limit.low for limit in limits]
        high = [np.inf if limit.high is None else limit.high for limit in limits]
        self._low, self._high = np.array(low, np.float32), np.array(high, np.float32)
        self._position: list[int] = []
        if config.volumes:
            self._position = [_index(name, proprio_names) for name in config.position]
        # As the settings have them, so that a limit can be found there; in the order of `_depths`.
        self._reading_names = [f"readings.{name}" for name in config.readings]
        self._volume_names = [
            *(["workspace"] if config.workspace is not None else []),
            *(f"keep_out_boxes[{i}]" for i in range(len(config.keep_out_boxes))),
            *(f"keep_out_spheres[{i}]" for i in range(len(config.keep_out_spheres))),
        ]

    @property
    def active(self) -> bool:
        """False when there is no limit at all."""
        return bool(self._readings or self._position)

    def __call__(self, rollouts: Rollouts, context: CostContext) -> dict[str, Array]:
        """Judge B futures.

        Args:
            rollouts: what the model predicts.
            context: where it starts from.

        Returns:
            ``(B,)`` for each limit, by its name in the settings (``readings.tool.x``,
            ``workspace``, ``keep_out_spheres[0]``): below 0 where so much room is
            left; NaN where the prediction is.
        """
        worst: dict[str, Array] = {}
        if self._readings:
            readings = rollouts.proprio[:, :, self._readings]
            over = np.maximum(self._low - readings, readings - self._high)
            worst |= zip(self._reading_names, over.max(axis=1).T, strict=True)
        if self._position:
            places = rollouts.proprio[:, :, self._position]
            start = context.state.proprio[-1, self._position]
            before = np.concatenate(
                [np.broadcast_to(start, (len(places), 1, len(start))), places[:, :-1]], axis=1
            )
            way = np.concatenate([places, (places + before) / 2], axis=1)
            for name, depth in zip(self._volume_names, self._depths(way), strict=True):
                worst[name] = depth.max(axis=1)
        return worst

    def _depths(self, way: Array) -> list[Array]:
        """How deep places ``(B, S, axes)`` are on the wrong side of each volume, m ``(B, S)``."""
        config, margin = self._config, np.float32(self._config.margin_m)
        depths = []
        if config.workspace is not None:
            depths.append(margin - _inside(way, config.workspace))
        depths += [_inside(way, box) + margin for box in config.keep_out_boxes]
        for ball in config.keep_out_spheres:
            center = np.array(ball.center_m, np.float32)
            distance = np.linalg.norm(way - center, axis=2)
            depths.append(np.float32(ball.radius_m) + margin - distance)
        return depths


def _inside(places: Array, box: Box) -> Array:
    """Distance to the nearest wall ``(B, S)`` m, negative outside (there along the worst axis)."""
    low, high = np.array(box.low_m, np.float32), np.array(box.high_m, np.float32)
    inside: Array = np.minimum(places - low, high - places).min(axis=2)
    return inside


def _index(name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise ConfigError(
            f"guardrails: the model has no reading {name!r}; it has {', '.join(names)}"
        )
    return list(names).index(name)
