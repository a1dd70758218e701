"""What the desk of a site knows, what it wants kept, and the working copy on which one event is dealt with. Pure."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from collector.core.contract import Contract
from collector.core.problems import Problem, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import apply, begin, fold
from collector.core.tickets.refused import Refused
from collector.core.tickets.ticket import Ticket, TicketProblem
from collector.core.tickets.timers import wakes_ms
from collector.core.tickets.transitions import TABLE, Party, possible

_REFOLDS: Final = ("corrected", "gave_back")
"""After these a ticket is what it would have been all along."""


class Tracked(msgspec.Struct, frozen=True):
    """A problem, and the ticket that deals with this occurrence of it; empty: none (it is explained by another)."""

    problem: Problem
    ticket: str = ""


class DeskState(msgspec.Struct, frozen=True, kw_only=True):
    """What the desk of one site goes on with. All of it stands in the database's rows; never changed in place."""

    site: str
    tickets: Mapping[str, Ticket] = {}
    """Those that may still change, by id: live ones, and merged ones while the one they went into is live."""
    events: Mapping[str, tuple[TicketEvent, ...]] = {}
    """Everything that happened to each of these."""
    problems: Mapping[ProblemRef, Tracked] = {}
    """Those that are not over, and those that a live ticket is about."""
    holders: Mapping[ProblemRef, str] = {}
    """The one live ticket about each problem."""
    last_numbers: Mapping[int, int] = {}
    """The last number given in each year."""
    wakes: Mapping[str, int] = {}
    """When time next asks something of each ticket of which it does (the centre's clock, UTC ms)."""
    next_ms: int | None = None
    """The first of them: asked for at each turn of the owner's loop, and so not looked for there."""
    not_before_ms: int | None = None
    """Time is not to be told before, because that has raised."""

    @property
    def wake_ms(self) -> int | None:
        """When the desk wants to be told that time has passed (the centre's clock, UTC ms)."""
        if self.next_ms is None or self.not_before_ms is None:
            return self.next_ms
        return max(self.next_ms, self.not_before_ms)

    @classmethod
    def of(
        cls,
        site: str,
        events: Mapping[str, Iterable[TicketEvent]],
        problems: Iterable[Tracked],
        last_numbers: Mapping[int, int],
        contract: Contract,
        held: Mapping[str, Mapping[ProblemRef, TicketProblem]] = MappingProxyType({}),
    ) -> DeskState:
        """Return the desk that these rows make.

        ``held``: of tickets of which an event cannot be read, the problems that they hold, whatever the rest says.
        """
        kept = {id: tuple(told) for id, told in events.items()}
        tickets = {id: fold(site, id, told) for id, told in kept.items()}
        for id in held.keys() & tickets.keys():
            tickets[id] = msgspec.structs.replace(tickets[id], problems=dict(held[id]))
        known = {one.problem.ref: one for one in problems}
        wakes = _wakes(tickets.values(), kept, known, contract)
        return cls(
            site=site,
            tickets=tickets,
            events=kept,
            problems=known,
            holders={ref: ticket.id for ticket in tickets.values() for ref in ticket.held()},
            last_numbers=dict(last_numbers),
            wakes=wakes,
            next_ms=min(wakes.values(), default=None),
        )

    def under(self, contract: Contract) -> DeskState:
        """Return the desk under another edition of the contract: what was told stays told."""
        wakes = _wakes(self.tickets.values(), self.events, self.problems, contract)
        return msgspec.structs.replace(self, wakes=wakes, next_ms=min(wakes.values(), default=None))

    def with_ticket(self, id: str, events: Iterable[TicketEvent]) -> DeskState:
        """Return the desk with a ticket that is closed for good or cancelled in hand, for an act on it.

        A comment, a link or a corrected time may come at any time; the desk lets go of the ticket again after it.
        """
        told = tuple(events)
        return msgspec.structs.replace(
            self,
            tickets={**self.tickets, id: fold(self.site, id, told)},
            events={**self.events, id: told},
        )


class Recorded(msgspec.Struct, frozen=True):
    """An event was added to a ticket, which is now this."""

    ticket: Ticket
    event: TicketEvent


class ProblemKept(msgspec.Struct, frozen=True):
    """A problem as it is now, for the database."""

    tracked: Tracked


class EndProblem(msgspec.Struct, frozen=True):
    """A person has seen a fault whose end no reading shows: whoever judges it is to end it."""

    problem: ProblemRef
    who: str


DeskEffect = Recorded | ProblemKept | EndProblem
"""What the desk wants done, in order."""


def _wakes(
    tickets: Iterable[Ticket],
    events: Mapping[str, Sequence[TicketEvent]],
    problems: Mapping[ProblemRef, Tracked],
    contract: Contract,
) -> dict[str, int]:
    wakes = {}
    for ticket in tickets:
        asked = (wakes_ms(ticket, events[ticket.id], contract), end_told_ms(ticket, problems, contract))
        times = [time_ms for time_ms in asked if time_ms is not None]
        if times:
            wakes[ticket.id] = min(times)
    return wakes


def end_told_ms(ticket: Ticket, problems: Mapping[ProblemRef, Tracked], contract: Contract) -> int | None:
    """Return when the end of a recurring ticket's problems is written down; ``None``: it is, or they last.

    Each single end is only counted, so that a week of flapping stays a few rows; one that holds for so long is told.
    """
    if not ticket.recurring or not ticket.is_open or ticket.over_ms is not None:
        return None
    held = [problems.get(ref) for ref in ticket.held()]
    ends = [None if one is None or one.problem.state != "over" else one.problem.over_ms for one in held]
    known = [end_ms for end_ms in ends if end_ms is not None]
    return max(known) + contract.ask_after_ms if known and len(known) == len(ends) else None


class Draft:
    """A desk while one event is dealt with. Reads go to the attributes; whatever changes is copied first."""

    def __init__(self, state: DeskState, contract: Contract, now_ms: int) -> None:
        self.before = state
        self.contract = contract
        self.now_ms = now_ms
        self.tickets = dict(state.tickets)
        self.events = dict(state.events)
        self.problems = dict(state.problems)
        self.holders = dict(state.holders)
        self.last_numbers = dict(state.last_numbers)
        self.effects: list[DeskEffect] = []
        self._changed: dict[str, Ticket | None] = {}
        """What each ticket that has changed was before; ``None``: it was not there."""
        self._heard: set[ProblemRef] = set()
        """Problems that have changed."""
        self._causes: set[ProblemRef] | None = None
        """What some problem names as its cause, or has named; looked up when it is first asked for."""

    def finish(self) -> tuple[DeskState, list[DeskEffect]]:
        """Return the desk afterwards and what it wants done; the very same desk if nothing has happened."""
        if not self.effects:
            return self.before, []
        self._let_go()
        wakes = self._wakes()
        state = DeskState(
            site=self.before.site,
            tickets=self.tickets,
            events=self.events,
            problems=self.problems,
            holders=self.holders,
            last_numbers=self.last_numbers,
            wakes=wakes,
            next_ms=min(wakes.values(), default=None),
        )
        return state, self.effects

    def _let_go(self) -> None:
        """Forget what can change no more. Only what has changed may have come to that, and what was merged into it."""
        refs = set(self._heard)
        ended = []
        for id, was in self._changed.items():
            ticket = self.tickets[id]
            refs |= {*ticket.problems, *(was.problems if was is not None else ())}
            if not ticket.is_live and not self._may_be_unmerged(ticket):
                ended.append(id)
        while ended:
            id = ended.pop()
            if self.tickets.pop(id, None) is None:
                continue
            del self.events[id]
            ended += [other.id for other in self.tickets.values() if other.merged_into == id]
        for ref in refs:
            tracked = self.problems.get(ref)
            if tracked is not None and tracked.problem.state in ("over", "orphaned") and ref not in self.holders:
                del self.problems[ref]

    def _wakes(self) -> dict[str, int]:
        """Return when time asks something of each ticket: worked out anew for those that have changed."""
        holders = {self.holders[ref] for ref in self._heard if ref in self.holders}
        changed = {*self._changed, *(id for id in holders if self.tickets[id].recurring)}
        wakes = {id: time_ms for id, time_ms in self.before.wakes.items() if id not in changed}
        tickets = [self.tickets[id] for id in changed if id in self.tickets]
        return wakes | _wakes(tickets, self.events, self.problems, self.contract)

    def _may_be_unmerged(self, ticket: Ticket) -> bool:
        into = self.tickets.get(ticket.merged_into)
        return ticket.state == "merged" and into is not None and (into.is_live or self._may_be_unmerged(into))

    # --- tickets ------------------------------------------------------------------------------------------------------

    def open(self, body: e.Opening, who: str, at_ms: int | None = None) -> Ticket:
        """Open a ticket under the next number of the year."""
        zone = zoneinfo.ZoneInfo(self.contract.time_zone)
        year = datetime.datetime.fromtimestamp(self.now_ms / 1000, zone).year
        number = self.last_numbers.get(year, 0) + 1
        self.last_numbers[year] = number
        event = TicketEvent(
            number=1,
            what="opened",
            at_ms=self.now_ms if at_ms is None else at_ms,
            recorded_ms=self.now_ms,
            who=who,
            body=body,
        )
        ticket = begin(self.before.site, f"{year}-{number:04d}", event)
        self._put(ticket, event)
        return ticket

    def record(
        self,
        ticket: Ticket,
        what: str,
        who: str,
        body: e.Body = e.NO_WORDS,
        at_ms: int | None = None,
    ) -> Ticket:
        """Add an event to a ticket and return what that makes of it. Raises Refused where the table has no row."""
        row = TABLE[what]
        if not possible(what, ticket.state):
            raise Refused("state", what, ticket.id, ticket.state)
        assert type(body) is row.body, f"{what} with {type(body).__name__}"
        event = TicketEvent(
            number=ticket.last_event + 1,
            what=what,
            at_ms=self.now_ms if at_ms is None else at_ms,
            recorded_ms=self.now_ms,
            who=who,
            body=body,
        )
        if what in _REFOLDS:
            after = fold(ticket.site, ticket.id, (*self.events[ticket.id], event))
        else:
            after = apply(ticket, event)
        self._put(after, event)
        return after

    def _put(self, ticket: Ticket, event: TicketEvent) -> None:
        before = self.tickets.get(ticket.id)
        self._changed.setdefault(ticket.id, before)
        for ref in before.held() if before is not None else ():
            if self.holders.get(ref) == ticket.id:
                del self.holders[ref]
        self.claim(ticket)
        self.tickets[ticket.id] = ticket
        self.events[ticket.id] = (*self.events.get(ticket.id, ()), event)
        self.effects.append(Recorded(ticket, event))

    def claim(self, ticket: Ticket) -> None:
        """Make a ticket the one about each of its problems that no other one is about."""
        for ref in ticket.held():
            self.holders.setdefault(ref, ticket.id)

    def holder(self, ref: ProblemRef) -> Ticket | None:
        """Return the one live ticket about a problem."""
        id = self.holders.get(ref)
        return None if id is None else self.tickets[id]

    # --- problems -----------------------------------------------------------------------------------------------------

    def track(self, problem: Problem, ticket: str) -> None:
        """Remember a problem as it is now."""
        self._heard.add(problem.ref)
        tracked = Tracked(problem, ticket)
        if self.problems.get(problem.ref) != tracked:
            self.problems[problem.ref] = tracked
            self.effects.append(ProblemKept(tracked))

        if self._causes is not None and problem.cause is not None:
            self._causes.add(problem.cause)

    def may_explain(self, ref: ProblemRef) -> bool:
        """Say whether any problem could have this one as its cause."""
        if self._causes is None:
            causes = (tracked.problem.cause for tracked in self.problems.values())
            self._causes = {cause for cause in causes if cause is not None}
        return ref in self._causes

    def lasts(self, ref: ProblemRef) -> bool:
        """Say whether a problem is still there as far as we know."""
        tracked = self.problems.get(ref)
        return tracked is not None and tracked.problem.state in ("active", "stale")


def party(who: str) -> Party:
    """Return what kind of party somebody is."""
    if who == e.RULE:
        return "rule"
    if who == e.DESK:
        return "desk"
    return "upgrade" if who == e.UPGRADE else "person"
