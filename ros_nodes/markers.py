"""The way of the tool that a plan asks for, for RViz and Foxglove."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from visualization_msgs.msg import Marker, MarkerArray

from controller.types import NS_PER_S, Plan
from ros_nodes.convert import ns_to_stamp

_STEP_S = 0.05
_WIDTH_M, _END_M = 0.006, 0.02
_COLOR = (0.1, 0.7, 1.0)


def tool_path(plan: Plan, axes: Sequence[int], start_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where the tool comes by when it does as the plan says, ``(K, 3)`` m, from ``start_m (3,)``.

    Args:
        plan: of tool velocities.
        axes: which of x, y, z each action is along; further actions do not move the tool.
        start_m: where the tool is when the plan begins.
    """
    times_ns = np.arange(0.0, plan.duration_s, _STEP_S) * NS_PER_S + plan.start_ns
    velocities = np.zeros((len(times_ns), 3))
    actions = [plan.action_at(round(at_ns))[: len(axes)] for at_ns in times_ns]
    velocities[:, list(axes)] = actions
    return start_m + np.vstack([np.zeros(3), np.cumsum(_STEP_S * velocities, axis=0)])


def path_markers(path_m: NDArray[np.float64], frame_id: str, stamp_ns: int) -> MarkerArray:
    """A line along a path ``(K, 3)`` m and a ball at its end."""
    line = _marker(0, Marker.LINE_STRIP, frame_id, stamp_ns)
    line.scale.x = _WIDTH_M
    line.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in path_m]
    end = _marker(1, Marker.SPHERE, frame_id, stamp_ns)
    end.scale.x = end.scale.y = end.scale.z = _END_M
    end.pose.position = line.points[-1]
    return MarkerArray(markers=[line, end])


def _marker(number: int, kind: int, frame_id: str, stamp_ns: int) -> Marker:
    marker = Marker(ns="plan", id=number, type=kind, action=Marker.ADD)
    marker.header.frame_id = frame_id
    marker.header.stamp = ns_to_stamp(stamp_ns)
    marker.lifetime.sec = 1
    marker.pose.orientation.w = 1.0
    marker.color.r, marker.color.g, marker.color.b = _COLOR
    marker.color.a = 1.0
    return marker
