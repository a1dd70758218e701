"""Tickets and problems as rows, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from collector.core.problems import Problem, ProblemRef
from collector.core.tickets.draft import Recorded, Tracked
from collector.core.tickets.events import Remark, TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import TABLE

Row = tuple[Any, ...]
_encode = msgspec.json.Encoder().encode
_problem = msgspec.json.Decoder(Problem)
_bodies = {what: msgspec.json.Decoder(row.body) for what, row in TABLE.items()}


def latest(recorded: Iterable[Recorded]) -> list[Ticket]:
    """Return each ticket as the last of its events has left it."""
    return list({one.ticket.id: one.ticket for one in recorded}.values())


def ticket_row(t: Ticket) -> Row:
    """Return the columns of ``ticket`` after ``site``, in their order."""
    year, _, number = t.id.partition("-")
    numbered = len(year) == 4 and year.isdecimal() and len(number) >= 4 and number.isdecimal()
    return (
        t.id,
        int(year) if numbered else None,
        int(number) if numbered else None,
        t.source,
        t.vehicle,
        t.device,
        "" if t.root is None else t.root.key.text(),
        t.fault,
        t.severity,
        t.sla_class,
        t.state,
        t.is_live,
        t.round,
        t.rule,
        t.rule_version,
        t.event_ms,
        t.detected_ms,
        t.opened_ms,
        t.notice_ms,
        t.over_event_ms,
        t.over_ms,
        t.acknowledged_ms,
        t.responded_ms,
        t.planned_ms,
        t.resolved_ms,
        t.closed_ms,
        t.closed_by,
        t.changed_ms,
        t.assigned,
        t.touched,
        t.recurring,
        t.in_contract,
        t.waiting_reason,
        t.waiting_until_ms,
        t.silenced_until_ms,
        t.merged_into,
    )


def event_row(ticket: str, event: TicketEvent) -> Row:
    """Return the columns of ``ticket_event`` after ``site``."""
    body = _clean(_encode(event.body).decode())
    return (ticket, event.number, event.what, event.at_ms, event.recorded_ms, _clean(event.who), body)


def problem_rows(tickets: Sequence[Ticket]) -> list[Row]:
    """Return the rows of ``ticket_problem``, those first that let go of a problem: another ticket may take it."""
    rows = [
        (ticket.id, ref.vehicle, ref.key.text(), held.role, held.holds and ticket.is_live)
        for ticket in tickets
        for ref, held in ticket.problems.items()
    ]
    return sorted(rows, key=lambda row: row[-1])


def link_rows(tickets: Sequence[Ticket]) -> list[Row]:
    """Return the rows of ``ticket_link``."""
    return [(ticket.id, link.other, link.relation) for ticket in tickets for link in ticket.links]


def tracked_row(tracked: Tracked) -> Row:
    """Return the columns of ``problem`` after ``site``."""
    problem = tracked.problem
    vehicle, key = problem.ref
    content = _clean(_encode(problem).decode())
    return (
        vehicle, key.text(), key.fault, key.device, problem.state, problem.event_ms, tracked.ticket, content,
    )  # fmt: skip


def read_event(number: int, what: str, at_ms: int, recorded_ms: int, who: str, body: str) -> TicketEvent:
    """Return the event of a row. Raises ValueError for one that this version does not know."""
    decoder = _bodies.get(what)
    if decoder is None:
        raise ValueError(f"ticket event: expected one of {', '.join(TABLE)}, found {what!r}")
    return TicketEvent(
        number=number, what=what, at_ms=at_ms, recorded_ms=recorded_ms, who=who, body=decoder.decode(body)
    )


def unread_event(number: int, what: str, at_ms: int, recorded_ms: int, who: str, why: str) -> TicketEvent:
    """Return what is left of an event of which the row cannot be read: that it was, when, and by whom.

    What an event has changed that says more than words is lost with it, and the clocks run on as without it.
    """
    known = what in TABLE and TABLE[what].body is Remark
    words = f"{what}: what stands in the database of this cannot be read: {why}"
    return TicketEvent(
        number=number,
        what=what if known else "noted",
        at_ms=at_ms,
        recorded_ms=recorded_ms,
        who=who,
        body=Remark(words),
    )


def read_tracked(ticket: str, content: str) -> Tracked:
    """Return the problem of a row. Raises ValueError."""
    return Tracked(_problem.decode(content), ticket)


def clash(tickets: Sequence[Ticket], already: Iterable[Row]) -> tuple[Ticket, ProblemRef, str] | None:
    """Return (ticket, problem, holder) of the first that would be a second live one about a problem.

    ``already`` are (ticket, vehicle, key) of what was held before; ``None``: there is none.
    """
    changed = {ticket.id for ticket in tickets}
    holders = {(vehicle, key): id for id, vehicle, key in already if id not in changed}
    for ticket in tickets:
        for ref in ticket.held():
            holder = holders.setdefault((ref.vehicle, ref.key.text()), ticket.id)
            if holder != ticket.id:
                return ticket, ref, holder
    return None


def _clean(text: str) -> str:
    r"""PostgreSQL's text holds no NUL; in JSON it stands as ``\u0000``."""
    return text.replace("\\u0000", "\N{REPLACEMENT CHARACTER}").replace("\0", "\N{REPLACEMENT CHARACTER}")
