"""Agent and command node for a robot that runs already: `ros2 launch foresee robot.launch.py …`.

The robot's side must give camera frames, joint states and the tool pose, and take TwistStamped
commands as MoveIt Servo does. What differs between robots is in `params_file` (start from
`config/robot.yaml`) and in the topic arguments.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("bundle", description="folder of the world model bundle"),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([FindPackageShare("foresee"), "config", "robot.yaml"]),
        description="parameters of agent_node and command_node: limits, frames, rates",
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="scene/image_raw",
        description="the camera the bundle calls `scene`",
    ),
    DeclareLaunchArgument(
        "goal_topic", default_value="scene/goal_image", description="goal images, latched"
    ),
    DeclareLaunchArgument(
        "joint_topic", default_value="joint_states", description="JointState of the robot"
    ),
    DeclareLaunchArgument(
        "pose_topic", default_value="tool_pose", description="PoseStamped of the tool"
    ),
    DeclareLaunchArgument(
        "command_topic",
        default_value="servo_node/delta_twist_cmds",
        description="TwistStamped input of the robot",
    ),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    params_file = LaunchConfiguration("params_file")
    pose = ("tool_pose", LaunchConfiguration("pose_topic"))
    command = ("servo_node/delta_twist_cmds", LaunchConfiguration("command_topic"))
    bundle = ParameterValue(LaunchConfiguration("bundle"), value_type=str)
    agent = Node(
        package="foresee",
        executable="agent_node",
        name="agent_node",
        output="screen",
        parameters=[params_file, {"bundle": bundle}],
        remappings=[
            pose,
            command,
            ("joint_states", LaunchConfiguration("joint_topic")),
            ("scene/image_raw", LaunchConfiguration("image_topic")),
            ("scene/goal_image", LaunchConfiguration("goal_topic")),
        ],
    )
    commands = Node(
        package="foresee",
        executable="command_node",
        name="command_node",
        output="screen",
        parameters=[params_file],
        remappings=[pose, command],
        additional_env={"OMP_NUM_THREADS": "1"},
    )
    return LaunchDescription([*ARGUMENTS, agent, commands])
