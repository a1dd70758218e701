"""What a problem's change means for tickets (docs/tickets.md). Pure.

A problem that nothing explains opens a ticket, or finds the one that is about it; one that is over closes a ticket that
nobody has touched. What lies between is counted and shown, and a person decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from collector.core.problems import Problem, ProblemChange, ProblemNews, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.draft import Draft, end_told_ms
from collector.core.tickets.ticket import Ticket, higher
from collector.core.tickets.transitions import possible
from telemetry.faults import FAULTS, Severity, SlaClass


def heard(draft: Draft, change: ProblemChange) -> None:
    """Deal with what has happened to a problem."""
    if change.of is not None:
        _explains(draft, change.problem, change.of, change.since_ms, change.text)
        return
    _NEWS[change.news](draft, change.problem, change.text)


def causes_first(changes: Sequence[ProblemChange]) -> list[ProblemChange]:
    """Return the changes of one step in the order in which the desk wants to hear them.

    Whoever judges lets a problem begin and then says what it explains. A symptom is told of its cause before that
    begins, so that its ticket goes on as the cause's; the changes of each problem keep their order.
    """
    told: list[ProblemChange] = []
    for change in changes:
        at = len(told)
        if change.news == "caused" and change.problem.cause is not None:
            begun = [n for n, one in enumerate(told) if one.problem.ref == change.problem.cause and one.news in _BEGINS]
            if begun and all(one.problem.ref != change.problem.ref for one in told[begun[0] :]):
                at = begun[0]
        told.insert(at, change)
    return told


_BEGINS: Final[tuple[ProblemNews, ...]] = ("began", "again", "waited")


# --- it is there ------------------------------------------------------------------------------------------------------


def _began(draft: Draft, problem: Problem, text: str) -> None:
    """Open a ticket for a problem that nothing explains, or go on with the one that is about it."""
    if problem.cause is not None:
        _caused(draft, problem, text)
        return
    ticket = draft.holder(problem.ref)
    known = draft.problems.get(problem.ref)
    if problem.waits_until_ms is not None:  # shown at once, and heard of again when it has waited
        draft.track(problem, ticket.id if ticket else "")
        return
    if known is not None and known.problem.waits_until_ms is not None:
        known = None
    lasts = known is not None and draft.lasts(problem.ref)
    if ticket is None:
        if known is not None and lasts and _dismissed(draft, known.ticket):
            draft.track(problem, known.ticket)
        else:
            ticket = _take_over(draft, problem, text) or open_for(draft, problem, text)
            draft.track(problem, ticket.id)
            _link_symptoms(draft, problem.ref, ticket)
        return
    draft.track(problem, ticket.id)
    if (known is None and ticket.is_open) or lasts:
        _raise_class(draft, ticket, problem)
    else:
        _again(draft, ticket, problem, text)


def open_for(draft: Draft, problem: Problem, text: str = "") -> Ticket:
    """Open a ticket about a problem. Effective notice is now, the moment of the commit (docs/contract.md, R10)."""
    sla_class, severity = class_of(draft, problem)
    body = e.Opening(
        source="rule",
        fault=problem.key.fault,
        sla_class=sla_class,
        severity=severity,
        vehicle=problem.vehicle,
        device=problem.key.device,
        event_ms=min(problem.event_ms, draft.now_ms),
        detected_ms=min(problem.detected_ms, draft.now_ms),
        problem=problem.ref,
        rule=problem.rule,
        rule_version=problem.rule_version,
        text=text,
        evidence=problem.evidence,
    )
    return draft.open(body, e.RULE)


def class_of(draft: Draft, problem: Problem) -> tuple[SlaClass, Severity]:
    """Return class and severity of a ticket about a problem, by the vehicle's duty when it began."""
    fault = FAULTS.get(problem.key.fault)
    sla_class = problem.sla_class or (fault.sla_class if fault else "general")
    always = fault is not None and fault.always
    return draft.contract.class_for(sla_class, problem.severity, problem.duty, always=always)


def _again(draft: Draft, ticket: Ticket, problem: Problem, text: str) -> None:
    """Count it on an open ticket, reopen one that is not; one that came too often is counted only."""
    if ticket.is_open:
        if not ticket.recurring or ticket.over_ms is not None:
            word = e.ProblemWord(problem.ref, problem.event_ms, text, problem.evidence[-1:])
            ticket = draft.record(ticket, "problem_again", e.RULE, word)
        ticket = _raise_class(draft, ticket, problem)
    else:
        sla_class, severity = class_of(draft, problem)
        reopening = e.Reopening(
            problem.ref, problem.event_ms, text, problem.evidence[-1:], sla_class=sla_class, severity=severity
        )
        ticket = draft.record(ticket, "reopened", e.RULE, reopening)
    times = _times_in_a_row(ticket.times, draft.contract.reopen_window_ms)
    if not ticket.recurring and times >= draft.contract.recurring_times:
        words = f"{times} times, each within the reopen window of the one before"
        draft.record(ticket, "recurring", e.DESK, e.Remark(words))


def _times_in_a_row(times: Sequence[int], window_ms: int) -> int:
    """Return how many of the last times began no later than the window after the one before.

    Each of the one before, not all of them within one window: else what comes each second day would be told for ever.
    """
    count = 1
    for before_ms, time_ms in zip(reversed(times[:-1]), reversed(times[1:]), strict=True):
        if time_ms - before_ms > window_ms:
            break
        count += 1
    return count


def _raise_class(draft: Draft, ticket: Ticket, problem: Problem, text: str = "") -> Ticket:
    """Raise the class of an open ticket where the vehicle's duty, or the problem, asks for it; never lower one."""
    sla_class, severity = class_of(draft, problem)
    if not ticket.is_open or not higher(sla_class, ticket.sla_class):
        return ticket
    return draft.record(
        ticket, "class_changed", e.RULE, e.ClassChange(sla_class, severity, text or f"now {problem.duty}")
    )


def _take_over(draft: Draft, cause: Problem, text: str) -> Ticket | None:
    """Let the oldest ticket about a symptom follow the cause that was found; ``None``: there is none that may.

    Only one that nobody has touched follows: its problem's key is free then.
    """
    free = [ticket for ref, ticket in _explained(draft, cause.ref) if not ticket.touched and ticket.root == ref]
    if not free:
        return None
    ticket = min(free, key=lambda one: (one.opened_ms, one.id))
    assert ticket.root is not None
    symptom = draft.problems[ticket.root].problem
    ticket = _follow(draft, ticket, cause, symptom, min(cause.event_ms, ticket.event_ms), text)
    return _raise_class(draft, ticket, cause)


def _follow(
    draft: Draft, ticket: Ticket, root: Problem, symptom: Problem, event_ms: int, text: str, over_ms: int | None = None
) -> Ticket:
    """Let a ticket be about a root from now on; its symptom's key is free."""
    body = e.TakeOver(
        problem=root.ref, was=symptom.ref, event_ms=event_ms, over_event_ms=over_ms, text=text, rule=root.rule,
        rule_version=root.rule_version, evidence=root.evidence,
    )  # fmt: skip
    ticket = draft.record(ticket, "taken_over", e.RULE, body)
    draft.track(symptom, "")
    draft.track(root, ticket.id)
    return ticket


def _explains(draft: Draft, root: Problem, of: ProblemRef, since_ms: int, text: str) -> None:
    """Let the ticket of a silence be about what late data have shown it to be, whoever has touched it, open or not.

    Its class rises only if the fault is still there. One that is about something else, or a root that has a ticket of
    its own, is linked. Without a ticket there is nothing to do: what is still there opens one when it begins.
    """
    ticket, known, own = draft.holder(of), draft.problems.get(of), draft.holder(root.ref)
    if ticket is None or known is None or known.problem.event_ms != since_ms or own is ticket:
        return
    if own is not None:
        _link(draft, ticket, own)
        return
    if ticket.root != of:
        draft.record(ticket, "problem_attached", e.RULE, e.Attachment(root.ref, "attached", text))
        draft.track(root, ticket.id)
        return
    lasts = root.state == "active"
    over_ms = None if lasts else root.over_event_ms
    ticket = _follow(draft, ticket, root, known.problem, root.event_ms, text, over_ms)
    if not lasts:
        _heal(draft, ticket)
    elif ticket.is_open:
        _raise_class(draft, ticket, root)
    else:
        _again(draft, ticket, root, text)


def _link_symptoms(draft: Draft, cause: ProblemRef, ticket: Ticket) -> None:
    for _, other in _explained(draft, cause):
        _link(draft, other, ticket)


def _explained(draft: Draft, cause: ProblemRef) -> list[tuple[ProblemRef, Ticket]]:
    """Return the problems that a cause explains and that have an open ticket of their own."""
    if not draft.may_explain(cause):
        return []
    found = []
    for ref, tracked in draft.problems.items():
        ticket = draft.holder(ref) if tracked.problem.cause == cause else None
        if ticket is not None and ticket.is_open:
            found.append((ref, ticket))
    return sorted(found, key=lambda one: one[0])


def _link(draft: Draft, ticket: Ticket, cause: Ticket) -> None:
    if cause.id != ticket.id and cause.id not in {link.other for link in ticket.links}:
        draft.record(ticket, "linked", e.DESK, e.Link(cause.id, "cause"))


def _caused(draft: Draft, problem: Problem, text: str) -> None:
    """Hang a symptom under its cause, or open a ticket for what its cause no longer explains.

    Where the symptom has a ticket, that is linked to the cause's. A cause that is named before it begins gets the
    symptom's ticket when it does (``_take_over``).
    """
    own = draft.holder(problem.ref)
    known = draft.problems.get(problem.ref)
    if problem.cause is None:
        if own is None and problem.state == "active" and (known is None or not _dismissed(draft, known.ticket)):
            draft.track(problem, open_for(draft, problem, text).id)
        else:
            draft.track(problem, own.id if own else known.ticket if known else "")
        return
    if own is None or not own.is_open:
        _hang_under(draft, problem)
        return
    draft.track(problem, own.id)
    other = draft.holder(problem.cause)
    if other is not None:
        _link(draft, own, other)


def _hang_under(draft: Draft, problem: Problem) -> None:
    """Note a symptom on its cause's ticket, once."""
    assert problem.cause is not None
    draft.track(problem, "")
    ticket = draft.holder(problem.cause)
    if ticket is not None and problem.ref not in ticket.problems and possible("problem_attached", ticket.state):
        draft.record(ticket, "problem_attached", e.RULE, e.Attachment(problem.ref, "symptom", verb=problem.verb))


def _dismissed(draft: Draft, ticket: str) -> bool:
    """Say whether the ticket that dealt with this occurrence was cancelled: it opens nothing more."""
    return bool(ticket) and ticket not in draft.tickets


# --- it is over, or nobody can say ------------------------------------------------------------------------------------


def _over(draft: Draft, problem: Problem, text: str) -> None:
    """Close a ticket that nobody has touched; on any other the end is shown, and a person resolves it."""
    ticket = draft.holder(problem.ref)
    known = draft.problems.get(problem.ref)
    lasted = known is None or known.problem.state != "over"
    draft.track(problem, ticket.id if ticket else known.ticket if known else "")
    if ticket is None or not ticket.is_open or not lasted or ticket.recurring:
        return
    event_ms = draft.now_ms if problem.over_event_ms is None else problem.over_event_ms
    word = e.ProblemWord(problem.ref, max(event_ms, ticket.event_ms), text, problem.evidence[-1:])
    _heal(draft, draft.record(ticket, "problem_over", e.RULE, word))


def _heal(draft: Draft, ticket: Ticket) -> None:
    """Close a ticket that nobody has touched once none of its problems lasts."""
    heals = possible("self_healed", ticket.state) and not (ticket.touched or ticket.callers or ticket.recurring)
    if heals and not any(draft.lasts(ref) for ref in ticket.held()):
        draft.record(ticket, "self_healed", e.RULE)


def tell_end(draft: Draft, ticket: Ticket) -> Ticket:
    """Write down the end of a recurring ticket's problems once it has held for long enough."""
    told_ms = end_told_ms(ticket, draft.problems, draft.contract)
    if told_ms is None or told_ms > draft.now_ms:
        return ticket
    for ref in ticket.held():
        problem = draft.problems[ref].problem
        event_ms = draft.now_ms if problem.over_event_ms is None else problem.over_event_ms
        word = e.ProblemWord(ref, max(event_ms, ticket.event_ms), "", problem.evidence[-1:])
        ticket = draft.record(ticket, "problem_over", e.RULE, word)
    return ticket


def _stale(draft: Draft, problem: Problem, text: str) -> None:
    _ask(draft, problem, "data_missing", text)


def _orphaned(draft: Draft, problem: Problem, text: str) -> None:
    """The key is free again; its ticket asks a person."""
    _ask(draft, problem, "orphaned", text)


def _ask(draft: Draft, problem: Problem, what: str, text: str) -> None:
    ticket = draft.holder(problem.ref)
    known = draft.problems.get(problem.ref)
    new = known is None or known.problem.state != problem.state
    draft.track(problem, ticket.id if ticket else known.ticket if known else "")
    if ticket is not None and new and possible(what, ticket.state) and not _is_said_enough(draft, ticket, what):
        draft.record(ticket, what, e.RULE, e.ProblemWord(problem.ref, problem.event_ms, text))


def _is_said_enough(draft: Draft, ticket: Ticket, what: str) -> bool:
    """Say whether a ticket has told so often of data that come and go that one more time says nothing."""
    return what != "orphaned" and sum(event.what == what for event in draft.events[ticket.id]) >= _MOST_SAID


_MOST_SAID: Final = 10


def _back(draft: Draft, problem: Problem, text: str) -> None:
    """Its data are there again: nobody is asked any more.

    What had outlived its cause while they were missing has no ticket yet.
    """
    if problem.cause is None and problem.waits_until_ms is None and draft.holder(problem.ref) is None:
        _caused(draft, problem, text)
        return
    ticket = _keep(draft, problem)
    if ticket is not None and ticket.unjudged is not None and possible("data_back", ticket.state):
        draft.record(ticket, "data_back", e.RULE, e.ProblemWord(problem.ref, problem.event_ms, text))


# --- for the record ---------------------------------------------------------------------------------------------------


def _moved(draft: Draft, problem: Problem, text: str) -> None:
    """Late data have shown that it began earlier."""
    ticket = _keep(draft, problem)
    if ticket is not None and problem.event_ms < ticket.event_ms:
        word = e.ProblemWord(problem.ref, problem.event_ms, text, problem.evidence[-1:])
        draft.record(ticket, "event_moved", e.RULE, word)


def _raised(draft: Draft, problem: Problem, text: str) -> None:
    """Raise the class of its ticket."""
    ticket = _keep(draft, problem)
    if ticket is not None:
        _raise_class(draft, ticket, problem, text)


def _noted(draft: Draft, problem: Problem, text: str) -> None:
    """Write it down once: a symptom that flaps under its cause says the same each time."""
    ticket = _keep(draft, problem)
    note = e.Remark(text)
    if ticket is not None and text and all(event.body != note for event in draft.events[ticket.id]):
        draft.record(ticket, "noted", e.RULE, note)


def _keep(draft: Draft, problem: Problem) -> Ticket | None:
    ticket = draft.holder(problem.ref)
    known = draft.problems.get(problem.ref)
    draft.track(problem, ticket.id if ticket else known.ticket if known else "")
    return ticket


_NEWS: Final[Mapping[ProblemNews, Callable[[Draft, Problem, str], None]]] = {
    "began": _began,
    "again": _began,
    "waited": _began,
    "moved": _moved,
    "caused": _caused,
    "over": _over,
    "stale": _stale,
    "back": _back,
    "orphaned": _orphaned,
    "adopted": _noted,
    "noted": _noted,
    "raised": _raised,
}


def free(draft: Draft, refs: list[ProblemRef], ticket: Ticket) -> None:
    """Open a new ticket for each problem that lasts though the ticket about it is closed for good, linked to that."""
    for ref in refs:
        tracked = draft.problems.get(ref)
        if tracked is None or tracked.problem.state != "active" or tracked.problem.cause is not None:
            continue
        opened = open_for(draft, tracked.problem, f"it lasts although {ticket.id} is closed")
        opened = draft.record(opened, "linked", e.DESK, e.Link(ticket.id, "continues"))
        draft.track(tracked.problem, opened.id)
