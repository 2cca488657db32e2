"""The objective-driven agent: perception, memory, costs and a planner over a world model."""
