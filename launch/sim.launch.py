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
    DeclareLaunchArgument(
        "namespace", default_value="", description="of all names, where there are several robots"
    ),
    DeclareLaunchArgument("seed", default_value="0", description="seed of the world's reset"),
    DeclareLaunchArgument(
        "image_size", default_value="64", description="image height and width, pixels"
    ),
    DeclareLaunchArgument(
        "sim_time", default_value="false", description="the world's time is that of all nodes"
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
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        parameters=[
            {
                "env_id": typed("env_id", str),
                "seed": typed("seed", int),
                "image_size": typed("image_size", int),
                "publish_clock": typed("sim_time", bool),
            }
        ],
    )
    # As -p: a dictionary becomes a parameter file, which the supervisor's nodes would read too.
    agent = [
        *("settings:=['agent_node.bundle:=", LaunchConfiguration("bundle")),
        *("', 'agent_node.agent_config:=", LaunchConfiguration("agent_config"), "']"),
    ]
    sim_time = ["use_sim_time:=", LaunchConfiguration("sim_time")]
    supervisor = Node(
        package="foresee",
        executable="supervisor_node",
        name="supervisor_node",
        namespace=LaunchConfiguration("namespace"),
        output="screen",
        ros_arguments=["-p", agent, "-p", sim_time],
    )
    return LaunchDescription([*ARGUMENTS, simulator, supervisor])
