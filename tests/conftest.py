"""Markers that tests get for what they are, so that nobody has to remember them."""

from __future__ import annotations

import hypothesis
import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark ``fuzz`` whatever Hypothesis makes the inputs of: ``make unit`` leaves it out, ``make test`` runs it."""
    for item in items:
        if isinstance(item, pytest.Function) and hypothesis.is_hypothesis_test(item.obj):
            item.add_marker(pytest.mark.fuzz)
