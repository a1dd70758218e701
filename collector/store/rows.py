"""What one commit writes and what a new owner loads: plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from collector.core.problems import ClosedNote, ProblemRef
from collector.core.tickets.draft import Recorded, Tracked
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.ticket import TicketProblem
from collector.core.vehicle.state import InventoryEntry
from collector.core.vehicle.summary import Summary
from collector.store.batch import Entry, Heading, encode
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema

RunKey = tuple[str, str, str]
"""(vehicle, agent, run)."""
SchemaKey = tuple[str, str, str]
"""(vehicle, agent, id of the schema)."""


class RunRow(msgspec.Struct):
    """What is known of one run of an agent.

    ``seen`` are the sequence numbers that are committed, ``lost`` those that the agent said will never come.
    ``no_clock``: the run will never have a clock. ``first_ms`` and ``last_ms`` are the UTC times of its earliest
    and latest placed sample; ``heard_ms`` is when the collector last heard of it.
    """

    vehicle: str
    agent: str
    run: str
    boot: str = ""
    seen: Intervals = msgspec.field(default_factory=Intervals)
    lost: Intervals = msgspec.field(default_factory=Intervals)
    no_clock: bool = False
    first_ms: int | None = None
    last_ms: int | None = None
    heard_ms: int = 0

    def copy(self) -> RunRow:
        """Return a row with sets of its own, to be changed before a commit."""
        return RunRow(
            self.vehicle,
            self.agent,
            self.run,
            self.boot,
            self.seen.copy(),
            self.lost.copy(),
            self.no_clock,
            self.first_ms,
            self.last_ms,
            self.heard_ms,
        )


class BatchRow(msgspec.Struct, frozen=True):
    """The log's next row. ``number`` must follow the last.

    ``received_ms`` is when the first of its messages came in, ``now_ms`` when the unit of work began.
    """

    number: int
    received_ms: int
    now_ms: int
    records: int
    entries: Sequence[Entry]
    """What the unit of work was given, in order."""
    heading: Heading = msgspec.field(default_factory=Heading)

    @property
    def content(self) -> bytes:
        """The bytes that stand in the log: made when they are asked for, which the thread that commits does."""
        return encode(self.entries, self.heading)


class QuarantineRow(msgspec.Struct, frozen=True):
    """What could not be taken: the names of its records (``pairs`` of ``run``), why, and the bytes.

    ``kind`` is the topic's last part for a whole message, or what the single record was.
    """

    vehicle: str
    agent: str
    run: str
    pairs: list[tuple[int, int]]
    kind: str
    reason: str
    payload: bytes
    at_ms: int


class To(NamedTuple):
    """Who gets a notification, by which channel."""

    receiver: str
    """A receiver of ``collector.yaml``, or a person of the roster."""
    channel: str
    """The kind of channel of such a receiver; the name of the entry in ``collector.yaml`` by which a person is told."""
    of_roster: bool = False
    """Whether it is a person of the roster."""
    address: str = ""
    """Where the person is reached over the channel."""
    wait_ms: int = 0
    """How long it waits before it may go."""


class NotificationRow(msgspec.Struct, frozen=True):
    """A message to people. ``key`` is the idempotency key: written twice, it is one row.

    Each of ``receivers`` (``To``) gets it by a delivery of its own.
    """

    key: str
    ticket: str
    body: str
    created_ms: int
    receivers: tuple[tuple[str, str] | To, ...] = ()


class EditionRow(msgspec.Struct, frozen=True):
    """What judging goes by from this commit on, of one kind. Never changed once written."""

    kind: str
    number: int
    at_ms: int
    digest: str
    content: bytes


class SnapshotRow(msgspec.Struct, frozen=True):
    """All states as they were after the batch of this number (0: before the first)."""

    number: int
    at_ms: int
    content: bytes


class TakenAction(msgspec.Struct, frozen=True):
    """An action that this commit takes: its id, when, and why it could not be done (empty: it was)."""

    id: int
    taken_ms: int
    error: str = ""
    ticket: str = ""
    """The ticket on which a person has acted."""


class DamagedRow(msgspec.Struct, frozen=True):
    """A stored row that cannot be read, and why. ``name``: of a run, schema or ticket, the problem's key."""

    table: str
    vehicle: str
    agent: str
    name: str
    content: bytes
    reason: str

    def __str__(self) -> str:
        return " ".join([self.table, "/".join(part for part in (self.vehicle, self.agent, self.name) if part)]).strip()


class SiteReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a site's owner says of itself, for pages beside any collector. Times are the owner's clock, UTC ms."""

    connected: bool = False
    """Its MQTT session stands."""
    listening_since_ms: int | None = None
    """Since when silence proves something; ``None``: our own beat does not come back, so we do not listen."""
    waiting_messages: int = 0
    """Messages that came in and are not yet committed."""
    oldest_waiting_ms: int | None = None
    error: str = ""
    """What went wrong last, while it has not gone well since."""
    editions: dict[str, int] = {}
    """By kind: the number of the edition in force."""
    differing: tuple[str, ...] = ()
    """Kinds of which the owner's own files say otherwise."""
    begun_anew: tuple[str, ...] = ()
    """Vehicles (empty: the site) whose stored state could not be read when this ownership began."""
    damaged: tuple[str, ...] = ()
    """Other rows that could not be read then."""
    over_quota: dict[str, list[str]] = {}
    """By vehicle: the quotas that it was beyond within the last hour."""


class Changes(msgspec.Struct):
    """All that one commit writes, in one transaction. Where a key stands twice, the last one counts.

    ``vehicles`` and ``site_state`` are JSON; ``summaries`` hold what lists show of those vehicles; ``site_state``
    ``None`` leaves it as it is. ``counters`` are added. ``released`` are ids of quarantine rows whose content this
    commit takes after all.
    """

    batch: BatchRow | None = None
    runs: list[RunRow] = msgspec.field(default_factory=list)
    schemas: dict[SchemaKey, Schema] = msgspec.field(default_factory=dict)
    clocks: dict[RunKey, Mapping[int, Clock]] = msgspec.field(default_factory=dict)
    schema_names: dict[RunKey, Mapping[int, str]] = msgspec.field(default_factory=dict)
    """By the numbers that a run gives its schemas: all that are known of it."""
    vehicles: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    summaries: Mapping[str, Summary] = msgspec.field(default_factory=dict)
    site_state: bytes | None = None
    problems: list[Tracked] = msgspec.field(default_factory=list)
    recorded: list[Recorded] = msgspec.field(default_factory=list)
    """Events of tickets, in order, each with the ticket as it has left it."""
    notes: list[ClosedNote] = msgspec.field(default_factory=list)
    inventory: list[InventoryEntry] = msgspec.field(default_factory=list)
    quarantine: list[QuarantineRow] = msgspec.field(default_factory=list)
    released: list[int] = msgspec.field(default_factory=list)
    dropped: list[DamagedRow] = msgspec.field(default_factory=list)
    """Rows of ``schema`` and ``problem`` that cannot be read and stand in ``quarantine`` from now on."""
    notifications: list[NotificationRow] = msgspec.field(default_factory=list)
    actions_taken: list[TakenAction] = msgspec.field(default_factory=list)
    counters: dict[str, int] = msgspec.field(default_factory=dict)
    editions: list[EditionRow] = msgspec.field(default_factory=list)
    snapshot: SnapshotRow | None = None
    journal: bytes = b""
    """What stands in the journal for ``vehicles`` and ``runs``, which are empty then. The store's own matter."""
    checkpoint: bool = False
    """The journal is emptied: all that it says stands in ``vehicles`` and ``runs``. The store's own matter."""


class SiteData(msgspec.Struct):
    """All that an owner needs in memory, as it is committed. ``last_batch`` is 0 before the first."""

    vehicles: dict[str, bytes]
    site_state: bytes | None
    seen: dict[RunKey, RunRow]
    schemas: dict[SchemaKey, Schema]
    clocks: dict[RunKey, dict[int, Clock]]
    last_batch: int
    schema_names: dict[RunKey, Mapping[int, str]] = msgspec.field(default_factory=dict)
    ticket_events: dict[str, list[TicketEvent]] = msgspec.field(default_factory=dict)
    """Of tickets that may still change, by id."""
    problems: list[Tracked] = msgspec.field(default_factory=list)
    """Those that last, and those that such a ticket is about."""
    held: dict[str, dict[ProblemRef, TicketProblem]] = msgspec.field(default_factory=dict)
    """Of tickets of which an event cannot be read: the problems that they hold, by their rows."""
    last_numbers: dict[int, int] = msgspec.field(default_factory=dict)
    """The last number given to a ticket in each year."""
    snapshot_ms: int | None = None
    """When the last snapshot was made."""
    quarantine_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    """What is kept of each vehicle's that could not be taken."""
    journal: list[bytes] = msgspec.field(default_factory=list)
    """What is still to be put into ``vehicles`` and ``seen``. The store's own matter."""
    damaged: list[DamagedRow] = msgspec.field(default_factory=list)
    """What could not be read: left out, or as much of it as the rest of its row tells."""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True):
    """A row of quarantine. ``pairs`` name the records of ``run``; ``payload`` is the bytes as they came."""

    id: int
    site: str
    vehicle: str
    agent: str
    run: str
    pairs: list[tuple[int, int]]
    kind: str
    reason: str
    payload: bytes
    at_ms: int
    state: str


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of a vehicle: ``body`` is JSON by ``kind``; ``taken_ms`` is ``None`` until the owner did it.

    ``error`` says why it could not be done.
    """

    id: int
    site: str
    vehicle: str
    kind: str
    body: str
    who: str
    created_ms: int
    taken_ms: int | None
    error: str
    ticket: str = ""
    """The ticket on which it acted."""
    key: str = ""
    """By which another system knows it."""
    history: tuple[tuple[int, str, int, int, str, str], ...] = ()
    """What happened to the ticket that it is about, where the desk has let go of that (``event_row`` but the id)."""
