"""What came of a drill, or of a history: tickets, problems, notes and what people were told. Facts only."""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

import msgspec

from collector.core.problems import ClosedNote, Problem, ProblemRef
from collector.core.tickets.events import Escalation, TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.core.vehicle.state import InventoryEntry
from collector.store.rows import Changes

_BURST_MS: Final = 60_000
"""Backlog messages further apart than this belong to two gaps."""
_ENDED: Final = ("over", "orphaned")
_ONLY_TIME: Final = ("escalated", "call_back")
"""What people are told only because time has passed."""


@dataclass(slots=True)
class CameTicket:
    """A ticket as it was at the end, and how it came to that. Times are true, UTC milliseconds."""

    ticket: Ticket
    events: list[TicketEvent] = field(default_factory=list)
    opened_ms: int = 0
    told: list[tuple[int, str]] = field(default_factory=list)
    """(when, of what) a person was told because something had happened."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    """(since when, under which fault): more than one where a cause was found later."""


@dataclass(slots=True)
class Came:
    """What came of a drill."""

    tickets: dict[str, CameTicket] = field(default_factory=dict)
    problems: dict[tuple[ProblemRef, int], Problem] = field(default_factory=dict)
    """Each occurrence as it was last: by problem, counted from 1. Judging's own count begins anew where none of them is
    remembered any more."""
    notes: list[ClosedNote] = field(default_factory=list)
    inventory: list[InventoryEntry] = field(default_factory=list)
    backlog: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    """By (vehicle, agent): when backlog messages came."""
    live: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """By (vehicle, agent): (when a live message came, of which moment), where it was not at once."""
    records: int = 0
    looks: int = 0
    commits: int = 0
    quarantined: int = 0
    """Rows of what could not be taken: no simulated agent says such a thing."""
    _begun: Counter[ProblemRef] = field(default_factory=Counter)

    def latest(self, ref: ProblemRef) -> Problem | None:
        """Return a problem as it is now."""
        return self.problems.get((ref, self._begun[ref]))

    def gap_end_ms(self, vehicle: str, agent: str, since_ms: int) -> int | None:
        """Return when the last record had come of the first gap that was told after then, ``None`` if none was."""
        end_ms: int | None = None
        for at_ms in self.backlog[vehicle, agent]:
            if at_ms < since_ms:
                continue
            if end_ms is not None and at_ms - end_ms > _BURST_MS:
                break
            end_ms = at_ms
        return end_ms

    def take(self, changes: Changes, at_ms: int) -> None:
        """Take in what a unit of work has changed, committed at that time."""
        self.commits += 1
        self.quarantined += len(changes.quarantine)
        for tracked in changes.problems:
            problem = tracked.problem
            before = self.latest(problem.ref)
            if before is None or (before.state in _ENDED and problem.detected_ms != before.detected_ms):
                self._begun[problem.ref] += 1
            self.problems[problem.ref, self._begun[problem.ref]] = problem
        for recorded in changes.recorded:
            ticket = recorded.ticket
            known = self.tickets.setdefault(ticket.id, CameTicket(ticket, opened_ms=at_ms))
            known.ticket = ticket
            known.events.append(recorded.event)
            if not known.faults or known.faults[-1][1] != ticket.fault:
                known.faults.append((at_ms, ticket.fault))
        told: dict[str, list[str]] = defaultdict(list)
        reminded = {one.ticket.id for one in changes.recorded if _is_reminder(one.event)}
        for row in changes.notifications:
            what = msgspec.json.decode(row.body)["what"]
            by_time = what in _ONLY_TIME or (what == "asked" and row.ticket in reminded)
            if not by_time and row.ticket in self.tickets:
                told[row.ticket].append(what)
        for ticket_id, whats in told.items():
            self.tickets[ticket_id].told.append((at_ms, "+".join(whats)))
        self.notes += changes.notes
        self.inventory += changes.inventory


def _is_reminder(event: TicketEvent) -> bool:
    """Say whether a person is asked only because time has passed; what is gone is news."""
    return event.what == "asked" and isinstance(event.body, Escalation) and not event.body.clock.startswith("orphaned")


def where(vehicle: str, device: str, site: str) -> str:
    """Return where something is, as a scenario says it."""
    if not vehicle:
        return "site" if device in ("", site) else device
    return vehicle if device in ("", vehicle) else f"{vehicle}/{device}"


def clock(time_ms: int | None, begins_ms: int) -> str:
    """Return a time as since the beginning, for people: ``+1:02:03``."""
    if time_ms is None:
        return "-"
    seconds = (time_ms - begins_ms) / 1000
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{datetime.timedelta(seconds=round(abs(seconds)))}"
