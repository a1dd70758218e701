"""When vehicles want to be looked at: whatever is asked, the soonest is first and nobody is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.site.wakes import Wakes

NAMES = st.sampled_from([f"amb-{number}" for number in range(6)])
TIMES = st.none() | st.integers(0, 50)


@given(st.lists(st.dictionaries(NAMES, TIMES, max_size=4), max_size=80), st.integers(0, 50))
def test_it_is_as_a_table_that_is_searched(updates: list[dict[str, int | None]], now_ms: int) -> None:
    wakes, table = Wakes(), {}
    for update in updates:
        wakes.update(update)
        table.update(update)
        known = [time_ms for time_ms in table.values() if time_ms is not None]
        assert wakes.next_ms() == min(known, default=None)
        due = {name for name, time_ms in table.items() if time_ms is not None and time_ms <= now_ms}
        assert sorted(wakes.due(now_ms)) == sorted(due)


def test_what_is_out_of_date_does_not_pile_up() -> None:
    wakes = Wakes(["amb-1"])
    for time_ms in range(10_000):
        wakes.update({"amb-1": time_ms})
    assert len(wakes._row) < 200


def test_everybody_is_looked_at_after_the_clock_was_set() -> None:
    wakes = Wakes(["amb-1", "amb-2"])
    wakes.update({"amb-1": 5_000, "amb-2": None})
    assert list(wakes.due(1_000)) == []
    wakes.all_at_once()
    assert sorted(wakes.due(1_000)) == ["amb-1", "amb-2"]
