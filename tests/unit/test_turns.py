"""Whose message is taken next: by records, whatever is in the others' queues."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.site.quotas import Quotas
from collector.site.turns import MOST_DEBT, QUANTUM, Turns, least_weight_of, vehicle_of, weight_of
from telemetry.intervals import Intervals
from telemetry.message import PLAIN, encode

QUOTAS = Quotas(records=10_000, records_per_s=100, waiting_records=5_000, waiting_bytes=1_000)


def line_up(turns: Turns[str], vehicle: str, weight: int, item: str, size: int = 1, now_s: float = 0.0) -> bool:
    admitted = turns.admit(vehicle, weight, size, now_s) is None
    if admitted:
        turns.put(vehicle, weight, size, item)
    return admitted


def everything(turns: Turns[str]) -> list[str]:
    return [turns.take() for _ in range(len(turns))]


def test_one_message_beside_a_flood_waits_for_one_turn() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    for number in range(500):
        assert line_up(turns, "flood", 10, f"flood-{number}")
    assert line_up(turns, "neighbour", 10, "neighbour")
    assert everything(turns).index("neighbour") <= QUANTUM // 10


def test_what_is_live_does_not_wait_for_the_backlog_of_its_vehicle() -> None:
    """All vehicles of a site come back at once, each with an hour of records: what they say now comes first."""
    turns: Turns[str] = Turns(QUOTAS)
    for number in range(10):
        for vehicle in range(20):
            assert turns.admit(f"v{vehicle}", 200, 1, 0.0) is None
            turns.put(f"v{vehicle}", 200, 1, f"backlog-{vehicle}-{number}", is_backlog=True)
    for vehicle in range(20):
        line_up(turns, f"v{vehicle}", 8, f"live-{vehicle}")
    order = everything(turns)
    assert max(order.index(f"live-{vehicle}") for vehicle in range(20)) < 40
    assert [one for one in order if one.startswith("backlog-3-")] == [f"backlog-3-{n}" for n in range(10)]


def test_turns_go_by_records_and_not_by_messages() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    for number in range(5):
        line_up(turns, "large", 1_000, f"large-{number}")
    for number in range(50):
        line_up(turns, "small", 10, f"small-{number}")
    order = everything(turns)
    assert order.index("large-0") >= 50, "a thousand records wait for ten turns, in which another has as many"
    assert [one for one in order if one.startswith("large")] == [f"large-{n}" for n in range(5)]


def test_what_was_dearer_than_it_said_is_owed() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    for number in range(10):
        line_up(turns, "dear", 1, f"dear-{number}")
    for number in range(300):
        line_up(turns, "cheap", 1, f"cheap-{number}")
    assert turns.take() == "dear-0"
    assert turns.charge("dear", 1, 0.025) == []
    order = everything(turns)
    assert order.index("dear-1") >= 200


def test_who_takes_too_much_cpu_waits_no_more_until_it_is_paid() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    for number in range(5):
        line_up(turns, "dear", 1, f"dear-{number}")
    line_up(turns, "other", 1, "other")
    assert turns.take() == "dear-0"
    assert turns.charge("dear", 1, 0.3) == []
    assert turns.take() == "other", "it owes 3,000 records"
    assert turns.take() == "dear-1"
    assert turns.charge("dear", 1, 0.3) == ["dear-4", "dear-3", "dear-2"]
    assert len(turns) == 0
    assert turns.admit("dear", 1, 1, 1.9) == "cpu_s"
    assert turns.admit("dear", 1, 1, 2.1) is None, "a twentieth of a processor"
    assert turns.charge("other", 1_000, 0.45) == []
    assert turns.admit("other", 1, 1, 2.1) is None, "records are given half a millisecond each"


def test_who_was_alone_owes_little_to_who_comes_later() -> None:
    turns: Turns[str] = Turns(Quotas(waiting_records=10**9, records=10**9))
    for number in range(100):
        line_up(turns, "alone", 5_000, f"alone-{number}")
    for _ in range(99):
        turns.take()
    for number in range(2 * MOST_DEBT // QUANTUM):
        line_up(turns, "new", QUANTUM, f"new-{number}")
    assert "alone-99" in [turns.take() for _ in range(MOST_DEBT // QUANTUM + 60)]


def test_the_bucket_empties_and_fills_again() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    assert [turns.admit("one", 5_000, 1, 0.0) for _ in range(3)] == [None, None, "records"]
    assert turns.admit("other", 5_000, 1, 0.0) is None, "a bucket of its own"
    assert turns.admit("one", 100, 1, 0.9) == "records"
    assert turns.admit("one", 1, 1, 0.9) == "records", "nor is it, while what was wanted is not there"
    assert turns.admit("one", 100, 1, 51.0) is None
    assert turns.admit("one", 10_000, 1, 10**6) is None
    assert turns.admit("one", 1, 1, 10**6) == "records"


def test_what_is_larger_than_the_bucket_goes_through_a_full_one() -> None:
    turns: Turns[str] = Turns(Quotas(records=100, records_per_s=1))
    assert turns.admit("one", 5_000, 1, 0.0) is None
    assert turns.admit("one", 1, 1, 4_000.0) == "records"
    assert turns.admit("one", 1, 1, 5_000.0) is None


def test_what_waits_is_bounded_by_records_and_by_bytes() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    assert line_up(turns, "records", 4_000, "a")
    assert turns.admit("records", 1_001, 1, 0.0) == "waiting_records"
    assert turns.admit("records", 1, 1, 0.0) == "waiting_records", "until something was taken, nothing is weighed"
    turns.take()
    assert turns.admit("records", 1_000, 1, 0.0) is None
    assert line_up(turns, "bytes", 1, "b", size=2_000), "one message always may"
    assert turns.admit("bytes", 1, 1, 0.0) == "waiting_bytes"
    everything(turns)
    assert turns.admit("bytes", 1, 1, 0.0) is None


def test_nothing_waits_after_the_connection_was_lost() -> None:
    turns: Turns[str] = Turns(QUOTAS)
    line_up(turns, "one", 5_000, "a")
    turns.clear()
    assert len(turns) == 0
    assert line_up(turns, "one", 5_000, "b")
    assert everything(turns) == ["b"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5_000)), max_size=60))
def test_whatever_waits_is_taken_once_and_in_its_vehicles_order(messages: list[tuple[str, int]]) -> None:
    turns: Turns[str] = Turns(Quotas(waiting_records=10**9, records=10**9))
    for number, (vehicle, weight) in enumerate(messages):
        line_up(turns, vehicle, weight, f"{vehicle}{number:03}")
    order = everything(turns)
    for vehicle in "abc":
        assert [one for one in order if one[0] == vehicle] == [
            f"{name}{number:03}" for number, (name, _) in enumerate(messages) if name == vehicle
        ]


def test_a_message_counts_for_the_records_that_it_names() -> None:
    assert weight_of(encode(PLAIN, "00000000000000aa", [], Intervals([(0, 9_999)]))) == 10_000
    assert weight_of(encode(PLAIN, "00000000000000aa", {})) == 1
    assert weight_of(b"") == 1
    assert weight_of(encode(PLAIN, "00000000000000aa", {"runs": "x" * 10_000})) == 101, "or for its bytes"


@given(st.lists(st.integers(0, 3), max_size=256), st.binary(max_size=400))
def test_the_least_weight_is_never_more_than_the_weight(gaps: list[int], body: bytes) -> None:
    numbers, at = Intervals(), 0
    for gap in gaps:
        at += gap + 2
        numbers.add(at)
    payload = encode(PLAIN, "00000000000000aa", None, numbers) + body
    assert 1 <= least_weight_of(payload) <= weight_of(payload)


def test_the_vehicle_of_a_topic() -> None:
    assert vehicle_of("kitwatch/v1/up/north/amb-3/router/live") == "amb-3"
    assert vehicle_of("kitwatch/v1/up/north/amb-3/router/live/and/more") == "amb-3"
    assert vehicle_of("kitwatch") == ""
