"""Record the topics of a run to an MCAP bag: `ros2 launch foresee record.launch.py path:=DIR`."""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("path", description="folder of the new bag (-2, … if it exists)"),
]


def generate_launch_description():
    """What `ros2 launch` runs."""
    path = ParameterValue(LaunchConfiguration("path"), value_type=str)
    recorder = Node(
        package="foresee",
        executable="recorder_node",
        name="recorder_node",
        output="screen",
        parameters=[{"path": path}],
    )
    return LaunchDescription([*ARGUMENTS, recorder])
