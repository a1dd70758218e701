"""A ticket as its events make it, worked out a second time: written from docs/tickets.md, not from the product's fold.

``by_hand`` gives plain facts by the names of ``Ticket``'s attributes; ``differences`` holds the product's ticket to
them. A row of the table that stands here nowhere (a new one) is taken as the table says: its state, round, touch and
response are checked, what else it may change is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from collector.core.tickets.events import Caller, TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import TABLE

NO_PERSON: Final = ("rule", "desk", "upgrade")
GRAVEST_FIRST: Final = ("disaster", "general", "hardware", "change", "consultation", "deferrable")
NO_FURTHER: Final = (
    "noted", "commented", "corrected", "escalated", "asked", "spare_noted", "self_healed", "reopened_by_hand",
    "dissatisfied", "call_back_drawn", "no_call_back", "cancelled",
)  # fmt: skip
"""Events that change nothing beside what the table says."""
Facts = dict[str, Any]


def by_hand(events: Sequence[TicketEvent]) -> tuple[Facts, bool]:
    """Return what the ticket is after these events, and whether every one of them is known here.

    Raises ValueError for one that the table does not name in the state in which the ticket was.
    """
    times = {event.number: event.at_ms for event in events}
    for event in events:
        if event.what == "corrected":
            times[event.body.number] = event.body.at_ms  # type: ignore[attr-defined]
    given_back = _given_back(events)
    facts: Facts = {}
    known = True
    for event in events:
        if event.number not in given_back:
            known &= _happen(facts, event, times[event.number])
        facts |= {"changed_ms": event.recorded_ms, "last_event": event.number}
    return facts, known


def _given_back(events: Sequence[TicketEvent]) -> set[int]:
    """Return the mergers that were undone: as if they had not been."""
    open_mergers: dict[str, int] = {}
    undone = set()
    for event in events:
        body: Any = event.body
        if event.what == "got_merged":
            open_mergers[body.ticket] = event.number
        elif event.what == "gave_back" and body.ticket in open_mergers:
            undone.add(open_mergers.pop(body.ticket))
    return undone


def _happen(facts: Facts, event: TicketEvent, at_ms: int) -> bool:
    """Let one event happen at its corrected time; return whether it is known here."""
    what, body, now_ms = event.what, event.body, event.recorded_ms
    if what in ("opened", "migrated"):
        _begin(facts, what, body, at_ms, now_ms)
        return True
    row = TABLE[what]
    if facts["state"] not in row.states:
        raise ValueError(f"event {event.number}: {what} while it was {facts['state']}")
    if row.to == "before_merge":
        facts["state"] = facts["before_merge"]
    elif row.to is not None and not (row.each_caller and _to_ask(facts, body)):
        if row.to == "merged":
            facts["before_merge"] = facts["state"]
        facts["state"] = row.to
    if row.next_round:
        facts |= {
            "round": facts["round"] + 1, "notice_ms": at_ms, "acknowledged_ms": None, "responded_ms": None,
            "planned_ms": None, "resolved_ms": None, "closed_ms": None, "closed_by": "", "touched": False,
            "worked": [], "waiting": None, "silenced_until_ms": None, "unjudged": None, "not_reached": [], "asked": [],
            "answered": False, "in_contract": True, "window_over": False,
        }  # fmt: skip
    if row.touches and event.who not in NO_PERSON:
        facts["touched"] = True
    if row.responds and facts["responded_ms"] is None:
        facts["responded_ms"] = at_ms
    if row.to == "closed" and facts["state"] == "closed":
        facts |= {"closed_ms": at_ms, "closed_by": what}
    case = _CASES.get(what)
    if case is not None:
        case(facts, body, event.who, at_ms, now_ms)
    return case is not None or what in NO_FURTHER


def _begin(facts: Facts, what: str, body: Any, at_ms: int, now_ms: int) -> None:
    notice_ms = body.opened_ms if what == "migrated" else at_ms
    facts |= {
        "source": body.source, "vehicle": body.vehicle, "device": body.device, "fault": body.fault, "rule": body.rule,
        "rule_version": body.rule_version, "root": body.problem, "sla_class": body.sla_class,
        "severity": body.severity, "state": "new", "round": 1, "event_ms": body.event_ms,
        "detected_ms": body.detected_ms, "opened_ms": notice_ms, "notice_ms": notice_ms,
        "over_event_ms": body.over_event_ms if what == "migrated" else None,
        "over_ms": body.over_ms if what == "migrated" else None,
        "acknowledged_ms": None, "responded_ms": None, "planned_ms": None, "resolved_ms": None, "closed_ms": None,
        "closed_by": "", "assigned": "", "touched": False, "worked": [], "waiting": None, "silenced_until_ms": None,
        "times": [] if body.problem is None else [body.opened_ms if what == "migrated" else now_ms],
        "recurring": False, "unjudged": None, "not_reached": [], "asked": [], "answered": False,
        "callers": [] if body.caller is None else [body.caller],
        "problems": {} if body.problem is None else {body.problem: ("root", True, None)}, "links": [],
        "in_contract": what == "opened", "merged_into": "", "before_merge": None, "window_over": False,
    }  # fmt: skip


def _to_ask(facts: Facts, body: Any) -> list[Any]:
    """Return which callers are still to be called back once the one of this call-back was; nobody called: nobody."""
    if body.caller is None:
        return []
    return [one for one in facts["callers"] if one not in facts["asked"] and one != body.caller]


def _work(facts: Facts, who: str) -> None:
    if who not in facts["worked"]:
        facts["worked"].append(who)


def _assigned(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["assigned"] = body.to
    _work(facts, body.to)


def _acknowledged(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["acknowledged_ms"] = at_ms


def _responded(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    _work(facts, who)


def _planned(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    """Planned again, the first one counts for the clock."""
    if facts["planned_ms"] is None:
        facts["planned_ms"] = at_ms
    _work(facts, who)


def _waits(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["waiting"] = (body.reason, at_ms, body.until_ms)
    _work(facts, who)


def _goes_on(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["waiting"] = None


def _silenced(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["silenced_until_ms"] = body.until_ms


def _resolved(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    """Waiting and silence end with it, and a person has ended what was recurring."""
    facts |= {"resolved_ms": at_ms, "waiting": None, "silenced_until_ms": None, "recurring": False}
    _work(facts, who)


def _class_changed(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts |= {"sla_class": body.sla_class, "severity": body.severity}


def _problem_over(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    role, holds, _ = facts["problems"].get(body.problem, ("attached", False, None))
    facts["problems"][body.problem] = (role, holds, body.event_ms)
    facts["unjudged"] = None
    ends = [end_ms for _, holds, end_ms in facts["problems"].values() if holds]
    if None not in ends:
        facts |= {"over_event_ms": max(ends, default=body.event_ms), "over_ms": now_ms}


def _problem_again(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    role, holds, _ = facts["problems"].get(body.problem, ("attached", False, None))
    facts["problems"][body.problem] = (role, holds, None)
    facts["times"] = [*facts["times"], now_ms][-8:]
    facts |= {"over_event_ms": None, "over_ms": None, "unjudged": None}


def _reopened(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    _problem_again(facts, body, who, at_ms, now_ms)
    _class_changed(facts, body, who, at_ms, now_ms)
    facts |= {"event_ms": body.event_ms, "detected_ms": now_ms}


def _recurring(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["recurring"] = True


def _data_missing(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["unjudged"] = ("data_missing", now_ms)


def _event_moved(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["event_ms"] = min(facts["event_ms"], body.event_ms)


def _data_back(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["unjudged"] = None


def _orphaned(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    """The key is free: nobody can judge it any more."""
    facts["unjudged"] = ("orphaned", now_ms)
    if body.problem in facts["problems"]:
        role, _, end_ms = facts["problems"][body.problem]
        facts["problems"][body.problem] = (role, False, end_ms)


def _taken_over(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["problems"] |= {body.was: ("symptom", False, None), body.problem: ("root", True, body.over_event_ms)}
    if body.over_event_ms is not None:
        facts |= {"over_event_ms": body.over_event_ms, "over_ms": now_ms}
    facts |= {
        "root": body.problem, "vehicle": body.problem.vehicle, "device": body.problem.key.device,
        "fault": body.problem.key.fault, "rule": body.rule, "rule_version": body.rule_version,
        "event_ms": body.event_ms,
    }  # fmt: skip


def _problem_attached(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["problems"][body.problem] = (body.role, body.role != "symptom", None)


def _call_attached(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["callers"].append(body.caller)


def _linked(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    if (body.other, body.relation) not in facts["links"]:
        facts["links"].append((body.other, body.relation))


def _not_reached(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["not_reached"].append((body.caller or Caller(""), at_ms))


def _confirmed(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["asked"] += _whom(facts, body)
    facts["answered"] = True


def _given_up(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    """It is closed by what the others said, if one of them said something."""
    if facts["answered"] and facts["state"] == "closed":
        facts["closed_by"] = "confirmed"
    facts["asked"] += _whom(facts, body)


def _whom(facts: Facts, body: Any) -> list[Any]:
    """Return whom a call-back is done with: where it names nobody, all that are left, and the user if nobody called."""
    if body.caller is not None:
        return [body.caller]
    return [one for one in dict.fromkeys(facts["callers"] or [Caller("")]) if one not in facts["asked"]]


def _window_over(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts["window_over"] = True


def _merged(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts |= {"merged_into": body.into, "waiting": None, "silenced_until_ms": None}


def _unmerged(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts |= {"merged_into": "", "before_merge": None}


def _got_merged(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    """It keeps the earliest notice, the higher class, all problems and callers."""
    facts["notice_ms"] = min(facts["notice_ms"], body.notice_ms)
    facts["callers"] += body.callers
    for ref in body.problems:
        if not facts["problems"].get(ref, ("", False, None))[1]:
            facts["problems"][ref] = ("attached", True, None)
    if GRAVEST_FIRST.index(body.sla_class) < GRAVEST_FIRST.index(facts["sla_class"]):
        _class_changed(facts, body, who, at_ms, now_ms)


def _gave_back(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    for ref in body.problems:
        facts["problems"].setdefault(ref, ("attached", False, None))


def _taken_into_contract(facts: Facts, body: Any, who: str, at_ms: int, now_ms: int) -> None:
    facts |= {"in_contract": True, "notice_ms": at_ms}


_CASES: Final[Mapping[str, Any]] = {
    "assigned": _assigned,
    "acknowledged": _acknowledged,
    "responded": _responded,
    "planned": _planned,
    "waits": _waits,
    "goes_on": _goes_on,
    "silenced": _silenced,
    "resolved": _resolved,
    "class_changed": _class_changed,
    "problem_over": _problem_over,
    "problem_again": _problem_again,
    "reopened": _reopened,
    "recurring": _recurring,
    "event_moved": _event_moved,
    "data_missing": _data_missing,
    "data_back": _data_back,
    "confirmed": _confirmed,
    "given_up": _given_up,
    "orphaned": _orphaned,
    "taken_over": _taken_over,
    "problem_attached": _problem_attached,
    "call_attached": _call_attached,
    "linked": _linked,
    "not_reached": _not_reached,
    "window_over": _window_over,
    "merged": _merged,
    "unmerged": _unmerged,
    "got_merged": _got_merged,
    "gave_back": _gave_back,
    "taken_into_contract": _taken_into_contract,
    "closed_by_upgrade": _window_over,
}

KNOWN: Final = frozenset(_CASES) | frozenset(NO_FURTHER) | {"opened", "migrated"}
"""Rows of the table of which it is said here what they change."""


def differences(ticket: Ticket, events: Sequence[TicketEvent]) -> list[str]:
    """Return what the product makes of these events otherwise, a line each."""
    try:
        facts, known = by_hand(events)
    except ValueError as error:
        return [f"{ticket.id}: {error}"]
    if not known:
        kept = ("state", "round", "touched", "responded_ms", "closed_ms", "closed_by", "changed_ms", "last_event")
        facts = {name: facts[name] for name in kept}
    found = _plain(ticket)
    return [
        f"{ticket.id}.{name}: expected {expected!r}, found {found[name]!r}"
        for name, expected in facts.items()
        if found[name] != expected
    ]


def _plain(ticket: Ticket) -> Facts:
    facts: Facts = {name: getattr(ticket, name) for name in ticket.__struct_fields__}
    waiting = ticket.waiting
    facts |= {
        "waiting": None if waiting is None else (waiting.reason, waiting.since_ms, waiting.until_ms),
        "unjudged": None if ticket.unjudged is None else (ticket.unjudged.what, ticket.unjudged.since_ms),
        "not_reached": [(one.caller, one.at_ms) for one in ticket.not_reached],
        "problems": {ref: (one.role, one.holds, one.over_event_ms) for ref, one in ticket.problems.items()},
        "links": [(link.other, link.relation) for link in ticket.links],
    }
    for name in ("worked", "times", "asked", "callers"):
        facts[name] = list(facts[name])
    return facts
