"""What agent and collector share: catalogues, records and messages, topics, the fleet file."""

VERSION = "0.1.0"
"""Of the product; pyproject.toml reads it here. ``importlib.metadata`` would cost an agent half a megabyte to ask."""
