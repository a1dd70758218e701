"""Vehicles that come back at once after an outage: the short form of ``make forks`` (docs/decisions/0065)."""

from __future__ import annotations

from bench.forks import run


def test_each_vehicle_ends_as_if_its_records_had_come_one_at_a_time() -> None:
    """A real broker, a real collector; ten vehicles, twenty minutes without contact, judged six times faster."""
    found = run(vehicles=10, minutes=20, speed=6.0)
    assert found["forks_given_up"] == 0
    assert found["compared"] == 10
    assert found["not_the_same"] == []
