"""Protocols without I/O: bytes or facts in, events out, time as an argument."""
