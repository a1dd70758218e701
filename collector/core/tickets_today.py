"""Today's tickets from problems, until the desk keeps them (JUDGING 5): one opens and ends as a problem does. Pure.

Only ``collector.site.unit_of_work`` uses this, and the fields ``tickets`` and ``next_ticket`` of a vehicle and a site.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from collector.core.identities import ProblemKey
from collector.core.problems import Problem, ProblemChange
from collector.core.tickets import Evidence, HistoryEntry, Ticket, What
from telemetry.faults import FAULTS, severity

_WHAT: Mapping[str, What] = {"began": "opened", "again": "opened", "moved": "event_moved", "over": "resolved"}


def tickets_after(
    tickets: Mapping[ProblemKey, Ticket], next_ticket: int, prefix: str, changes: Iterable[ProblemChange], now_ms: int
) -> tuple[Mapping[ProblemKey, Ticket], int, list[Ticket | HistoryEntry]]:
    """Return the open tickets, the next number, and what is to be kept. ``prefix`` begins a ticket's id."""
    found = dict(tickets)
    effects: list[Ticket | HistoryEntry] = []
    for change in changes:
        problem = change.problem
        ticket = found.get(problem.key)
        if problem.cause is not None and ticket is None:
            effects += _note(found.get(problem.cause.key), f"hangs under it: {problem.key.text()}", now_ms)
            continue
        if ticket is None and change.news not in ("began", "again", "caused"):
            continue
        number = f"{prefix}{next_ticket}" if ticket is None else ticket.id
        next_ticket += ticket is None
        after = _ticket(number, problem, now_ms if ticket is None else ticket.opened_ms)
        found[problem.key] = after
        if problem.state == "over":
            del found[problem.key]
        what = "opened" if ticket is None else _WHAT.get(change.news, "note")
        if what != "note" or change.news == "adopted":
            effects.append(after)
        who = "rule" if problem.vehicle else "survey"
        effects.append(HistoryEntry(ticket=number, at_ms=now_ms, who=who, what=what, text=change.text))
    return found, next_ticket, effects


def _note(ticket: Ticket | None, text: str, now_ms: int) -> list[HistoryEntry]:
    return [] if ticket is None else [HistoryEntry(ticket=ticket.id, at_ms=now_ms, who="rule", what="note", text=text)]


def _ticket(number: str, problem: Problem, opened_ms: int) -> Ticket:
    fault = FAULTS[problem.key.fault]
    sla_class = problem.sla_class or fault.sla_class
    gravity = problem.severity or severity(sla_class)
    if problem.duty in ("parked", "workshop") and not fault.always:
        sla_class, gravity = "deferrable", severity("deferrable")
    return Ticket(
        id=number,
        site=problem.site,
        vehicle=problem.vehicle,
        device=problem.key.device,
        key=problem.key.text(),
        fault=problem.key.fault,
        severity=gravity,
        sla_class=sla_class,
        state="resolved" if problem.state == "over" else "open",
        rule=problem.rule,
        rule_version=problem.rule_version,
        event_ms=problem.event_ms,
        detected_ms=problem.detected_ms,
        opened_ms=opened_ms,
        resolved_event_ms=problem.over_event_ms,
        resolved_ms=problem.over_ms,
        evidence=msgspec.convert(msgspec.to_builtins(problem.evidence), tuple[Evidence, ...]),
    )
