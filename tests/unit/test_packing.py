"""Messages stay under their limit, and nothing falls between two of them."""

from __future__ import annotations

import msgspec

from agent.uplink.packing import SCHEMA_BYTES, needs_of, packed, packed_schemas, portions
from agent.uplink.resend import Need
from telemetry.intervals import Intervals
from telemetry.message import MAX_PAYLOAD, PLAIN, Moment, Placed, SchemaBody, decode, records
from telemetry.records import Clock, Column, Event, Record, Sample, Schema

RUN = "0123456789abcdef"


def test_a_message_that_is_too_long_is_halved_until_it_fits() -> None:
    texts = [f"{number:0128d}" for number in range(50)]
    placed = [Placed(Sample(number * 2, number, "schema", texts), 0) for number in range(200)]
    parts = packed(PLAIN, RUN, placed)
    assert len(parts) == 8  # 1.3 MB in eighths of 164 kB each
    found: list[Record] = []
    for part, payload in parts:
        assert len(payload) <= MAX_PAYLOAD
        header, body = decode(payload, list[Moment])
        assert list(header.sequences) == [one.record.sequence for one in part]
        found += [one.record for one in records(header, body)]
    assert found == [one.record for one in placed]


def test_short_ones_go_together() -> None:
    placed = [Placed(Sample(number, 10, "schema", [1.5]), 0) for number in range(200)]
    assert len(packed(PLAIN, RUN, placed)) == 1


def test_needs_name_schema_and_clock() -> None:
    placed = [
        Placed(Sample(0, 1, "a", []), 0),
        Placed(Sample(1, 1, "b", []), 0),
        Placed(Event(2, 1, "started"), 0),
        Placed(Sample(3, 2, "a", []), 1),
        Placed(Sample(4, 2, "a", []), 0),
    ]
    assert needs_of(placed) == [
        Need("a", 0, Intervals([(0, 0), (4, 4)])),
        Need("b", 0, Intervals([(1, 1)])),
        Need(None, 0, Intervals([(2, 2)])),
        Need("a", 1, Intervals([(3, 3)])),
    ]


def test_schemas_go_in_portions() -> None:
    columns = tuple(Column("interface.up", {"interface": f"{number:0120d}"}) for number in range(300))
    schemas = {f"s{number}": Schema("snmp", f"d{number}", columns) for number in range(5)}  # 46 kB each
    found = portions(schemas)
    assert [len(portion) for portion in found] == [2, 2, 1]
    assert {name for portion in found for name in portion} == set(schemas)
    assert SCHEMA_BYTES < MAX_PAYLOAD
    assert portions({}) == [{}]


def test_records_are_halved_to_the_room_that_the_broker_leaves() -> None:
    placed = [Placed(Sample(number, number, "schema", [float(number)] * 20), 0) for number in range(200)]
    parts = packed(PLAIN, RUN, placed, room=700)
    assert len(parts) > 10
    assert max(len(payload) for _, payload in parts) <= 700
    assert [one for part, _ in parts for one in part] == placed
    ((_, payload),) = packed(PLAIN, RUN, placed[:1], room=20)
    assert len(payload) > 20  # for whoever asked to decide


def test_schemas_clocks_and_what_is_unknown_are_parted_and_all_told() -> None:
    schemas = {f"s{number}": Schema("snmp", f"d{number}", (Column("interface.up"),) * 5) for number in range(9)}
    clocks = tuple(Clock(number, number, 1_800_000_000_000, "ntp", 5) for number in range(30))
    numbers = {name: number for number, name in enumerate(schemas)}
    body = SchemaBody("b" * 32, schemas, clocks, ("gone", "gone too"), True, numbers)
    parts = packed_schemas(PLAIN, RUN, body, room=600)
    assert max(len(payload) for _, payload in parts) <= 600
    told = [decode(payload, SchemaBody)[1] for _, payload in parts]
    assert {name: schema for part in told for name, schema in part.schemas.items()} == schemas
    assert tuple(clock for part in told for clock in part.clocks) == clocks
    assert [name for part in told for name in part.unknown_schemas] == ["gone", "gone too"]
    for part in told:
        assert part.numbers == ({name: numbers[name] for name in part.schemas} or msgspec.UNSET)
    assert {(part.boot, part.no_clock) for part in told} == {("b" * 32, True)}
    ((part, payload),) = packed_schemas(PLAIN, RUN, SchemaBody("b", {"s1": schemas["s1"]}), room=10)
    assert len(payload) > 10
    assert list(part.schemas) == ["s1"]
