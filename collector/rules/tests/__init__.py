"""Unit tests of the shipped rules: ``kitwatch rules test``."""
