"""NMEA 0183 sentences out of the bytes of a receiver. Bytes in, sentences out; no I/O and no clock.

Framing is ours, because serial lines are dirty: a sentence may begin inside another one (resynchronise on ``$``),
binary UBX and SiRF frames may stand between sentences, and the buffer is bounded whatever comes. The content of a
sentence is read by ``pynmeagps``. What the sentences of one moment mean together is :mod:`agent.protocols.fixes`.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import math
import operator
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pynmeagps
from pynmeagps.exceptions import NMEAMessageError, NMEAParseError, NMEATypeError

MAX_SENTENCE: Final = 1024
"""Bytes from ``$`` to the checksum. The standard says 82, receivers print over 250 (``$PMTKCHN``)."""
MAX_BINARY: Final = 4096
"""Longest payload of a binary frame that is believed; a longer length is noise that looks like a frame."""

_BEGIN: Final = re.compile(rb"\$|\xb5\x62|\xa0\xa2")
_END: Final = re.compile(rb"\*([0-9A-Fa-f]{2})|[$\r\n]")
_PARTIAL_BEGIN: Final = (b"\xb5", b"\xa0")
_LIBRARY_ERRORS: Final = (NMEAMessageError, NMEAParseError, NMEATypeError)

TIMED: Final = {"GGA": 0, "RMC": 0, "GNS": 0, "GLL": 4}
"""Sentences that carry the UTC time of the fix, and the place of it among their fields."""
READ: Final = {"GGA": 8, "RMC": 9, "GNS": 8, "GLL": 6, "GSA": 17, "VTG": 8, "ZDA": 4}
"""Sentences that say what we ask, and how many of their fields that needs."""


def checksum(content: bytes) -> int:
    """Return the exclusive or of all bytes between ``$`` and ``*`` (NMEA 0183, checksum field)."""
    return functools.reduce(operator.xor, content, 0)


class Framer:
    """Cuts a stream of bytes into the contents of good sentences, without ``$`` and ``*hh``.

    Counts what it saw: ``sentences`` (checksum right), ``bad_checksums``, ``binary_frames`` (UBX or SiRF, whole),
    ``unfinished`` (a ``$`` that no ``*hh`` follows before the next ``$`` or the line's end). At most
    ``MAX_BINARY + 8`` bytes are held between two calls.
    """

    def __init__(self) -> None:
        self.sentences = 0
        self.bad_checksums = 0
        self.binary_frames = 0
        self.unfinished = 0
        self._buffer = b""
        self._sums: _Sums | None = None
        """Of the buffer, from the first frame on whose sum is asked until nothing is held."""

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the sentences that they complete."""
        portions = (data[at : at + MAX_BINARY] for at in range(0, len(data), MAX_BINARY))
        return [content for portion in portions for content in self._frames(portion, last=False)]

    def finish(self) -> list[bytes]:
        """Return what is left when no more bytes will come (the end of a file); the framer can be used again."""
        found = list(self._frames(b"", last=True))
        self._buffer, self._sums = b"", None
        return found

    def _frames(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        buffer = self._buffer + data
        if self._sums is not None:
            self._sums.extend(data)
        position = 0
        while begin := _BEGIN.search(buffer, position):
            position = begin.start()
            if begin[0] == b"$":
                following, content = self._sentence(buffer, position, last=last)
            else:
                following, content = self._binary(buffer, position, last=last), None
            if following is None:
                break
            if content is not None:
                yield content
            position = following
        else:
            position = len(buffer) - buffer.endswith(_PARTIAL_BEGIN)
        self._buffer = buffer[position:]
        if not self._buffer:
            self._sums = None
        elif self._sums is not None:
            self._sums.drop(position)

    def _sentence(self, buffer: bytes, start: int, *, last: bool) -> tuple[int | None, bytes | None]:
        """Return where to go on (None: more bytes are needed) and the content, if there is a good sentence."""
        end = _END.search(buffer, start + 1, start + MAX_SENTENCE)
        if end is None:
            if len(buffer) - start < MAX_SENTENCE and not last:
                return None, None
            self.unfinished += 1
            return start + 1, None
        if end[1] is None:
            # Go on behind the "$", not at the line's end: that may be a byte of a binary frame which begins in here.
            self.unfinished += 1
            return start + 1, None
        content = buffer[start + 1 : end.start()]
        if checksum(content) != int(end[1], 16):
            self.bad_checksums += 1
            return start + 1, None
        self.sentences += 1
        return end.end(), content

    def _binary(self, buffer: bytes, start: int, *, last: bool) -> int | None:
        """Return where to go on behind a binary frame, or behind its first byte if it is none."""
        head = buffer[start : start + 6]
        if head[0] == 0xB5:  # UBX: sync 2, class, id, length little endian, payload, sum 2
            known, length = len(head) == 6, int.from_bytes(head[4:6], "little")
            end = start + 8 + length
        else:  # SiRF: start 2, length big endian, payload, sum 2, end 2
            known, length = len(head) >= 4, int.from_bytes(head[2:4], "big")
            end = start + 8 + length
        if known and length > MAX_BINARY:
            return start + 1
        if not known or len(buffer) < end:
            return start + 1 if last else None
        if self._sums is None:
            self._sums = _Sums(buffer)
        if not _binary_sum_holds(buffer, start, end, self._sums):
            return start + 1
        self.binary_frames += 1
        return end


class _Sums:
    """Running sums over a buffer: that of any part costs the same, however many frames seem to begin in it."""

    def __init__(self, data: bytes) -> None:
        self._once = [0]
        """Sum of the first n bytes, at n."""
        self._twice = [0]
        """Sum of the first n sums, at n."""
        self.extend(data)

    def extend(self, data: bytes) -> None:
        """Take bytes at the end."""
        once = list(itertools.accumulate(data, initial=self._once.pop()))
        self._once += once
        self._twice += itertools.accumulate(once[1:], initial=self._twice.pop())

    def drop(self, count: int) -> None:
        """Forget bytes at the beginning."""
        del self._once[:count], self._twice[:count]

    def plain(self, start: int, end: int) -> int:
        """Return the sum of the bytes from ``start`` up to ``end``."""
        return self._once[end] - self._once[start]

    def running(self, start: int, end: int) -> int:
        """Return the sum of the sums after each byte from ``start`` up to ``end``, the second of Fletcher's."""
        return self._twice[end] - self._twice[start] - (end - start) * self._once[start]


def _binary_sum_holds(buffer: bytes, start: int, end: int, sums: _Sums) -> bool:
    """Return whether the sum of the frame in ``buffer[start:end]`` is right.

    UBX has Fletcher's 8 bit sum (RFC 1145) over class to payload, SiRF the sum of the payload in 15 bits.
    """
    if buffer[start] == 0xB5:
        part = start + 2, end - 2
        return bytes((sums.plain(*part) & 0xFF, sums.running(*part) & 0xFF)) == buffer[end - 2 : end]
    total = sums.plain(start + 4, end - 4) & 0x7FFF
    return buffer[end - 4 : end] == total.to_bytes(2, "big") + b"\xb0\xb3"


class Sentence(msgspec.Struct, frozen=True):
    """One sentence: ``talker`` (GN, GP, ... or P), ``kind`` (GGA, RMC, ...), raw ``fields``, and ``read`` by pynmeagps.

    ``read`` is None for kinds that are not in ``READ``, and where the library cannot read the sentence although its
    checksum is right.
    """

    talker: str
    kind: str
    fields: tuple[str, ...]
    read: Any

    @property
    def time(self) -> str:
        """The raw UTC time field, empty where the sentence has none."""
        place = TIMED.get(self.kind)
        return self.fields[place].strip() if place is not None and place < len(self.fields) else ""

    def number(self, name: str) -> float | None:
        """Return an attribute that is a finite number, else None (an empty field, a word)."""
        value = getattr(self.read, name, None)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        return None

    def word(self, name: str) -> str:
        """Return an attribute as text without blanks around it, empty where it is absent."""
        value = getattr(self.read, name, "")
        return value.strip() if isinstance(value, str) else ""

    def date(self) -> datetime.date | None:
        """Return the date of an RMC or ZDA as printed, believable or not; None where there is none."""
        if self.kind == "RMC":
            value = getattr(self.read, "date", None)
            return value if isinstance(value, datetime.date) else None
        year, month, day = (self.number(name) for name in ("year", "month", "day"))
        try:
            return datetime.date(int(year or 0), int(month or 0), int(day or 0))
        except (ValueError, OverflowError):
            return None


def parse(content: bytes) -> Sentence:
    """Return the sentence of ``content``, which stood between ``$`` and ``*`` and whose sum was right.

    Only kinds in ``READ`` are handed to the library. Where it refuses one for a field at the end (a station's name
    where a number should be), the sentence is read without these fields.
    """
    text = content.decode("utf-8", errors="replace")
    address, *fields = text.split(",")
    proprietary = address.startswith("P")
    talker, kind = (address[:1], address[1:]) if proprietary else (address[:2], address[2:])
    read: Any = None
    if not proprietary and kind in READ:
        read = _read(address, fields)
        if read is None and (needed := READ[kind]) < len(fields):
            read = _read(address, fields[:needed])
    return Sentence(talker, kind, tuple(fields), read)


def _read(address: str, fields: list[str]) -> Any:
    # The sum was checked on the raw bytes; the text may have been mended and has another one.
    framed = f"${','.join([address, *fields])}*00\r\n".encode()
    try:
        return pynmeagps.NMEAReader.parse(framed, validate=pynmeagps.VALNONE)
    except _LIBRARY_ERRORS:
        return None
