"""Agent and command node for a robot: `ros2 launch foresee robot.launch.py params_file:=FILE`.

FILE says all that differs between robots: copy the nearest of `config/robots/` and edit it.
The supervisor starts the nodes, starts again what dies and stops the robot when `command_node` is
lost. Begin with `shadow: true` in that file; docs/hardware.md goes through it step by step.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("params_file", description="the robot: your copy of one of these files"),
    DeclareLaunchArgument(
        "bundle",
        default_value="",
        description="folder of the world model; empty: what the file says",
    ),
    DeclareLaunchArgument(
        "remappings",
        default_value="['']",
        description="topics of the robot, before the file's: ['scene/image_raw:=/cam/image']",
    ),
    DeclareLaunchArgument(
        "namespace", default_value="", description="of all names, where there are several robots"
    ),
    DeclareLaunchArgument(
        "use_sim_time", default_value="false", description="take the time from /clock"
    ),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    # The file, then what overrides it: as -p, for a dictionary becomes a parameter file, which the
    # supervisor's nodes would read too.
    file = ["--params-file", LaunchConfiguration("params_file")]
    bundle = ["settings:=['agent_node.bundle:=", LaunchConfiguration("bundle"), "']"]
    remappings = ["remappings:=", LaunchConfiguration("remappings")]
    sim_time = ["use_sim_time:=", LaunchConfiguration("use_sim_time")]
    supervisor = Node(
        package="foresee",
        executable="supervisor_node",
        name="supervisor_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        ros_arguments=[*file, "-p", bundle, "-p", remappings, "-p", sim_time],
    )
    return LaunchDescription([*ARGUMENTS, supervisor])
