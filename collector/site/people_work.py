"""What people do, and what problems mean for them: acts, editions, the desk, within a unit of work. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from collector.core.tickets.acts import Act
from collector.core.tickets.desk import DeskEvent, TimePassed, desk, desk_all
from collector.core.tickets.draft import DeskEffect, EndProblem, Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.refused import Refused as ActRefused
from collector.core.tickets.texts import both_languages
from collector.core.vehicle.events import (
    Acknowledged,
    Acted,
    Listed,
    Unlisted,
)
from collector.site.acts import (
    EDITION_ACTION,
    MISSION_ACTION,
    STATE_ACTION,
    TICKET_ACTION,
    EditionBody,
    MissionBody,
    StateBody,
    TicketBody,
    act_of,
)
from collector.site.in_force import digest, listed, unlisted
from collector.site.working_copy import WorkingCopy
from collector.store import batch as log
from collector.store.rows import (
    Action,
    EditionRow,
    TakenAction,
)
from collector.store.ticket_rows import event_row, read_event

EventRow = tuple[int, str, int, int, str, str]
"""The columns of ``ticket_event`` after the ticket: what ``read_event`` takes."""
_AFTER_ERROR_MS: Final = 60_000
"""Time is looked at again so long after that has raised: an error of ours must not fill the log."""
_WAITED_MS: Final = 60_000
"""What people wanted so long ago has waited for an owner, and with it what the vehicles said meanwhile."""
_mission = msgspec.json.Decoder(MissionBody).decode
_wish = msgspec.json.Decoder(StateBody).decode
_edition = msgspec.json.Decoder(EditionBody).decode
_ticket_act = msgspec.json.Decoder(TicketBody).decode


def _row(event: TicketEvent) -> EventRow:
    number, what, at_ms, recorded_ms, who, body = event_row("", event)[1:]
    return number, what, at_ms, recorded_ms, who, body


def _acted(action: Action, now_ms: int) -> Acted:
    """Return the word on a vehicle's duty. Raises ValueError for what is none."""
    at_ms = action.created_ms if now_ms - action.created_ms >= _WAITED_MS else 0
    if action.kind == MISSION_ACTION:
        mission = _mission(action.body)
        return Acted("on_mission" if mission.what == "begins" else "on_duty", action.who, mission.mission, at_ms)
    if action.kind != STATE_ACTION:
        kinds = f"{STATE_ACTION}, {EDITION_ACTION}, {MISSION_ACTION} or {TICKET_ACTION}"
        raise ValueError(f"kind: expected {kinds}, found {action.kind!r}")
    return Acted(_wish(action.body).state, action.who, at_ms=at_ms)


class PeopleWork(WorkingCopy):
    """The part of a unit of work that is about people."""

    def act(self, action: Action) -> None:
        """Do what a person wants. What cannot be done is taken too, with the reason: nobody waits for it."""
        self.urgent = True
        try:
            if action.kind == EDITION_ACTION:
                wish = _edition(action.body)
                self.put_in_force(wish.kind, wish.content.encode())
                self._acted.append(TakenAction(action.id, self._now_ms))
                return
            if action.kind == TICKET_ACTION:
                self._acted.append(TakenAction(action.id, self._now_ms, ticket=self._act_on_ticket(action)))
                return
            event = _acted(action, self._now_ms)
            self._step(action.vehicle, event)
            self._enter(log.Stepped(action.vehicle, event))
        except ActRefused as refused:
            self._acted.append(TakenAction(action.id, self._now_ms, both_languages(refused)))
        except Exception as error:
            self._fault("action", error)
            self._acted.append(TakenAction(action.id, self._now_ms, f"{type(error).__name__}: {error}"[:500]))
        else:
            self._acted.append(TakenAction(action.id, self._now_ms))

    def refuse_act(self, action: Action, why: str) -> None:
        """Let an act be over that cannot be committed, with the reason."""
        self.counts["acts_refused"] += 1
        self._acted.append(TakenAction(action.id, self._now_ms, why[:500]))

    def _act_on_ticket(self, action: Action) -> str:
        """Do what a person does to a ticket; return which. Raises Refused, ValueError for a wrong field."""
        act = act_of(_ticket_act(action.body), action.who, self._in_force.contract)
        self._tell_desk_of_problems()
        history = self._history_of(act.ticket, action.history)
        # refused or not: the desk has heard of problems now
        self._enter(log.ActedOnTicket(action.who, action.body, history))
        before = len(self._effects)
        self._act_on_desk(act, history)
        recorded = [one for one in self._effects[before:] if isinstance(one, Recorded) and one.event.who == action.who]
        return recorded[0].ticket.id if recorded else act.ticket

    def _history_of(self, ticket: str, before: Sequence[EventRow]) -> tuple[EventRow, ...]:
        """Return what happened to a ticket that the desk has let go of, what this unit of work has done to it included.

        ``before``: what of it is committed, where the desk had let go of it when this unit of work began.
        """
        if ticket in self._desk.tickets:
            return ()
        committed = [_row(event) for event in self._memory.desk.events.get(ticket, ())] or before
        new = [one.event for one in self._effects if isinstance(one, Recorded) and one.ticket.id == ticket]
        return (*committed, *map(_row, new))

    def _act_again(self, entry: log.ActedOnTicket) -> None:
        act = act_of(_ticket_act(entry.body), entry.who, self._in_force.contract)
        self._tell_desk_of_problems()
        with contextlib.suppress(ActRefused):
            self._act_on_desk(act, entry.history)

    def _act_on_desk(self, act: Act, history: Sequence[EventRow]) -> None:
        """Let the desk do it; a ticket that it has let go of is taken in hand for it."""
        known = self._desk
        in_hand = known.with_ticket(act.ticket, (read_event(*row) for row in history)) if history else known
        self._desk, effects = desk(in_hand, act, self._in_force.contract, self._now_ms)
        self._take_desk_effects(effects)

    def put_in_force(self, kind: str, content: bytes, *, anew: bool = False) -> None:
        """Go by another edition after this unit of work. Raises EditionError for one that cannot be used.

        ``anew``: it is written though it is what we go by already, because the database's cannot be used.
        """
        ours = self.in_force.contents().get(kind) == content
        number = self.in_force.editions.get(kind, 0)
        if ours and number and not anew:
            return
        changed = self.in_force.numbered(kind, number + 1) if ours else self.in_force.edited(kind, number + 1, content)
        self.urgent = True
        self.in_force = changed
        self._editions.append(EditionRow(kind, number + 1, self._now_ms, digest(content), content))
        for vehicle, device in unlisted(self._in_force.site, changed.site):
            if vehicle in self._memory.vehicles or vehicle in self._vehicles:
                event = Unlisted(device)
                if self._try_step(vehicle, event):
                    self._enter(log.Stepped(vehicle, event))
        for vehicle, name in listed(self._in_force.site, changed.site):
            if self._try_step(vehicle, Listed(name)):
                self._enter(log.Stepped(vehicle, Listed(name)))
        self._enter(log.EditionTaken(kind, number + 1))

    def tell_desk(self, event: DeskEvent) -> None:
        """Let the desk deal with an act or with time, after all that problems did before."""
        self.urgent = True
        self._tell_desk_of_problems()
        self._tell_desk(event)

    def _tell_desk_of_problems(self) -> None:
        """All at once; if that raises, nothing has happened, and one at a time shows the one to blame."""
        changes, self._changes = self._changes, []
        if not changes:
            return
        try:
            self._desk, effects = desk_all(self._desk, changes, self._in_force.contract, self._now_ms)
        except Exception:
            for change in changes:
                self._tell_desk(change)
        else:
            self._effects += effects

    def _tell_desk(self, event: DeskEvent) -> None:
        try:
            self._desk, effects = desk(self._desk, event, self._in_force.contract, self._now_ms)
        except Exception as error:
            self._fault("desk", error)
            if isinstance(event, TimePassed):
                self._desk = msgspec.structs.replace(self._desk, not_before_ms=self._now_ms + _AFTER_ERROR_MS)
            return
        self._take_desk_effects(effects)

    def _take_desk_effects(self, effects: Iterable[DeskEffect]) -> None:
        for effect in effects:
            if isinstance(effect, EndProblem):
                self._try_step(effect.problem.vehicle, Acknowledged(effect.problem.key, effect.who))
            else:
                self._effects.append(effect)
