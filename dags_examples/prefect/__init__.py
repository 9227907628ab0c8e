"""Example flows."""
