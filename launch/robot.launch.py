"""Agent and command node for a robot that runs already: `ros2 launch foresee robot.launch.py …`.

One file in `config/robots/` says all that differs between robots: copy the nearest one and edit it.
The supervisor starts the nodes, starts again what dies and stops the robot when `command_node` is
lost. Begin with `shadow: true` in that file; docs/hardware.md goes through it step by step.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("bundle", description="folder of the world model bundle"),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution(
            [FindPackageShare("foresee"), "config", "robots", "franka_panda.yaml"]
        ),
        description="parameters of all nodes: interface, joints, limits, frames",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="of all names, where there are several robots"
    ),
    DeclareLaunchArgument(
        "camera", default_value="scene", description="the bundle's name of the camera"
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value=[LaunchConfiguration("camera"), "/image_raw"],
        description="its images; JPEG is expected at <this>/compressed",
    ),
    DeclareLaunchArgument(
        "goal_topic",
        default_value=[LaunchConfiguration("camera"), "/goal_image"],
        description="goal images, latched",
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
        description="TwistStamped input of the robot, for the interface twist_stamped",
    ),
    DeclareLaunchArgument(
        "base_command_topic",
        default_value="cmd_vel",
        description="Twist (or TwistStamped) input of a base, for the interface twist",
    ),
    DeclareLaunchArgument("odom_topic", default_value="odom", description="Odometry of a base"),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="take the time from /clock"
    ),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    camera, image = LaunchConfiguration("camera"), LaunchConfiguration("image_topic")
    remappings = [
        ([camera, "/image_raw"], image),
        ([camera, "/image_raw/compressed"], [image, "/compressed"]),
        ([camera, "/goal_image"], LaunchConfiguration("goal_topic")),
        ("joint_states", LaunchConfiguration("joint_topic")),
        ("tool_pose", LaunchConfiguration("pose_topic")),
        ("servo_node/delta_twist_cmds", LaunchConfiguration("command_topic")),
        ("cmd_vel", LaunchConfiguration("base_command_topic")),
        ("odom", LaunchConfiguration("odom_topic")),
    ]
    # As -p: a dictionary becomes a parameter file, which the supervisor's nodes would read too.
    bundle = ["settings:=['agent_node.bundle:=", LaunchConfiguration("bundle"), "']"]
    sim_time = ["use_sim_time:=", LaunchConfiguration("use_sim_time")]
    supervisor = Node(
        package="foresee",
        executable="supervisor_node",
        name="supervisor_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[LaunchConfiguration("params_file")],
        ros_arguments=["-p", bundle, "-p", sim_time],
        remappings=remappings,
    )
    return LaunchDescription([*ARGUMENTS, supervisor])
