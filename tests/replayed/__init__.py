"""Days with outages, recorded in a database and judged again: byte for byte, and by one other rule (docs/drills.md)."""
