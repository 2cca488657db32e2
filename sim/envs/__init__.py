"""The environments, one a file."""
