"""What the contract promises on a ticket: its clocks, as a function of its events, the contract and the calendar. Pure.

Nothing is kept: a corrected time, another edition of the contract or of the calendar gives the right answer when it is
asked again (docs/contract.md, How clocks are counted).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from collector.core.clocks import Clock, Facts, Spare, clocks
from collector.core.contract import Contract
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import course
from collector.core.tickets.ticket import NOBODY, Ticket
from collector.core.tickets.transitions import TABLE
from telemetry.faults import SlaClass


def clocks_of(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> tuple[Clock, ...]:
    """Return the clocks of a ticket's round; none for one of the first version that is not in the contract."""
    if not ticket.in_contract:
        return ()
    return clocks(facts_of(ticket, events), contract.terms, contract.calendar)


def settled_ms(ticket: Ticket, events: Sequence[TicketEvent]) -> int | None:
    """Return when a ticket was resolved, closed, merged or cancelled; ``None`` while somebody owes something.

    From then on it stays under the contract and calendar that were in force: a new edition judges nobody afterwards.
    """
    if ticket.is_open:
        return None
    settled: int | None = None
    for event, after in course(ticket.site, ticket.id, events):
        if after.is_open:
            settled = None
        elif settled is None:
            settled = event.recorded_ms
    return settled


class _Round(msgspec.Struct):
    """What has happened in a round so far."""

    notice_ms: int
    classes: list[tuple[int, SlaClass]]
    responses: list[int] = msgspec.field(default_factory=list)
    on_site: list[int] = msgspec.field(default_factory=list)
    plans: list[int] = msgspec.field(default_factory=list)
    resolved_ms: int | None = None
    waits: list[tuple[str, int, int]] = msgspec.field(default_factory=list)
    spares: list[tuple[int, Spare]] = msgspec.field(default_factory=list)
    ended_ms: int | None = None
    merged: list[tuple[int, Facts]] = msgspec.field(default_factory=list)


def facts_of(ticket: Ticket, events: Sequence[TicketEvent]) -> Facts:
    """Return what the clocks need to know of a ticket's present round: times as stated and corrected."""
    found: _Round | None = None
    before: Ticket | None = None
    for event, after in course(ticket.site, ticket.id, events):
        begins = before is None or after.round != before.round or after.in_contract != before.in_contract
        if found is None or begins:
            found = _Round(after.notice_ms, [(after.notice_ms, after.sla_class)])
            if isinstance(event.body, e.Opening) and event.body.spare is not None:
                found.spares.append((ticket.notice_ms, event.body.spare))
        else:
            if after.sla_class != found.classes[-1][1]:
                found.classes.append((event.at_ms, after.sla_class))
            _note(found, event)
        before = after
    assert found is not None
    return Facts(
        notice_ms=ticket.notice_ms,
        classes=((ticket.notice_ms, found.classes[0][1]), *found.classes[1:]),
        responses=tuple(sorted(found.responses)),
        on_site=tuple(sorted(found.on_site)),
        plans=tuple(sorted(found.plans)),
        resolved_ms=found.resolved_ms,
        recovered_ms=ticket.over_event_ms,
        waits=tuple(found.waits),
        spares=tuple(found.spares),
        ended_ms=found.ended_ms,
        merged=tuple(found.merged),
    )


def _note(found: _Round, event: TicketEvent) -> None:
    row, body, at_ms = TABLE[event.what], event.body, event.at_ms
    if row.responds and event.who not in NOBODY:  # after a raise a plan, or resolving, may be the response again
        found.responses.append(at_ms)
    if isinstance(body, e.Response) and body.how == "on_site":
        found.on_site.append(at_ms)
    if event.what == "planned":
        found.plans.append(at_ms)
    if event.what == "resolved":
        found.resolved_ms = at_ms
    if isinstance(body, e.SpareWord):
        found.spares.append((at_ms, body.spare))
    if isinstance(body, e.Wait):
        _end_wait(found, at_ms)
        found.waits.append((body.reason, at_ms, body.until_ms))
    elif event.what in ("goes_on", "resolved", "merged"):
        _end_wait(found, at_ms)
    if isinstance(body, e.Merged) and event.what == "got_merged" and body.facts is not None:
        found.merged.append((at_ms, body.facts))
    if row.to in ("merged", "cancelled") or event.what in ("self_healed", "closed_by_upgrade"):
        found.ended_ms = at_ms
    elif event.what == "unmerged":
        found.ended_ms = None


def _end_wait(found: _Round, at_ms: int) -> None:
    """A waiting ends by itself at its time, or with what comes before that."""
    if found.waits and found.waits[-1][2] > at_ms:
        reason, since_ms, _ = found.waits[-1]
        found.waits[-1] = (reason, since_ms, max(since_ms, at_ms))
