"""A site's history judged again by other rules: what they would have given, beside what there was.

The history is a snapshot and the log from there on. What came in is given again at its own times; when to look is
worked out anew, because other rules ask for other times. What people did goes to the ticket about the same problem.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from collector.core.problems import ProblemRef
from collector.core.rules.types import Rules
from collector.core.vehicle.events import Listening
from collector.replay import replay
from collector.site.in_force import RULES, InForce
from collector.site.memory import Memory
from collector.store import batch as log
from collector.store import snapshot
from collector.store.batch import Batch
from collector.store.rows import SchemaKey, SnapshotRow
from kitwatch.drill.came import Came, CameTicket, where
from kitwatch.drill.centre import Centre
from telemetry.records import Schema


@dataclass(frozen=True, slots=True)
class History:
    """A snapshot, the log (from before it too, as far as it is there), editions by (kind, number), and schemas."""

    site: str
    snapshot: SnapshotRow
    batches: Sequence[Batch]
    editions: Mapping[tuple[str, int], bytes]
    schemas: Mapping[SchemaKey, Schema]

    def begin(self, in_force: InForce) -> tuple[Memory, InForce]:
        """Return what was known at the snapshot, and what was in force. Raises SnapshotError, EditionError."""
        data, editions = snapshot.decode(self.snapshot.content)
        data.schemas = dict(self.schemas)
        data.last_batch = self.snapshot.number
        data.snapshot_ms = self.snapshot.at_ms
        for kind, number in editions.items():
            in_force = in_force.edited(kind, number, self.editions[kind, number])
        return Memory.of(in_force, data), in_force


@dataclass
class Compared:
    """What there was, and what these rules would have given."""

    was: list[dict[str, Any]] = field(default_factory=list)
    would_be: list[dict[str, Any]] = field(default_factory=list)
    only_was: list[dict[str, Any]] = field(default_factory=list)
    only_would_be: list[dict[str, Any]] = field(default_factory=list)
    otherwise: list[dict[str, Any]] = field(default_factory=list)
    """The same ticket, told otherwise: ``was`` and ``would_be`` hold what differs."""
    problems: dict[str, int] = field(default_factory=dict)
    """How many problems there were, and would have been, by fault, where that differs."""
    acts_without_ticket: int = 0
    """What people did to tickets that would not have been there."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.only_was or self.only_would_be or self.otherwise or self.problems)


def as_it_was(history: History, in_force: InForce) -> Came:
    """Return what there was: the log stepped again, byte for byte. Raises what ``collector.replay`` raises."""
    came = Came()
    memory, now = history.begin(in_force)
    after = [batch for batch in history.batches if batch.number > history.snapshot.number]
    for batch, changes in _with_batches(after, replay(memory, now, history.batches, history.editions)):
        came.take(changes, batch.now_ms)
    return came


def _with_batches(batches: Iterable[Batch], changes: Iterable[Any]) -> Iterable[tuple[Batch, Any]]:
    """Pair what changed with its batch: a batch that changed nothing yields nothing, but its own row."""
    return zip(batches, changes, strict=False)


def judged_by(history: History, in_force: InForce, rules: Rules, was: Came) -> tuple[Came, int]:
    """Return what these rules would have given, and how many acts of people found no ticket. Raises JudgingError."""
    memory, now = history.begin(in_force)
    by_rules = now.with_rules(rules)
    memory.go_by(by_rules, now)
    centre = Centre.going_on(by_rules, memory, history.batches[0].now_ms if history.batches else 0)
    for batch in history.batches:
        if batch.number <= history.snapshot.number:
            memory.remember(batch)
    memory.have_remembered()
    batches = [batch for batch in history.batches if batch.number > history.snapshot.number]
    refs = {id: _ref(one) for id, one in was.tickets.items()}
    lost = 0
    for batch in batches:
        centre.listening(Listening(batch.heading.listening_since_ms, batch.heading.reconnect_ms))
        at_ms = batch.now_ms
        for entry in batch.entries:
            if isinstance(entry, log.TimePassed):
                at_ms = entry.now_ms
            elif isinstance(entry, log.EditionTaken):
                if entry.kind != RULES:
                    centre.edit(at_ms, entry.kind, entry.number, history.editions[entry.kind, entry.number])
            elif isinstance(entry, log.ActedOnTicket):
                act = _for(entry, refs, centre)
                if act is None:
                    lost += 1
                else:
                    centre.again(at_ms, act)
            elif not isinstance(entry, log.Woken):
                centre.again(at_ms, entry)
    if batches:
        centre.pass_time(batches[-1].now_ms)
        centre.end(batches[-1].now_ms)
    came = Came()
    for at_ms, changes in centre.take_commits():
        came.take(changes, at_ms)
    return came, lost


def _ref(one: CameTicket) -> ProblemRef | None:
    return one.ticket.root


def _for(entry: log.ActedOnTicket, refs: Mapping[str, ProblemRef | None], centre: Centre) -> log.ActedOnTicket | None:
    """Return a person's act on the ticket about the same problem; ``None``: there is none."""
    wish = json.loads(entry.body)
    ref = refs.get(wish.get("ticket", ""))
    if ref is None:
        return entry if not wish.get("ticket") else None
    held = centre.memory.desk.holders.get(ref)
    if held is None:
        return None
    wish["ticket"] = held
    return log.ActedOnTicket(entry.who, json.dumps(wish), ())


def compare(site: str, was: Came, would_be: Came, acts_without_ticket: int = 0) -> Compared:
    """Compare tickets by vehicle, fault, device and labels, in the order in which they happened, and count problems."""
    found = Compared(_rows(was, site), _rows(would_be, site), acts_without_ticket=acts_without_ticket)
    left = list(found.would_be)
    for row in found.was:
        same = [one for one in left if all(one[key] == row[key] for key in ("at", "fault", "labels"))]
        if not same:
            found.only_was.append(row)
            continue
        match = min(same, key=lambda one: abs(one["event_ms"] - row["event_ms"]))
        left.remove(match)
        differing = [key for key in _COMPARED if match[key] != row[key]]
        if differing:
            found.otherwise.append(
                {"at": row["at"], "fault": row["fault"], "was": {key: row[key] for key in differing},
                 "would_be": {key: match[key] for key in differing}}
            )  # fmt: skip
    found.only_would_be = left
    before = Counter(ref.key.fault for ref, _ in was.problems)
    after = Counter(ref.key.fault for ref, _ in would_be.problems)
    found.problems = {
        fault: after[fault] - before[fault] for fault in sorted({*before, *after}) if before[fault] != after[fault]
    }
    return found


_COMPARED: Final = ("class", "event_ms", "opened_ms", "state", "over_event_ms", "times")


def _rows(came: Came, site: str) -> list[dict[str, Any]]:
    rows = []
    for one in sorted(came.tickets.values(), key=lambda one: (one.ticket.event_ms, one.ticket.id)):
        ticket = one.ticket
        problem = None if ticket.root is None else came.latest(ticket.root)
        rows.append(
            {
                "at": where(ticket.vehicle, ticket.device, site),
                "fault": ticket.fault,
                "labels": {} if ticket.root is None else dict(ticket.root.key.labels),
                "class": ticket.sla_class,
                "event_ms": ticket.event_ms,
                "opened_ms": ticket.opened_ms,
                "over_event_ms": ticket.over_event_ms,
                "state": ticket.state,
                "times": 0 if problem is None else problem.times,
            }
        )
    return rows


def of_store(store: Any, site: str) -> History:
    """Return a site's history from a database: its oldest snapshot and the log after it. Raises LookupError."""
    from sqlalchemy import select

    from collector.store import editions, schema
    from collector.store import log as rows

    t, s = schema.snapshot.c, schema.schema.c
    with store.engine.connect() as connection:
        first = connection.execute(
            select(t.number, t.at_ms, t.content).where(t.site == site).order_by(t.number).limit(1)
        ).first()
        schemas = connection.execute(select(s.vehicle, s.agent, s.id, s.content).where(s.site == site)).all()
    if first is None:
        raise LookupError(f"site {site}: expected a snapshot to begin with, found none: the collector writes one a day")
    batches: list[Batch] = []
    number = 0  # from before the snapshot too: forks of vehicles with a hole are stepped through what came since
    while more := rows.read(store, site, number, 1_000):
        batches += more
        number = more[-1].number
    known = {(one.vehicle, one.agent, one.id): msgspec.json.decode(one.content, type=Schema) for one in schemas}
    row = SnapshotRow(first.number, first.at_ms, bytes(first.content))
    return History(site, row, batches, editions.contents(store, site), known)
