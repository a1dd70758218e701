"""From records to payloads: what goes into which message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from agent.uplink.resend import Need
from telemetry.intervals import Intervals
from telemetry.message import MAX_PAYLOAD, Placed, encode, moments
from telemetry.records import Record, Sample, Schema

SCHEMA_BYTES: Final = 100_000
"""Schemas in one message, in bytes of JSON."""


def numbers_of(records: Sequence[Record]) -> Intervals:
    """Return the sequence numbers of records."""
    numbers = Intervals()
    for record in records:
        numbers.add(record.sequence)
    return numbers


def packed(format: int, run: str, placed: Sequence[Placed]) -> list[tuple[Sequence[Placed], bytes]]:
    """Return one run's records with their payloads, halved until each fits into a message."""
    payload = encode(format, run, moments(placed), numbers_of([one.record for one in placed]))
    if len(payload) <= MAX_PAYLOAD or len(placed) == 1:
        return [(placed, payload)]
    middle = len(placed) // 2
    return packed(format, run, placed[:middle]) + packed(format, run, placed[middle:])


def needs_of(placed: Sequence[Placed]) -> list[Need]:
    """Return which records need which schema and clock."""
    found: dict[tuple[str | None, int | None], Intervals] = {}
    for one in placed:
        schema = one.record.schema if isinstance(one.record, Sample) else None
        found.setdefault((schema, one.clock), Intervals()).add(one.record.sequence)
    return [Need(schema, clock, numbers) for (schema, clock), numbers in found.items()]


def portions(schemas: Mapping[str, Schema]) -> list[dict[str, Schema]]:
    """Return schemas in portions that fit into a message each; one empty portion if there are none."""
    found: list[dict[str, Schema]] = [{}]
    size = 0
    for name, schema in schemas.items():
        more = len(msgspec.json.encode(schema))
        if found[-1] and size + more > SCHEMA_BYTES:
            found.append({})
            size = 0
        found[-1][name] = schema
        size += more
    return found
