"""The command line of foresee; it wires the other packages and has no logic of its own."""
