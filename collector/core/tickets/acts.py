"""What people do with tickets: what is refused beside what the table refuses, and what else an act brings. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from collector.core.roster import ROLES, Role
from collector.core.tickets import events as e
from collector.core.tickets.draft import Draft, EndProblem
from collector.core.tickets.fold import course
from collector.core.tickets.offered import hindrance, moved_on
from collector.core.tickets.promises import facts_of
from collector.core.tickets.refused import Reason, Refused
from collector.core.tickets.ticket import NOBODY, Ticket
from collector.core.tickets.timers import ASKED, asks_call_back, coming, draw
from collector.core.tickets.transitions import TABLE, possible


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants done, or says that he has done."""

    what: str
    """A row of the table that persons may bring about."""
    who: str
    """Roster id."""
    role: Role
    ticket: str = ""
    """Id; empty for ``opened``."""
    at_ms: int | None = None
    """When it happened, as stated; ``None``: now."""
    body: e.Body = e.NO_WORDS
    seen: int | None = None
    """The number of the ticket's last event that whoever acts has seen; ``None``: that does not matter to them."""


IN_WORDS: Final = ("why", "reason", "evidence", "done")
"""What a person says in words where a body has it: nothing is no reason."""
WORDS_ALONE: Final = ("commented", "reopened_by_hand")
"""Acts that are nothing without their text."""
_ANY_TIME: Final = ("commented", "call_attached")
"""What somebody says is as true after whatever happened meanwhile."""
_AHEAD_MS: Final = 60_000
"""So much may the clock of the machine be ahead on which a call was typed in."""


def acted(draft: Draft, act: Act) -> None:
    """Do what a person wants. Raises Refused, and nothing has changed."""
    row = TABLE.get(act.what)
    if row is None or "person" not in row.by:
        raise Refused("no_such_act", act.what, act.ticket)
    if type(act.body) is not row.body:
        raise Refused("shape", act.what, act.ticket, found=type(act.body).__name__)
    at_ms = draft.now_ms if act.at_ms is None else act.at_ms
    if at_ms > draft.now_ms:
        raise Refused("future", act.what, act.ticket)
    for name in IN_WORDS:
        said = getattr(act.body, name, None)
        if isinstance(said, str) and not said.strip():
            raise Refused("no_reason", act.what, act.ticket, found=name)
    if isinstance(act.body, e.Opening):
        if act.body.source == "rule" or act.body.problem is not None:
            raise Refused("shape", act.what, act.ticket, found=act.body.source)
        draft.open(_begun(draft, act, act.body), act.who, at_ms)
        return
    ticket = _meant(draft, act)
    if not possible(act.what, ticket.state):
        raise Refused("state", act.what, ticket.id, ticket.state)
    if at_ms < ticket.notice_ms and act.what not in ("commented", "corrected"):
        raise Refused("before_notice", act.what, ticket.id, ticket.state)
    if act.seen is not None and act.what not in _ANY_TIME and moved_on(draft.events[act.ticket], act.seen):
        raise Refused("moved_on", act.what, ticket.id, ticket.state)
    events = draft.events[ticket.id]
    hindered = hindrance(act.what, act.who, ticket, events, draft.contract, draft.now_ms)
    if hindered is not None:
        raise Refused(hindered, act.what, ticket.id, ticket.state)
    if act.what in WORDS_ALONE and isinstance(act.body, e.Remark) and not act.body.text.strip():
        raise Refused("no_reason", act.what, ticket.id, ticket.state, found="text")
    guard = _GUARDS.get(act.what)
    reason = None if guard is None else guard(draft, ticket, act, act.body)
    if reason is not None:
        raise Refused(reason, act.what, ticket.id, ticket.state, found=_found(reason, ticket, act.body))
    before = ticket
    fill = _FILLS.get(act.what)
    body = act.body if fill is None else fill(draft, ticket, act, act.body)
    ticket = draft.record(ticket, act.what, act.who, body, at_ms)
    more = _MORE.get(act.what)
    if more is not None:
        more(draft, before, ticket, act)


def _begun(draft: Draft, act: Act, body: e.Opening) -> e.Opening:
    """Return what a ticket begins with: what another machine's clock says is a moment ahead is now. Raises Refused."""
    if max(body.event_ms, body.detected_ms) > draft.now_ms + _AHEAD_MS:
        raise Refused("future", act.what, act.ticket)
    return msgspec.structs.replace(
        body, event_ms=min(body.event_ms, draft.now_ms), detected_ms=min(body.detected_ms, draft.now_ms)
    )


def _meant(draft: Draft, act: Act) -> Ticket:
    """Return the ticket that an act is about: what is sent to a merged one goes to the one it went into."""
    ticket = draft.tickets.get(act.ticket)
    while ticket is not None and ticket.state == "merged" and not possible(act.what, "merged"):
        ticket = draft.tickets.get(ticket.merged_into)
    if ticket is None:
        raise Refused("no_such_ticket", act.what, act.ticket)
    return ticket


def _found(reason: Reason, ticket: Ticket, body: Any) -> str:
    """Return what the sentence of a refusal names."""
    if reason == "which_caller":
        return ", ".join(f"{caller.name} {caller.phone}".strip() for caller in ticket.to_ask())
    return str(getattr(body, "to", ""))


# --- what is refused --------------------------------------------------------------------------------------------------


def _assigned(draft: Draft, ticket: Ticket, act: Act, body: e.Assignment) -> Reason | None:
    return None if body.to in draft.contract.roster else "no_such_person"


def _escalated(draft: Draft, ticket: Ticket, act: Act, body: e.Escalation) -> Reason | None:
    if all(who in draft.contract.roster or who in ROLES for who in body.to.split()):
        return None
    return "no_such_person"


def _waits(draft: Draft, ticket: Ticket, act: Act, body: e.Wait) -> Reason | None:
    if body.reason not in draft.contract.wait_reasons:
        return "wait_reason"
    return "until_past" if body.until_ms <= draft.now_ms else None


def _silenced(draft: Draft, ticket: Ticket, act: Act, body: e.Silence) -> Reason | None:
    return "until_past" if body.until_ms <= draft.now_ms else None


def _resolved(draft: Draft, ticket: Ticket, act: Act, body: e.Resolution) -> Reason | None:
    """A ticket needs recovered readings, or a reason why it has none."""
    lasts = any(draft.lasts(ref) for ref in ticket.held())
    return "not_recovered" if lasts and not body.why_unrecovered.strip() else None


def _linked(draft: Draft, ticket: Ticket, act: Act, body: e.Link) -> Reason | None:
    return "itself" if body.other == ticket.id else None


def _problem_attached(draft: Draft, ticket: Ticket, act: Act, body: e.Attachment) -> Reason | None:
    """One live ticket a problem: what another one is about is merged, not attached."""
    if body.problem not in draft.problems:
        return "no_such_problem"
    holder = draft.holder(body.problem)
    return None if holder is None or holder.id == ticket.id else "held_by_other"


def _merged(draft: Draft, ticket: Ticket, act: Act, body: e.MergeInto) -> Reason | None:
    into = draft.tickets.get(body.into)
    if into is not None and into.id == ticket.id:
        return "itself"
    return None if into is not None and possible("got_merged", into.state) else "not_open"


def _unmerged(draft: Draft, ticket: Ticket, act: Act, body: Any) -> Reason | None:
    into = draft.tickets.get(ticket.merged_into)
    return None if into is not None and possible("gave_back", into.state) else "not_open"


def _cancelled(draft: Draft, ticket: Ticket, act: Act, body: e.Cancellation) -> Reason | None:
    return "callers_word" if ticket.callers and not body.callers_word else None


def _call_back(draft: Draft, ticket: Ticket, act: Act, body: e.CallBack | e.Satisfaction) -> Reason | None:
    return "which_caller" if _caller_meant(ticket, body.caller) is None else None


def _not_reached(draft: Draft, ticket: Ticket, act: Act, body: e.CallBack) -> Reason | None:
    reason = _call_back(draft, ticket, act, body)
    if reason is not None:
        return reason
    at_ms = draft.now_ms if act.at_ms is None else act.at_ms
    days = {
        _day(draft, tried.at_ms) for tried in ticket.not_reached if tried.caller == _caller_meant(ticket, body.caller)
    }
    return "same_day" if _day(draft, at_ms) in days else None


def _caller_meant(ticket: Ticket, said: e.Caller | None) -> e.Caller | None:
    """Return who was asked, of those who are still to be; by the telephone too where two have one name."""
    left = ticket.to_ask()
    if said is not None:
        left = tuple(one for one in left if one.name == said.name and said.phone in ("", one.phone))
    return left[0] if len(left) == 1 else None


def _day(draft: Draft, time_ms: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(time_ms / 1000, zoneinfo.ZoneInfo(draft.contract.time_zone)).date()


def _corrected(draft: Draft, ticket: Ticket, act: Act, body: e.Correction) -> Reason | None:
    """An own act, neither before its round's notice nor in the future; later only by the information department."""
    event = next((one for one in draft.events[ticket.id] if one.number == body.number), None)
    if event is None or event.what == "corrected" or event.who in NOBODY:
        return "no_such_event"
    if event.who != act.who and act.role != "information":
        return "not_own"
    if body.at_ms > draft.now_ms:
        return "future"
    reason = _against_notice(draft, ticket, body)
    if reason is not None:
        return reason
    late = draft.now_ms - event.recorded_ms > draft.contract.correction_ms
    return "too_late" if late and act.role != "information" else None


def _against_notice(draft: Draft, ticket: Ticket, body: e.Correction) -> Reason | None:
    """Say what speaks against a time: the notice of its round, or acts where it is the notice itself that moves."""
    before: Ticket | None = None
    begun = 0
    for event, after in course(ticket.site, ticket.id, draft.events[ticket.id]):
        begins = before is None or after.round != before.round
        if event.number == body.number:
            if before is not None and body.at_ms < before.notice_ms:
                return "before_notice"
            begun = after.round if begins else 0
        elif (
            begun == after.round and TABLE[event.what].touches and event.who not in NOBODY and event.at_ms < body.at_ms
        ):
            return "acts_before"
        before = after
    return None


_GUARDS: Final[Mapping[str, Callable[[Draft, Ticket, Act, Any], Reason | None]]] = {
    "assigned": _assigned,
    "escalated": _escalated,
    "waits": _waits,
    "silenced": _silenced,
    "resolved": _resolved,
    "linked": _linked,
    "problem_attached": _problem_attached,
    "merged": _merged,
    "unmerged": _unmerged,
    "cancelled": _cancelled,
    "confirmed": _call_back,
    "dissatisfied": _call_back,
    "not_reached": _not_reached,
    "corrected": _corrected,
}


# --- what the desk adds to what is said -------------------------------------------------------------------------------


def _next_level(draft: Draft, ticket: Ticket, act: Act, body: e.Escalation) -> e.Escalation:
    """Name the next level of the ticket's clocks where nobody is named: it is told now, and not again at its time."""
    if body.to.strip():
        return e.Escalation(body.to, body.why)
    coming_up = coming(ticket, draft.events[ticket.id], draft.contract)
    levels = [due for due in coming_up if due.clock.partition("/")[0] not in ASKED]
    if not levels:
        raise Refused("no_level_left", act.what, ticket.id, ticket.state)
    due = levels[0]
    return e.Escalation(" ".join(due.to), body.why, due.clock, due.level, due.due_ms)


def _name_caller(draft: Draft, ticket: Ticket, act: Act, body: e.CallBack | e.Satisfaction) -> e.Body:
    """Name who was asked as the ticket knows them; nobody where nobody called."""
    caller = _caller_meant(ticket, body.caller)
    return msgspec.structs.replace(body, caller=caller if caller is not None and caller.name else None)


_FILLS: Final[Mapping[str, Callable[[Draft, Ticket, Act, Any], e.Body]]] = {
    "escalated": _next_level,
    "confirmed": _name_caller,
    "dissatisfied": _name_caller,
    "not_reached": _name_caller,
}


# --- what else it brings ----------------------------------------------------------------------------------------------


def _seen(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    """A fault whose end no reading shows is over once a person has seen it."""
    for ref in ticket.held():
        tracked = draft.problems.get(ref)
        if tracked is not None and not tracked.problem.sees_end and draft.lasts(ref):
            draft.effects.append(EndProblem(ref, act.who))


def _go_into(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    """Give all that the ticket had to the one that it went into."""
    into = draft.tickets[ticket.merged_into]
    held = tuple(before.held())
    into = draft.record(
        into, "got_merged", act.who,
        e.Merged(
            ticket=ticket.id, notice_ms=before.notice_ms, sla_class=before.sla_class, severity=before.severity,
            problems=held, callers=before.callers, facts=facts_of(before, draft.events[ticket.id][:-1]),
        ),
    )  # fmt: skip
    _follow(draft, into)


def _come_back(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    """Take back what the other one had got; what it would have been without stays with it."""
    into = draft.tickets[before.merged_into]
    draft.record(
        into, "gave_back", act.who,
        e.Merged(
            ticket=ticket.id, notice_ms=ticket.notice_ms, sla_class=ticket.sla_class, severity=ticket.severity,
            problems=tuple(ticket.held()), callers=ticket.callers,
        ),
    )  # fmt: skip
    draft.claim(ticket)
    _follow(draft, ticket)


def _follow(draft: Draft, ticket: Ticket) -> None:
    """Note at each problem of a ticket that it is the one that deals with it."""
    for ref in ticket.held():
        tracked = draft.problems.get(ref)
        if tracked is not None and tracked.ticket != ticket.id and draft.holders.get(ref) == ticket.id:
            draft.track(tracked.problem, ticket.id)


def _give_up(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    caller = ticket.not_reached[-1].caller
    if sum(tried.caller == caller for tried in ticket.not_reached) >= draft.contract.call_back_tries:
        draft.record(ticket, "given_up", e.DESK, e.CallBack(caller if caller.name else None))


def _claim_problem(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    _follow(draft, ticket)


def _draw_call_back(draft: Draft, before: Ticket, ticket: Ticket, act: Act) -> None:
    if not asks_call_back(ticket, draft.contract):
        draft.record(ticket, "no_call_back", e.DESK)
        return
    found = draw(ticket, draft.contract, draft.now_ms)
    if found is not None:
        draft.record(ticket, "call_back_drawn", e.DESK, found)


_MORE: Final[Mapping[str, Callable[[Draft, Ticket, Ticket, Act], None]]] = {
    "resolved": _draw_call_back,
    "acknowledged": _seen,
    "merged": _go_into,
    "unmerged": _come_back,
    "not_reached": _give_up,
    "problem_attached": _claim_problem,
}
