"""Record the topics of a run to an MCAP bag: `ros2 launch foresee record.launch.py path:=DIR`.

A recorder that dies is started again, into a folder of its own beside the first.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("path", description="folder of the new bag (-2, … if it exists)"),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    path = ["settings:=['recorder_node.path:=", LaunchConfiguration("path"), "']"]
    supervisor = Node(
        package="foresee",
        executable="supervisor_node",
        name="recorder_supervisor",
        output="screen",
        ros_arguments=["-p", "nodes:=['recorder_node']", "-p", path],
    )
    return LaunchDescription([*ARGUMENTS, supervisor])
