"""The Panda of pybullet_data with everything to run into, for measuring and testing the filter."""

from pathlib import Path

import numpy as np
import pybullet_data

from controller.braking import AxisLimits
from controller.kinematics import Kinematics
from controller.limits import Box, Sphere
from controller.motion_filter import MotionLimits
from controller.surroundings import Body, Surroundings

JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
HOME = np.array([0.0, -0.6, 0.0, -2.4, 0.0, 1.8, np.pi / 4])
URDF = (Path(pybullet_data.getDataPath()) / "franka_panda" / "panda.urdf").read_text()
TOOL = "panda_grasptarget"
DT_S = 0.01
MARGIN_M = 0.01

BODIES = (
    *(Body(f"panda_link{i}", (0.0, 0.0, 0.0), 0.06) for i in (0, 2, 3, 4, 5, 6, 7)),
    Body("panda_hand", (0.0, 0.0, 0.05), 0.06),
)
SURROUNDINGS = Surroundings(
    workspace=Box((0.2, -0.5, 0.02), (0.8, 0.5, 0.8)),
    keep_out_spheres=(Sphere((0.55, 0.2, 0.3), 0.08),),
    keep_out_boxes=(Box((0.6, -0.4, 0.0), (0.8, -0.2, 0.3)),),
    bodies=BODIES,
    margin_m=MARGIN_M,
)


def panda_arm(surroundings: Surroundings = SURROUNDINGS) -> Kinematics:
    """Its kinematics, told to keep the orientation it has at home."""
    kinematics = Kinematics(URDF, JOINTS, TOOL, surroundings, HOME)
    kinematics.hold_orientation(HOME)
    return kinematics


def panda_limits(tool_speed_m_s: float = 0.5, jerk_share: float = 1.0) -> MotionLimits:
    """Of the data sheet of the real arm (libfranka), positions a little inside."""
    return MotionLimits(
        JOINTS,
        AxisLimits(
            [2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61],
            [15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0],
            jerk_share * np.array([7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0]),
        ),
        np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]),
        np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]),
        tool_speed_m_s,
    )
