"""The log's content: all that one unit of work was given, in order, as bytes. Pure.

Records, and everything else that judging heard of: births, goodbyes, wills, acts, how the centre's own parts get on,
and when time was looked at. Together with the times that it did so and what it went by (listening, editions) that is
enough to judge it all again and come to the same problems and tickets, byte for byte (``collector.replay``).

JSON, then zstd level 3 (1.6 to 2.1 µs a message; zlib takes four to ten times as long and is no smaller).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import msgspec
import zstandard

from collector.core.health import PartReport
from collector.core.vehicle.draft import MOST_PROBLEMS
from collector.core.vehicle.events import (
    Acknowledged,
    Acted,
    Born,
    Died,
    Gone,
    Left,
    Listed,
    Missed,
    OverQuota,
    Quiet,
    Rejoined,
    Unlisted,
)
from telemetry.message import Lane, Moment
from telemetry.records import Clock

FORMAT: Final = 2
"""1 had records only; such batches are still read."""
_turn: Final = threading.Lock()
_compressor: Final = zstandard.ZstdCompressor(level=3, write_checksum=True)
_decompressor: Final = zstandard.ZstdDecompressor()
T = TypeVar("T")


class BatchError(ValueError):
    """A batch's content that cannot be read."""


class Group(msgspec.Struct, frozen=True, array_like=True, tag="g"):
    """The records that a unit of work took from one run on one lane."""

    vehicle: str
    agent: str
    run: str
    lane: Lane
    pairs: list[tuple[int, int]]
    """They are named by inclusive intervals of sequence numbers, in the order of the moments' entries."""
    clocks: dict[int, Clock]
    """Every clock that a moment names, so that each reader places a record where this commit did, whatever is learnt
    later."""
    moments: list[Moment]

    @property
    def count(self) -> int:
        """How many records there are."""
        return sum(last - first + 1 for first, last in self.pairs)


class Packed(msgspec.Struct):
    """Groups as they stand in the log, one behind the other and not decoded: a tenth of the memory."""

    content: bytearray = msgspec.field(default_factory=lambda: bytearray(b"["))
    received_ms: list[int] = msgspec.field(default_factory=list)
    """When each came in (UTC ms)."""

    def add(self, group: bytes, received_ms: int) -> None:
        """Add a group (``Batch.parts``)."""
        self.content += group
        self.content += b","
        self.received_ms.append(received_ms)

    def open(self) -> list[tuple[Group, int]]:
        """Return all, each with the time when it came in. Raises msgspec.DecodeError."""
        self.content[-1:] = b"]"
        return list(zip(_groups.decode(self.content), self.received_ms, strict=True))


class Stepped(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A vehicle's agent was born, left or died, its quota was exceeded, a person acted on it, it is listed or not.

    Or something was missing of what it says (``core.vehicle.forks``).
    """

    vehicle: str
    event: Born | Left | Died | OverQuota | Acted | Acknowledged | Unlisted | Listed | Missed | Gone | Quiet | Rejoined


class Woken(msgspec.Struct, frozen=True, array_like=True, tag="w"):
    """The site was surveyed, then time was looked at for these vehicles, then the desk was told: what it changed."""

    vehicles: list[str]
    surveyed: bool = True
    """Whether the site was."""
    desk: bool = False
    """Whether the desk was told of the time."""


class ActedOnTicket(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A person acted on a ticket."""

    who: str
    body: str
    """``site.acts.TicketBody`` as JSON."""
    history: tuple[tuple[int, str, int, int, str, str], ...] = ()
    """What had happened to a ticket that the desk had let go of (``store.rows.Action``)."""


class Reported(msgspec.Struct, frozen=True, array_like=True, tag="r"):
    """The site's owner reported a part of the centre; the site was surveyed at once."""

    report: PartReport


class EditionTaken(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """From here on judging goes by another edition of a file."""

    kind: str
    number: int


class BegunAnew(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """What was known of this vehicle (empty: of the site itself) could not be read any more, and began anew."""

    vehicle: str


class TimePassed(msgspec.Struct, frozen=True, array_like=True, tag="t"):
    """From here on it was this time: a unit of work that gathers goes on for up to a second."""

    now_ms: int


_Other = Stepped | Woken | Reported | EditionTaken | BegunAnew | TimePassed | ActedOnTicket
Entry = Group | _Other


class Heading(msgspec.Struct, frozen=True, array_like=True):
    """What the whole unit of work went by."""

    listening_since_ms: int | None = None
    reconnect_ms: int = 0
    editions: dict[str, int] = {}
    """By kind: the number of the edition in force when the unit began."""
    most_problems: int = MOST_PROBLEMS
    """The quota of problems of one fault."""


class Batch(msgspec.Struct, frozen=True):
    """One row of the log, read back. Times are UTC milliseconds."""

    site: str
    number: int
    received_ms: int
    now_ms: int
    """When the unit of work began."""
    heading: Heading
    entries: list[Entry]
    problem: str = ""
    """Why its content cannot be read; then it has no entries."""
    content: bytes = b""
    """As it stands in the log, in place of ``heading`` and ``entries``, for who asks for it sealed."""
    sealed: int = 0
    """How many records ``content`` holds."""

    def opened(self) -> Batch:
        """Return it with what it holds. Raises BatchError."""
        if not self.content:
            return self
        heading, entries = decode(self.content)
        return msgspec.structs.replace(self, heading=heading, entries=entries, content=b"")

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """Yield (vehicle, group as JSON) of the records, for ``Packed``. Raises BatchError."""
        plain, format = _opened(self.content) if self.content else (b"", 0)
        if format != FORMAT:
            yield from ((group.vehicle, _encoder.encode(group)) for group in self.groups)
            return
        for part in _decoded(_parts, plain).entries:
            head = _head.decode(part)
            if head.tag == "g":
                yield head.vehicle, part

    @property
    def groups(self) -> list[Group]:
        """The records, for those who want nothing else."""
        return [entry for entry in self.opened().entries if isinstance(entry, Group)]

    @property
    def records(self) -> int:
        """How many records there are."""
        return self.sealed if self.content else sum(group.count for group in self.groups)


class _Content(msgspec.Struct, array_like=True):
    format: int
    heading: Heading
    entries: list[Entry]


class _Parts(msgspec.Struct, array_like=True):
    format: int
    heading: Heading
    entries: list[msgspec.Raw]


class _Head(msgspec.Struct, array_like=True):
    """How an entry begins: a group with its vehicle."""

    tag: str
    vehicle: Any = None


class _FirstGroup(msgspec.Struct, frozen=True, array_like=True):
    """A group of format 1, which had no tag."""

    vehicle: str
    agent: str
    run: str
    lane: Lane
    pairs: list[tuple[int, int]]
    clocks: dict[int, Clock]
    moments: list[Moment]


class _FirstContent(msgspec.Struct, array_like=True):
    format: int
    groups: list[_FirstGroup]


class _AnyContent(msgspec.Struct, array_like=True):
    format: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Content)
_first_decoder = msgspec.json.Decoder(_FirstContent)
_format = msgspec.json.Decoder(_AnyContent)
_parts = msgspec.json.Decoder(_Parts)
_head = msgspec.json.Decoder(_Head)
_groups = msgspec.json.Decoder(list[Group])


def encode(entries: Sequence[Entry], heading: Heading | None = None) -> bytes:
    """Return the content of a batch."""
    return compress(_encoder.encode((FORMAT, heading or Heading(), entries)))


def decode(content: bytes) -> tuple[Heading, list[Entry]]:
    """Return what a batch went by and what it was given. Raises BatchError."""
    plain, format = _opened(content)
    if format == FORMAT:
        result = _decoded(_decoder, plain)
        return result.heading, result.entries
    groups = _decoded(_first_decoder, plain).groups
    return Heading(), [Group(*msgspec.structs.astuple(group)) for group in groups]


def check(content: bytes) -> None:
    """Raise BatchError for what is damaged, or of a format that we do not read; costs a tenth of ``decode``."""
    _opened(content)


def _opened(content: bytes) -> tuple[bytes, int]:
    """Return a batch's JSON and its format, one of those that we read. Raises BatchError."""
    try:
        plain = decompress(content)
    except zstandard.ZstdError as error:
        raise BatchError(f"expected zstd, found: {error}") from None
    found = _decoded(_format, plain).format
    if not 1 <= found <= FORMAT:
        raise BatchError(f"expected format {FORMAT} at most, found {found}")
    return plain, found


def _decoded(decoder: msgspec.json.Decoder[T], plain: bytes) -> T:
    try:
        return decoder.decode(plain)
    except msgspec.DecodeError as error:
        raise BatchError(_explain(plain, error)) from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise BatchError(f"expected JSON, found: {type(error).__name__}: {error}") from None


def decode_groups(content: bytes) -> list[Group]:
    """Return the records of a batch, or of a chunk of history, and nothing else. Raises BatchError."""
    return [entry for entry in decode(content)[1] if isinstance(entry, Group)]


def _explain(plain: bytes, error: msgspec.DecodeError) -> str:
    try:
        _format.decode(plain)
    except msgspec.DecodeError:
        return f"expected JSON, found: {error}"
    return str(error)


def compress(plain: bytes) -> bytes:
    """Return it compressed. All threads use one compressor, one after the other: each takes up to half a megabyte."""
    with _turn:
        return _compressor.compress(plain)


def decompress(content: bytes) -> bytes:
    """Return what was compressed, in the same way. Raises zstandard.ZstdError."""
    with _turn:
        return _decompressor.decompress(content)
