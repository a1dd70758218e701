"""Payloads: every header and body comes back; what is broken names its records; nothing blows up or up in size."""

from __future__ import annotations

import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import message
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    FORMATS,
    NUMBERED,
    PLAIN,
    MessageError,
    Moment,
    Needed,
    Placed,
    Receipt,
    SchemaBody,
    encode,
)
from telemetry.records import Clock, Column, Event, Sample, Schema, clock_for

RUN = "00112233445566ff"
VALUES = st.lists(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    max_size=6,
)


@st.composite
def placed(draw: st.DrawFn) -> list[Placed]:
    found: list[Placed] = []
    sequence = draw(st.integers(0, 2**40))
    mono = draw(st.integers(0, 2**45))
    for _ in range(draw(st.integers(0, 12))):
        if draw(st.booleans()):
            record: Sample | Event = Sample(sequence, mono, draw(st.text("abc", min_size=6, max_size=6)), draw(VALUES))
        else:
            record = Event(
                sequence, mono, "lost", draw(st.text("ab", max_size=3)), {"reason": draw(st.text(max_size=5))}
            )
        found.append(Placed(record, draw(st.none() | st.integers(0, 3))))
        sequence += draw(st.integers(1, 300))
        mono += draw(st.sampled_from([0, 0, 10_000]))
    return found


@given(placed(), st.sampled_from(FORMATS))
def test_records_come_back_as_they_were(records: list[Placed], format: int) -> None:
    sequences = Intervals((p.record.sequence, p.record.sequence) for p in records)
    payload = message.encode(format, RUN, message.moments(records), sequences)
    header, body = message.decode(payload, list[Moment])
    assert header.run == RUN
    assert header.format == format
    assert header.sequences == sequences
    assert message.records(header, body) == records


@given(placed())
def test_numbers_of_schemas_become_names_again_in_the_records_and_in_the_body(records: list[Placed]) -> None:
    """Some schemas have a number, and of some of these it is known."""
    names = sorted({one.record.schema for one in records if isinstance(one.record, Sample)})
    numbers = {name: number for number, name in enumerate(names) if number % 3}
    known = {number: name for name, number in numbers.items() if number % 2}
    sequences = Intervals((one.record.sequence, one.record.sequence) for one in records)
    header, body = message.decode(encode(NUMBERED, RUN, message.moments(records, numbers), sequences), list[Moment])
    found = message.records(header, body, known)
    entries = [entry for moment in body for entry in moment.entries]
    for was, now, entry in zip(records, found, entries, strict=True):
        number = numbers.get(was.record.schema) if isinstance(was.record, Sample) else None
        if number is None or number in known:
            assert now == was
        else:
            assert now == Placed(msgspec.structs.replace(was.record, schema=""), was.clock, number)
        if isinstance(was.record, Sample):
            assert entry[0] == (was.record.schema if number is None or number in known else number)


@pytest.mark.parametrize("number", [-1, 1.5, True, None, 2**53, [0]])
def test_what_is_neither_name_nor_number_of_a_schema_is_one_error(number: object) -> None:
    payload = encode(NUMBERED, RUN, [Moment(1, 0, [[number, [1]]])], Intervals([(4, 4)]))
    header, body = message.decode(payload, list[Moment])
    with pytest.raises(MessageError, match="record 4: "):
        message.records(header, body)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", *(bytes([format]) + bytes(8) + b"\0" * (format > 0) for format in FORMATS)]),
)
def test_any_bytes_give_records_or_one_clear_error(tail: bytes, head: bytes) -> None:
    """T14: the payload decoder raises nothing but its own error."""
    try:
        header, body = message.decode(head + tail, list[Moment])
        told = len(message.records(header, body)) == len(header.sequences)
    except MessageError as error:
        told = bool(error.reason)
    assert told


def test_a_body_that_does_not_decode_still_names_its_records() -> None:
    payload = message.encode(PLAIN, RUN, [], Intervals([(7, 9)]))[:-1]
    with pytest.raises(MessageError, match="body") as caught:
        message.decode(payload, list[Moment])
    assert caught.value.header is not None
    assert caught.value.header.sequences.pairs() == [(7, 9)]


def test_fewer_records_than_the_header_says_is_an_error() -> None:
    payload = message.encode(PLAIN, RUN, [Moment(1, 0, [["abcdef", [1]]])], Intervals([(0, 1)]))
    header, body = message.decode(payload, list[Moment])
    with pytest.raises(MessageError, match="expected 2 records by the header, found 1"):
        message.records(header, body)


def test_a_bomb_is_refused() -> None:
    """S8: 4 MiB of blanks in a few kilobytes."""
    for format in (DEFLATED, NUMBERED):
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, 0, message.dictionary(format))
        bomb = packer.compress(b" " * 4 * 2**20) + packer.flush()
        with pytest.raises(MessageError, match="after inflating"):
            message.decode(bytes([format]) + bytes(8) + b"\0" + bomb, list[Moment])
    with pytest.raises(MessageError, match=f"at most {message.MAX_PAYLOAD} bytes"):
        message.decode(bytes(message.MAX_PAYLOAD + 1), list[Moment])


@pytest.mark.parametrize(
    "content",
    [
        b'[[0,0,[["started","\xff",{}]]]]',
        b"[" * 20_000 + b"]" * 20_000,
        b'[[0,0,[["started","",' + b'{"x":' * 20_000 + b"0" + b"}" * 20_000 + b"]]]]",
        b"[[" + b"9" * 5_000 + b",0,[]]]",
        b"[[9007199254740992,0,[]]]",
        b"[[0,9007199254740992,[]]]",
    ],
    ids=["no UTF-8", "deep", "a deep event", "a long number", "a time too large", "a clock too large"],
)
def test_whatever_a_body_does_to_its_reader_it_is_one_error_that_names_the_records(content: bytes) -> None:
    payload = encode(PLAIN, RUN, 0, Intervals([(7, 7)]))[:-1] + content
    with pytest.raises(MessageError) as raised:
        message.decode(payload, list[Moment])
    assert raised.value.header is not None
    assert raised.value.header.sequences.pairs() == [(7, 7)]


@pytest.mark.parametrize("last", [2**53, 2**63 - 1])
def test_a_header_that_names_more_than_can_be_counted_is_refused(last: int) -> None:
    with pytest.raises(MessageError, match="expected sequence numbers up to 9007199254740991"):
        message.decode_header(encode(PLAIN, RUN, [], Intervals([(0, last)])))


def test_a_truncated_deflate_body_is_an_error() -> None:
    payload = message.encode(DEFLATED, RUN, [Moment(1, 0, [["abcdef", list(range(50))]])], Intervals([(0, 0)]))
    with pytest.raises(MessageError, match="truncated"):
        message.decode(payload[:-2], list[Moment])


def test_the_header_costs_what_it_must() -> None:
    payload = message.encode(PLAIN, RUN, [], Intervals([(300, 309)]))
    assert payload == bytes([0]) + bytes.fromhex(RUN) + bytes([1, 0xAC, 0x02, 9]) + b"[]"


def test_schema_names_depend_on_content_alone() -> None:
    columns = (Column("modem.rsrp_dbm", {"leg": "lte"}), Column("modem.sim"))
    one = Schema("modem", "modem", columns)
    assert one.id() == Schema("modem", "modem", columns).id()
    assert len(one.id()) == 6
    assert one.id() != Schema("modem", "modem-2", columns).id()
    assert one.id() != Schema("modem", "modem", columns[::-1]).id()
    assert msgspec.json.decode(msgspec.json.encode(one), type=Schema) == one


def test_the_first_clock_places_what_came_before_it() -> None:
    first = Clock(0, 1_000, 1_700_000_000_000, "centre", 20)
    second = Clock(1, 5_000, 1_700_000_004_500, "ntp", 5)
    assert clock_for([], 10) is None
    assert clock_for([first, second], 10) == first
    assert clock_for([first, second], 4_999) == first
    assert clock_for([first, second], 5_000) == second
    assert first.place(400) == 1_699_999_999_400


def test_the_names_on_the_wire_are_those_of_the_first_version() -> None:
    """Agents and collectors of two versions talk to each other: what code calls it is not what the wire does."""
    receipt = Receipt(1, (RUN, 2), {RUN: [(0, 9)]}, {RUN: Needed(("aaaaaa",), (-1,))})
    assert encode(PLAIN, RUN, receipt).partition(b"{")[2] == (
        b'"epoch":1,"birth":["%s",2],"runs":{"%s":[[0,9]]},"lacking":{"%s":{"schemas":["aaaaaa"],"clocks":[-1]}}}'
        % ((RUN.encode(),) * 3)
    )
    body = SchemaBody("b", unknown_schemas=("aaaaaa",), no_clock=True)
    assert encode(PLAIN, RUN, body).partition(b"{")[2] == (
        b'"boot":"b","schemas":{},"clocks":[],"gone_schemas":["aaaaaa"],"gone_clock":true}'
    )
    body = SchemaBody("b", numbers={"aaaaaa": 3})
    assert encode(NUMBERED, RUN, body) != encode(DEFLATED, RUN, body)
    assert encode(PLAIN, RUN, body).endswith(b',"gone_clock":false,"numbers":{"aaaaaa":3}}')
