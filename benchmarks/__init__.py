"""Measurements: each module is a script that anyone can run."""
