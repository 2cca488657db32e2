"""`command_node` in a process of its own, in front of a robot that is not PyBullet.

The plans come from the test, as does everything that goes wrong. The tests share their robots.
"""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commanded import driven_robots
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String
from trajectory_msgs.msg import JointTrajectory
from waiting import eventually

from controller.kinematics import Kinematics
from controller.types import NS_PER_S
from ros_nodes.convert import TOOL_ACTIONS, ns_to_stamp
from ros_nodes.graph import NodeSpec
from ros_nodes.params import CommandParameters, FakeRobotParameters
from ros_nodes.process_watch import identity
from ros_nodes.robot_model import surroundings
from sim.assets import panda_urdf

ARM = {
    "controller": "arm_controller",
    "tool_frame": "tool",
    "joint_acceleration_rad_s2": (3.0, 1.5, 2.0, 2.5, 3.0, 4.0, 4.0),
    "joint_jerk_rad_s3": (250.0, 125.0, 166.0, 208.0, 250.0, 333.0, 333.0),
    "acceleration_m_s2": (1.0, 1.0, 1.0),
    "jerk_m_s3": (20.0, 20.0, 20.0),
    "bodies": ("panda_link0 0 0 0 0.06", "panda_link4 0 0 0 0.08", "panda_hand 0 0 0.05 0.06"),
    "keep_out": ("sphere 0.5 0.35 0.3 0.05",),
    "robot_delay_s": 0.02,
    "max_plan_age_s": 0.3,  # the test that sends the plans runs on a busy machine too
    "max_pose_age_s": 0.3,
}
ROBOTS = {
    "velocity": CommandParameters(interface="joint_velocity", **ARM),
    "position": CommandParameters(interface="joint_position", **ARM),
    "shadow": CommandParameters(interface="joint_velocity", shadow=True, **ARM),
    "trajectory": CommandParameters(
        interface="joint_trajectory",
        gripper="gripper_controller",
        gripper_joint="panda_finger_joint1",
        **ARM,
    ),
}
DT_S = 0.01


@pytest.fixture(scope="module")
def robots(tmp_path_factory):
    nodes = []
    for name, given in ROBOTS.items():
        robot = FakeRobotParameters(interface=given.interface, gripper=given.gripper)
        nodes.append(NodeSpec("fake_robot_node", robot, namespace=name))
        nodes.append(NodeSpec("command_node", given, namespace=name))
    run_dir = tmp_path_factory.mktemp("robots")
    with driven_robots(nodes, ROBOTS, run_dir) as (graph, robots):
        for robot, driver in zip(robots.values(), graph._running[::2], strict=True):
            robot.driver = driver.process.pid
        yield robots
        assert set(graph.stop().values()) == {0}


def test_arming_is_refused_with_a_reason_and_nothing_is_sent(robots):
    robot = robots["velocity"]
    answer = robot.call("arm")
    assert not answer.success
    assert answer.message.startswith("not armed: the newest plan is")
    time.sleep(0.3)
    assert robot.commands == []


@pytest.mark.parametrize("name", ["velocity", "position"])
def test_the_tool_goes_where_the_plan_says_within_the_limits(robots, name):
    robot = robots[name]
    start, count = robot.tool(), len(robot.commands)
    robot.set_off()
    assert eventually(lambda: robot.tool()[1] < start[1] - 0.08)
    assert np.abs(robot.tool() - start)[[0, 2]].max() < 0.02
    np.testing.assert_allclose(robot.applied, [0.0, -0.1, 0.0], atol=0.02)
    assert robot.status["state"] == "FOLLOWING"
    robot.halt()
    robot.check_limits(count)
    assert not robot.velocities(count)[-1].any()


def test_trajectories_and_the_gripper_follow_the_plan_and_rest_when_disarmed(robots):
    robot = robots["trajectory"]
    start, count = robot.tool(), len(robot.commands)
    assert eventually(lambda: robot.finger_m > 0.039)  # open
    robot.set_off((0.0, -0.1, 0.0, -0.02))
    assert eventually(lambda: robot.tool()[1] < start[1] - 0.08)
    assert eventually(lambda: robot.finger_m < 0.03)
    robot.halt()
    robot.check_limits(count)
    assert not robot.velocities(count)[-1].any()
    sent = np.array([position for _, position in robot.gripper])
    steps = np.diff(sent)
    assert steps.min() >= -robot.given.gripper_speed_m_s * DT_S - 1e-9
    assert sent.min() >= robot.given.gripper_low_m
    np.testing.assert_array_equal(steps[-5:], 0.0)  # with the arm
    finger, count = robot.finger_m, len(robot.gripper)
    time.sleep(0.3)
    assert len(robot.gripper) == count
    assert abs(robot.finger_m - finger) < 2e-3


def test_without_plans_it_brakes_within_the_limits_and_goes_on_with_new_ones(robots):
    robot = robots["velocity"]
    count = len(robot.commands)
    robot.set_off((0.0, 0.1, 0.0))
    robot.wanted = None
    assert eventually(lambda: robot.status["state"] == "PLAN_STALE")
    assert eventually(lambda: not robot.commands[-1][1].any())
    assert robot.status["armed"] == "true"
    robot.wanted = np.array([0.0, 0.1, 0.0])
    assert eventually(lambda: robot.status["state"] == "FOLLOWING")
    robot.halt()
    robot.check_limits(count)


@pytest.mark.parametrize("by", ["topic", "call"])
def test_an_estop_is_zero_at_once_and_stays_until_a_person_clears_it(robots, by):
    robot = robots["velocity"]
    robot.set_off((0.0, -0.1, 0.0) if by == "topic" else (0.0, 0.1, 0.0))
    count = len(robot.commands)
    robot.estop.publish(Bool(data=False))  # does nothing
    time.sleep(0.1)
    assert robot.status["estop"] == "false"
    if by == "topic":
        robot.estop.publish(Bool(data=True))
    else:
        assert robot.call("estop").success
    assert eventually(lambda: robot.status["estop"] == "true")
    assert eventually(lambda: not robot.commands[-1][1].any())
    speeds = np.abs(robot.velocities(count)).max(axis=1)
    first = int(np.flatnonzero(speeds == 0.0)[0])
    assert speeds[first - 1] > 0.02  # no ramp: from full speed to zero in one command
    assert not speeds[first:].any()
    assert robot.status["armed"] == "false"
    answer = robot.call("arm")
    assert not answer.success
    assert "e-stop is latched" in answer.message
    robot.estop.publish(Bool(data=False))
    time.sleep(0.1)
    assert robot.status["estop"] == "true"
    assert robot.call("clear_estop").success
    assert eventually(lambda: robot.status["estop"] == "false")
    time.sleep(0.2)
    assert robot.status["armed"] == "false"  # and it needs a new arm
    robot.halt()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_it_brakes_when_the_process_of_the_agent_is_lost(robots, number):
    robot = robots["velocity"]
    robot.image_age_s = 0.0  # or it would not be trusted to see
    script = (
        "from ros_nodes.process_watch import identity; import time;"
        "print(identity(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as agent:
        robot.agent.publish(String(data=agent.stdout.readline().strip()))
        assert eventually(lambda: robot.status["agent"] == "runs")
        robot.set_off((0.0, -0.1, 0.0) if number == signal.SIGSTOP else (0.0, 0.1, 0.0))
        count, when_s = len(robot.commands), time.monotonic()
        os.kill(agent.pid, number)
        expected = "AGENT_LOST" if number == signal.SIGSTOP else "NOT_ARMED"
        assert eventually(lambda: robot.status["state"] == expected)
        assert eventually(lambda: not robot.commands[-1][1].any())
        times = np.array([t for t, _ in robot.commands[count:]]) - when_s
        speeds = np.abs(robot.velocities(count)).max(axis=1)
        slower = np.flatnonzero(np.diff(speeds) < -1e-3)[0]
        print(f"{number.name}: braking began after {1e3 * times[slower + 1]:.0f} ms")
        assert times[slower + 1] < 0.5  # 0.1 on a machine that is not busy
        robot.check_limits(count)
        if number == signal.SIGSTOP:
            os.kill(agent.pid, signal.SIGCONT)
            assert eventually(lambda: robot.status["state"] == "FOLLOWING")
        else:
            assert robot.status["disarmed_by"] == "the agent's process has ended"
            assert "agent's process" in robot.call("arm").message
        agent.kill()
    robot.halt()
    robot.agent.publish(String(data=identity()))
    assert eventually(lambda: robot.status["agent"] == "runs")


def test_an_old_image_stops_it(robots):
    robot = robots["velocity"]
    robot.image_age_s = 0.0
    robot.set_off((0.0, 0.1, 0.0))
    robot.image_age_s = 3.0
    assert eventually(lambda: robot.status["state"] == "IMAGE_STALE")
    robot.halt()
    robot.image_age_s = -3600.0  # from the future
    robot.wanted = np.zeros(3)
    time.sleep(0.2)
    assert "newest image" in robot.call("arm").message
    robot.image_age_s = 0.0
    robot.wanted = None


def test_it_brakes_when_joint_states_say_nothing_of_its_joints(robots):
    robot = robots["velocity"]
    robot.image_age_s = 0.0
    robot.set_off((0.0, -0.1, 0.0))
    count = len(robot.commands)
    os.kill(robot.driver, signal.SIGSTOP)
    try:
        robot.joints.publish(JointState(name=["elbow"], position=[0.0]))
        assert eventually(lambda: robot.status["state"] == "POSE_STALE")
        assert eventually(lambda: not robot.commands[-1][1].any())
    finally:
        os.kill(robot.driver, signal.SIGCONT)
    robot.check_limits(count)
    assert eventually(lambda: robot.status["state"] != "POSE_STALE")
    robot.halt()


def test_it_keeps_clear_of_what_is_in_the_way(robots):
    robot = robots["position"]
    centre = np.array([0.5, 0.35, 0.3])
    count, first = len(robot.commands), len(robot.places)

    def stands_before_it() -> bool:
        away = centre - robot.tool()
        robot.wanted = 0.15 * away / np.linalg.norm(away)
        kept = any(name.startswith(("clamps.room.", "clamps.shield.")) for name in robot.status)
        stands = np.linalg.norm(robot.applied) < 0.005 and np.linalg.norm(away) < 0.3
        return kept and stands and robot.status["state"] == "FOLLOWING"

    robot.set_off((0.0, 0.1, 0.0))
    assert eventually(stands_before_it)
    robot.check_limits(count)
    given = robot.given
    arm = Kinematics(
        panda_urdf().read_text(),
        given.joint_names,
        given.tool_frame,
        surroundings(given),
        given.home_rad,
    )
    places = np.array(robot.places[first:])
    assert arm.rooms(places[-1][None]).min() < 0.1  # it came near
    # The margin is 1 cm, and the robot is a little behind or ahead of what it is told.
    assert min(arm.rooms(place[None]).min() for place in places) > -0.005
    robot.set_off((0.0, -0.08, 0.0))  # and it comes away from there
    robot.halt()


def test_in_shadow_mode_the_robot_is_told_nothing(robots):
    robot = robots["shadow"]
    start = robot.tool()
    robot.set_off()
    assert eventually(lambda: len(robot.commands) > 50)
    assert robot.real == []
    robot.halt()
    assert np.abs(robot.tool() - start).max() < 2e-3


def test_no_command_comes_of_messages_that_hold_nothing_right(robots):
    robot, rng = robots["position"], np.random.default_rng(0)
    robot.set_off((0.0, 0.08, 0.0))
    count = len(robot.commands)
    names = list(robot.given.joint_names)
    odd = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0]
    for _ in range(300):
        joints = JointState(
            name=list(rng.permutation(names))[: rng.integers(0, 8)],
            position=rng.choice(odd, rng.integers(0, 9)).tolist(),
            velocity=rng.choice(odd, rng.integers(0, 9)).tolist(),
        )
        joints.header.stamp = ns_to_stamp(int(rng.integers(0, 2**31 - 1)) * NS_PER_S)
        robot.joints.publish(joints)
        plan = JointTrajectory(joint_names=[*rng.choice([*TOOL_ACTIONS, "x"], 3).tolist()])
        plan.header.frame_id = str(rng.choice(["", "panda_link0", "moon"]))
        robot.plans.publish(plan)
        robot.agent.publish(String(data=str(rng.choice(["", "1 2", "a b c"]))))
        time.sleep(0.002)
    robot.check_limits(count)
    robot.halt()
    robot.set_off((0.0, -0.08, 0.0))  # and it still works
    robot.halt()
