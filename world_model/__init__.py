"""Hold camera streams, learn a world model from them, run it."""
