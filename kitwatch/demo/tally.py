"""What came of the demo: every sample that an agent kept is stored, or still in its outbox, or it is lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from telemetry.records import Record, Sample
from telemetry.topics import AgentName

if TYPE_CHECKING:
    from collector.main import Running
    from collector.read.tickets import TicketRow

RecordKey = tuple[str, str, str, int]
"""(vehicle, agent, run, sequence)."""


@dataclass
class Published:
    """The names of the samples that the agents have kept, and so will publish."""

    samples: set[RecordKey] = field(default_factory=set)

    def copy(self, name: AgentName, run: str) -> Callable[[Record], None]:
        """Return what notes the samples of one agent as they enter its outbox."""

        def copy(record: Record) -> None:
            if isinstance(record, Sample):
                self.samples.add((name.vehicle, name.agent, run, record.sequence))

        return copy

    def held(self, outboxes: Iterable[tuple[AgentName, str, Path]]) -> set[RecordKey]:
        """Return those that stand in outboxes that are closed now, each with its agent and run: they are not lost."""
        from kitwatch.outbox import look

        found: set[RecordKey] = set()
        for name, run, directory in outboxes:
            view = look(directory)
            numbers = view.present(run).minus(view.absent(run))
            found |= {(name.vehicle, name.agent, run, number) for number in numbers} & self.samples
        return found


@dataclass
class Log:
    """The names of all samples in the collector's log, read on before its passed batches are let go."""

    running: Running
    site: str
    after: int = 0
    stored: Counter[RecordKey] = field(default_factory=Counter)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def read_on(self) -> Counter[RecordKey]:
        """Return how often each sample stands in the log so far. Blocks."""
        from collector.store import log
        from telemetry.intervals import Intervals

        with self.one_at_a_time:
            while batches := log.read(self.running.store, self.site, self.after, 200):
                self.after = batches[-1].number
                for group in (group for batch in batches for group in batch.groups):
                    entries = [entry for moment in group.moments for entry in moment.entries]
                    for sequence, entry in zip(Intervals(group.pairs), entries, strict=True):
                        if len(entry) == 2:  # a sample: [schema, values]
                            self.stored[(group.vehicle, group.agent, group.run, sequence)] += 1
            return self.stored


def tickets_of(running: Running) -> list[TicketRow]:
    """Return all tickets, the oldest first. Blocks."""
    from collector.read.tickets import all_tickets

    return sorted(all_tickets(running.store.engine), key=lambda ticket: ticket.opened_ms)


def row(ticket: TicketRow) -> dict[str, Any]:
    """Return a ticket as the summary shows it."""
    from collector.web.answers import iso

    return {
        "vehicle": ticket.vehicle,
        "device": ticket.device,
        "fault": ticket.fault,
        "severity": ticket.severity,
        "sla_class": ticket.sla_class,
        "event_at": iso(ticket.event_ms),
        "opened_at": iso(ticket.opened_ms),
        "state": ticket.state,
        "resolved_at": iso(ticket.closed_ms if ticket.resolved_ms is None else ticket.resolved_ms),
    }


def delays(running: Running, tickets: list[TicketRow]) -> dict[str, float | None]:
    """Return the seconds from the sample that completed a breach to the ticket, over all tickets. Blocks."""
    from collector.core.tickets.events import Opening
    from collector.read import tickets as read

    delays = []
    for ticket in tickets:
        found = read.ticket(running.store.engine, ticket.id, ticket.site)
        opening = found[1][0].body if found else None
        evidence = opening.evidence if isinstance(opening, Opening) else ()
        times = [sample["time_ms"] for one in evidence for sample in one.samples]
        if times:
            delays.append((ticket.opened_ms - max(times)) / 1000)
    delays.sort()
    if not delays:
        return {"p50": None, "max": None}
    return {"p50": delays[len(delays) // 2], "max": delays[-1]}
