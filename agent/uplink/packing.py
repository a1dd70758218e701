"""From records to payloads: what goes into which message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from agent.uplink.resend import Need
from telemetry.intervals import Intervals
from telemetry.message import MAX_PAYLOAD, Placed, SchemaBody, encode, moments
from telemetry.records import Record, Sample, Schema

SCHEMA_BYTES: Final = 100_000
"""Schemas in one message, in bytes of JSON: what one asks of a collector at a time."""


def numbers_of(records: Sequence[Record]) -> Intervals:
    """Return the sequence numbers of records."""
    numbers = Intervals()
    for record in records:
        numbers.add(record.sequence)
    return numbers


def packed(
    format: int,
    run: str,
    placed: Sequence[Placed],
    room: int = MAX_PAYLOAD,
    schema_numbers: Mapping[str, int] | None = None,
) -> list[tuple[Sequence[Placed], bytes]]:
    """Return one run's records with their payloads, halved until each has ``room`` bytes at most.

    A record that has more all by itself comes with what it has. ``schema_numbers`` as in ``moments``.
    """
    payload = encode(format, run, moments(placed, schema_numbers), numbers_of([one.record for one in placed]))
    if len(payload) <= room or len(placed) == 1:
        return [(placed, payload)]
    middle = len(placed) // 2
    halves = (packed(format, run, half, room, schema_numbers) for half in (placed[:middle], placed[middle:]))
    return [part for half in halves for part in half]


def packed_schemas(format: int, run: str, body: SchemaBody, room: int = MAX_PAYLOAD) -> list[tuple[SchemaBody, bytes]]:
    """Return schemas and clocks with their payloads, halved until each has ``room`` bytes at most.

    One schema or clock that has more all by itself comes with what it has.
    """
    payload = encode(format, run, body)
    things = len(body.schemas) + len(body.clocks) + len(body.unknown_schemas)
    if len(payload) <= room or things <= 1:
        return [(body, payload)]
    first, rest = _part(body, 0, things // 2), _part(body, things // 2, things)
    return packed_schemas(format, run, first, room) + packed_schemas(format, run, rest, room)


def _part(body: SchemaBody, start: int, end: int) -> SchemaBody:
    """Return a body with some of its schemas, clocks and unknown schemas, counted in this order."""
    schemas = dict(list(body.schemas.items())[start:end])
    start, end = max(start - len(body.schemas), 0), max(end - len(body.schemas), 0)
    clocks = body.clocks[start:end]
    start, end = max(start - len(body.clocks), 0), max(end - len(body.clocks), 0)
    numbers = {} if body.numbers is msgspec.UNSET else body.numbers
    return SchemaBody(
        body.boot,
        schemas,
        clocks,
        body.unknown_schemas[start:end],
        body.no_clock,
        {name: numbers[name] for name in schemas if name in numbers} or msgspec.UNSET,
    )


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
