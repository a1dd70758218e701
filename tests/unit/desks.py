"""A desk under test: problems, acts and time in, tickets out. Times in seconds after ``T0``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from collector.core.contract import DEFAULT, Contract
from collector.core.identities import ProblemKey
from collector.core.problems import Evidence, Problem, ProblemChange, ProblemNews, ProblemRef
from collector.core.roster import Person, Role
from collector.core.tickets import events as e
from collector.core.tickets.acts import Act
from collector.core.tickets.desk import DeskEvent, TimePassed, desk
from collector.core.tickets.draft import DeskEffect, DeskState, EndProblem, ProblemKept, Recorded, Tracked
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.ticket import Ticket

T0 = 1_790_000_000_000
"""2026-09-21 14:13:20 UTC."""
HOUR = 3_600.0
DAY = 86_400.0
WINDOW = 72 * HOUR
SITE = "north"
PEOPLE: Contract = msgspec.structs.replace(
    DEFAULT, roster={id: Person(name=id, role="crew") for id in ("wang", "qian", "zhao", "sun", "li")}
)
"""A contract whose roster has nobody who could be drawn for a call-back."""


def key(fault: str = "camera_down", device: str = "camera-1", vehicle: str = "amb-1") -> ProblemRef:
    return ProblemRef(vehicle, ProblemKey.of(fault, device))


def call(**more: Any) -> e.Opening:
    facts: dict[str, Any] = {
        "source": "call", "fault": "", "sla_class": "general", "severity": "major", "event_ms": T0, "detected_ms": T0,
        "caller": e.Caller("Nurse Li", "8001"),
    }  # fmt: skip
    return e.Opening(**facts | more)


@dataclass
class Desk:
    """One site's desk, and the database's rows as its effects would write them."""

    contract: Contract = PEOPLE
    state: DeskState = field(default_factory=lambda: DeskState(site=SITE))
    now: float = 0.0
    effects: list[DeskEffect] = field(default_factory=list)
    rows: dict[str, list[TicketEvent]] = field(default_factory=lambda: defaultdict(list))
    """Every event of every ticket ever."""
    projection: dict[str, Ticket] = field(default_factory=dict)
    problems: dict[ProblemRef, Tracked] = field(default_factory=dict)
    site: str = SITE
    written: Callable[[list[DeskEffect]], None] = lambda effects: None
    """Is given the effects of each event, as a commit is."""

    @property
    def now_ms(self) -> int:
        return T0 + round(self.now * 1000)

    def do(self, event: DeskEvent) -> list[DeskEffect]:
        self.state, effects = desk(self.state, event, self.contract, self.now_ms)
        for effect in effects:
            if isinstance(effect, Recorded):
                self.rows[effect.ticket.id].append(effect.event)
                self.projection[effect.ticket.id] = effect.ticket
            elif isinstance(effect, ProblemKept):
                self.problems[effect.tracked.problem.ref] = effect.tracked
        self.effects += effects
        self.written(effects)
        return effects

    def problem(
        self, news: ProblemNews, ref: ProblemRef | None = None, *, at: float | None = None, text: str = "", **facts: Any
    ) -> list[DeskEffect]:
        """Tell the desk of a problem; ``facts`` are attributes of the problem."""
        self.now = self.now if at is None else at
        ref = ref or key()
        state = {"over": "over", "stale": "stale", "orphaned": "orphaned"}.get(news, "active")
        over = {"over_event_ms": self.now_ms - 1_000, "over_ms": self.now_ms} if news == "over" else {}
        told: dict[str, Any] = {
                "site": self.site, "vehicle": ref.vehicle, "key": ref.key, "rule": "r", "rule_version": 1,
                "state": state,
                "event_ms": self.now_ms - 30_000, "detected_ms": self.now_ms,
                "evidence": (Evidence("r", 1, text=f"{news} at {self.now}"),),
        }  # fmt: skip
        return self.do(ProblemChange(Problem(**told | over | facts), news, text))

    def act(
        self, what: str, body: e.Body = e.NO_WORDS, *, ticket: str = "", who: str = "wang", role: Role = "engineer",
        at: float | None = None, stated: float | None = None,
    ) -> list[DeskEffect]:  # fmt: skip
        self.now = self.now if at is None else at
        if body is e.NO_WORDS and what in ("dissatisfied", "not_reached"):
            body = e.CallBack()
        at_ms = None if stated is None else T0 + round(stated * 1000)
        ticket = ticket or ("" if what == "opened" else self.last)
        return self.do(Act(what=what, who=who, role=role, ticket=ticket, at_ms=at_ms, body=body))

    def wait(self, at: float) -> list[DeskEffect]:
        self.now = at
        return self.do(TimePassed())

    @property
    def last(self) -> str:
        return list(self.projection)[-1]

    def ticket(self, id: str = "") -> Ticket:
        return self.projection[id or self.last]

    def told(self, id: str = "") -> list[str]:
        """The names of a ticket's events, in order."""
        return [event.what for event in self.rows[id or self.last]]

    def ends(self) -> list[ProblemRef]:
        return [effect.problem for effect in self.effects if isinstance(effect, EndProblem)]

    def again(self) -> DeskState:
        """Return the desk as a new owner loads it from the rows."""
        live = {id for id, ticket in self.projection.items() if ticket.is_live}
        while more := {id for id, one in self.projection.items() if one.merged_into in live} - live:
            live |= more
        held = {ref for id in live for ref in self.projection[id].held()}
        problems = [
            one for ref, one in self.problems.items() if one.problem.state in ("active", "stale") or ref in held
        ]
        numbers: dict[int, int] = {}
        for id in self.projection:
            year, number = map(int, id.split("-"))
            numbers[year] = max(number, numbers.get(year, 0))
        return DeskState.of(self.site, {id: self.rows[id] for id in live}, problems, numbers, self.contract)

    def check(self) -> None:
        """Hold what must hold after every event."""
        for id, ticket in self.projection.items():
            told = self.rows[id]
            assert [event.number for event in told] == list(range(1, len(told) + 1))
            assert fold(self.site, id, told) == ticket
        holders: dict[ProblemRef, str] = {}
        for id, ticket in self.projection.items():
            for ref in ticket.held():
                assert holders.setdefault(ref, id) == id, f"two live tickets about {ref}"
        assert self.state.holders == holders
        again = self.again()
        assert again.tickets == self.state.tickets
        assert again.problems == self.state.problems
        assert again == self.state
