"""When and what an agent is told (docs/architecture.md, End-to-end acknowledgement)."""

from hypothesis import given
from hypothesis import strategies as st

from collector.site.receipts import NO_CLOCK, Birthday, Receipts
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, Needed, encode
from telemetry.topics import AgentName

AGENT = AgentName("north", "amb-3", "router")
RUN = "00000000000000aa"
OLD = "00000000000000bb"
NOTHING = Intervals()


def _committed(seen: dict[str, Intervals], lost: dict[str, Intervals] | None = None):  # type: ignore[no-untyped-def]
    return lambda run: (seen.get(run, NOTHING), (lost or {}).get(run, NOTHING))


def test_nothing_is_said_before_a_birth() -> None:
    receipts = Receipts(epoch=4)
    receipts.changed(AGENT)
    receipts.lack(AGENT, RUN, ["abcdef"])
    assert receipts.due(10**9) == []


def test_a_birth_is_answered_at_once_and_by_its_name() -> None:
    receipts = Receipts(epoch=4, interval_ms=30_000)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 0, OLD: 5}))
    assert receipts.due(0) == [AGENT]
    seen = {RUN: Intervals([(0, 3)]), OLD: Intervals([(0, 9), (12, 12)])}
    run, receipt = receipts.make(AGENT, _committed(seen), 0)
    assert run == RUN
    assert receipt.epoch == 4
    assert receipt.birth == (RUN, 1)
    assert receipt.runs == {RUN: [(0, 3)], OLD: [(0, 9), (12, 12)]}
    assert receipts.due(0) == []
    receipts.born(AGENT, Birthday(RUN, 2, {RUN: 0}))
    assert receipts.due(1) == [AGENT], "the next birth is fresh too, however soon it comes"
    assert receipts.make(AGENT, _committed(seen), 1)[1].birth == (RUN, 2)


def test_on_change_at_most_every_thirty_seconds() -> None:
    receipts = Receipts(epoch=1, interval_ms=30_000)
    receipts.born(AGENT, Birthday(RUN, 1, {}))
    told = []
    for second in range(100):
        if second < 70:
            receipts.changed(AGENT)
        if receipts.due(second * 1000):
            receipts.make(AGENT, _committed({}), second * 1000)
            told.append(second)
    assert told == [0, 30, 60, 90], "the last one tells what changed up to 69 s"


def test_what_is_needed_is_named_until_it_comes() -> None:
    receipts = Receipts(epoch=1, interval_ms=0)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 0}))
    receipts.lack(AGENT, RUN, ["zzzzzz", "aaaaaa"], [NO_CLOCK])
    receipts.lack(AGENT, RUN, [], [2])
    assert receipts.make(AGENT, _committed({}), 0)[1].needed == {RUN: Needed(("aaaaaa", "zzzzzz"), (-1, 2))}
    receipts.supplied(AGENT, RUN, ["zzzzzz"], [NO_CLOCK, 0, 2])
    receipts.changed(AGENT)
    assert receipts.make(AGENT, _committed({}), 1)[1].needed == {RUN: Needed(("aaaaaa",), ())}
    receipts.supplied(AGENT, RUN, ["aaaaaa"], [])
    assert receipts.make(AGENT, _committed({}), 2)[1].needed == {}


def test_what_is_lost_is_not_waited_for_and_closes_the_gap() -> None:
    receipts = Receipts(epoch=1)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 0}))
    seen = {RUN: Intervals([(0, 4), (8, 9)])}
    assert receipts.make(AGENT, _committed(seen, {RUN: Intervals([(5, 7)])}), 0)[1].runs == {RUN: [(0, 9)]}
    assert seen[RUN] == Intervals([(0, 4), (8, 9)]), "what was seen stays apart"


def test_what_is_not_committed_is_named_apart_and_that_is_bounded_by_naming_more() -> None:
    receipts = Receipts(epoch=1)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 6}))
    seen = {RUN: Intervals([(0, 4), (8, 9), (20, 20)])}
    receipt = receipts.make(AGENT, _committed(seen, {RUN: Intervals([(5, 7), (9, 12)])}), 0)[1]
    assert receipt.runs == {RUN: [(0, 12), (20, 20)]}
    assert receipt.uncommitted == {RUN: [(5, 7), (10, 12)]}
    assert b"uncommitted" not in encode(PLAIN, RUN, receipts.make(AGENT, _committed(seen), 0)[1])
    odd = Intervals((n, n) for n in range(1, 40_001, 2))
    even = {RUN: Intervals((n, n) for n in range(0, 40_001, 2))}
    receipts.born(AGENT, Birthday(RUN, 2, {RUN: 0}))
    receipt = receipts.make(AGENT, _committed(even, {RUN: odd}), 0)[1]
    assert receipt.runs == {RUN: [(0, 40_000)]}
    assert receipt.uncommitted
    assert len(receipt.uncommitted[RUN]) < 10_000
    assert not odd.minus(Intervals(receipt.uncommitted[RUN])), "all that is not committed"


def test_at_most_256_intervals_lowest_first_and_none_that_the_agent_no_longer_holds() -> None:
    receipts = Receipts(epoch=1)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 100}))
    seen = Intervals([(n, n) for n in range(0, 2000, 2)])
    pairs = receipts.make(AGENT, _committed({RUN: seen}), 0)[1].runs[RUN]
    assert pairs == [(n, n) for n in range(100, 100 + 512, 2)]


@given(st.sets(st.integers(0, 600)), st.sets(st.integers(0, 600)), st.integers(0, 600))
def test_a_receipt_never_names_what_is_neither_seen_nor_lost(seen: set[int], lost: set[int], first: int) -> None:
    receipts = Receipts(epoch=1)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: first}))
    committed = _committed({RUN: Intervals((n, n) for n in seen)}, {RUN: Intervals((n, n) for n in lost)})
    named = set(Intervals(receipts.make(AGENT, committed, 0)[1].runs[RUN]))
    assert named <= seen | lost
    assert {n for n in seen | lost if n >= first} <= named


def test_a_receipt_fits_into_a_packet_however_many_runs_are_held() -> None:
    receipts = Receipts(epoch=1)
    held = {f"{n:016x}": 0 for n in range(5_000)}
    receipts.born(AGENT, Birthday(RUN, 1, held))
    pieces = Intervals([(n, n) for n in range(0, 400, 2)])
    receipt = receipts.make(AGENT, lambda run: (pieces, NOTHING), 0)[1]
    assert sum(len(pairs) for pairs in receipt.runs.values()) == 10_000
    assert receipt.runs[RUN] == [(n, n) for n in range(0, 400, 2)], "the present run comes first"
    assert len(encode(PLAIN, RUN, receipt)) < 256 * 1024


def test_a_receipt_can_be_made_as_small_as_the_broker_takes_it() -> None:
    seen = {RUN: Intervals([(number * 3, number * 3 + 1) for number in range(200)])}
    receipts = Receipts(epoch=1)
    receipts.born(AGENT, Birthday(RUN, 1, {RUN: 0}))
    _, receipt = receipts.make(AGENT, _committed(seen), 0, 10)
    assert receipt.runs == {RUN: [(number * 3, number * 3 + 1) for number in range(10)]}, "the lowest: they go first"


def test_a_clock_that_was_set_back_holds_up_nobody_and_asking_again_tells_the_same() -> None:
    receipts = Receipts(1, 30_000)
    receipts.born(AGENT, Birthday(RUN, 1, {}))
    receipts.make(AGENT, _committed({}), 1_000_000)
    receipts.changed(AGENT)
    assert receipts.due(1_029_999) == []
    assert receipts.due(1_030_000) == [AGENT] == receipts.due(1_030_000)
    receipts.make(AGENT, _committed({}), 1_030_000)
    receipts.changed(AGENT)
    assert receipts.due(1_040_000) == []
    assert receipts.due(500_000) == [AGENT], "what was told in the clock's future"
    receipts.make(AGENT, _committed({}), 500_000)
    assert receipts.due(10_000_000) == []


def test_to_ask_costs_by_who_is_due_and_not_by_the_fleet() -> None:
    receipts = Receipts(1, 30_000)
    agents = [AgentName("north", f"v{number}", "router") for number in range(2_000)]
    for number, agent in enumerate(agents):
        receipts.born(agent, Birthday(RUN, 1, {}))
        assert receipts.due(number) == [agent]
        receipts.make(agent, _committed({}), number)
        receipts.changed(agent)
    receipts._agents = _Counted(receipts._agents)
    assert receipts.due(29_999) == []
    assert receipts.due(30_001) == agents[:2]
    assert receipts._agents.asked == 2


class _Counted(dict):  # type: ignore[type-arg]
    asked = 0

    def __getitem__(self, key: object) -> object:
        self.asked += 1
        return super().__getitem__(key)

    def items(self) -> object:  # type: ignore[override]
        self.asked += len(self)
        return super().items()
