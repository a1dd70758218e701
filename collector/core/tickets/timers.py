"""What time asks of a ticket: escalation before and after its clocks are due, the call-back, the reopen window. Pure.

A level of a clock is told once; where several have passed unnoticed (the centre was away), only the highest one is.
What was told stays told: a corrected time or a new contract moves what is still to come.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import zoneinfo
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from collector.core.calendar import YearMissingError
from collector.core.clocks import Clock, end_of_working_days
from collector.core.contract import Contract, Level
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.promises import clocks_of
from collector.core.tickets.ticket import NOBODY, Ticket

UNACKNOWLEDGED: Final = "acknowledge"
"""A grave ticket that nobody has acknowledged is told again (docs/notifications.md)."""
ASKED: Final = ("readings_good", "data_missing", "orphaned", UNACKNOWLEDGED)
"""Of what a person is asked by time; stands where an escalation names its clock."""
CALL_BACK = "call_back"
"""The clock of a call-back, in ``contract.escalation``."""


class Due(msgspec.Struct, frozen=True):
    """A level of a clock that is to be told."""

    at_ms: int
    clock: str
    """With its class, so that another class's clock is another one: ``response/general``."""
    level: int
    to: tuple[str, ...]
    due_ms: int
    """When the clock is due."""


def window_ends_ms(ticket: Ticket, contract: Contract) -> int | None:
    """Return when the reopen window of a ticket is over, ``None`` where none is running."""
    if ticket.state != "closed" or not ticket.is_live or ticket.closed_ms is None:
        return None
    return ticket.closed_ms + contract.reopen_window_ms


def wakes_ms(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> int | None:
    """Return when time next asks something of a ticket (UTC ms; possibly past), ``None``: never."""
    window_ms = window_ends_ms(ticket, contract)
    if window_ms is not None or not _may_escalate(ticket):
        return window_ms
    dues = [due.at_ms for due in coming(ticket, events, contract)]
    if not dues:
        return None
    quiet_ms = ticket.silenced_until_ms if ticket.is_open else None
    return min(dues) if quiet_ms is None else max(min(dues), quiet_ms)


def coming(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> list[Due]:
    """Return every level that is not told yet, those that have passed among them, by time."""
    told = _told(ticket, events)
    found = [due for due in _levels(ticket, events, contract) if due.level > told.get(due.clock, 0)]
    return sorted(found, key=lambda due: (due.at_ms, due.clock, due.level))


def passed(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract, now_ms: int) -> list[Due]:
    """Return what is to be told now: of each clock the highest level that has passed."""
    if not _may_escalate(ticket) or ticket.is_silenced(now_ms):
        return []
    highest = {due.clock: due for due in coming(ticket, events, contract) if due.at_ms <= now_ms}
    return list(highest.values())


def _may_escalate(ticket: Ticket) -> bool:
    return ticket.in_contract and (ticket.is_open or ticket.state == "resolved")


def _levels(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> Iterator[Due]:
    if ticket.state == "resolved":
        with contextlib.suppress(YearMissingError):
            due_ms = call_back_due_ms(ticket, events, contract)
            yield from _of(f"{CALL_BACK}/{ticket.round}", due_ms, contract.escalation.get(CALL_BACK, ()))
        return
    yield from _asks(ticket, contract)
    yield from _reminders(ticket, events, contract)
    for clock in clocks_of(ticket, events, contract):
        if clock.due_ms is not None and clock.ended_ms is None and clock.void_ms is None:
            yield from _of(name_of(clock), clock.due_ms, contract.escalation.get(clock.what, ()))


def _asks(ticket: Ticket, contract: Contract) -> Iterator[Due]:
    """Ask whoever deals with it: a day after readings were good or went missing, at once where none will come."""
    to = (ticket.assigned,) if ticket.assigned else ("engineer",)
    if ticket.over_ms is not None:
        since_ms = max(ticket.over_ms, ticket.notice_ms)  # a round that begins with good readings has a day too
        yield Due(since_ms + contract.ask_after_ms, f"readings_good/{since_ms}", 1, to, since_ms)
    if ticket.unjudged is not None:
        what, since_ms = ticket.unjudged.what, ticket.unjudged.since_ms
        wait_ms = contract.ask_after_ms if what == "data_missing" else 0
        yield Due(since_ms + wait_ms, f"{what}/{since_ms}", 1, to, since_ms)


def _reminders(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> Iterator[Due]:
    """Tell again what nobody has acknowledged; where nobody of the roster is told by a channel, nothing is."""
    grave = ticket.sla_class in ("disaster", "general") and not ticket.recurring
    if ticket.state != "new" or not grave or not contract.tells_people:
        return
    for number in range(1, contract.telling.repeat_most - _reminded(ticket, events) + 1):
        at_ms = ticket.notice_ms + number * contract.telling.repeat_ms
        yield Due(at_ms, f"{UNACKNOWLEDGED}/{ticket.round}", number, ("engineer",), ticket.notice_ms)


def _reminded(ticket: Ticket, events: Sequence[TicketEvent]) -> int:
    """Return how often earlier rounds have told of it again since anybody did anything: what flaps is one matter."""
    mine, told = f"{UNACKNOWLEDGED}/{ticket.round}", 0
    for event in reversed(events):
        if event.who not in NOBODY:
            break
        clock = event.body.clock if isinstance(event.body, e.Escalation) else ""
        told += clock.startswith(f"{UNACKNOWLEDGED}/") and clock != mine
    return told


def _of(clock: str, due_ms: int, levels: Sequence[Level]) -> Iterator[Due]:
    for number, level in enumerate(levels, 1):
        yield Due(due_ms + level.after_ms, clock, number, level.to, due_ms)


def name_of(clock: Clock) -> str:
    """Return what an escalation calls a clock."""
    return f"{clock.what}/{clock.sla_class}"


def _told(ticket: Ticket, events: Sequence[TicketEvent]) -> dict[str, int]:
    """Return the highest level of each clock that was told in this round."""
    told: dict[str, int] = {}
    for event in reversed(events):
        body = event.body
        if isinstance(body, e.Escalation) and body.clock:
            told[body.clock] = max(told.get(body.clock, 0), body.level)
        if event.what in ("reopened", "reopened_by_hand", "dissatisfied", "opened", "migrated", "taken_into_contract"):
            break
    return told


# --- call-backs -------------------------------------------------------------------------------------------------------


def asks_call_back(ticket: Ticket, contract: Contract) -> bool:
    """Say whether a call-back is made: for all but what can wait of the centre itself, of which nobody called."""
    own = ticket.source == "rule" and not ticket.vehicle and not ticket.callers
    return not own or ticket.sla_class != "deferrable" or contract.call_back_own_deferrable


def call_back_due_ms(ticket: Ticket, events: Sequence[TicketEvent], contract: Contract) -> int:
    """Return when a resolved ticket's call-back is due, drawn or not. Raises YearMissingError."""
    for event in reversed(events):
        if isinstance(event.body, e.Draw) and event.body.until_ms is not None:
            return event.body.until_ms
        if event.what == "resolved":
            break
    return end_of_working_days(event.recorded_ms, contract.call_back_days, contract.terms, contract.calendar)


def draw(ticket: Ticket, contract: Contract, now_ms: int) -> e.Draw | None:
    """Return who is to call back about a ticket that was just resolved, ``None``: the roster has nobody.

    Drawn from those of the contract's roles who have not worked on it in this round, else from the managers; of these
    from who is not absent that day (whose stand-in may have worked on it), if anybody is there. The seed is the
    ticket's name and round: whoever hashes it again (BLAKE2b, 8 bytes, as a whole number, modulo how many there are)
    gets the same person.
    """
    day = datetime.datetime.fromtimestamp(now_ms / 1000, zoneinfo.ZoneInfo(contract.time_zone)).date()
    others = {id: person for id, person in sorted(contract.roster.items()) if id not in ticket.worked}
    free = [id for id, person in others.items() if person.role in contract.call_back_by]
    managers = [id for id, person in others.items() if person.role == "manager"]
    may = free or managers
    among = [id for id in may if others[id].away_on(day) is None] or may
    if not among:
        return None
    seed = f"{ticket.site}/{ticket.id}/{ticket.round}"
    try:
        until_ms = end_of_working_days(now_ms, contract.call_back_days, contract.terms, contract.calendar)
    except YearMissingError:
        until_ms = None
    return e.Draw(drawn(seed, among), tuple(among), seed, until_ms, worked=not free)


def drawn(seed: str, among: Sequence[str]) -> str:
    """Return whom a seed draws."""
    return among[seed_number(seed) % len(among)]


def seed_number(seed: str) -> int:
    """Return a seed's hash as a whole number: BLAKE2b, 8 bytes, the most significant first."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=8).digest())
