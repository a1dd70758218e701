"""Messages (docs/architecture.md): the header that no format changes, the formats, and the body of every kind.

A payload is: format (1 byte), run (8 bytes), number of sequence intervals and the intervals (LEB128 numbers: gap to the
number after the last interval, then length minus one), then the body in that format. The header alone names the
records, so that a body that does not decode can still go to quarantine under its records' names.

From format 2 on a sample may call its schema by a number in place of its name. The agent gives numbers within a run, in
the schema message that tells the schema, and never gives one twice; the collector turns them back into names before
anything else sees them (docs/decisions/0046-schemas-are-numbered-within-a-run.md).
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, TypeVar, overload

import msgspec

from telemetry.intervals import Intervals
from telemetry.metrics import Value
from telemetry.records import (
    MAX_NUMBER,
    Clock,
    Count,
    Event,
    EventKind,
    Milliseconds,
    Record,
    Run,
    Sample,
    Schema,
    SchemaRef,
)

PLAIN: Final = 0
"""JSON as it is."""
DEFLATED: Final = 1
"""JSON, raw deflate (RFC 1951) with preset dictionary 1."""
NUMBERED: Final = 2
"""The same with preset dictionary 2; samples call their schema by its number within the run; no fraction that is 0."""
FORMATS: Final = (PLAIN, DEFLATED, NUMBERED)
"""Formats that this version reads; every version reads ``PLAIN``."""
MAX_PAYLOAD: Final = 256 * 1024
MAX_BODY: Final = 2 * 1024 * 1024
"""Most bytes that a body may have after inflating."""
MAX_INTERVALS: Final = 256
MAX_SCHEMA_NUMBER: Final = 9_999
_DICTIONARIES: Final = (DEFLATED, NUMBERED)
"""Formats that are deflated, each with the preset dictionary of its number."""
Lane = Literal["live", "backlog"]
"""Live: the newest moment, as it happens. Backlog: what could not be sent then."""
T = TypeVar("T")


class MessageError(ValueError):
    """A payload that cannot be read. ``header`` is there when at least that could be read."""

    def __init__(self, reason: str, header: Header | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.header = header


class Header(msgspec.Struct, frozen=True):
    """Format of the body, run that speaks or is spoken of, sequence numbers of the records in the body, in order."""

    format: int
    run: Run
    sequences: Intervals


# --- bodies -----------------------------------------------------------------------------------------------------------


class HeldRun(msgspec.Struct, frozen=True):
    """A run of which the agent still holds records."""

    boot: str
    first: Count
    """The lowest sequence number held."""
    last: Count
    """The highest sequence number held."""


class Birth(msgspec.Struct, frozen=True, tag="birth", tag_field="state"):
    """The agent is there."""

    session: Count
    """Which connection of the run (header) this is, counted from 1."""
    boot: str
    machine: str
    """Tells two boxes with one identity apart."""
    version: str
    interval_s: float
    """How often it sends at least."""
    runs: dict[str, HeldRun] = {}
    """The runs of which it holds records."""
    devices: dict[str, str] = {}
    """Kind by device id."""


class Goodbye(msgspec.Struct, frozen=True, tag="goodbye", tag_field="state"):
    """A planned end. Counts only with the run and session of the last birth."""

    session: Count
    reason: str
    """``stop``, ``parked`` or ``update``."""


class Will(msgspec.Struct, frozen=True, tag="will", tag_field="state"):
    """Published by the broker: the connection was lost. Counts only with the run and session of the last birth."""

    session: Count


State = Birth | Goodbye | Will


class SchemaBody(msgspec.Struct, frozen=True):
    """Schemas and clocks of the run in the header."""

    boot: str
    schemas: dict[str, Schema] = {}
    clocks: tuple[Clock, ...] = ()
    unknown_schemas: tuple[str, ...] = msgspec.field(default=(), name="gone_schemas")
    """Schemas that the agent no longer has."""
    no_clock: bool = msgspec.field(default=False, name="gone_clock")
    """This run will never have a clock."""
    numbers: dict[str, Annotated[int, msgspec.Meta(ge=0, le=MAX_SCHEMA_NUMBER)]] | msgspec.UnsetType = msgspec.UNSET
    """The numbers of these schemas in the samples of the run, by name; left out below format 2."""


class Ask(msgspec.Struct, frozen=True):
    """A question for the time."""

    mono_ms: Milliseconds
    """The asker's monotonic time; it comes back in the answer."""


class Time(msgspec.Struct, frozen=True):
    """The centre's time (UTC ms) when the question came in and when this answer left."""

    asked_mono_ms: Milliseconds
    received_ms: Milliseconds
    sent_ms: Milliseconds


Pairs = list[tuple[Count, Count]]
"""Intervals of sequence numbers, both ends inclusive."""


class Needed(msgspec.Struct, frozen=True):
    """What the collector needs before it can take the samples of a run."""

    schemas: tuple[SchemaRef, ...] = ()
    """Names, or numbers that the collector was not told of; no agent is asked for numbers that gave none."""
    clocks: tuple[Milliseconds, ...] = ()
    """Numbers of clocks; -1: the sample came without one."""


class Receipt(msgspec.Struct, frozen=True):
    """The end-to-end acknowledgement: which records the collector waits for no more. Only it lets the outbox go."""

    epoch: Count
    birth: tuple[str, Count]
    """Run and session of the last birth that the collector had when it said this."""
    runs: dict[str, Pairs]
    """By run, at most 256 intervals of sequence numbers, lowest first."""
    needed: dict[str, Needed] = msgspec.field(default_factory=dict, name="lacking")
    """By run, schemas and clocks without which samples cannot be taken."""
    uncommitted: dict[str, Pairs] | msgspec.UnsetType = msgspec.UNSET
    """By run, those of ``runs`` that were named and not taken: in quarantine, or told as lost. Whoever holds the
    vehicle's certificate can name numbers; an agent lets go of such a record only when it has delivered it itself."""


class Up(msgspec.Struct, frozen=True, tag="up", tag_field="state"):
    """The site's owner is there, in its ``epoch``, and takes these formats."""

    epoch: Count
    formats: tuple[Count, ...]
    version: str = ""


class Down(msgspec.Struct, frozen=True, tag="down", tag_field="state"):
    """The owner of ``epoch`` is gone or cannot commit."""

    epoch: Count


Presence = Up | Down


class Beat(msgspec.Struct, frozen=True):
    """The owner's own marker through the broker."""

    epoch: Count
    nonce: Count


# --- records ----------------------------------------------------------------------------------------------------------


class SampleEntry(msgspec.Struct, frozen=True, array_like=True):
    """A sample on the wire."""

    schema: SchemaRef
    values: list[Value | None]


class EventEntry(msgspec.Struct, frozen=True, array_like=True):
    """An event on the wire."""

    kind: EventKind
    device: str
    body: dict[str, Any]


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """The records of one monotonic time, placed by the clock of that number of the run (``None``: it has none).

    An entry is a ``SampleEntry``, ``[schema, [values]]``, or an ``EventEntry``, ``[kind, device, {body}]``.
    """

    mono_ms: Milliseconds
    clock: Count | None
    entries: list[list[Any]]


class Placed(msgspec.Struct, frozen=True):
    """A record as it came over the wire, with the number of the clock that places it."""

    record: Record
    clock: int | None
    number: int | None = None
    """That of the sample's schema, where nobody has told its name yet: the name is empty then."""


def moments(records: Sequence[Placed], numbers: Mapping[str, int] | None = None) -> list[Moment]:
    """Return the body of a live or backlog message. ``records`` are one run's, in ascending order of sequence.

    ``numbers`` are those of the run's schemas, by name, from format 2 on; a schema without one goes by its name.
    """
    body: list[Moment] = []
    for placed in records:
        record = placed.record
        if not body or body[-1].mono_ms != record.mono_ms or body[-1].clock != placed.clock:
            body.append(Moment(record.mono_ms, placed.clock, []))
        if isinstance(record, Event):
            body[-1].entries.append([record.kind, record.device, dict(record.body)])
        elif numbers is None:
            body[-1].entries.append([record.schema, list(record.values)])
        else:
            body[-1].entries.append([numbers.get(record.schema, record.schema), [*map(_shortest, record.values)]])
    return body


def _shortest(value: Value | None) -> Value | None:
    """Return a whole number without its fraction: 14 for 14.0, as the catalogue takes either for the other."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_NUMBER else value


def records(header: Header, body: Sequence[Moment], names: Mapping[int, str] = MappingProxyType({})) -> list[Placed]:
    """Return the records of a live or backlog message.

    ``names`` are those of the run's schemas, by number; in the body's own entries too a name takes its number's place.
    Raises MessageError if the count of records is not the header's, or an entry has no known shape.
    """
    found = sum(len(moment.entries) for moment in body)
    if found != len(header.sequences):
        raise MessageError(f"expected {len(header.sequences)} records by the header, found {found}", header)
    sequences = iter(header.sequences)
    return [_placed(header, next(sequences), moment, entry, names) for moment in body for entry in moment.entries]


def _placed(header: Header, sequence: int, moment: Moment, entry: list[Any], names: Mapping[int, str]) -> Placed:
    try:
        if len(entry) == 2:
            sample = msgspec.convert(entry, SampleEntry)
            schema, number = sample.schema, None
            if isinstance(schema, int):
                number, schema = schema, names.get(schema, "")
            if schema and number is not None:
                number, entry[0] = None, schema
            return Placed(Sample(sequence, moment.mono_ms, schema, sample.values), moment.clock, number)
        event = msgspec.convert(entry, EventEntry)
        return Placed(Event(sequence, moment.mono_ms, event.kind, event.device, event.body), moment.clock)
    except msgspec.ValidationError as error:
        raise MessageError(f"record {sequence}: {error}", header) from None


# --- bytes ------------------------------------------------------------------------------------------------------------


@functools.cache
def dictionary(number: int) -> bytes:
    """Return the preset dictionary of a format. It is part of the format and never changes once released."""
    return Path(__file__).with_name(f"dictionary-{number}.bin").read_bytes()


def encode(format: int, run: str, body: object, sequences: Intervals | None = None) -> bytes:
    """Return a payload. Raises ValueError for an unknown format or a run that is not 16 hex digits."""
    out = bytearray((format,))
    out += bytes.fromhex(run)
    if len(out) != 9:
        raise ValueError(f"expected a run of 16 hex digits, found {run!r}")
    pairs = sequences.pairs() if sequences else []
    _put(out, len(pairs))
    after = 0
    for first, last in pairs:
        _put(out, first - after)
        _put(out, last - first)
        after = last + 1
    content = msgspec.json.encode(body)
    if format in _DICTIONARIES:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary(format))
        content = packer.compress(content) + packer.flush()
    elif format != PLAIN:
        raise ValueError(f"expected one of the formats {FORMATS}, found {format}")
    return bytes(out) + content


def decode_header(payload: bytes) -> tuple[Header, int]:
    """Return the header and where the body begins. Raises MessageError."""
    pairs, at = _pairs(payload)
    return Header(payload[0], Run(payload[1:9].hex()), Intervals(pairs)), at


def count_numbers(payload: bytes) -> int:
    """Return how many sequence numbers the header names. Raises MessageError where they cannot be read."""
    if len(payload) > 20 and payload[9] == 1:  # one interval, as nearly every message has: what it begins with is long
        at = 10
        while payload[at] >= 0x80 and at < 19:
            at += 1
        if payload[at] < 0x80 and payload[at + 1] < 0x80:
            return payload[at + 1] + 1
    return sum([last - first + 1 for first, last in _pairs(payload)[0]])


def _pairs(payload: bytes) -> tuple[list[tuple[int, int]], int]:
    """Return the intervals of sequence numbers, both ends included, and where the body begins. Raises MessageError."""
    if len(payload) > MAX_PAYLOAD:
        raise MessageError(f"expected at most {MAX_PAYLOAD} bytes, found {len(payload)}")
    if len(payload) < 10:
        raise MessageError(f"expected a header of at least 10 bytes, found {len(payload)}")
    at = 9
    count, at = _take(payload, at)
    if count > MAX_INTERVALS:
        raise MessageError(f"expected at most {MAX_INTERVALS} intervals, found {count}")
    pairs = []
    after = 0
    for _ in range(count):
        gap, at = _take(payload, at)
        length, at = _take(payload, at)
        first = after + gap
        after = first + length + 1
        if after > MAX_NUMBER + 1:
            raise MessageError(f"expected sequence numbers up to {MAX_NUMBER}, found {first + length}")
        pairs.append((first, first + length))
    return pairs, at


@overload
def decode(payload: bytes, type: type[T]) -> tuple[Header, T]: ...


@overload
def decode(payload: bytes, type: Any) -> tuple[Header, Any]: ...


def decode(payload: bytes, type: Any) -> tuple[Header, Any]:
    """Return header and body. Raises MessageError, with the header where that could be read."""
    header, at = decode_header(payload)
    content: bytes = payload[at:]
    if header.format in _DICTIONARIES:
        content = _inflate(content, header)
    elif header.format != PLAIN:
        raise MessageError(f"expected one of the formats {FORMATS}, found {header.format}", header)
    try:
        body = _decoder(type).decode(content)
    except msgspec.DecodeError as error:
        raise MessageError(f"body: {error}", header) from None
    except Exception as error:  # Python's own: bytes that are no UTF-8, a body 20,000 deep
        raise MessageError(f"body: {error.__class__.__name__}: {error}", header) from None
    return header, body


@functools.cache
def _decoder(type: Hashable) -> msgspec.json.Decoder[Any]:
    """Return the decoder of a kind of body: making one costs twice as much as using it."""
    return msgspec.json.Decoder(type)


def _inflate(content: bytes, header: Header) -> bytes:
    unpacker = zlib.decompressobj(-15, dictionary(header.format))
    try:
        result = unpacker.decompress(content, MAX_BODY)
    except zlib.error as error:
        raise MessageError(f"body: {error}", header) from None
    if unpacker.unconsumed_tail:
        raise MessageError(f"body: expected at most {MAX_BODY} bytes after inflating, found more", header)
    if not unpacker.eof:
        raise MessageError("body: truncated", header)
    return result


def _put(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def _take(payload: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 63, 7):
        if at >= len(payload):
            raise MessageError("header: truncated")
        byte = payload[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
    raise MessageError("header: a number of more than 63 bits")
