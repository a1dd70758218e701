"""Mutation of the shipped rules and the topology: whatever is taken away, some scenario must notice (docs/drills.md)."""
