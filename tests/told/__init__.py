"""Faults put into ordinary lives at random: whether each is told as one ticket, by its name, where and when it must."""
