"""What is said over one connection, and when (docs/architecture.md). Pure: no I/O.

A ``Conversation`` is told what arrived, what was recorded and what time it is; ``next`` says what to do next, one
action at a time, until there is nothing to do. ``agent.uplink.session`` does it. The order matters: birth, then schemas
before the samples that need them, live records before the backlog.

A *receipt* is the collector's end-to-end acknowledgement: it names the records that are committed in the centre's
database. Acknowledgements of the broker (PUBACK) only bound how many messages are on their way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from agent.clock import ClockKeeper
from agent.uplink.actions import Action, Publish, Release, SendRecords, SendSchemas
from agent.uplink.announcements import Announcements
from agent.uplink.packing import needs_of, numbers_of, packed, packed_schemas
from agent.uplink.resend import NO_PAIRS, Resend
from telemetry.message import (
    FORMATS,
    MAX_PAYLOAD,
    NUMBERED,
    PLAIN,
    Birth,
    Down,
    HeldRun,
    Lane,
    Needed,
    Placed,
    Presence,
    Receipt,
    Up,
    encode,
)
from telemetry.records import Clock, Event, Record, Sample, Schema, SchemaRef

LIVE_UNACKNOWLEDGED: Final = 30
"""Live messages that the broker has not acknowledged; beyond that the link is bad and the backlog lane takes over."""
BACKLOG_UNACKNOWLEDGED: Final = 2
"""Backlog messages on their way to the broker: a live message never waits behind more."""
RUNS_NAMED: Final = 500
"""Runs that one birth names at most; after a long crash loop the rest is named when these are through."""
LOOK_MS: Final = 1000
"""Time after which ``next`` is asked again though nothing has happened."""


class Centre(msgspec.Struct):
    """What outlives a connection: the highest epoch heard of, and counts."""

    epoch: int = 0
    undecodable: int = 0
    """Messages from the centre that could not be decoded."""
    refused: int = 0
    """Messages that the broker acknowledged with a refusal."""
    named_unsent: int = 0
    """Records that receipts have named before they were sent."""
    published: dict[str, int] = msgspec.field(default_factory=lambda: {"live": 0, "backlog": 0})
    """Records published, by lane."""
    receipts: int = 0
    too_large: int = 0
    """Times that a record was left in the outbox, because the broker takes no message as large as it."""


class Speaker(msgspec.Struct, frozen=True, kw_only=True):
    """Who speaks: what a birth says of the agent, and what is known of its runs."""

    run: str
    session: int
    """Connections of this run so far, this one included."""
    boot: str
    machine: str
    version: str
    interval_s: float
    """How often the agent sends at least."""
    devices: Mapping[str, str]
    """Kind by device id."""
    boots: Mapping[str, str]
    """Boot by run, of the earlier runs that were held at the start."""
    clocks: Sequence[Clock]
    """The clocks of this run, in order of their numbers: a view, to which new ones are added."""


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The waits that matter here, in milliseconds (``agent.config.Waits`` explains them)."""

    presence_ms: int
    birth_repeat_ms: int
    schema_repeat_ms: int
    clock_patience_ms: int
    send_interval_ms: int
    live_expiry_s: int


class Conversation:
    """See the module. All times are monotonic milliseconds.

    ``sending`` is what is held and to be sent (again), ``keeper`` knows the time, ``centre`` outlives the connection.
    """

    def __init__(
        self, speaker: Speaker, timing: Timing, *, sending: Resend, keeper: ClockKeeper, centre: Centre
    ) -> None:
        self._speaker = speaker
        self._timing = timing
        self._sending = sending
        self._keeper = keeper
        self._centre = centre
        self.too_large = 0
        """Bytes of the largest message that the broker does not take; 0: there was none."""
        self.room = MAX_PAYLOAD
        """Most bytes of one message over this connection."""
        self._ended = False
        self._presence: Up | None = None
        self._usable_since_ms: int | None = None
        self._birth_due_ms: int | None = None
        """When to give birth; ``None`` when that is done, and before ``begin``."""
        self._birth_epoch: int | None = None
        """The epoch to which we gave birth; ``None`` before the birth, 0 if nobody was there."""
        self._birth_ms = 0
        self._named: set[str] = set()
        """The runs that the last birth named: receipts are of these."""
        self._more_runs = False
        self._live: list[Record] = []
        self._unacknowledged: dict[Lane, int] = {"live": 0, "backlog": 0}
        self._releases: list[Release] = []
        self._missing: list[Mapping[str, Needed]] = []
        self._answered_ms: dict[tuple[str, str, SchemaRef], int] = {}
        self._announced = Announcements(speaker.run, speaker.boot, speaker.boots)
        self._unsendable: set[str] = set()
        """Schemas that are too large for the broker: their samples stay in the outbox."""

    # --- what happened ------------------------------------------------------------------------------------------------

    def begin(self, now_ms: int, room: int | None = None) -> None:
        """We are connected and subscribed. The retained presence of the collector may still be on its way.

        ``room`` is how many bytes the broker takes in a message, ``None`` for any number.
        """
        self.room = MAX_PAYLOAD if room is None else min(room, MAX_PAYLOAD)
        self._sending.start_over()
        if self._birth_due_ms is None:
            self._birth_due_ms = now_ms + self._timing.presence_ms

    def on_presence(self, said: Presence | None, now_ms: int) -> None:
        """The site's collector says that it is there or not; ``None``: nobody is known there."""
        if isinstance(said, Up) and said.epoch >= self._centre.epoch:
            self._centre.epoch = said.epoch
            if self._presence is None:
                self._usable_since_ms = now_ms
            self._presence = said
            if self._birth_epoch is None:
                self._birth_due_ms = now_ms
            elif said.epoch != self._birth_epoch:
                self._sending.start_over()
                self._live.clear()  # held, and so part of the backlog now
                self._announced.clear()
                self._unsendable.clear()
                self._birth_due_ms = now_ms
            if self._birth_epoch in (None, said.epoch):
                self._sending.resume(now_ms)
        elif said is None or (isinstance(said, Down) and said.epoch >= self._centre.epoch):
            self._presence = None
            self._sending.pause(now_ms)
            self._hold_live()
            if self._birth_epoch is None:
                self._birth_due_ms = now_ms

    def on_receipt(self, receipt: Receipt, now_ms: int) -> bool:
        """The collector says what it has committed and what it misses. Raises ValueError for what is no interval.

        Return whether it is the first that names records of ours before we have sent them.
        """
        birth_again = self._birth_due_ms is not None and self._birth_epoch is not None
        if self._presence is None or receipt.epoch != self._presence.epoch or birth_again:
            return False
        mine = receipt.birth == (self._speaker.run, self._speaker.session)
        fresh = mine and self._birth_epoch == receipt.epoch
        if mine and not fresh:
            return False  # said before this epoch's birth was heard
        self._centre.receipts += 1
        released = self._sending.receipt(receipt.runs, now_ms, fresh=fresh, uncommitted=receipt.uncommitted or NO_PAIRS)
        self._releases += [Release(run, numbers) for run, numbers in released.items()]
        needed = {run: need for run, need in receipt.needed.items() if run in self._named}
        if mine and needed:
            self._missing.append(needed)
        first = self._sending.named_unsent > 0 and not self._centre.named_unsent
        self._centre.named_unsent = self._sending.named_unsent
        return first

    def recorded(self, records: Sequence[Record], now_ms: int) -> None:
        """Records of this run are durable, and kept by ``sending``: live if they can go now, else for the backlog."""
        if self._can_send(self._speaker.run, now_ms) and self._unacknowledged["live"] < LIVE_UNACKNOWLEDGED:
            self._live += records
        else:
            self._sending.hold(self._speaker.run, numbers_of(records))

    def acknowledged(self, message: Publish, code: int) -> None:
        """The broker answered a message with records with this reason code (MQTT 5.0, 3.4.2.1)."""
        assert message.lane is not None
        assert message.numbers is not None
        self._unacknowledged[message.lane] -= 1
        if code >= 128:
            self._centre.refused += 1
            return
        released = self._sending.delivered(message.run, message.numbers)
        if released:
            self._releases.append(Release(message.run, released))

    def end(self) -> list[Release]:
        """The connection is about to end: what was to go live goes with the backlog of the next one.

        Return what was not let go yet.
        """
        self._ended = True
        self._hold_live()
        releases, self._releases = self._releases, []
        return releases

    # --- may we? ------------------------------------------------------------------------------------------------------

    @property
    def releasing(self) -> bool:
        """Whether the outbox may let go of something now."""
        return bool(self._releases)

    @property
    def usable(self) -> bool:
        """Whether the collector is there and has been given our birth."""
        return (
            not self._ended
            and self._presence is not None
            and self._birth_epoch == self._presence.epoch
            and self._birth_due_ms is None
        )

    def _can_send(self, run: str, now_ms: int) -> bool:
        """Say whether a run's records may go: they can be placed in time, or never will be."""
        if not self.usable or run not in self._named:
            return False
        if run != self._speaker.run and self._speaker.boots.get(run) != self._speaker.boot:
            return True
        clocks = self._speaker.clocks
        if clocks and clocks[-1].source != "rtc":
            return True
        since_ms = self._usable_since_ms
        patient = since_ms is None or now_ms - since_ms < self._timing.clock_patience_ms
        return bool(clocks) and not patient

    # --- what to do next ----------------------------------------------------------------------------------------------

    def next(self, now_ms: int) -> Action | None:
        """Return what to do next, ``None`` when there is nothing before something happens or ``next_look_ms``."""
        if self._releases:
            return self._releases.pop(0)
        if self._birth_due_ms is not None and now_ms >= self._birth_due_ms:
            return self._birth(now_ms)
        if not self.usable:
            self._hold_live()
            return None
        unanswered = not self._sending.fresh and now_ms - self._birth_ms >= self._timing.birth_repeat_ms
        if unanswered or self._named_are_through():
            self._sending.fresh = False  # of the runs named now the centre may have some already
            return self._birth(now_ms)
        self._sending.tick(now_ms)
        return self._answer(now_ms) or self._live_if_due(now_ms) or self._backlog(now_ms)

    def last(self) -> Action | None:
        """Return what is still to be done before a planned end, as ``next``: live records go, due or not."""
        if self._releases:
            return self._releases.pop(0)
        return self._live_now() if self.usable else None

    def next_look_ms(self, now_ms: int) -> int:
        """Return in how many milliseconds to ask ``next`` again at the latest."""
        look_ms = LOOK_MS
        if self._birth_due_ms is not None:
            look_ms = min(look_ms, max(self._birth_due_ms - now_ms, 0))
        interval_ms = self._timing.send_interval_ms
        if self._live and interval_ms:
            look_ms = min(look_ms, interval_ms - now_ms % interval_ms + 1)
        return look_ms

    def _birth(self, now_ms: int) -> Publish:
        self._birth_due_ms = None
        self._birth_epoch = self._presence.epoch if self._presence is not None else 0
        self._birth_ms = now_ms
        all_held = self._sending.held()
        runs = {}
        for run in [*all_held][:RUNS_NAMED]:
            pairs = all_held[run].pairs()
            runs[run] = HeldRun(self._announced.boot_of(run), pairs[0][0], pairs[-1][1])
        while len(payload := self._birth_naming(runs)) > self.room and runs:
            runs = dict(list(runs.items())[: len(runs) // 2])
        self._named = {*runs, self._speaker.run}
        self._more_runs = len(all_held) > len(runs)
        return Publish("state", payload, retain=True)

    def _birth_naming(self, runs: Mapping[str, HeldRun]) -> bytes:
        speaker = self._speaker
        birth = Birth(
            session=speaker.session,
            boot=speaker.boot,
            machine=speaker.machine,
            version=speaker.version,
            interval_s=speaker.interval_s,
            runs=dict(runs),
            devices=dict(speaker.devices),
        )
        return encode(PLAIN, speaker.run, birth)  # nobody may be there yet to say which formats it takes

    def _named_are_through(self) -> bool:
        if not self._more_runs or not self._sending.fresh:
            return False
        return not (self._named - {self._speaker.run}) & self._sending.held().keys()

    def _answer(self, now_ms: int) -> SendSchemas | None:
        """Return the answer to what the centre misses, unless the same was answered just now."""
        while self._missing:
            missing = dict(self._missing.pop(0))
            for run in list(missing):
                wanted = missing.pop(run)
                schemas = [schema for schema in wanted.schemas if self._may_answer(run, "schema", schema, now_ms)]
                clocks = [number for number in wanted.clocks if self._may_answer(run, "clock", number, now_ms)]
                if schemas or clocks:
                    if missing:
                        self._missing.insert(0, missing)
                    return SendSchemas(run, schemas, clocks)
        return None

    def _may_answer(self, run: str, kind: str, what: SchemaRef, now_ms: int) -> bool:
        """A receipt may have left before our last answer came: the same is answered once in a while only."""
        last_ms = self._answered_ms.get((run, kind, what))
        if last_ms is not None and now_ms - last_ms < self._timing.schema_repeat_ms:
            return False
        self._answered_ms[run, kind, what] = now_ms
        return True

    def _live_if_due(self, now_ms: int) -> SendRecords | None:
        if not self._live:
            return None
        interval_ms = self._timing.send_interval_ms
        urgent = any(isinstance(record, Event) for record in self._live)
        if not interval_ms or urgent or now_ms // interval_ms > self._live[0].mono_ms // interval_ms:
            return self._live_now()
        return None

    def _live_now(self) -> SendRecords | None:
        records, self._live = self._live, []
        return SendRecords("live", self._speaker.run, numbers_of(records), records) if records else None

    def _hold_live(self) -> None:
        records, self._live = self._live, []
        if records:
            self._sending.hold(self._speaker.run, numbers_of(records))

    def _backlog(self, now_ms: int) -> SendRecords | None:
        if self._unacknowledged["backlog"] >= BACKLOG_UNACKNOWLEDGED:
            return None
        found = self._sending.next_backlog(lambda run: self._can_send(run, now_ms))
        return SendRecords("backlog", *found) if found is not None else None

    # --- what was looked up -------------------------------------------------------------------------------------------

    def record_messages(
        self,
        action: SendRecords,
        records: Sequence[Record],
        schemas: Mapping[str, Schema],
        clocks: Sequence[Clock],
        now_ms: int,
    ) -> list[Publish]:
        """Return the messages that carry the records of an action, with schemas and clocks that must go first.

        ``records`` are those that could be read; the others are held no more. ``schemas`` and ``clocks`` are all that
        the outbox knows of the run.
        """
        run, lane = action.run, action.lane
        unread = action.numbers.minus(numbers_of(records))
        if unread:
            self._sending.forget(run, unread.pairs())
        if not records:
            return []
        if not self.usable:  # the collector went while they were looked up
            self._sending.hold(run, numbers_of(records))
            return []
        wanted = [record.schema for record in records if isinstance(record, Sample)]
        found = self._announce(run, wanted, schemas, clocks)
        unsendable = [one for one in records if isinstance(one, Sample) and one.schema in self._unsendable]
        if unsendable:
            self._leave(run, unsendable)
            records = [one for one in records if not (isinstance(one, Sample) and one.schema in self._unsendable)]
        if not records:
            return found
        wall_ms = self._keeper.wall_ms(now_ms)
        placed = [
            Placed(record, self._announced.clock_number(run, clocks, record.mono_ms, wall_ms)) for record in records
        ]
        schema_numbers = self._announced.numbers(run, schemas) if self._format == NUMBERED else None
        for part, payload in packed(self._format, run, placed, self.room, schema_numbers):
            if len(payload) > self.room:
                self.too_large = max(self.too_large, len(payload))
                self._leave(run, [one.record for one in part])
                continue
            numbers = numbers_of([one.record for one in part])
            expiry_s = self._timing.live_expiry_s if lane == "live" else None
            found.append(Publish(lane, payload, expiry_s=expiry_s, lane=lane, run=run, numbers=numbers))
            self._unacknowledged[lane] += 1
            self._centre.published[lane] += len(part)
            self._sending.published(lane, run, numbers, now_ms, needs_of(part))
        return found

    def schema_messages(
        self, action: SendSchemas, schemas: Mapping[str, Schema], clocks: Sequence[Clock]
    ) -> list[Publish]:
        """Return the messages that tell what the centre misses; the records that need it are sent again."""
        self._announced.forget(action.run)
        wanted = self._announced.names(action.run, action.schemas, schemas)
        found = self._announce(action.run, wanted, schemas, clocks)
        self._sending.send_needing(action.run, wanted, action.clocks)
        return found

    @property
    def _format(self) -> int:
        """The newest one that we and the collector both know."""
        return max({*FORMATS}.intersection(self._presence.formats), default=PLAIN) if self._presence else PLAIN

    def _announce(
        self, run: str, wanted: Sequence[str], schemas: Mapping[str, Schema], clocks: Sequence[Clock]
    ) -> list[Publish]:
        found, format = [], self._format
        for body in self._announced.bodies(run, wanted, schemas, clocks, numbered=format == NUMBERED):
            for part, payload in packed_schemas(format, run, body, self.room):
                if len(payload) > self.room:
                    self.too_large = max(self.too_large, len(payload))
                    self._unsendable.update(part.schemas)
                else:
                    found.append(Publish("schema", payload))
        return found

    def _leave(self, run: str, records: Sequence[Record]) -> None:
        self._sending.leave(run, numbers_of(records))
        self._centre.too_large += len(records)
