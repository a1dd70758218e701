"""Inputs: each polls one device and yields readings, nothing else."""
