"""Thin ROS 2 nodes around the agent and the simulator: messages, timing, lifecycle."""
