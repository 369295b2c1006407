"""The public names of the core."""
