"""Everything that came of a drill, as plain data, so that somebody else's script can judge it."""

from __future__ import annotations

from typing import Any

import msgspec

from collector.core.problems import Problem
from kitwatch.drill.came import Came, CameTicket, where
from kitwatch.drill.scenario import Drill


def everything(drill: Drill, came: Came) -> dict[str, Any]:
    """Return tickets with their events and evidence, problems, notes and notifications. Times are UTC milliseconds."""
    site = drill.lives.site
    return {
        "begins_ms": drill.begins_ms,
        "until_ms": drill.until_ms,
        "records": came.records,
        "commits": came.commits,
        "tickets": [_ticket(one, site) for one in came.tickets.values()],
        "problems": [_problem(problem, site) for problem in came.problems.values()],
        "notes": [
            {"fault": one.fault, "at": where(one.vehicle, one.device, site), "rule": one.rule,
             "began_ms": one.began_ms, "ended_ms": one.ended_ms, "noted_ms": one.noted_ms}
            for one in came.notes
        ],
        "notifications": [
            {"ticket": one.ticket.id, "at_ms": at_ms, "what": what}
            for one in came.tickets.values()
            for at_ms, what in one.told
        ],
        "inventory": [
            {"at": where(one.vehicle, one.device, site), "seen_ms": one.seen_ms, "identity": one.identity}
            for one in came.inventory
        ],
    }  # fmt: skip


def _ticket(one: CameTicket, site: str) -> dict[str, Any]:
    ticket = one.ticket
    return {
        "id": ticket.id,
        "fault": ticket.fault,
        "at": where(ticket.vehicle, ticket.device, site),
        "labels": {} if ticket.root is None else dict(ticket.root.key.labels),
        "rule": ticket.rule,
        "class": ticket.sla_class,
        "severity": ticket.severity,
        "state": ticket.state,
        "closed_by": ticket.closed_by,
        "recurring": ticket.recurring,
        "event_ms": ticket.event_ms,
        "opened_ms": one.opened_ms,
        "over_event_ms": ticket.over_event_ms,
        "faults": [{"since_ms": at_ms, "fault": fault} for at_ms, fault in one.faults],
        "events": [
            {
                "number": event.number,
                "what": event.what,
                "who": event.who,
                "at_ms": event.at_ms,
                "recorded_ms": event.recorded_ms,
                "body": _plain(event.body),
            }
            for event in one.events
        ],
    }


def _problem(problem: Problem, site: str) -> dict[str, Any]:
    cause = problem.cause
    return {
        "fault": problem.key.fault,
        "at": where(problem.vehicle, problem.key.device, site),
        "labels": dict(problem.key.labels),
        "rule": problem.rule,
        "state": problem.state,
        "times": problem.times,
        "flapping": problem.flapping,
        "event_ms": problem.event_ms,
        "detected_ms": problem.detected_ms,
        "over_event_ms": problem.over_event_ms,
        "over_ms": problem.over_ms,
        "duty": problem.duty,
        "cause": None if cause is None else f"{cause.key.fault} {where(cause.vehicle, cause.key.device, site)}",
        "evidence": [_plain(one) for one in problem.evidence],
    }


def _plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))
