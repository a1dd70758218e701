"""The short form of ``make api``: requests made of the API's own document, to a real collector."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.accounts.roles import Role
from tests.api_requests import ask, collector, token


@pytest.mark.timeout(600)
def test_answers_are_what_the_document_says(tmp_path: Path) -> None:
    shares: dict[Role, float] = {"engineer": 8.0, "viewer": 4.0}
    with collector(tmp_path) as (address, store):
        for role, seconds in shares.items():
            found, wrong = ask(tmp_path, address, token(store, role), seconds, seed=1)
            while not wrong and not found["test_cases"]["generated"] and seconds < 60:
                seconds *= 2  # they were over before it had begun
                found, wrong = ask(tmp_path, address, token(store, role), seconds, seed=1)
            assert wrong == ""
            assert found["test_cases"]["generated"] > 0
            assert (found["errors"], found["operations"]["selected"]) == ([], found["operations"]["total"] - 1)
