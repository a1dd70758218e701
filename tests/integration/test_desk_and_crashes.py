"""The short form of ``make desk``: the same runs each time, over both databases, and every mistake is noticed."""

from __future__ import annotations

import pytest

from tests.desk import by_hand
from tests.desk.centre import Found
from tests.desk.faults import FAULTS, unnoticed_cases
from tests.desk.run import databases, run
from tests.services import postgres


def test_every_promise_is_kept_over_sqlite_and_cases_of_the_fold_cannot_be_lacking() -> None:
    """A few runs do not come to every case in a way that shows: the long form does, and asks for all."""
    with databases("sqlite") as source:
        told = run(source, runs=16, steps=50, seed=1)
    assert min(told.crashes, told.takeovers, told.late_commits, told.acts, told.notifications) > 0
    happened, unnoticed = unnoticed_cases(told.histories)
    assert len(happened - unnoticed) >= 10


def test_every_promise_is_kept_over_postgresql(postgres_server: postgres.Postgres) -> None:
    with databases("postgresql", server=postgres_server) as source:
        told = run(source, runs=4, steps=40, seed=1)
    assert told.crashes > 0


@pytest.mark.parametrize("name", FAULTS)
def test_a_mistake_is_noticed(name: str) -> None:
    """Each within a few runs. ``make desk`` makes those of the database over PostgreSQL too."""
    fault = FAULTS[name]
    with databases("sqlite", fault.database) as source, fault.code(), pytest.raises(fault.shows_as):
        run(source, runs=300, steps=50, seed=1)


def test_a_row_of_the_table_that_nobody_wrote_down_here_is_checked_by_the_table_alone() -> None:
    with databases("sqlite") as source, pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_hand, "_CASES", {})
        patch.setattr(by_hand, "NO_FURTHER", ())
        run(source, runs=3, steps=50, seed=1)


def test_what_was_found_tells_the_steps_that_led_there() -> None:
    fault = FAULTS["events may be changed"]
    with databases("sqlite", fault.database) as source, fault.code(), pytest.raises(Found) as caught:
        run(source, runs=50, steps=20, seed=1)
    assert any("state.refused_by_the_database" in note for note in caught.value.__notes__)
