"""Segment files: their names and what stands in one. No writing here; that is the outbox's.

A segment is named ``class-run-firstsequence``. Within a run the segments of a class share out its sequence numbers:
each is responsible from its own first number up to the next one's. So names alone tell where a record would be.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from agent.outbox import frames
from agent.outbox.frames import Class, Gap
from telemetry.intervals import Intervals
from telemetry.records import Record

_NAME: Final = re.compile(r"(sample|event)-([0-9a-f]{16})-(\d{12})")
_BOOKMARK_EVERY: Final = 64


class Name(NamedTuple):
    """What a segment's name says."""

    kind: Class
    run: str
    first: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.run}-{self.first:012d}"

    @classmethod
    def parse(cls, text: str) -> Name | None:
        """Return what a file's name says, ``None`` if it is no segment's."""
        match = _NAME.fullmatch(text)
        if not match:
            return None
        return cls("sample" if match[1] == "sample" else "event", match[2], int(match[3]))


class Index(msgspec.Struct):
    """What was found in a segment."""

    present: Intervals = msgspec.field(default_factory=Intervals)
    """The exact numbers of its records."""
    used: int = 0
    """Where the last good frame ends."""
    gaps: list[Gap] = msgspec.field(default_factory=list)
    """What was no frame, before that or after it."""
    first_mono_ms: int | None = None
    last_mono_ms: int | None = None
    frames: int = 0
    _marks: list[tuple[int, int]] = msgspec.field(default_factory=list)
    """Sequence and offset of every 64th frame: a fixed bound on memory."""

    def add(self, sequence: int, mono_ms: int, offset: int, end: int) -> None:
        """Note one good frame; they come in the order of the file."""
        if self.frames % _BOOKMARK_EVERY == 0:
            self._marks.append((sequence, offset))
        self.frames += 1
        self.present.add(sequence)
        self.used = end
        if self.first_mono_ms is None:
            self.first_mono_ms = mono_ms
        self.last_mono_ms = mono_ms

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Return (offset, end) of the bytes in which the records ``first..last`` stand."""
        low = bisect_right(self._marks, (first, self.used)) - 1
        high = bisect_right(self._marks, (last, self.used))
        start = self._marks[low][1] if low >= 0 else 0
        return start, self._marks[high][1] if high < len(self._marks) else self.used

    @property
    def nothing(self) -> bool:
        """Whether nothing was ever written, as far as can be told."""
        return not self.frames and not self.damaged

    @property
    def damaged(self) -> list[Gap]:
        """Gaps that a write broken off does not explain."""
        return [gap for gap in self.gaps if not gap.torn]


def index(data: bytes) -> Index:
    """Return what stands in a segment."""
    result = Index()
    for part in frames.scan(data):
        if isinstance(part, Gap):
            result.gaps.append(part)
            continue
        try:
            sequence, mono_ms = frames.head(part.payload)
        except ValueError:  # a good checksum over something that is no record: not ours, or an internal error
            result.gaps.append(Gap(part.offset, part.end, 1, False))
            continue
        result.add(sequence, mono_ms, part.offset, part.end)
    return result


def records(kind: Class, data: bytes, wanted: Intervals) -> Iterator[Record]:
    """Yield those records in ``data`` whose numbers are wanted, in the order of the file."""
    for part in frames.scan(data):
        if isinstance(part, Gap):
            continue
        try:
            record = frames.decode(kind, part.payload)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            RecursionError,
        ):  # no record of this class; the reader misses its number and says so
            continue
        if record.sequence in wanted:
            yield record
