"""Mutation of the shipped rules and the topology: whatever is taken away, some scenario notices (docs/drills.md)."""
