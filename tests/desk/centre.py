"""A site with its real database and two collectors that would own it, each of which may end between two statements.

A collector here does what ``collector/site/ownership.py`` does with what arrives, in a time that is given: a unit of
work, its commit, and only then its memory. What people want are rows, as ``collector/web/people.py`` writes them; what
the vehicle says are messages, which its agent sends again until they are committed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import psycopg
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from collector.config import Timings
from collector.core.contract import Contract
from collector.core.health import PartReport
from collector.core.problems import ProblemRef
from collector.core.rules.files import parse_rules
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import begin, course
from collector.core.vehicle.events import Listening
from collector.site.acts import TICKET_ACTION, TicketBody, ticket_of
from collector.site.in_force import InForce, Receiver
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.owner import SiteOwner
from collector.site.quotas import Quotas
from collector.site.unit_of_work import UnitOfWork
from collector.store import queries
from collector.store.commit import SiteConnection
from collector.store.errors import CommitFailed, LiveTicketExists, LostOwnership
from collector.store.on_postgres import PostgresSite
from collector.store.on_sqlite import SqliteSite
from collector.store.rows import Changes, SiteData
from collector.store.statements import parts
from collector.store.store import Store
from telemetry.files import convert, parse_yaml
from telemetry.fleet import Broker, Site

SITE: Final = "north"
QUOTAS: Final = Quotas(notifications=2**31, actions=2**31)
"""Nothing is withheld here: what a quota withholds is another test's matter."""
FLEET: Final = """
vehicles:
  amb-1:
    agents:
      box:
        devices:
          router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
          camera-1: {kind: camera, depends_on: [router], snmp: {address: 10.0.0.2, community_file: /c}}
          modem: {kind: modem, modem: {port: /dev/m}}
  amb-2:
    agents:
      box:
        devices:
          modem: {kind: modem, modem: {port: /dev/m}}
"""
RULES: Final = """
rules:
  router_dead: {fault: router_dead, kinds: [router], condition: {metric: device.reachable, is: [false]},
                for: 0s, clear_for: 0s}
  camera_down: {fault: camera_down, kinds: [camera], condition: {metric: device.reachable, is: [false]},
                for: 0s, clear_for: 0s}
  sim_absent: {fault: sim_absent, condition: {metric: modem.sim, is: [absent]}, for: 0s, clear_for: 0s}
  firmware_changed: {fault: firmware_changed, condition: {event: firmware}}
  influx_refuses: {fault: influx_refuses, condition: {part: influxdb, is: [refusing]}, for: 0s, clear_for: 0s}
  sink_behind: {fault: sink_behind, condition: {part: receiver, is: [failing]}, for: 0s, clear_for: 0s}
"""
"""Each word is believed at once, so that every step can be one that counts."""


class Crash(BaseException):
    """The process is gone: nothing of it catches this."""


class Found(AssertionError):  # noqa: N818 - what a run is for
    """A promise that was not kept."""


@dataclass(frozen=True)
class Break:
    """What ends a commit, and where: after so many thousandths of its statements; 1,000: after all of them.

    ``error``: the database refuses that statement, and the process lives; else the process ends there.
    """

    after: int
    error: bool = False


class Cut:
    """A connection of a collector's that is cut at a statement. Everything else goes to the real one."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.todo: Break | None = None
        self.statements = 0
        """That are still to come before it."""
        self.dead = False

    def arm(self, todo: Break | None, changes: Changes | None = None) -> None:
        """Let the statements of these changes be counted, and end at one of them."""
        self.todo = todo
        if todo is None or todo.after >= 1000:
            self.statements = 2**31
        elif changes is None or not isinstance(self.real, sqlite3.Connection):
            self.statements = todo.after // 500  # one statement: before it or after it
        else:
            several = 3 + sum(len(rows) for _, rows in parts(changes, 1))
            self.statements = todo.after * (several + 2) // 1000

    def execute(self, *given: Any, **named: Any) -> Any:
        self._next()
        return self.real.execute(*given, **named)

    def executemany(self, statement: str, rows: Iterable[Any]) -> Any:
        return self.real.executemany(statement, self._each(rows))

    def _each(self, rows: Iterable[Any]) -> Iterator[Any]:
        for row in rows:
            self._next()
            yield row

    def _next(self) -> None:
        if self.dead:
            raise Crash
        todo, self.statements = self.todo, self.statements - 1
        if todo is None or self.statements >= 0:
            return
        self.todo = None
        if todo.error:
            raise (
                sqlite3.OperationalError("disk I/O error")
                if isinstance(self.real, sqlite3.Connection)
                else psycopg.errors.DiskFull("no space left on device")
            )
        self.dead = True
        raise Crash

    @property
    def in_transaction(self) -> bool:
        if self.dead:
            raise Crash
        return bool(self.real.in_transaction)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


@dataclass
class Collector:
    """One that owns the site, or has owned it and does not know better."""

    name: str
    lock: SiteConnection
    cut: Cut
    in_force: InForce
    memory: Memory
    to_put: tuple[str, ...]
    pending: UnitOfWork | None = None
    """What it had worked out when the site was taken from it."""


@dataclass
class Told:
    """What a commit has said to whoever asks: for the counts of a run."""

    commits: int = 0
    crashes: int = 0
    errors: int = 0
    takeovers: int = 0
    late_commits: int = 0
    acts: int = 0
    refused: int = 0
    notifications: int = 0
    repeated: int = 0
    steps: int = 0
    runs: int = 0
    events: dict[str, int] = field(default_factory=dict)
    """By name: of tickets, as they stood when a run was over."""
    histories: list[tuple[TicketEvent, ...]] = field(default_factory=list)
    """All that happened to the tickets of all runs."""


class Centre:
    """One site: its database, its clock, what waits for an owner, and the one that owns it."""

    def __init__(self, url: str, contract: Contract, receivers: Sequence[tuple[str, str]], start_ms: int) -> None:
        self.store = Store.open(url)
        self.base = files_of(contract, tuple(receivers))
        self.start_ms = self.true_ms = start_ms
        self.offset_ms = 0
        """By how much the centre's clock is wrong."""
        self.listening = Listening(start_ms)
        """Our own heartbeat comes back: silence proves something."""
        self.inbox: list[Incoming] = []
        """What agents have sent and was not committed yet: it comes again."""
        self.reports: list[PartReport] = []
        self.owner: Collector | None = None
        self.old: list[Collector] = []
        """Those that have lost the site and do not know it."""
        self.told = Told()
        self._begun = 0
        self._words_left = 0
        self.before = self._first_version()
        event.listen(self.store.engine, "before_cursor_execute", self._statement)

    def _first_version(self) -> SiteData:
        """Put in two tickets that an upgrade brought, one of them closed; return what an owner begins with."""
        opening = e.Migration(
            source="rule", fault="modem_hot", sla_class="general", severity="major", vehicle="amb-1", device="modem",
            event_ms=self.start_ms - 10_000, detected_ms=self.start_ms - 9_000, opened_ms=self.start_ms - 8_000,
        )  # fmt: skip
        recorded = []
        for id, names in (("T-1", ("migrated",)), ("T-2", ("migrated", "closed_by_upgrade"))):
            told = tuple(
                TicketEvent(
                    number=number, what=what, at_ms=self.start_ms - 7_000, recorded_ms=self.start_ms - 7_000,
                    who=e.UPGRADE, body=opening if number == 1 else e.NO_WORDS,
                )
                for number, what in enumerate(names, 1)
            )  # fmt: skip
            recorded += [Recorded(ticket, event) for event, ticket in course(SITE, id, told)]
        with self._acquire("upgrade") as lock:
            lock.commit(Changes(recorded=recorded))
            return lock.load()

    @property
    def now_ms(self) -> int:
        """What the centre's clock says."""
        return self.true_ms + self.offset_ms

    # --- owners -------------------------------------------------------------------------------------------------------

    def begin(self) -> Collector:
        """Let the next collector take the site: in a new epoch, from what is committed."""
        self._begun += 1
        name = f"collector-{self._begun}"
        lock = self._acquire(name)
        cut = Cut(lock._connection)  # type: ignore[attr-defined]
        if isinstance(lock, PostgresSite):  # the time here is not real: an owner is not idle because a machine is slow
            cut.real.execute("SELECT set_config('idle_session_timeout', '0', false)")
        lock._connection = cut  # type: ignore[attr-defined]
        stand_in = SiteOwner(self.base, Broker(host="127.0.0.1"), self.store, Timings())
        in_force, to_put = stand_in._editions()
        memory = Memory.of(in_force, lock.load(), QUOTAS)
        self.owner = Collector(name, lock, cut, in_force, memory, to_put)
        return self.owner

    def _acquire(self, name: str) -> SiteConnection:
        """Take the lock; PostgreSQL needs a moment to see that the one before is gone."""
        deadline = time.monotonic() + 60
        while True:
            lock = SiteConnection.acquire(self.store, SITE, name)
            if lock is not None:
                return lock
            if self.owner is not None or time.monotonic() > deadline:
                raise Found("the site is nobody's and cannot be had")
            time.sleep(0.005)

    def own(self) -> Collector:
        """Return who owns the site."""
        return self.owner or self.begin()

    def stand_in_line(self) -> None:
        """Let another collector try for the site while it is owned: it must not get it."""
        if self.owner is None:
            return
        self.owner.lock.check()  # each second, in real time: else, on a slow machine, it counts as hung and is ended
        if SiteConnection.acquire(self.store, SITE, "second") is not None:
            raise Found("two collectors own the site")

    def kill(self, collector: Collector) -> None:
        """End a process, as the system does: what was not committed is gone, and so is its lock."""
        if self.owner is collector:
            self.owner = None
        lock, real = collector.lock, collector.cut.real
        real.close()
        if isinstance(lock, SqliteSite):
            lock._lock.release()

    def lose(self, *, prepared: bool) -> None:
        """Take the lock from under the owner, which does not notice; ``prepared``: with its work done, uncommitted."""
        old = self.own()
        if prepared:
            old.pending = self._work(old)
        if isinstance(old.lock, SqliteSite):
            old.lock._lock._path.unlink()
        else:
            assert isinstance(old.lock, PostgresSite)
            old.cut.real.execute("SELECT pg_advisory_unlock_all()")
        self.old.append(old)
        self.owner = None

    def late_commit(self) -> None:
        """Let one that has lost the site commit: it must hear that it is no owner, whatever it commits."""
        old = self.old.pop(0)
        work = old.pending or self._work(old)
        changes = work.changes() or Changes(counters={"late": 1})
        old.cut.arm(None)
        try:
            old.lock.commit(changes)
        except LostOwnership:
            self.told.late_commits += 1
        else:
            raise Found("a collector that has lost the site has committed")
        finally:
            self.kill(old)

    # --- what the database refuses ------------------------------------------------------------------------------------

    def open_twice(self, ticket: str, ref: ProblemRef) -> None:
        """Let the owner commit a second live ticket about a problem: refused, and nothing is kept."""
        owner = self.own()
        opening = e.Opening(
            source="rule", fault=ref.key.fault, sla_class="general", severity="major", event_ms=self.now_ms,
            detected_ms=self.now_ms, problem=ref,
        )  # fmt: skip
        year = 2099
        event = TicketEvent(
            number=1, what="opened", at_ms=self.now_ms, recorded_ms=self.now_ms, who=e.RULE, body=opening
        )
        second = Recorded(begin(SITE, f"{year}-0001", event), event)
        try:
            owner.lock.commit(Changes(recorded=[second]))
        except LiveTicketExists as refused:
            if refused.existing != ticket:
                raise Found(f"{ref} is held by {ticket}, and not by {refused.existing}") from None
        else:
            raise Found(f"a second live ticket about {ref} was kept beside {ticket}")

    def rewrite(self, verb: str, ticket: str, number: int) -> None:
        """Change, delete or replace an event: the database refuses it."""
        which = f"site = '{SITE}' AND ticket = '{ticket}' AND number = {number}"
        columns = "site, ticket, number, what, at_ms, recorded_ms, who, body"
        statement = {
            "update": f"UPDATE ticket_event SET who = 'nobody' WHERE {which}",
            "delete": f"DELETE FROM ticket_event WHERE {which}",
            "replace": f"INSERT INTO ticket_event ({columns}) SELECT {columns} FROM ticket_event WHERE {which}",
        }[verb]
        if verb == "replace" and self.store.path is not None:
            statement = statement.replace("INSERT", "REPLACE")
        try:
            with self.store.transaction() as connection:
                connection.exec_driver_sql(statement)
        except IntegrityError:
            return
        raise Found(f"event {number} of {ticket}: {verb} was not refused")

    # --- one unit of work ---------------------------------------------------------------------------------------------

    def turn(self, todo: Break | None = None) -> None:
        """Let the owner deal with all that waits, and with time; end it on the way if told so."""
        owner = self.own()
        try:
            self._do(owner, todo)
            for _ in range(5):
                wake_ms = owner.memory.desk.wake_ms
                if wake_ms is None or wake_ms > self.now_ms:
                    break
                self._do(owner, None)
            else:
                raise Found(f"the desk asks for time again and again: {wake_ms} is not after {self.now_ms}")
        except Crash:
            self.told.crashes += 1
            self.kill(owner)
        except CommitFailed:
            if todo is None or not todo.error:
                raise
            self.told.errors += 1
            owner.lock.close()
            self.owner = None

    def _do(self, owner: Collector, todo: Break | None) -> None:
        work = self._work(owner)
        changes = work.changes()
        if work.faults:
            raise Found("our own judging raised") from work.faults[0]
        owner.cut.arm(todo, changes)
        if changes is not None:
            owner.lock.commit(changes)
            self.told.commits += 1
        if todo is not None and owner.cut.todo is not None and not todo.error:
            raise Crash  # committed, and gone before it knew
        owner.cut.arm(None)
        work.keep()
        owner.in_force = work.in_force
        owner.to_put = ()
        self.inbox.clear()
        self.reports.clear()

    def _work(self, owner: Collector) -> UnitOfWork:
        work = UnitOfWork(owner.memory, owner.in_force, self.listening, self.now_ms)
        for kind in owner.to_put:
            work.put_in_force(kind, owner.in_force.contents()[kind], anew=True)
        for report in self.reports:
            work.report(report)
        for incoming in self.inbox:
            work.take(incoming)
        for action in queries.waiting_actions(self.store.engine, SITE):
            ticket = ticket_of(action.kind, action.body)
            if ticket and ticket not in owner.memory.desk.tickets:
                history = queries.history_of(self.store.engine, SITE, ticket)
                action = msgspec.structs.replace(action, history=history)
            work.act(action)
        work.look()
        return work

    def clock_was_set(self) -> None:
        """Do what an owner does that sees its wall clock jump."""
        if self.owner is not None:
            self.owner.memory.wakes.all_at_once()

    # --- people -------------------------------------------------------------------------------------------------------

    def want(self, kind: str, body: Any, who: str, *, vehicle: str = "", crash: bool = False) -> None:
        """Keep what a person wants; ``crash``: the page's process ends before that is committed."""
        written = msgspec.json.encode(body).decode()
        try:
            with self.store.transaction() as connection:
                queries.add_action(
                    connection, site=SITE, vehicle=vehicle, kind=kind, body=written, who=who, created_ms=self.now_ms
                )
                if crash:
                    raise Crash
        except Crash:
            self.told.crashes += 1

    def act(self, what: str, who: str, ticket: str, body: Mapping[str, Any], at_ms: int | None, **more: Any) -> None:
        """Keep an act on a ticket."""
        self.want(TICKET_ACTION, TicketBody(what, ticket, at_ms, dict(body)), who, **more)

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def break_mark(self, at: int) -> None:
        """Let the process end before it writes its next but so many words about a delivery; 1: the next."""
        self._words_left = at

    def mark_no_more(self) -> None:
        """Nothing more was to be noted: let the next one pass."""
        self._words_left = 0

    def _statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._words_left and statement.startswith(("UPDATE delivery", "INSERT INTO delivery")):
            self._words_left -= 1
            if not self._words_left:
                self.told.crashes += 1
                raise Crash

    def close(self) -> None:
        """Let go of everything."""
        for collector in [*self.old, *([self.owner] if self.owner else [])]:
            with contextlib.suppress(Exception):
                self.kill(collector)
        self.owner = None
        self.store.close()


def files_of(contract: Contract, receivers: tuple[tuple[str, str], ...]) -> InForce:
    """Return what this site's own files say."""
    rules = parse_rules([("rules.yaml", parse_yaml(RULES, "rules.yaml"))])
    site = convert(parse_yaml(FLEET, "fleet.yaml"), Site, "fleet.yaml")
    return InForce(SITE, site, rules, tuple(Receiver(*one) for one in receivers), contract)
