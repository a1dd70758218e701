"""Judging: pure functions of events, context and rules. No I/O, no wall clock."""
