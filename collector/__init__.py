"""Runs in the centre: takes records in, judges them, keeps tickets, tells people."""
