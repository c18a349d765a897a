"""Builds everything from a configuration, starts and stops it in the right order, and counts what became of it."""
