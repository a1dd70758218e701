"""What holds for all tests: reproducible inputs, and markers that a test gets for what it is."""

from __future__ import annotations

import hypothesis
import pytest

# The same inputs each time, whoever runs them. `make fuzz` asks for the other: new inputs, from a seed that it tells.
hypothesis.settings.register_profile("ci", derandomize=True, database=None, deadline=None, print_blob=True)
hypothesis.settings.register_profile("random", derandomize=False, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark ``fuzz`` whatever Hypothesis makes the inputs of: ``make unit`` leaves it out, ``make test`` runs it."""
    for item in items:
        if isinstance(item, pytest.Function) and hypothesis.is_hypothesis_test(item.obj):
            item.add_marker(pytest.mark.fuzz)
