"""What must hold of a site's database after every step, whatever has happened.

The rows are read anew each time; nothing here goes by what a collector has in memory, but for ``like_its_memory``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

import msgspec
from sqlalchemy import Connection

from collector.core.clocks import What
from collector.core.contract import Contract
from collector.core.notifications import notifications_of
from collector.core.problems import ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.draft import DeskState, Recorded, Tracked
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.promises import clocks_of
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import TABLE
from collector.replay import replay
from collector.site.acts import TICKET_ACTION, TicketBody
from collector.site.memory import Memory
from collector.store import editions, journal, log, schema
from collector.store.rows import SchemaKey, SiteData
from collector.store.ticket_rows import event_row, problem_rows, read_event, read_tracked, ticket_row
from telemetry.records import Schema
from tests.desk.by_hand import NO_PERSON, differences
from tests.desk.centre import QUOTAS, SITE, Centre, Collector, Found
from tests.unit.judged_again import rows_of

_COLUMNS: Final = [column for column in schema.ticket.columns if column.name not in ("site", "revision")]
_TICKETS: Final = f"SELECT {', '.join(column.name for column in _COLUMNS)} FROM ticket WHERE site = :site"
_ID: Final = [column.name for column in _COLUMNS].index("id")
_NEXT_ROUND: Final = ("opened", "migrated", "taken_into_contract", *(w for w, row in TABLE.items() if row.next_round))
"""With these what was told of a ticket's clocks begins anew."""
_CLOCKS: Final = get_args(What)


@dataclass
class Rows:
    """What stands in the database."""

    tickets: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    events: dict[str, tuple[TicketEvent, ...]] = field(default_factory=dict)
    raw: dict[tuple[str, int], tuple[Any, ...]] = field(default_factory=dict)
    """The events' rows as they stand, by (ticket, number)."""
    held: list[tuple[Any, ...]] = field(default_factory=list)
    problems: list[Tracked] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    notifications: list[tuple[int, str, str]] = field(default_factory=list)
    """Number, key, ticket."""
    deliveries: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    """Notification, receiver, channel, state, and the notification in whose message it goes."""


@dataclass
class Judge:
    """Judges one run, step by step."""

    centre: Centre
    receivers: Sequence[tuple[str, str]]
    rows: Rows = field(default_factory=Rows)
    """As they were at the last look."""
    tickets: dict[str, Ticket] = field(default_factory=dict)
    """The folds of all tickets."""
    _expected: set[str] = field(default_factory=set)
    """Keys of what people are to be told."""
    _decoded: dict[tuple[str, int], TicketEvent] = field(default_factory=dict)

    def look(self, contract: Contract) -> None:
        """Read all rows and judge them. Raises Found, with what is wrong."""
        before, rows = self.rows, self._read()
        if rows.raw == before.raw and rows.actions == before.actions and rows.deliveries == before.deliveries:
            self.rows = rows
            return
        self._nothing_rewritten(before, rows)
        changed = {id for id, told in rows.events.items() if before.events.get(id) != told}
        self._projection(rows, changed)
        self._numbers(rows)
        self._one_live(rows)
        for id in sorted(changed):  # the machine draws among tickets in this order: the same on each machine
            self._timers(id, rows.events[id])
        self._clocks(rows, contract)
        self._actions(rows)
        self._told(before, rows, changed)
        self._somebody_owes(rows)
        self.rows = rows

    # --- reading ------------------------------------------------------------------------------------------------------

    def _read(self) -> Rows:
        rows = Rows()
        told: dict[str, list[TicketEvent]] = defaultdict(list)
        with self.centre.store.engine.connect() as connection:
            for row in _all(connection, "SELECT ticket, number, what, at_ms, recorded_ms, who, body FROM ticket_event"
                            " WHERE site = :site ORDER BY ticket, number"):  # fmt: skip
                key = (row[0], row[1])
                rows.raw[key] = tuple(row)
                if self.rows.raw.get(key) != rows.raw[key]:
                    self._decoded[key] = read_event(*row[1:])
                told[row[0]].append(self._decoded[key])
            rows.events = {id: tuple(events) for id, events in told.items()}
            rows.tickets = {row[_ID]: tuple(row) for row in _all(connection, _TICKETS)}
            rows.held = [tuple(row) for row in _all(connection, "SELECT ticket, vehicle, key, role, holds"
                                                    " FROM ticket_problem WHERE site = :site")]  # fmt: skip
            rows.problems = [read_tracked(*row) for row in _all(
                connection, "SELECT ticket, content FROM problem WHERE site = :site")]  # fmt: skip
            rows.actions = list(_all(connection, "SELECT id, kind, body, who, taken_ms, error, ticket FROM action"
                                     " WHERE site = :site ORDER BY id"))  # fmt: skip
            rows.notifications = [tuple(row) for row in _all(
                connection, "SELECT id, key, ticket FROM notification WHERE site = :site ORDER BY id")]  # fmt: skip
            rows.deliveries = [tuple(row) for row in _all(
                connection, "SELECT notification, receiver, channel, state, folded_into FROM delivery"
                " WHERE site = :site ORDER BY notification, receiver, channel")]  # fmt: skip
        return rows

    # --- what holds ---------------------------------------------------------------------------------------------------

    def _nothing_rewritten(self, before: Rows, rows: Rows) -> None:
        for key, row in before.raw.items():
            if rows.raw.get(key) != row:
                raise Found(f"event {key} was {row}, is {rows.raw.get(key)}")
        for id, events in rows.events.items():
            if [event.number for event in events] != list(range(1, len(events) + 1)):
                raise Found(f"{id}: events are numbered {[event.number for event in events]}")
            first: Any = events[0].body
            if first.event_ms > events[0].recorded_ms or first.detected_ms > events[0].recorded_ms:
                raise Found(f"{id}: it begins in the future, {first.event_ms}, opened at {events[0].recorded_ms}")

    def _projection(self, rows: Rows, changed: set[str]) -> None:
        """The rows of a ticket are the fold of its events, and the fold is what the table and the contract say."""
        if rows.tickets.keys() != rows.events.keys():
            raise Found(f"tickets without events, or the reverse: {rows.tickets.keys() ^ rows.events.keys()}")
        for id in sorted(changed):
            ticket = self.tickets[id] = fold(SITE, id, rows.events[id])
            if wrong := differences(ticket, rows.events[id]):
                raise Found("\n".join(wrong))
            expected, found = ticket_row(ticket), rows.tickets[id]
            if expected != found:
                names = [column.name for column in _COLUMNS]
                told = [f"{n}: {x!r}, found {f!r}" for n, x, f in zip(names, expected, found, strict=True) if x != f]
                raise Found(f"ticket {id} is not the fold of its events: {'; '.join(told)}")
        held = sorted(row for id, ticket in self.tickets.items() for row in problem_rows([ticket]))
        if sorted((*row[:4], bool(row[4])) for row in rows.held) != held:
            raise Found(f"ticket_problem: expected {held}, found {sorted(rows.held)}")

    def _numbers(self, rows: Rows) -> None:
        """A commit that was not kept gives its number again: there is no gap in a year."""
        by_year: dict[str, list[int]] = defaultdict(list)
        for id in rows.tickets:
            year, _, number = id.partition("-")
            if year.isdecimal():
                by_year[year].append(int(number))
        for year, numbers in by_year.items():
            if sorted(numbers) != list(range(1, len(numbers) + 1)):
                raise Found(f"{year}: tickets are numbered {sorted(numbers)}")

    def _one_live(self, rows: Rows) -> None:
        holders = Counter((vehicle, key) for _, vehicle, key, _, holds in rows.held if holds)
        if twice := [ref for ref, count in holders.items() if count > 1]:
            raise Found(f"several live tickets about {twice}")

    def _timers(self, id: str, events: Sequence[TicketEvent]) -> None:
        """Each level of a clock is told once a round, upwards, and of a clock that the ticket had.

        Without a spare part at hand class hardware counts as general (docs/contract.md, R8).
        """
        told: dict[str, int] = {}
        had: set[str] = set()
        quiet_ms = 0
        for event in events:
            body: Any = event.body
            if event.what in _NEXT_ROUND:
                told = {}
            if event.what == "silenced":
                quiet_ms = body.until_ms
            elif TABLE[event.what].to in ("resolved", "merged", "new"):
                quiet_ms = 0
            if hasattr(body, "sla_class"):
                had |= {body.sla_class, "general"} if body.sla_class == "hardware" else {body.sla_class}
            if not isinstance(body, e.Escalation) or not body.clock:
                continue
            what, _, of = body.clock.partition("/")
            if body.level <= told.get(body.clock, 0):
                raise Found(f"{id}: level {body.level} of {body.clock} is told again: {told}")
            if what in _CLOCKS and of not in had:
                raise Found(f"{id}: told of {body.clock}, which it never had")
            if event.who == e.DESK:
                self._in_time(id, event, body, quiet_ms)
            told[body.clock] = body.level

    def _in_time(self, id: str, event: TicketEvent, body: e.Escalation, quiet_ms: int) -> None:
        """What time brings comes at its time, and not while nobody is to be told."""
        levels = self.centre.base.contract.escalation.get(body.clock.partition("/")[0], ())
        after_ms = levels[body.level - 1].after_ms if levels else 0
        if body.due_ms is None or event.recorded_ms < body.due_ms + after_ms:
            raise Found(f"{id}: level {body.level} of {body.clock} is told at {event.recorded_ms}, due {body.due_ms}")
        if event.recorded_ms < quiet_ms:
            raise Found(f"{id}: level {body.level} of {body.clock} is told while it is silenced until {quiet_ms}")

    def _clocks(self, rows: Rows, contract: Contract) -> None:
        """No clock runs without its start: a notice, a change of class, a response or the end of the time for it.

        A class that is raised after the old one's clock was due is due then, and so before it starts.
        """
        for id, ticket in self.tickets.items():
            if not ticket.is_open:
                continue
            found = clocks_of(ticket, rows.events[id], contract)
            corrected = {event.body.at_ms for event in rows.events[id] if isinstance(event.body, e.Correction)}
            starts = {ticket.notice_ms} | {event.at_ms for event in rows.events[id]} | corrected
            starts |= {clock.due_ms for clock in found if clock.what == "response" and clock.due_ms is not None}
            if not ticket.in_contract and found:
                raise Found(f"{id}: is in no contract and has {found}")
            for clock in found:
                if clock.start_ms not in starts:
                    raise Found(f"{id}: {clock.what} starts at {clock.start_ms}, when nothing was")
                if clock.due_ms is None and (
                    clock.missing_year is None or clock.missing_year in contract.calendar.years
                ):
                    raise Found(f"{id}: {clock.what} is not due, and no year is missing: {clock.missing_year}")
                raised = any(event.what in ("class_changed", "got_merged") for event in rows.events[id])
                if clock.due_ms is not None and clock.due_ms < clock.start_ms and not raised:
                    raise Found(f"{id}: {clock.what} is due before it starts")

    def _actions(self, rows: Rows) -> None:
        """What a person did stands in one event, what was refused in none, and the person is told why."""
        wanted: Counter[tuple[str, str, str]] = Counter()
        for _, kind, body, who, taken_ms, error, ticket in rows.actions:
            if kind != TICKET_ACTION:
                if taken_ms is not None and error:
                    raise Found(f"an action of {kind} failed: {error}")
                continue
            if taken_ms is None and (error or ticket):
                raise Found(f"an action that nobody took has come to {error or ticket}")
            if error and (len(error.splitlines()) != 2 or min(map(len, error.splitlines())) < 5):
                raise Found(f"refused without a sentence in both languages: {error!r}")
            if taken_ms is not None and not error:
                wanted[ticket, _what(body).what, who] += 1
        done = Counter(
            (id, event.what, event.who)
            for id, events in rows.events.items()
            for event in events
            if event.who not in NO_PERSON and "person" in TABLE[event.what].by
        )
        if done != wanted:
            raise Found(f"done, and not wanted so often: {done - wanted}; wanted and not done: {wanted - done}")

    def _told(self, before: Rows, rows: Rows, changed: set[str]) -> None:
        """Of each event that people are told of stands one notification, with its deliveries, and none is lost."""
        in_force = self.centre.base
        for id in sorted(changed):
            events = rows.events[id]
            for at in range(len(before.events.get(id, ())), len(events)):
                recorded = Recorded(fold(SITE, id, events[: at + 1]), events[at])
                self._expected |= {one.key for one in notifications_of([recorded], in_force.site)}
        keys = [key for _, key, _ in rows.notifications]
        if lacking := self._expected.difference(keys):
            raise Found(f"notifications: lacking {lacking}")
        lanes = Counter(key for key, receiver, channel, *_ in rows.deliveries if (receiver, channel) in self.receivers)
        if any(lanes[key] != len(self.receivers) for key in keys):
            raise Found("a notification lacks a delivery")
        states = {row[:3]: row[3] for row in rows.deliveries}
        for row in before.deliveries:
            if row[3] == "sent" and states.get(row[:3]) != row[3]:
                raise Found(f"delivery {row} is {states.get(row[:3])}")

    def _somebody_owes(self, rows: Rows) -> None:
        """A problem that nothing explains has a live ticket, or one that a person cancelled; or waits for its cause."""
        for tracked in rows.problems:
            problem = tracked.problem
            if problem.state != "active" or problem.cause is not None or problem.waits_until_ms is not None:
                continue
            ref: ProblemRef = problem.ref
            ticket = self.tickets.get(tracked.ticket)
            while ticket is not None and ticket.state == "merged":
                ticket = self.tickets[ticket.merged_into]
            if ticket is None:
                raise Found(f"{ref} lasts, and no ticket is about it")
            held = ticket.problems.get(ref)
            if ref not in ticket.held() and ticket.state != "cancelled" and held is not None and held.holds:
                raise Found(f"{ref} lasts, and {ticket.id} about it is {ticket.state}")

    def nobody_waits_too_long(self) -> None:
        """A problem waits for its cause until a time and no longer."""
        for tracked in self.rows.problems:
            problem = tracked.problem
            until_ms = problem.waits_until_ms
            if problem.state != "active" or problem.cause is not None or until_ms is None:
                continue
            if until_ms < self.centre.now_ms:
                raise Found(f"{problem.ref} waits for its cause, but not longer than {until_ms}")

    def everything_told(self, got: Mapping[str, set[str]]) -> None:
        """Everybody who was to be told was, or somebody instead, or all channels have refused it for good."""
        states: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, who, _, state, _ in self.rows.deliveries:
            states[key, who].append(state)
        told: dict[tuple[str, bool], list[str]] = defaultdict(list)
        for key, who, channel, state, into in self.rows.deliveries:
            found = states[into, who] if state == "folded" else [state]
            told[key, (who, channel) in self.receivers] += found
            if "waiting" in found or ("sent" in found and key not in got.get(who, ())):
                raise Found(f"{who} was not told {key}, which is {found} ({channel})")
        for (key, _), found in told.items():
            if "sent" not in found and set(found) != {"failed"}:
                raise Found(f"nobody was told {key}: {found}")

    # --- a new owner, and judging again -------------------------------------------------------------------------------

    def like_its_memory(self, owner: Collector, data: SiteData) -> None:
        """What a new owner loads is what the old one knew."""
        loaded = DeskState.of(SITE, data.ticket_events, data.problems, data.last_numbers, owner.in_force.contract)
        for name in ("tickets", "events", "problems", "holders", "last_numbers", "wakes"):
            known, found = getattr(owner.memory.desk, name), getattr(loaded, name)
            if known != found:
                raise Found(f"{name}: an owner knows {known}, the next one would know {found}")

    def like_judged_again(self, before: SiteData) -> None:
        """The log, judged again from the beginning, gives the same problems, tickets and events, byte for byte."""
        store = self.centre.store
        contents = editions.contents(store, SITE)
        in_force = self.centre.base
        for (kind, number), content in contents.items():
            if number == 1:
                in_force = in_force.edited(kind, number, content)
        with store.engine.connect() as connection:
            schemas = _schemas(connection)
            states = {vehicle: bytes(state) for vehicle, state in _all(
                connection, "SELECT vehicle, state FROM vehicle WHERE site = :site")}  # fmt: skip
            for (content,) in _all(connection, "SELECT content FROM journal WHERE site = :site ORDER BY revision"):
                states.update(journal.decode(bytes(content))[0])
            problems = {(row[0], row[1]): tuple(row) for row in _all(
                connection, "SELECT vehicle, key, fault, device, state, event_ms, ticket, content FROM problem"
                " WHERE site = :site")}  # fmt: skip
        before.schemas = schemas
        batches, after = [], 0
        while page := log.read(store, SITE, after, 500):
            batches += page
            after = page[-1].number
        again = rows_of(list(replay(Memory.of(in_force, before, QUOTAS), in_force, batches, contents)))
        rows = self._read()
        first = {(id, event.number) for id, events in before.ticket_events.items() for event in events}
        upgraded = {event_row("T-2", event)[:2] for event in rows.events["T-2"][:2]}
        events = {key: row for key, row in rows.raw.items() if key not in first | upgraded}
        _same("ticket_event", events, again["ticket_event"])
        _same("ticket", {id: row for id, row in rows.tickets.items() if id in again["ticket"]}, again["ticket"])
        _same("problem", problems, again["problem"])
        _same("state", states, {name: state for name, state in again["state"].items() if name})


def _same(table: str, stored: Mapping[Any, Any], judged: Mapping[Any, Any]) -> None:
    for key in stored.keys() | judged.keys():
        if stored.get(key) != judged.get(key):
            raise Found(f"{table} {key}: stored {stored.get(key)}, judged again {judged.get(key)}")


def _all(connection: Connection, query: str) -> Sequence[Any]:
    return connection.exec_driver_sql(query.replace(":site", f"'{SITE}'")).all()


_what = msgspec.json.Decoder(TicketBody).decode


def _schemas(connection: Connection) -> dict[SchemaKey, Schema]:
    rows = _all(connection, "SELECT vehicle, agent, id, content FROM schema WHERE site = :site")
    return {(vehicle, agent, id): msgspec.json.decode(content, type=Schema) for vehicle, agent, id, content in rows}
