"""Records: what the outbox keeps, the wire carries and the collector takes.

Every record has one name: ``(agent, run, sequence)``. A run is one life of the agent process, 64 random bits in 16 hex
digits; sequence counts from 0 within the run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NewType

import msgspec

from telemetry.inputs import Id
from telemetry.metrics import Value

Run = NewType("Run", str)
"""16 lower-case hex digits."""

MAX_NUMBER: Final = 2**53 - 1
"""Whole numbers on the wire go so far: beyond it they are not whole in every JSON reader (RFC 8259, 6), and two of them
together do not fit where 64 bits are kept."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]
Milliseconds = Annotated[int, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
"""A time, on whatever clock."""

EventKind = Literal["started", "inventory", "problem", "lost"]
"""What an event may be.

``started``: the agent's start, with versions and how the run before ended. ``inventory``: who a device is, when first
seen and when it changes. ``problem`` (``InputTrouble`` in code): an input cannot read its device and why; empty text
when that is over. ``lost``: sequence
numbers that will never come, and why.
"""

ClockSource = Literal["gnss", "ntp", "centre", "rtc"]
"""Who told the time, best first."""
TRUST: tuple[ClockSource, ...] = ("gnss", "ntp", "centre", "rtc")


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column of a schema: a metric and its labels. The device is the schema's."""

    metric: str
    labels: dict[str, str] = {}

    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Return what tells this column from the others of a schema."""
        return self.metric, tuple(sorted(self.labels.items()))


class Schema(msgspec.Struct, frozen=True):
    """The columns that one input of one device yields, sorted; named by the hash of its content."""

    input: str
    device: Id
    columns: tuple[Column, ...]

    def id(self) -> str:
        """Return the name: 36 bits of BLAKE2b over the canonical JSON, as 6 URL-safe letters.

        Unique within one agent is enough: names are only ever looked up beside the agent's.
        """
        digest = hashlib.blake2b(msgspec.json.encode(self, order="sorted"), digest_size=5).digest()
        return base64.urlsafe_b64encode(digest).decode()[:6]


SchemaRef = str | Count
"""A schema's name, or the number that it has within a run (``telemetry.message``)."""


class Sample(msgspec.Struct, frozen=True, tag="s", tag_field="t"):
    """The values of one schema at one moment."""

    sequence: int
    mono_ms: int
    """``CLOCK_BOOTTIME`` in milliseconds when the poll was due."""
    schema: str
    values: Sequence[Value | None]
    """In the order of the schema's columns, ``None`` where nothing is known."""


class Event(msgspec.Struct, frozen=True, tag="e", tag_field="t"):
    """Something that happened, of a class of its own in the outbox: never evicted for samples."""

    sequence: int
    mono_ms: int
    """``CLOCK_BOOTTIME`` in milliseconds."""
    kind: EventKind
    device: str = ""
    """Empty where the event is the agent's own."""
    body: Mapping[str, Any] = {}


Record = Sample | Event


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """At ``mono_ms`` of this boot it was ``wall_ms`` (UTC, milliseconds since 1970), give or take ``uncertainty_ms``.

    Numbered from 0 within a run. Clock 0 places everything before it in the run too, each later one what comes after
    it; a run that found no clock but shares its boot with a later run that did, is given that one's first.
    """

    number: Count
    mono_ms: Milliseconds
    wall_ms: Milliseconds
    source: ClockSource
    uncertainty_ms: Count

    @property
    def is_trusted(self) -> bool:
        """Whether somebody outside the system told it the time: GNSS or NTP, not the centre's own clock."""
        return self.source in ("gnss", "ntp")

    def place(self, mono_ms: int) -> int:
        """Return the UTC time in milliseconds of a moment of this boot."""
        return self.wall_ms + mono_ms - self.mono_ms


def clock_for(clocks: Sequence[Clock], mono_ms: int) -> Clock | None:
    """Return the clock that places ``mono_ms``: the last one noted by then, else the first, else ``None``.

    ``clocks`` are one run's, in order of their numbers. Sender and reader of a record both go by the number that the
    sender gave; this rule is the sender's.
    """
    chosen = clocks[0] if clocks else None
    for clock in clocks:
        if clock.mono_ms <= mono_ms:
            chosen = clock
    return chosen
