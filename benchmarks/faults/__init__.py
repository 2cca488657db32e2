"""Fault campaign: what the robot is told when something of the graph goes wrong."""
