"""The whole graph in simulation: `ros2 launch foresee sim.launch.py bundle:=DIR`.

Then `ros2 service call /command_node/arm std_srvs/srv/SetBool "{data: true}"` and publish a goal
image on `/scene/goal_image`. Without ROS 2 from apt: `foresee run --ros`.
"""

from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = [
    DeclareLaunchArgument("bundle", description="folder of the world model bundle"),
    DeclareLaunchArgument(
        "agent_config", default_value="", description="YAML file of the agent; empty: the bundle's"
    ),
    DeclareLaunchArgument(
        "env_id", default_value="foresee/Reach-v0", description="simulated world"
    ),
    DeclareLaunchArgument("seed", default_value="0", description="seed of the world's reset"),
    DeclareLaunchArgument(
        "image_size", default_value="64", description="image height and width, pixels"
    ),
]


def typed(name, kind):
    """A launch argument as a parameter of a type; without it ROS guesses from the text."""
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def generate_launch_description():
    """What `ros2 launch` runs."""
    simulator = Node(
        package="foresee",
        executable="sim_node",
        name="sim_node",
        output="screen",
        parameters=[
            {
                "env_id": typed("env_id", str),
                "seed": typed("seed", int),
                "image_size": typed("image_size", int),
            }
        ],
    )
    agent = Node(
        package="foresee",
        executable="agent_node",
        name="agent_node",
        output="screen",
        parameters=[{"bundle": typed("bundle", str), "agent_config": typed("agent_config", str)}],
        additional_env={"OMP_NUM_THREADS": "1"},
    )
    commands = Node(
        package="foresee",
        executable="command_node",
        name="command_node",
        output="screen",
        additional_env={"OMP_NUM_THREADS": "1"},
    )
    return LaunchDescription([*ARGUMENTS, simulator, agent, commands])
