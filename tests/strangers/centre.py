"""A collector without broker: its real unit of work, its real commit into SQLite, its real API on loopback.

``Centre`` does what the site's owner does with what arrives (``collector/site/ownership.py``) in a time that is given,
and keeps account of every record by the log and the quarantine that it commits.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from collector.core.rules.files import load_rules
from collector.core.vehicle.events import Listening
from collector.garbage import own_cpu_s
from collector.site.in_force import InForce, Receiver
from collector.site.intake import MAX_RECORDS, Incoming
from collector.site.memory import Memory
from collector.site.receipts import Receipts
from collector.site.status import Status
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch, log
from collector.store.commit import SiteConnection
from collector.store.rows import Changes, RunKey
from collector.store.store import Store
from collector.web.app import Sources
from telemetry.fleet import Fleet, Site, VehiclePlan
from telemetry.intervals import Intervals
from telemetry.message import MessageError, decode_header
from telemetry.topics import AgentName, parse_up

SITE: Final = "north"
LOG_BYTES: Final = 4 * 2**20
"""The log's bound, small here, so that the database's size is that of what stays."""
Messages = Sequence[tuple[str, bytes]]


class Found(Exception):  # noqa: N818 - what a run is for
    """A promise that was not kept."""


@dataclass
class Slowest:
    """The longest that one thing has taken, of this thread's CPU time, and what that was."""

    seconds: float = 0.0
    what: str = ""

    @contextlib.contextmanager
    def watch(self, what: str) -> Iterator[None]:
        """Time the block, without what Python's garbage collection takes of it: that is the whole heap's."""
        begun = own_cpu_s()
        yield
        took = own_cpu_s() - begun
        if took > self.seconds:
            self.seconds, self.what = took, what


@dataclass
class Account:
    """What became of the records of one run."""

    taken: Intervals = field(default_factory=Intervals)
    aside: Intervals = field(default_factory=Intervals)


class Centre:
    """One site and the collector that owns it."""

    def __init__(self, folder: Path, vehicles: dict[str, VehiclePlan], start_ms: int) -> None:
        self.store = Store.open(f"sqlite:///{folder / 'collector.db'}")
        self.store.migrate()
        self._fleet = Fleet(sites={SITE: Site(vehicles=vehicles)})
        self.in_force = InForce(SITE, self._fleet.sites[SITE], load_rules(), (Receiver("desk", "webhook"),))
        self.status = Status(state="owner", connected=True)
        self.now_ms = start_ms
        self.listening = Listening(start_ms)
        self.counts: Counter[str] = Counter()
        self.slowest_message = Slowest()
        self.slowest_unit = Slowest()
        self._accounts: dict[RunKey, Account] = {}
        self._lock: SiteConnection | None = None
        self.own()

    def own(self) -> None:
        """Become the site's owner, in another epoch each time: what is known is what was committed."""
        self.close()
        self._lock = SiteConnection.acquire(self.store, SITE, "strangers")
        assert self._lock is not None
        self.memory = Memory.of(self.in_force, self._lock.load())
        self.receipts = Receipts(self._lock.epoch, interval_ms=0)
        self.status.epoch = self._lock.epoch

    def close(self) -> None:
        """Give the site up."""
        if self._lock is not None:
            self._lock.close()

    def sources(self) -> Sources:
        """Return what the web server reads."""
        return Sources(self.store, self._fleet, {SITE: self.status})

    def do(self, messages: Messages) -> Changes | None:
        """Take these in, look at the time, commit. Raises Found, and what the collector's own code raises."""
        assert self._lock is not None
        work = UnitOfWork(self.memory, self.in_force, self.listening, self.now_ms)
        beyond = set()
        for number, (topic, payload) in enumerate(messages):
            before = _over_quota(work)
            with self.slowest_message.watch(f"{topic} {payload[:40].hex()} ({len(payload)} bytes)"):
                work.take(Incoming(topic, payload, self.now_ms))
            if _over_quota(work) > before:
                beyond.add(number)
        with self.slowest_unit.watch(f"{len(messages)} messages at {self.now_ms}"):
            work.look()
            changes = work.changes()
            if changes is not None:
                self._lock.commit(changes)
            work.keep()
            work.tell(self.receipts)
        self.counts.update(work.counts)
        self.counts["records"] += work.taken
        if work.faults:
            raise Found("our own judging raised") from work.faults[0]
        if changes is not None:
            self._book(changes)
        self._check_named(messages, beyond)
        self.status.alive_s = time.monotonic()
        return changes

    def trim(self) -> None:
        """Let the log go beyond its bound, as the collector's retention does."""
        with self.store.transaction() as connection:
            log.trim(connection, SITE, (), oldest_ms=0, most_bytes=LOG_BYTES)

    def bytes(self) -> int:
        """Return the size of the database."""
        path = self.store.path
        assert path is not None
        return sum(file.stat().st_size for file in path.parent.iterdir())

    # --- every record once --------------------------------------------------------------------------------------------

    def _book(self, changes: Changes) -> None:
        groups = batch.decode_groups(changes.batch.content) if changes.batch else []
        touched = set()
        for group in groups:
            key = (group.vehicle, group.agent, group.run)
            self._put(key, group.pairs, "taken")
            touched.add(key)
        for row in changes.quarantine:
            if row.pairs:
                key = (row.vehicle, row.agent, row.run)
                self._put(key, row.pairs, "aside")
                touched.add(key)
        for key in touched:
            account, known = self._accounts[key], self.memory.runs[key]
            if account.taken != known.row.seen:
                raise Found(f"run {key}: seen is not what was taken")
            if known.aside.minus(account.aside):
                raise Found(f"run {key}: {known.aside.minus(account.aside)} is not in quarantine")

    def _put(self, key: RunKey, pairs: Iterable[tuple[int, int]], where: str) -> None:
        account = self._accounts.setdefault(key, Account())
        for first, last in pairs:
            if where == "taken" and Intervals([(first, last)]).intersection(account.taken):
                raise Found(f"run {key}: {first}..{last} taken, and was taken before")
            getattr(account, where).add_range(first, last)

    def _check_named(self, messages: Messages, beyond: Set[int]) -> None:
        """Raise Found unless each record that these name is taken, set aside, waited for, or of one beyond a quota.

        What is refused for a quota is counted and never receipted: an honest agent has it still, and sends it again.
        """
        supplied = set()
        for number, (topic, payload) in reversed(list(enumerate(messages))):
            if number in beyond:
                continue
            try:
                agent, kind = parse_up(topic)
                header, _ = decode_header(payload)
            except (ValueError, MessageError):
                continue
            if kind in ("schema", "state"):  # it brings what was lacking, or says what the agent no longer holds
                supplied.add(agent)
            if kind not in ("live", "backlog") or len(header.sequences) > MAX_RECORDS:
                continue
            known = self.memory.runs.get((agent.vehicle, agent.agent, header.run))
            left = header.sequences
            if known is not None:
                left = left.minus(known.row.seen).minus(known.aside)
            if left and agent not in supplied and not self._waited_for(agent, header.run):
                raise Found(f"{agent}, run {header.run}: {left} is neither taken, set aside nor waited for")

    def _waited_for(self, agent: AgentName, run: str) -> bool:
        return (agent, run) in self.receipts._needs


def _over_quota(work: UnitOfWork) -> int:
    return sum(count for name, count in work.counts.items() if name.startswith("over_quota."))


def told_of(changes: Changes | None, vehicles: frozenset[str]) -> list[Any]:
    """Return all that a commit says of these vehicles: states, problems, tickets' events; no ticket's number."""
    if changes is None:
        return []
    found: list[Any] = [(name, state) for name, state in sorted(changes.vehicles.items()) if name in vehicles]
    for tracked in changes.problems:
        if tracked.problem.ref.vehicle in vehicles:
            found.append(msgspec.json.encode(tracked.problem))
    for recorded in changes.recorded:
        if recorded.ticket.vehicle in vehicles:
            event = recorded.event
            found.append((recorded.ticket.vehicle, event.number, event.what, event.at_ms, event.recorded_ms, event.who))
    return found
