"""Regrouping the log: each record once, in one order, and where a run without clock may lie."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.store.batch import Group, decode_groups, encode
from collector.store.chunks import Kept, Piece, bounds, fold, pieces, unfold
from telemetry.earliest import EARLIEST_MS
from telemetry.message import Moment
from telemetry.records import Clock

CLOCKS = (Clock(0, 1_000, 1_790_000_000_000, "ntp", 5), Clock(1, 50_000, 1_790_000_049_900, "gnss", 1), None)


def pieces_of(records: list[Kept], data: st.DataObject | None = None) -> list[Piece]:
    """Return records as moments, neighbours of one time together as chance has it."""
    found: list[Piece] = []
    for record in records:
        number = None if record.clock is None else record.clock.number
        moment = Moment(record.mono_ms, number, [record.entry])
        last = found[-1] if found else None
        if (
            data is not None
            and last is not None
            and (last.run, last.moment.mono_ms, last.clock) == (record.run, record.mono_ms, record.clock)
            and last.numbers[-1] < record.sequence
            and data.draw(st.booleans())
        ):
            moment = Moment(record.mono_ms, number, [*last.moment.entries, record.entry])
            found[-1] = Piece(record.run, record.lane, [*last.numbers, record.sequence], record.clock, moment)
        else:
            found.append(Piece(record.run, record.lane, [record.sequence], record.clock, moment))
    return found


kept = st.builds(
    lambda run, sequence, clock: Kept(run, "live", sequence, sequence // 3 * 100, clock, ["abc", [sequence]]),
    st.sampled_from(["aa", "bb"]),
    st.integers(0, 30),
    st.sampled_from(CLOCKS),
)
kept_once = st.lists(kept, unique_by=lambda record: (record.run, record.sequence))


@given(kept_once, st.data())
def test_any_order_in_any_portions_gives_the_same_chunk(records: list[Kept], data: st.DataObject) -> None:
    whole = fold("v", "a", pieces_of(records, data))
    assert list(unfold(whole)) == sorted(records, key=lambda record: (record.run, record.sequence))
    order = data.draw(st.permutations(records))
    cut = data.draw(st.integers(0, len(order)))
    first = decode_groups(encode(fold("v", "a", pieces_of(order[:cut], data))))
    again = [*pieces(first), *pieces_of(order[cut:], data), *pieces_of(order[:cut], data)]
    assert fold("v", "a", again) == whole


def test_moments_stay_together() -> None:
    clock = CLOCKS[0]
    assert clock is not None
    group = Group("v", "a", "aa", "live", [(4, 6), (9, 9)], {0: clock}, [
        Moment(100, 0, [["s1", [1]], ["s2", [2]], ["lost", "", {}]]), Moment(200, 0, [["s1", [3]]]),
    ])  # fmt: skip
    assert fold("v", "a", pieces([group])) == [group]
    assert [record.sequence for record in unfold([group])] == [4, 5, 6, 9]


def test_a_run_without_clock_lies_between_its_neighbours() -> None:
    before = {"r2": "r1", "r3": "r2", "r4": "r3", "r1": ""}
    times: dict[str, Any] = {"r1": (1_800_000_000_000, 1_800_000_100_000), "r4": (1_800_000_900_000, 1_800_001_000_000)}
    for run in ("r2", "r3"):
        assert bounds(run, before, times, 1_800_002_000_000) == (1_800_000_100_000, 1_800_000_900_000)
    assert bounds("r9", before, times, 1_800_002_000_000) == (EARLIEST_MS, None)
    assert bounds("r2", {"r2": "r2"}, times, 1_800_002_000_000) == (EARLIEST_MS, None)
    assert bounds("r2", {"r2": "r1", "r1": "r2"}, {}, 1_800_002_000_000) == (EARLIEST_MS, None)
