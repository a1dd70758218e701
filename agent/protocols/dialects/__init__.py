"""Modem dialects: reply lines in, readings and flags out. No I/O; see ``registry`` for where to begin."""
