"""A ticket as a fold over its events. Pure.

``apply`` takes one event after the other; ``fold`` takes them all. Both give the same ticket, but for a correction of a
time and an undone merge, after which only ``fold`` knows what it would have been without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.core.problems import ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.ticket import (
    MOST_TIMES,
    NOBODY,
    Linked,
    Ticket,
    TicketProblem,
    Tried,
    Unjudged,
    Waiting,
    higher,
)
from collector.core.tickets.transitions import TABLE


def fold(site: str, id: str, events: Sequence[TicketEvent]) -> Ticket:
    """Return the ticket that these events make: times as corrected, merges that were undone left out."""
    ticket = None
    for _, ticket in course(site, id, events):  # noqa: B007 - the last one is wanted
        pass
    assert ticket is not None, "no ticket without an event"
    return ticket


def course(site: str, id: str, events: Sequence[TicketEvent]) -> Iterator[tuple[TicketEvent, Ticket]]:
    """Yield each event, its time as corrected, with the ticket after it; merges that were undone changed nothing."""
    corrected = {event.body.number: event.body.at_ms for event in events if isinstance(event.body, e.Correction)}
    undone = _undone(events)
    first, *rest = events
    first = _at(first, corrected)
    ticket = begin(site, id, first)
    yield first, ticket
    for event in rest:
        event = _at(event, corrected)
        ticket = msgspec.structs.replace(
            apply(ticket, event) if event.number not in undone else ticket,
            changed_ms=event.recorded_ms,
            last_event=event.number,
        )
        yield event, ticket


def _at(event: TicketEvent, corrected: Mapping[int, int]) -> TicketEvent:
    at_ms = corrected.get(event.number)
    return event if at_ms is None else msgspec.structs.replace(event, at_ms=at_ms)


def _undone(events: Sequence[TicketEvent]) -> set[int]:
    """Return the numbers of the events by which a ticket got what it gave back later."""
    got: dict[str, int] = {}
    undone = set()
    for event in events:
        if isinstance(event.body, e.Merged) and event.what == "got_merged":
            got[event.body.ticket] = event.number
        elif isinstance(event.body, e.Merged):
            undone.add(got.pop(event.body.ticket, 0))
    return undone


def begin(site: str, id: str, event: TicketEvent) -> Ticket:
    """Return the ticket that an opening event begins."""
    body = event.body
    assert isinstance(body, e.Opening)
    was = body if isinstance(body, e.Migration) else None
    return Ticket(
        site=site,
        id=id,
        source=body.source,
        vehicle=body.vehicle,
        device=body.device,
        fault=body.fault,
        rule=body.rule,
        rule_version=body.rule_version,
        root=body.problem,
        sla_class=body.sla_class,
        severity=body.severity,
        event_ms=body.event_ms,
        detected_ms=body.detected_ms,
        opened_ms=event.at_ms if was is None else was.opened_ms,
        notice_ms=event.at_ms if was is None else was.opened_ms,
        over_event_ms=None if was is None else was.over_event_ms,
        over_ms=None if was is None else was.over_ms,
        changed_ms=event.recorded_ms,
        times=() if body.problem is None else (event.recorded_ms if was is None else was.opened_ms,),
        callers=() if body.caller is None else (body.caller,),
        problems={} if body.problem is None else {body.problem: TicketProblem("root")},
        in_contract=was is None,
        last_event=event.number,
    )


def apply(ticket: Ticket, event: TicketEvent) -> Ticket:
    """Return the ticket after one more event."""
    row = TABLE[event.what]
    changes: dict[str, Any] = {"last_event": event.number, "changed_ms": event.recorded_ms}
    if row.to == "before_merge":
        changes["state"] = ticket.before_merge or ticket.state
    elif row.to is not None and not (row.each_caller and _left(ticket, event.body)):
        changes["state"] = row.to
    if row.next_round:
        changes |= _next_round(ticket, event)
    if row.touches and event.who not in NOBODY:
        changes["touched"] = True
    if row.responds and ticket.responded_ms is None:
        changes["responded_ms"] = event.at_ms
    if changes.get("state") == "closed":
        changes |= {"closed_ms": event.at_ms, "closed_by": event.what}
    more = _MORE.get(event.what)
    if more is not None:
        changes |= more(ticket, event, event.body)
    return msgspec.structs.replace(ticket, **changes)


def _next_round(ticket: Ticket, event: TicketEvent) -> dict[str, Any]:
    return {
        "round": ticket.round + 1,
        "notice_ms": event.at_ms,
        "acknowledged_ms": None,
        "responded_ms": None,
        "planned_ms": None,
        "resolved_ms": None,
        "closed_ms": None,
        "closed_by": "",
        "touched": False,
        "worked": (),
        "waiting": None,
        "silenced_until_ms": None,
        "unjudged": None,
        "not_reached": (),
        "asked": (),
        "answered": False,
        "in_contract": True,
        "window_over": False,
    }


def _worked(ticket: Ticket, who: str) -> tuple[str, ...]:
    return ticket.worked if who in ticket.worked else (*ticket.worked, who)


def _assigned(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"assigned": body.to, "worked": _worked(ticket, body.to)}


def _acknowledged(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"acknowledged_ms": event.at_ms}


def _responded(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"worked": _worked(ticket, event.who)}


def _planned(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    first_ms = event.at_ms if ticket.planned_ms is None else ticket.planned_ms
    return {"planned_ms": first_ms, "worked": _worked(ticket, event.who)}


def _waits(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"waiting": Waiting(body.reason, event.at_ms, body.until_ms), "worked": _worked(ticket, event.who)}


def _goes_on(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"waiting": None}


def _silenced(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"silenced_until_ms": body.until_ms}


def _resolved(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {
        "resolved_ms": event.at_ms,
        "worked": _worked(ticket, event.who),
        "waiting": None,
        "silenced_until_ms": None,
        "recurring": False,
    }


def _class(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"sla_class": body.sla_class, "severity": body.severity}


def _over(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    """The fault is over when the last of its problems is."""
    problems = _ended(ticket, body.problem, body.event_ms)
    ends = [held.over_event_ms for held in problems.values() if held.holds]
    known = [end_ms for end_ms in ends if end_ms is not None]
    if len(known) < len(ends):
        return {"problems": problems, "unjudged": None}
    over_ms = max(known, default=body.event_ms)
    return {"problems": problems, "over_event_ms": over_ms, "over_ms": event.recorded_ms, "unjudged": None}


def _again(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    times = (*ticket.times, event.recorded_ms)[-MOST_TIMES:]
    problems = _ended(ticket, body.problem, None)
    return {"problems": problems, "over_event_ms": None, "over_ms": None, "unjudged": None, "times": times}


def _ended(ticket: Ticket, ref: ProblemRef, end_ms: int | None) -> dict[ProblemRef, TicketProblem]:
    held = ticket.problems.get(ref, TicketProblem("attached", False))
    return {**ticket.problems, ref: TicketProblem(held.role, held.holds, end_ms)}


def _reopened(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {
        **_again(ticket, event, body),
        "event_ms": body.event_ms,
        "detected_ms": event.recorded_ms,
        "sla_class": body.sla_class,
        "severity": body.severity,
    }


def _recurring(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"recurring": True}


def _moved(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"event_ms": min(ticket.event_ms, body.event_ms)}


def _data_missing(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"unjudged": Unjudged("data_missing", event.recorded_ms)}


def _data_back(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"unjudged": None}


def _orphaned(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    held = ticket.problems.get(body.problem)
    found = {} if held is None else {body.problem: TicketProblem(held.role, False, held.over_event_ms)}
    return {"problems": {**ticket.problems, **found}, "unjudged": Unjudged("orphaned", event.recorded_ms)}


def _taken_over(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    root = TicketProblem("root", over_event_ms=body.over_event_ms)
    problems = {**ticket.problems, body.was: TicketProblem("symptom", False), body.problem: root}
    key = body.problem.key
    over = {} if body.over_event_ms is None else {"over_event_ms": body.over_event_ms, "over_ms": event.recorded_ms}
    return {
        **over,
        "problems": problems,
        "root": body.problem,
        "vehicle": body.problem.vehicle,
        "device": key.device,
        "fault": key.fault,
        "rule": body.rule,
        "rule_version": body.rule_version,
        "event_ms": body.event_ms,
    }


def _problem_attached(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    held = TicketProblem(body.role, body.role != "symptom")
    return {"problems": {**ticket.problems, body.problem: held}}


def _call_attached(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"callers": (*ticket.callers, body.caller)}


def _linked(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    link = Linked(body.other, body.relation)
    return {} if link in ticket.links else {"links": (*ticket.links, link)}


def _left(ticket: Ticket, body: Any) -> list[e.Caller]:
    """Return who is still to be called back once this call-back is done."""
    return [] if body.caller is None else [caller for caller in ticket.to_ask() if caller != body.caller]


def _confirmed(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"asked": _asked(ticket, body), "answered": True}


def _given_up(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    """One of several callers could not be reached: the ticket is closed by what the others said."""
    by = {"closed_by": "confirmed"} if ticket.answered and not _left(ticket, body) else {}
    return {"asked": _asked(ticket, body), **by}


def _asked(ticket: Ticket, body: Any) -> tuple[e.Caller, ...]:
    return (*ticket.asked, *(ticket.to_ask() if body.caller is None else (body.caller,)))


def _not_reached(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"not_reached": (*ticket.not_reached, Tried(body.caller or e.Caller(""), event.at_ms))}


def _window_over(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"window_over": True}


def _merged(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"merged_into": body.into, "before_merge": ticket.state, "waiting": None, "silenced_until_ms": None}


def _unmerged(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"merged_into": "", "before_merge": None}


def _got_merged(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    has = ticket.problems
    new = {ref: TicketProblem("attached") for ref in body.problems if ref not in has or not has[ref].holds}
    changes: dict[str, Any] = {
        "notice_ms": min(ticket.notice_ms, body.notice_ms),
        "problems": {**ticket.problems, **new},
        "callers": (*ticket.callers, *body.callers),
    }
    if higher(body.sla_class, ticket.sla_class):
        changes |= {"sla_class": body.sla_class, "severity": body.severity}
    return changes


def _gave_back(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    back = {ref: TicketProblem("attached", False) for ref in body.problems if ref not in ticket.problems}
    return {"problems": {**ticket.problems, **back}}


def _in_contract(ticket: Ticket, event: TicketEvent, body: Any) -> dict[str, Any]:
    return {"in_contract": True, "notice_ms": event.at_ms}


_MORE: Final[Mapping[str, Callable[[Ticket, TicketEvent, Any], dict[str, Any]]]] = {
    "assigned": _assigned,
    "acknowledged": _acknowledged,
    "responded": _responded,
    "planned": _planned,
    "waits": _waits,
    "goes_on": _goes_on,
    "silenced": _silenced,
    "resolved": _resolved,
    "class_changed": _class,
    "problem_over": _over,
    "problem_again": _again,
    "reopened": _reopened,
    "recurring": _recurring,
    "event_moved": _moved,
    "data_missing": _data_missing,
    "data_back": _data_back,
    "orphaned": _orphaned,
    "taken_over": _taken_over,
    "problem_attached": _problem_attached,
    "call_attached": _call_attached,
    "linked": _linked,
    "not_reached": _not_reached,
    "confirmed": _confirmed,
    "given_up": _given_up,
    "window_over": _window_over,
    "closed_by_upgrade": _window_over,
    "merged": _merged,
    "unmerged": _unmerged,
    "got_merged": _got_merged,
    "gave_back": _gave_back,
    "taken_into_contract": _in_contract,
}
"""What an event does beside what its row of the table says."""
