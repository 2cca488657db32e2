"""Record the topics of a run to an MCAP bag: `ros2 launch foresee record.launch.py path:=DIR`.

With the robot's file (`params_file:=FILE`) its topics are found under the robot's own names. A
recorder that dies is started again, into a folder of its own beside the first.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("path", description="folder of the new bag (-2, … if it exists)"),
    DeclareLaunchArgument(
        "topics",
        default_value="",
        description="such as [joint_states, odom]; empty: all known ones",
    ),
    DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution(
            [FindPackageShare("foresee"), "config", "robots", "panda_sim.yaml"]
        ),
        description="the robot: what it calls its topics, which commands it takes",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="of the robot to record"),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="take the time from /clock"
    ),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    # The file, then what overrides it: as -p, for a dictionary becomes a parameter file, which the
    # supervisor's nodes would read too.
    file = ["--params-file", LaunchConfiguration("params_file")]
    recorder = [
        *("settings:=['recorder_node.path:=", LaunchConfiguration("path")),
        *("', 'recorder_node.topics:=", LaunchConfiguration("topics"), "']"),
    ]
    sim_time = ["use_sim_time:=", LaunchConfiguration("use_sim_time")]
    supervisor = Node(
        package="foresee",
        executable="supervisor_node",
        name="recorder_supervisor",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        ros_arguments=[*file, "-p", "nodes:=['recorder_node']", "-p", recorder, "-p", sim_time],
    )
    return LaunchDescription([*ARGUMENTS, supervisor])
