"""Packaging of foresee: a pip package and, for machines with ROS 2, an ``ament_python`` package."""

from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "train": ["torch", "onnx", "onnxscript", "tensorboard"],
    "data": ["pyarrow", "av", "rosbags", "mcap", "pillow"],
    "sim": ["pybullet", "gymnasium", "fast-simplification"],
    "viz": ["matplotlib"],
    # Kinematics of the command filter; robots that take tool velocities do without.
    "safety": ["pin", "pin-pink", "daqp"],
    # Only for machines without ROS 2: with ROS 2 from apt, use its own rclpy.
    "ros": [
        "ros-jazzy-rclpy[fastrtps]==7.1.6",
        "ros-std-msgs==5.3.6",
        "ros-sensor-msgs==5.3.6",
        "ros-geometry-msgs==5.3.6",
        "ros-trajectory-msgs==5.3.6",
        "ros-diagnostic-msgs==5.3.6",
        "ros-nav-msgs==5.3.6",
        "ros-std-srvs==5.3.6",
        "ros-visualization-msgs==5.3.6",
    ],
    "dev": ["pytest", "pytest-timeout", "coverage", "hypothesis", "ruff", "mypy"],
}
EXTRAS["all"] = [requirement for name in EXTRAS for requirement in EXTRAS[name]]
# Peers to be measured against. Not in "all": their own requirements would change torch, so they are
# installed without them (pip install --no-deps -r benchmarks/peers.txt).
EXTRAS["bench"] = ["pytorch-mppi==0.9.1", "stable-worldmodel==0.1.1", "loguru"]

setup(
    name="foresee",
    version="0.1.0",
    description="Learn a video JEPA world model from robot cameras and plan with it in real time.",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    maintainer="The foresee developers",
    maintainer_email="foresee@example.org",
    python_requires=">=3.11",
    packages=find_packages(
        include=[
            f"{name}{tail}"
            for name in ("foresee", "world_model", "controller", "sim", "ros_nodes")
            for tail in ("", ".*")
        ]
    ),
    package_data={
        "foresee": ["bundles/*/*", "py.typed", "report_page/*.html"],
        "world_model": ["py.typed", "data/*.html"],
        "controller": ["py.typed"],
        "sim": ["py.typed"],
        "ros_nodes": ["py.typed", "*.xml"],
    },
    install_requires=["numpy", "PyYAML", "tyro", "tqdm", "onnxruntime"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "foresee = foresee.cli:main",
            "agent_node = ros_nodes.agent_node:main",
            "command_node = ros_nodes.command_node:main",
            "sim_node = ros_nodes.sim_node:main",
            "explore_node = ros_nodes.explore_node:main",
            "fake_base_node = ros_nodes.fake_base_node:main",
            "fake_robot_node = ros_nodes.fake_robot_node:main",
            "recorder_node = ros_nodes.recorder_node:main",
            "supervisor_node = ros_nodes.supervisor_node:main",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/foresee"]),
        ("share/foresee", ["package.xml"]),
        ("share/foresee/launch", glob("launch/*.launch.py")),
        ("share/foresee/config", glob("config/*.yaml") + glob("config/*.xml")),
        ("share/foresee/config/robots", glob("config/robots/*")),
    ],
)
