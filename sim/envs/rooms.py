"""`foresee/TwoRooms-v0`: drive through the door to where the goal image has the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.camera import ROOM_CAMERAS
from sim.envs.base import Truth, WorldEnv
from sim.randomization import Randomization
from sim.robot import Box
from sim.rooms import BASE_RADIUS_M, DOOR_WIDTH_M, HALF_SIZE_M, WALL_THICKNESS_M, Rooms

MAX_SPEED_M_S = 1.5
_REACH_M = HALF_SIZE_M - BASE_RADIUS_M  # from the middle to a base that touches an outer wall
_WALL_X_M = 0.6  # the wall stands up to this far from the middle
_DOOR_Y_M = HALF_SIZE_M - DOOR_WIDTH_M / 2 - 0.25
_CLEARANCE_M = 0.08  # of starts and goals from walls
_DETOUR_M = 0.15  # between the door and the way along the wall that a straight line slides
BOX = Box(low=(-_REACH_M, -_REACH_M, 0.0), high=(_REACH_M, _REACH_M, 0.0))


class TwoRoomsEnv(WorldEnv):
    """Drive from one room to the other. Action ``(2,)``: base velocity x, y, at most 1.5 m/s each.

    A step is 0.2 s. The rooms are 4 m × 4 m together. Where the wall stands and where its door is
    changes from episode to episode; the goal image shows the same wall and door. Start and goal
    are uniform in the two rooms among those pairs for which going straight at the goal fails:
    the door is not between them, so whoever heads for the goal slides along the wall and stays
    in front of it. Success is the base within `success_radius_m` of the goal.

    The readings ``(2,)`` are the velocity that wheel odometry gives, m/s. There is no position
    among them: where the base is, only the camera tells.

    Args:
        image_size: height and width of the images, pixels.
        camera: name of a camera in `sim.camera.ROOM_CAMERAS`; it looks straight down.
        more_cameras: names of further ones, see `WorldEnv`.
        randomization: see `WorldEnv`; friction and block mass have no meaning here.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - as Gymnasium's
    control_dt_s = 0.2
    success_radius_m = 0.15
    box = BOX
    cameras = ROOM_CAMERAS
    proprio_names = ("base.vx", "base.vy")
    robot_type = "omnidirectional base"
    _world: Rooms

    def __init__(
        self,
        image_size: int = 64,
        camera: str = "scene",
        more_cameras: Sequence[str] = (),
        randomization: Randomization | Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            action_names=("base.vx", "base.vy"),
            action_limits=(MAX_SPEED_M_S, MAX_SPEED_M_S),
            image_size=image_size,
            camera=camera,
            more_cameras=more_cameras,
            randomization=randomization,
            render_mode=render_mode,
        )
        self._world = Rooms()
        self._start_m = np.zeros(2)
        self._goal_m = np.zeros(2)
        self._door_m = np.zeros(2)

    def truth(self) -> Truth:
        """Positions ``(3,)`` m, world frame, of base, goal and middle of the door.

        `distance_m` is from base to goal as the crow flies.
        """
        base, _ = self._world.base_state()
        distance_m = float(np.linalg.norm(self._goal_m - base))
        return {
            "base_position_m": np.append(base, 0.0),
            "goal_position_m": np.append(self._goal_m, 0.0),
            "door_position_m": np.append(self._door_m, 0.0),
            "distance_m": distance_m,
            "success": distance_m <= self.success_radius_m,
        }

    def proprio(self) -> NDArray[np.float32]:
        """The readings ``(2,)`` of `proprio_names`, m/s."""
        _, velocity = self._world.base_state()
        return velocity.astype(np.float32)

    def _command(self, action: NDArray[np.float64]) -> None:
        self._world.set_base_velocity(action)

    def _place_goal(self, rng: np.random.Generator) -> None:
        x_m = rng.uniform(-_WALL_X_M, _WALL_X_M)
        self._start_m = self._goal_m = self._door_m = np.array([x_m, 0.0])
        from_left = bool(rng.random() < 0.5)
        while not _needs_detour(self._start_m, self._goal_m, self._door_m):
            self._door_m = np.array([x_m, rng.uniform(-_DOOR_Y_M, _DOOR_Y_M)])
            self._start_m = _place_in_room(rng, x_m, left=from_left)
            self._goal_m = _place_in_room(rng, x_m, left=not from_left)
        self._world.place_wall(*self._door_m)
        self._world.place_base(self._goal_m)

    def _place_start(self) -> None:
        self._world.place_base(self._start_m)


def _place_in_room(rng: np.random.Generator, wall_x_m: float, left: bool) -> NDArray[np.float64]:
    """A place ``(2,)`` for the base on one side of the wall."""
    outer = _REACH_M - _CLEARANCE_M
    inner = WALL_THICKNESS_M / 2 + BASE_RADIUS_M + _CLEARANCE_M
    x_m = rng.uniform(-outer, wall_x_m - inner) if left else rng.uniform(wall_x_m + inner, outer)
    return np.array([x_m, rng.uniform(-outer, outer)])


def _needs_detour(
    start_m: NDArray[np.float64], goal_m: NDArray[np.float64], door_m: NDArray[np.float64]
) -> bool:
    """Whether the opening is off every y that a base going straight at the goal comes by."""
    low, high = sorted((start_m[1], goal_m[1]))
    free = DOOR_WIDTH_M / 2 + _DETOUR_M
    return bool(door_m[1] + free < low or door_m[1] - free > high)
