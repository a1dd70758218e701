"""A day with outages of the centre, recorded in a database and judged again from it alone (``make replay``: three)."""

from __future__ import annotations

from pathlib import Path

from tests.replayed.days import go_through


def test_a_recorded_day_is_the_same_and_another_rule_makes_the_difference_that_was_written_down(tmp_path: Path) -> None:
    again = go_through(1, f"sqlite:///{tmp_path / 'collector.db'}", seed=1)
    assert again.records > 20_000
    assert again.tickets > 4
    assert list(again.wrong(1)) == []
