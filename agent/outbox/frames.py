"""Frames: how records stand in a segment file. Pure; bytes in, records out.

A frame is: magic (2 bytes), length of the payload (4, little endian), CRC-32 over length and payload (4), payload.
The payload is a compact JSON array: ``[sequence, mono_ms, schema, [values]]`` for a sample,
``[sequence, mono_ms, kind, device, {body}]`` for an event.
The magic's first byte stands in no UTF-8 text, so a damaged frame hides no frame behind it: the search goes on from
magic to magic. The second byte is the version of the format.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from telemetry.metrics import Value
from telemetry.records import Event, EventKind, Record, Sample

MAGIC: Final = b"\xf5\x01"
_HEADER: Final = struct.Struct("<2sII")
HEADER_BYTES: Final = _HEADER.size
MAX_PAYLOAD: Final = 128 * 1024
"""Most bytes of one record, well under what one message may carry."""

Class = Literal["sample", "event"]
"""Classes of records; each has segments of its own and its own order of eviction."""
CLASSES: Final[tuple[Class, ...]] = ("event", "sample")


class FrameTooLarge(ValueError):  # noqa: N818 - says what is wrong
    """A payload does not fit a frame."""

    def __init__(self, found: int) -> None:
        super().__init__(f"expected a record of 1 to {MAX_PAYLOAD} bytes, found {found}")
        self.found = found


class Frame(NamedTuple):
    """A good frame."""

    offset: int
    """Where it begins in the data."""
    end: int
    """Where it ends, exclusive."""
    payload: bytes


class Gap(NamedTuple):
    """Bytes that are no good frame."""

    offset: int
    end: int
    """Exclusive."""
    frames: int
    """How many frames began there by their magic, at least 1."""
    torn: bool
    """It stands at the end and is the beginning of a frame whose rest was never written, as a kill or a power loss in
    the middle of a write leaves it. Such a record was never synced, so nobody was promised it."""


def pack(payload: bytes) -> bytes:
    """Return the frame of a payload. Raises FrameTooLarge (also for nothing: no record is empty)."""
    if not 0 < len(payload) <= MAX_PAYLOAD:
        raise FrameTooLarge(len(payload))
    return _HEADER.pack(MAGIC, len(payload), _checksum(payload)) + payload


def scan(data: bytes, at: int = 0) -> Iterator[Frame | Gap]:
    """Yield good frames from ``at`` on and, between them, what is no frame. Zeros at the end are no gap.

    A length of 0 is not the end: a page that a device zeroed looks like the pre-allocated rest of the file.
    """
    bad = -1
    while True:
        frame = _frame(data, at)
        if frame is not None:
            if bad >= 0:
                yield Gap(bad, at, max(1, data.count(MAGIC, bad, at)), False)
                bad = -1
            yield frame
            at = frame.end
            continue
        if bad < 0:
            bad = at
        at = data.find(MAGIC, at + 1)
        if at < 0:
            break
    rest = data[bad:].rstrip(b"\0")
    if rest:
        yield Gap(bad, bad + len(rest), max(1, rest.count(MAGIC)), _is_torn(rest))


def _frame(data: bytes, at: int) -> Frame | None:
    start = at + HEADER_BYTES
    if start > len(data):
        return None
    magic, length, checksum = _HEADER.unpack_from(data, at)
    end = start + length
    if magic != MAGIC or not 0 < length <= MAX_PAYLOAD or end > len(data):
        return None
    payload = data[start:end]
    return Frame(at, end, payload) if _checksum(payload) == checksum else None


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, len(payload))  # the length as the start value: a flipped bit in it shows too


def _is_torn(rest: bytes) -> bool:
    """Tell whether ``rest`` (no zeros at its end) is the mere beginning of one frame. A payload ends in no zero."""
    if len(rest) < HEADER_BYTES:
        return rest.startswith(MAGIC) or MAGIC.startswith(rest)
    magic, length, _ = _HEADER.unpack_from(rest)
    return bool(magic == MAGIC) and 0 < length <= MAX_PAYLOAD and len(rest) < HEADER_BYTES + length


# --- payloads ---------------------------------------------------------------------------------------------------------


class _SampleRow(msgspec.Struct, array_like=True, frozen=True):
    sequence: int
    mono_ms: int
    schema: str
    values: list[Value | None]


class _EventRow(msgspec.Struct, array_like=True, frozen=True):
    sequence: int
    mono_ms: int
    kind: EventKind
    device: str
    body: dict[str, Any]


_SAMPLE: Final = msgspec.json.Decoder(_SampleRow)
_EVENT: Final = msgspec.json.Decoder(_EventRow)


def class_of(record: Record) -> Class:
    """Return the class that a record belongs to."""
    return "sample" if isinstance(record, Sample) else "event"


def encode(record: Record) -> bytes:
    """Return the record's frame. Raises FrameTooLarge, or TypeError for a value that JSON cannot carry."""
    row: tuple[int, int, str, Sequence[Value | None]] | tuple[int, int, str, str, Mapping[str, Any]]
    if isinstance(record, Sample):
        row = (record.sequence, record.mono_ms, record.schema, record.values)
    else:
        row = (record.sequence, record.mono_ms, record.kind, record.device, record.body)
    return pack(msgspec.json.encode(row))


def decode(kind: Class, payload: bytes) -> Record:
    """Return the record of a payload. Raises msgspec.DecodeError for a payload that is none of this class."""
    if kind == "sample":
        sample = _SAMPLE.decode(payload)
        return Sample(sample.sequence, sample.mono_ms, sample.schema, sample.values)
    event = _EVENT.decode(payload)
    return Event(event.sequence, event.mono_ms, event.kind, event.device, event.body)


def head(payload: bytes) -> tuple[int, int]:
    """Return sequence and monotonic milliseconds of a record's payload without decoding the rest. Raises ValueError."""
    sequence, mono_ms, _ = payload[1:].split(b",", 2)
    return int(sequence), int(mono_ms)
