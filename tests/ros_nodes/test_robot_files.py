"""Every robot that is shipped: its file is read, and the filter it makes drives that robot."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from pybullet_data import getDataPath

from controller.command_filter import CommandFilter, CommandState, Situation
from controller.viability import stopping_path
from ros_nodes import params
from ros_nodes.command_interfaces import command_topics, topic
from ros_nodes.robot_file import remapped_names, remapping_arguments
from ros_nodes.robot_model import build_filter, is_joint_interface, read_urdf, surroundings

FOLDER = Path(__file__).parents[2] / "config" / "robots"
ROBOTS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
REAL = [robot for robot in ROBOTS if robot != "panda_sim"]
KINDS = {
    "supervisor_node": params.SupervisorParameters,
    "agent_node": params.AgentParameters,
    "command_node": params.CommandParameters,
}


def parameters(robot: str, node: str = "command_node"):
    content = yaml.safe_load((FOLDER / f"{robot}.yaml").read_text())[f"/**/{node}"][
        "ros__parameters"
    ]
    known = {item.name for item in fields(KINDS[node])}
    assert set(content) <= known
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    result = KINDS[node](**values)
    params.check(result)
    return result


def urdf_of(robot: str, given: params.CommandParameters) -> str | None:
    if not is_joint_interface(given):
        return None
    if robot == "franka_panda":  # in the lab it comes by topic; PyBullet has the same links
        return (Path(getDataPath()) / "franka_panda" / "panda.urdf").read_text()
    return read_urdf(given.robot_description_file)


def test_there_are_the_robots_that_the_documentation_names():
    assert ROBOTS == ["diff_drive", "franka_panda", "panda_sim", "ur5e"]


@pytest.mark.parametrize("robot", ROBOTS)
def test_every_node_of_a_file_is_known_and_right(robot):
    content = yaml.safe_load((FOLDER / f"{robot}.yaml").read_text())
    # A plain name would be passed over in a namespace, and with it `shadow: true`.
    sections = {f"/**/{node}" for node in KINDS}
    assert set(content) == sections - ({"/**/supervisor_node"} if robot == "panda_sim" else set())
    for section in content:
        parameters(robot, section.removeprefix("/**/"))


@pytest.mark.parametrize("robot", REAL)
def test_real_robots_say_what_their_cameras_are_called(robot):
    names = remapped_names(remapping_arguments(parameters(robot, "supervisor_node").remappings))
    assert {"scene/image_raw", "scene/image_raw/compressed", "scene/camera_info"} <= names
    assert names <= set(params.RecorderParameters().topics)  # ours, without a slip of the pen


@pytest.mark.parametrize("robot", REAL)
def test_commands_are_recorded_in_shadow_mode_too(robot):
    given = replace(parameters(robot), gripper="hand")
    expected = {"hand/commands", topic(replace(given, shadow=False))}
    assert command_topics(given) == expected | {f"command_node/shadow/{t}" for t in expected}
    # Those that go to the agent, and that of a base, have the same name on every robot.
    named = {f"command_node/shadow/{t}" for t in ("applied", "applied_gripper", "cmd_vel")}
    assert named <= set(params.RecorderParameters().topics)


@pytest.mark.parametrize("robot", REAL)
def test_real_robots_come_in_shadow_mode_and_slow(robot):
    given = parameters(robot)
    assert given.shadow
    assert given.speed_scale < 0.5


def start_of(given: params.CommandParameters) -> np.ndarray:
    if is_joint_interface(given):
        return np.array(given.home_rad)
    if given.interface == "twist":
        return np.zeros(3)
    return 0.5 * (np.array(given.workspace_low_m) + np.array(given.workspace_high_m))


@pytest.mark.parametrize("robot", ROBOTS)
def test_the_filter_drives_the_robot_and_stays_within_its_limits(robot):
    given = parameters(robot)
    command_filter: CommandFilter = build_filter(given, urdf_of(robot, given))
    limits, dt_s = command_filter.limits, 1.0 / given.rate_hz
    position = start_of(given)
    command_filter.begin(position)
    arm = command_filter._arm
    if arm is not None:
        room, pair = arm.room(position[None])
        assert room > 0.0, pair  # home is a place to begin at
    rng = np.random.default_rng(0)
    before, travelled = command_filter.motion, np.zeros(3)
    for tick in range(400):
        if tick % 50 == 0:
            wanted = rng.uniform(-1.5, 1.5, 3) * np.array(given.speed_m_s)
        situation = Situation(True, wanted, True, 0.05, position, dt_s)
        command = command_filter.tick(situation, tick * dt_s, dt_s)
        assert command.state is CommandState.FOLLOWING
        motion = command.motion
        assert (np.abs(motion.velocity) <= limits.axes.velocity * (1 + 1e-6)).all()
        change = np.abs(motion.velocity - before.velocity) / dt_s
        assert (change <= limits.axes.acceleration * (1 + 1e-6)).all()
        change = np.abs(motion.acceleration - before.acceleration) / dt_s
        assert (change <= limits.axes.jerk * (1 + 1e-6)).all()
        if arm is not None:
            assert arm.room(motion.position[None])[0] >= -1e-6
        position = position + motion.velocity * dt_s
        travelled += np.abs(command_filter.tool_velocity() if arm else motion.velocity) * dt_s
        before = motion
    least = 0.2 * np.array(given.speed_m_s) * given.speed_scale * 400 * dt_s
    assert (travelled > least).all()  # it does move
    assert (stopping_path(before, limits.axes, dt_s) <= limits.high + 1e-6).all()


def test_the_ur5e_is_as_long_as_its_data_sheet_says():
    given = parameters("ur5e")
    arm = build_filter(given, urdf_of("ur5e", given))._arm
    # Stretched out at zero: 0.425 + 0.3922 forwards; 0.1333 + 0.0996 aside; 0.1625 - 0.0997 up.
    tool = arm.tool_position(np.zeros(6))
    np.testing.assert_allclose(tool, [0.8172, 0.2329, 0.0628], atol=1e-4)


@pytest.mark.parametrize("robot", ["franka_panda", "ur5e"])
def test_no_joint_is_asked_to_be_faster_than_its_urdf_says(robot):
    given = replace(parameters(robot), speed_scale=1.0)
    urdf = urdf_of(robot, given)

    def speeds(text):
        return build_filter(given, text).limits.axes.velocity

    shipped = np.array(given.joint_speed_rad_s)
    np.testing.assert_allclose(speeds(urdf), shipped)  # what is shipped agrees with its URDF
    first = f'velocity="{"2.1750" if robot == "franka_panda" else "3.1416"}"'
    np.testing.assert_allclose(
        speeds(urdf.replace(first, 'velocity="1.5"', 1)), [1.5, *shipped[1:]]
    )
    # One that says nothing of it limits nothing.
    np.testing.assert_allclose(speeds(urdf.replace(first, 'velocity="0"')), shipped)


MOUNTED = """<link name="world"/>
  <joint name="mount" type="fixed">
    <parent link="world"/><child link="base_link"/>
    <origin xyz="0.1 -0.3 0.8" rpy="0 0 1.57079633"/>
  </joint>
  <link name="base_link"/>"""


def test_all_places_are_in_the_base_frame_whatever_the_robot_is_mounted_on():
    given = parameters("ur5e")
    urdf = urdf_of("ur5e", given)
    mounted = urdf.replace('<link name="base_link"/>', MOUNTED)
    one, other = (build_filter(given, text)._arm for text in (urdf, mounted))
    assert one.pairs == other.pairs
    rng, wide = np.random.default_rng(0), np.full(6, 2.0)
    for _ in range(20):
        posture = np.array(given.home_rad) + rng.uniform(-0.5, 0.5, 6)
        there = one.tool_position(posture)
        np.testing.assert_allclose(other.tool_position(posture), there, atol=1e-6)
        path = posture + np.array([np.zeros(6), rng.uniform(-0.1, 0.1, 6)])
        np.testing.assert_allclose(other.rooms(path), one.rooms(path), atol=1e-5)
        wanted = rng.uniform(-0.2, 0.2, 3)
        speeds = [arm.solve_tool(posture, wanted, -wide, wide, 0.01) for arm in (one, other)]
        np.testing.assert_allclose(speeds[1].velocity, speeds[0].velocity, atol=1e-4)
    # In the driver's `base`, in which a UR speaks of itself, half a turn away.
    turned = build_filter(replace(given, base_frame="base"), mounted)._arm
    np.testing.assert_allclose(turned.tool_position(posture), there * [-1, -1, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        ("panda_link0", "base_frame 'panda_link0' is not in the robot's URDF, whose root is 'bas"),
        ("wrist_1_link", "base_frame 'wrist_1_link' moves with joint 'wrist_1_joint'"),
    ],
)
def test_a_base_frame_that_cannot_be_one_is_refused(frame, line):
    given = parameters("ur5e")
    with pytest.raises(ValueError, match=line):
        build_filter(replace(given, base_frame=frame), urdf_of("ur5e", given))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"keep_out": ("ball 1 2 3 4",)}, "'ball 1 2 3 4' is neither"),
        ({"keep_out": ("sphere 1 2 3",)}, "'sphere 1 2 3' is neither"),
        ({"keep_out": ("sphere 1 2 3 nan",)}, "is not finite"),
        ({"bodies": ("panda_hand 0 0 0",)}, "is not 'frame x y z radius'"),
        ({"bodies": ("panda_hand 0 0 zero 1",)}, "bodies: 'panda_hand 0 0 zero 1'"),
    ],
)
def test_text_that_cannot_be_read_is_refused(changes, line):
    with pytest.raises(ValueError, match=line):
        surroundings(params.CommandParameters(**changes))


def test_parameters_that_do_not_fit_each_other_are_refused():
    joint = {"interface": "joint_velocity", "controller": "c"}
    urdf = urdf_of("franka_panda", params.CommandParameters(**joint))
    with pytest.raises(ValueError, match="joint_low_rad: 2 numbers for 7 joint_names"):
        build_filter(params.CommandParameters(**joint, joint_low_rad=(0.0, 0.0)), urdf)
    with pytest.raises(ValueError, match="robot_description_file: joint commands need"):
        build_filter(params.CommandParameters(**joint), None)
    for interface in ("twist", "twist_stamped"):
        given = params.CommandParameters(interface=interface, keep_out=("sphere 0.5 0 0.3 0.1",))
        with pytest.raises(ValueError, match=f"keep_out: interface {interface} cannot keep"):
            build_filter(given, None)
    given = params.CommandParameters(gripper="g", gripper_low_m=0.04, gripper_high_m=0.0)
    with pytest.raises(ValueError, match=r"gripper_low_m: 0\.04 is not below"):
        build_filter(given, None)
    for where, reason in (
        ("package://nowhere/x.urdf", "no package 'nowhere'"),
        ("/nowhere.urdf", "No such file"),
    ):
        with pytest.raises(ValueError, match=reason):
            read_urdf(where)


def in_ros_workspace(prefix: Path, package: str, file: str, text: str) -> None:
    marker = prefix / "share" / "ament_index" / "resource_index" / "packages" / package
    path = prefix / "share" / package / file
    for one in (marker, path):
        one.parent.mkdir(parents=True, exist_ok=True)
        one.write_text("")
    path.write_text(text)


def test_files_of_ros_packages_are_found_where_a_workspace_is_sourced(tmp_path, monkeypatch):
    in_ros_workspace(tmp_path, "franka_description", "robots/panda.urdf", "<robot/>")
    in_ros_workspace(tmp_path, "foresee", "config/robots/ur5e.urdf", "<robot name='installed'/>")
    shipped = "package://foresee/config/robots/ur5e.urdf"
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    with pytest.raises(ValueError, match="no package 'franka_description', neither of ROS"):
        read_urdf("package://franka_description/robots/panda.urdf")
    assert read_urdf(shipped) == (FOLDER / "ur5e.urdf").read_text()
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path))
    assert read_urdf("package://franka_description/robots/panda.urdf") == "<robot/>"
    assert read_urdf(shipped) == "<robot name='installed'/>"
    # What no ROS package is, is still looked for in Python.
    assert "panda_link0" in read_urdf("package://pybullet_data/franka_panda/panda.urdf")
