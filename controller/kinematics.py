"""A robot's kinematics from its URDF: tool motion to joint motion, and how much room there is.

The only module of `controller` that needs Pinocchio and pink (extra ``safety``); they are imported
when a robot is loaded. What can touch is modelled by spheres attached to frames of the robot and,
around it, keep-out spheres and boxes and the walls of the workspace: no meshes are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from controller.braking import Vector
from controller.surroundings import Surroundings

PinObject: TypeAlias = Any  # Pinocchio and pink ship no types

# The tool itself is a point; the shapes of Pinocchio need a size.
_POINT_M = 1e-4
# Weights of the quadratic programme, all on displacements of one tick.
_ORIENTATION_COST = 0.3  # m of tool position that a radian of its orientation is worth
_POSTURE_COST = 0.02
_POSTURE_GAIN_HZ = 2.0
_POSTURE_WHOLE_M_S = 0.05  # speed of the tool from which on the posture counts wholly
_ORIENTATION_GAIN_HZ = 4.0
_DAMPING = 1e-5
# Obstacles nearer than this are in the programme, and approached no faster than gain times room.
_NEAR_M = 0.12
_BARRIER_GAIN_HZ = 4.0
_BUFFER_M = 0.003
_HELD_M = 1e-9  # this near to its bound, a barrier counts as the one that holds
# A path is looked at at each of its rows and, in between, whenever any point may have moved by this
# much, or so often from one row to the next.
_LOOK_EVERY_M = 0.008
_MOST_LOOKS = 64


@dataclass(frozen=True, eq=False)
class Solution:
    """Joint velocities found.

    Attributes:
        velocity: ``(N,)`` rad/s.
        clamps: obstacles that changed them, such as ``room.tool-box0``.
    """

    velocity: Vector
    clamps: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Rows:
    """``matrix · Δq <= most``, as pink takes limits."""

    matrix: Vector
    most: Vector

    def compute_qp_inequalities(self, configuration: object, dt: float) -> tuple[Vector, Vector]:
        """What pink asks for."""
        return self.matrix, self.most


@dataclass
class _Scene:
    """Pinocchio's objects: model, data, geometry, its data, and the name of each pair."""

    model: PinObject
    data: PinObject
    shapes: PinObject
    shape_data: PinObject
    pairs: list[str] = field(default_factory=list)


class Kinematics:
    """One robot arm. Not thread-safe: its owner's thread only.

    Args:
        urdf: text of the robot's URDF.
        joints: the N joints that are commanded, in the order of all vectors here; all others stay
            where the URDF has their zero, and none of them may move the tool.
        tool_frame: frame of the URDF that is the tool.
        surroundings: what it must not touch.
        home: ``(N,)`` posture it prefers where the tool leaves it the choice, rad.
        base_frame: frame of the URDF that all places, velocities and surroundings are in; empty
            for its root. No joint that is commanded may move it.

    Raises:
        ValueError: not a URDF, or a joint or frame that is not in it or, being the base, moves;
            one line that names it.
        ImportError: the extra ``safety`` is not installed.
    """

    def __init__(
        self,
        urdf: str,
        joints: Sequence[str],
        tool_frame: str,
        surroundings: Surroundings,
        home: Sequence[float] | Vector,
        base_frame: str = "",
    ) -> None:
        import pink
        import pinocchio as pin

        self._pin = pin
        self._pink = pink
        model = _reduced(pin, urdf, joints, base_frame, tool_frame)
        if base_frame:
            _place(model, base_frame)
        order = [model.names[i] for i in range(1, model.njoints)]
        self._order = np.array([order.index(name) for name in joints])  # ours to Pinocchio's
        self._back = np.argsort(self._order)
        if not model.existFrame(tool_frame):
            raise ValueError(f"tool_frame {tool_frame!r} is not in the robot's URDF")
        self.joints = tuple(joints)
        self.position_low = model.lowerPositionLimit[self._order].copy()
        self.position_high = model.upperPositionLimit[self._order].copy()
        # Where the URDF gives none, it is 0.
        limit = model.velocityLimit[self._order]
        self.velocity_limit = np.where(limit > 0.0, limit, np.inf)
        self._tool_frame = tool_frame
        self._tool = model.getFrameId(tool_frame)
        self._scene = _build_scene(pin, model, self._tool, surroundings)
        self._levers = _levers(model, self._scene.shapes)[self._order]
        self._rounding_m = _rounding(self._scene.shapes)
        # Each look writes into these; getting hold of one takes longer than a look.
        self._results = list(self._scene.shape_data.distanceResults)
        self._configuration = pink.Configuration(model, self._scene.data, np.zeros(model.nq))
        self._one = np.eye(model.nv)
        self._orientation: NDArray[np.float64] | None = None
        self._frame_task = pink.tasks.FrameTask(
            tool_frame, position_cost=1.0, orientation_cost=_ORIENTATION_COST
        )
        self._posture_task = pink.tasks.PostureTask(cost=_POSTURE_COST)
        self._posture_task.set_target(self._theirs(home))

    @property
    def pairs(self) -> tuple[str, ...]:
        """What is kept apart, by name."""
        return tuple(self._scene.pairs)

    def tool_position(self, position: Vector) -> Vector:
        """Where the tool is in the base frame, ``(3,)`` m, for joints at ``position (N,)`` rad."""
        return self._tool_pose(position).translation.copy()

    def hold_orientation(self, position: Vector) -> None:
        """From now on, the tool is to keep the orientation that it has at ``position (N,)``."""
        self._orientation = self._tool_pose(position).rotation.copy()

    def room(self, path: Vector) -> tuple[float, str]:
        """The least of `rooms`, and between what; infinite where nothing is kept apart."""
        if not self._scene.pairs:
            return np.inf, ""
        rooms = self.rooms(path)
        nearest = int(np.argmin(rooms))
        return float(rooms[nearest]), self._scene.pairs[nearest]

    def rooms(self, path: Vector, least: Vector | None = None) -> Vector:
        """How near the two of each pair come along a path of the joints.

        What may have been missed between two looks is taken off, so that what holds at the looks
        holds in between. Two rows are looked at in the same way whatever path they are part of.

        Args:
            path: ``(K, N)`` rad; the joints move straight from one row to the next.
            least: ``(P,)`` m; no more looks are needed once it is known that less is left.

        Returns:
            ``(P,)`` m that are left beyond the margin, negative where it is crossed: for the
            nearest pair and for all that may cross it as exact as the looks are, for the others
            a number that there is more than. Where there is less than ``least`` at the end of the
            path, the room there.
        """
        if not self._scene.pairs:
            return np.zeros(0)
        last = self._distances(self._theirs(path[-1]))
        if least is not None and not (last >= least).all():
            return last
        looks, moved_m, turned = self._looks(path)
        if len(looks) == 1:
            return last
        first = self._distances(looks[0])
        # On a way of length l from a to b no room is less than (a + b - l)/2.
        rooms = np.asarray(0.5 * (first + last - moved_m.sum()))
        near = np.flatnonzero(rooms < max(0.0, min(first.min(), last.min())))
        table = np.empty((len(looks), len(near)))
        table[0], table[-1] = first[near], last[near]
        results = [self._results[pair] for pair in near]
        pin, scene = self._pin, self._scene
        for i in range(1, len(looks) - 1):
            pin.computeDistances(scene.model, scene.data, scene.shapes, scene.shape_data, looks[i])
            table[i] = [result.min_distance for result in results]
        missed_m = _most_missed(moved_m[:, None], turned[:, None], self._rounding_m[near])
        # The lowest place of a parabola through both looks that sags by so much in the middle.
        sag_m = 4.0 * missed_m
        dips = np.maximum(0.0, sag_m - np.abs(np.diff(table, axis=0))) ** 2 / (4.0 * sag_m)
        rooms[near] = (np.minimum(table[:-1], table[1:]) - dips).min(axis=0)
        return rooms

    def solve_tool(
        self, position: Vector, wanted_m_s: Vector, low: Vector, high: Vector, dt_s: float
    ) -> Solution | None:
        """The joint velocities that move the tool as wanted, as well as the bounds allow.

        One quadratic programme: the tool's displacement in the tick, its orientation kept, the
        posture near home in what that leaves free; within the bounds, and no faster towards an
        obstacle than the room that is left allows.

        Args:
            position: ``(N,)`` of the joints, rad.
            wanted_m_s: ``(3,)`` velocity of the tool in the base frame.
            low: ``(N,)`` lowest joint velocity, rad/s.
            high: ``(N,)`` highest.
            dt_s: the tick.

        Returns:
            ``None`` where no solution was found.
        """
        pin = self._pin
        self._configuration.update(self._theirs(position))
        pose = self._configuration.get_transform_frame_to_world(self._tool_frame)
        pose.translation = pose.translation + np.asarray(wanted_m_s) * dt_s
        if self._orientation is not None:
            turn = pin.log3(self._orientation @ pose.rotation.T)
            pose.rotation = pin.exp3(turn * _ORIENTATION_GAIN_HZ * dt_s) @ pose.rotation
        self._frame_task.set_target(pose)
        # Nothing moves by itself: the posture is seen to while the tool moves.
        share = min(1.0, float(np.linalg.norm(wanted_m_s)) / _POSTURE_WHOLE_M_S)
        self._posture_task.gain = min(1.0, _POSTURE_GAIN_HZ * dt_s) * share
        return self._solve([self._frame_task, self._posture_task], low, high, dt_s)

    def _solve(
        self, tasks: Sequence[PinObject], low: Vector, high: Vector, dt_s: float
    ) -> Solution | None:
        import qpsolvers

        least, most = low[self._back] * dt_s, high[self._back] * dt_s
        bounds = _Rows(np.vstack([self._one, -self._one]), np.concatenate([most, -least]))
        near, barriers = self._barriers(dt_s, least, most)
        problem = self._pink.build_ik(
            self._configuration, tasks, dt_s, damping=_DAMPING, limits=[bounds, barriers]
        )
        result = qpsolvers.solve_problem(problem, solver="daqp")
        if not result.found or result.x is None or not np.isfinite(result.x).all():
            return None
        held = barriers.matrix @ result.x >= barriers.most - _HELD_M
        clamps = tuple(f"room.{near[row]}" for row in np.flatnonzero(held))
        return Solution(result.x[self._order] / dt_s, clamps)

    def _barriers(self, dt_s: float, least: Vector, most: Vector) -> tuple[list[str], _Rows]:
        """What slows the approach to all that is near, and the names of those pairs.

        No row asks for more than the bounds ``least`` and ``most (N,)`` of the step can give.
        """
        scene = self._scene
        names: list[str] = []
        closing, limits = [], []
        distances = self._distances(self._configuration.q) if scene.pairs else np.zeros(0)
        for pair in np.flatnonzero(distances < _NEAR_M).tolist():
            result = self._results[pair]
            normal = np.array(result.normal)  # from the first to the second
            if not np.isfinite(normal).all():
                continue
            ends = scene.shapes.collisionPairs[pair]
            row = self._approach(ends.first, np.array(result.getNearestPoint1()), normal)
            row -= self._approach(ends.second, np.array(result.getNearestPoint2()), normal)
            room_m = distances[pair]
            # In the buffer it moves out by itself; farther in it moves only when told to.
            allowed_m = _BARRIER_GAIN_HZ * dt_s * (room_m - _BUFFER_M) if room_m > 0.0 else 0.0
            within_reach_m = float(np.minimum(row * least, row * most).sum())
            names.append(scene.pairs[pair])
            closing.append(row)
            limits.append(max(allowed_m, within_reach_m + _HELD_M))
        if not names:
            return names, _Rows(np.zeros((0, scene.model.nv)), np.zeros(0))
        return names, _Rows(np.array(closing), np.array(limits))

    def _approach(self, shape: int, point_m: Vector, normal: Vector) -> Vector:
        """How a point of a shape moves along ``normal`` with each joint: ``(N,)``."""
        scene, pin, data = self._scene, self._pin, self._configuration.data
        joint = scene.shapes.geometryObjects[shape].parentJoint
        if joint == 0:
            return np.zeros(scene.model.nv)
        jacobian = pin.getJointJacobian(
            scene.model, data, joint, pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        )
        arm = point_m - data.oMi[joint].translation
        (ax, ay, az), (nx, ny, nz) = arm, normal
        turning = np.array([ay * nz - az * ny, az * nx - ax * nz, ax * ny - ay * nx])
        return normal @ jacobian[:3] + turning @ jacobian[3:]

    def _looks(self, path: Vector) -> tuple[Vector, Vector, Vector]:
        """Where to look along a path ``(K, N)``, and how far it is from look to look.

        Returns:
            places ``(L, N)`` in Pinocchio's order; between them, ``(L - 1,)`` each, how far any
            point moves at most, m, above 0, and the sum of the angles, rad.
        """
        change = np.diff(path, axis=0)
        angles = np.abs(change)
        moved_m = angles @ self._levers
        # None where nothing moves.
        parts = np.minimum(np.ceil(moved_m / _LOOK_EVERY_M), _MOST_LOOKS).astype(int)
        row = np.repeat(np.arange(len(parts)), parts)
        number = np.arange(len(row)) - (np.cumsum(parts) - parts)[row]
        share = 1.0 / parts[row]
        between = path[row] + (number * share)[:, None] * change[row]
        looks = np.vstack([between, path[-1]])[:, self._back]
        return looks, moved_m[row] * share, angles.sum(axis=1)[row] * share

    def _distances(self, row: Vector) -> Vector:
        scene = self._scene
        self._pin.computeDistances(scene.model, scene.data, scene.shapes, scene.shape_data, row)
        return np.array([result.min_distance for result in self._results])

    def _tool_pose(self, position: Vector) -> PinObject:
        scene = self._scene
        self._pin.forwardKinematics(scene.model, scene.data, self._theirs(position))
        return self._pin.updateFramePlacement(scene.model, scene.data, self._tool)

    def _theirs(self, position: Sequence[float] | Vector) -> Vector:
        return np.asarray(position, np.float64)[self._back]


def _reduced(
    pin: PinObject, urdf: str, joints: Sequence[str], base_frame: str, tool_frame: str
) -> PinObject:
    """The model with the named joints alone."""
    try:
        model = pin.buildModelFromXML(urdf)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"robot description: {error}") from error
    for name in joints:
        if not model.existJointName(name):
            known = ", ".join(model.names[i] for i in range(1, model.njoints))
            raise ValueError(f"joint {name!r} is not in the robot's URDF ({known})")
        joint = model.joints[model.getJointId(name)]
        if (joint.nq, joint.nv) != (1, 1):
            raise ValueError(f"joint {name!r} turns without end: give it limits in the URDF")
        if "JointModelP" in joint.shortname():
            raise ValueError(f"joint {name!r} slides: only joints that turn can be commanded")
    others = [i for i in range(1, model.njoints) if model.names[i] not in joints]
    if model.existFrame(tool_frame):  # else it is refused by the caller, and so is the base frame
        tool = model.frames[model.getFrameId(tool_frame)].parentJoint
        based = bool(base_frame) and model.existFrame(base_frame)
        base = model.frames[model.getFrameId(base_frame)].parentJoint if based else 0
        between = set(model.supports[tool]) - set(model.supports[base])
        if moved := [model.names[i] for i in others if i in between]:
            raise ValueError(
                f"joint {moved[0]!r} moves tool_frame {tool_frame!r} and is not one of those that "
                "are commanded: name it too, or fix it in the URDF"
            )
    return pin.buildReducedModel(model, others, pin.neutral(model))


def _place(model: PinObject, base_frame: str) -> None:
    """Put the robot where its base frame is the origin, whatever the URDF has it mounted on."""
    root = model.frames[1].name if model.nframes > 1 else ""
    if not model.existFrame(base_frame):
        raise ValueError(
            f"base_frame {base_frame!r} is not in the robot's URDF, whose root is {root!r}: name "
            "the frame there that workspace and keep_out are given in"
        )
    base = model.frames[model.getFrameId(base_frame)]
    if base.parentJoint:
        raise ValueError(
            f"base_frame {base_frame!r} moves with joint {model.names[base.parentJoint]!r}: name "
            f"a frame that is fixed to the root {root!r} of the robot's URDF"
        )
    to_base = base.placement.inverse()
    for joint in range(1, model.njoints):
        if not model.parents[joint]:
            model.jointPlacements[joint] = to_base * model.jointPlacements[joint]
    for frame in model.frames:
        if not frame.parentJoint:
            frame.placement = to_base * frame.placement


def _build_scene(pin: PinObject, model: PinObject, tool: int, given: Surroundings) -> _Scene:
    """Shapes, each larger by half of the margin, and the pairs of them that are kept apart."""
    import coal

    shapes, more = pin.GeometryModel(), 0.5 * given.margin_m
    pairs: list[str] = []

    def fixed(name: str, center: Sequence[float] | Vector, shape: PinObject) -> int:
        placement = pin.SE3(np.eye(3), np.array(center, np.float64))
        return shapes.addGeometryObject(pin.GeometryObject(name, 0, 0, placement, shape))

    def moving(name: str, frame: int, center: Sequence[float], radius_m: float) -> int:
        at, ball = model.frames[frame], coal.Sphere(radius_m + more)
        placement = at.placement * pin.SE3(np.eye(3), np.array(center, np.float64))
        return shapes.addGeometryObject(
            pin.GeometryObject(name, at.parentJoint, frame, placement, ball)
        )

    def keep_apart(first: int, second: int, name: str) -> None:
        shapes.addCollisionPair(pin.CollisionPair(first, second))
        pairs.append(name)

    def joint_of(shape: int) -> int:
        return shapes.geometryObjects[shape].parentJoint

    point = moving("tool", tool, (0.0, 0.0, 0.0), _POINT_M)
    bodies = []
    for number, body in enumerate(given.bodies):
        if not model.existFrame(body.frame):
            raise ValueError(f"body frame {body.frame!r} is not in the robot's URDF")
        name = f"{body.frame}.{number}"
        frame = model.getFrameId(body.frame)
        bodies.append((name, moving(name, frame, body.center_m, body.radius_m)))
    if given.workspace is not None:
        for axis, letter in enumerate("xyz"):
            for side, sign, at_m in (
                ("low", 1.0, given.workspace.low_m[axis]),
                ("high", -1.0, -given.workspace.high_m[axis]),
            ):
                # All that is beyond the wall is solid: where sign · x is below this.
                wall = coal.Halfspace(sign * np.eye(3)[axis], at_m + more)
                name = f"workspace.{side}.{letter}"
                keep_apart(point, fixed(name, np.zeros(3), wall), name)
    obstacles = []
    for number, ball in enumerate(given.keep_out_spheres):
        name, size = f"sphere{number}", ball.radius_m + more
        obstacles.append((name, fixed(name, ball.center_m, coal.Sphere(size))))
    for number, box in enumerate(given.keep_out_boxes):
        low, high = np.array(box.low_m, np.float64), np.array(box.high_m, np.float64)
        name, sides = f"box{number}", high - low + 2.0 * more
        obstacles.append((name, fixed(name, 0.5 * (low + high), coal.Box(*sides))))
    for name, shape in obstacles:
        keep_apart(point, shape, f"tool-{name}")
        for body_name, body_shape in bodies:
            if joint_of(body_shape):  # what cannot move cannot give way
                keep_apart(body_shape, shape, f"{body_name}-{name}")
    for i, (name, shape) in enumerate(bodies):
        for other_name, other in bodies[i + 1 :]:
            if abs(joint_of(shape) - joint_of(other)) > given.apart:
                keep_apart(shape, other, f"{name}-{other_name}")
    return _Scene(model, model.createData(), shapes, shapes.createData(), pairs)


def _levers(model: PinObject, shapes: PinObject) -> Vector:
    """By joint, no point of the robot is farther from its axis than this: ``(N,)`` m."""
    beyond = np.zeros(model.njoints)
    for shape in shapes.geometryObjects:
        if shape.parentJoint:
            size = float(np.linalg.norm(shape.placement.translation)) + float(
                getattr(shape.geometry, "radius", 0.0)
            )
            beyond[shape.parentJoint] = max(beyond[shape.parentJoint], size)
    for joint in range(model.njoints - 1, 0, -1):
        parent = model.parents[joint]
        offset = float(np.linalg.norm(model.jointPlacements[joint].translation))
        beyond[parent] = max(beyond[parent], offset + beyond[joint])
    return beyond[1:]


def _rounding(shapes: PinObject) -> Vector:
    """By pair, the radius that one passes the other with, ``(P,)`` m: of two spheres, their sum."""
    radii = []
    for pair in shapes.collisionPairs:
        ends = [shapes.geometryObjects[shape].geometry for shape in (pair.first, pair.second)]
        flat = any(hasattr(end, "n") for end in ends)  # a wall
        radii.append(np.inf if flat else sum(getattr(end, "radius", 0.0) for end in ends))
    return np.array(radii)


def _most_missed(moved_m: Vector, turned: Vector, rounding_m: Vector) -> Vector:
    """How much less the room may be between two looks than on the straight line through both, m.

    Any point moves at most l = levers · angles. Its way is bent away from the straight one by at
    most l · (sum of angles)/8, and the straight one passes a rounding of radius r (a sphere past an
    edge) nearer by at most l²/8r than at its ends. Both come from the largest second derivative
    there can be, which a parabola has everywhere.
    """
    return np.asarray(moved_m * np.minimum(0.5, (turned + moved_m / rounding_m) / 8.0))
