"""Who is to be told of what, from the scenario and the pages alone. Imports nothing of the product.

Written from docs/notifications.md, docs/tickets.md, docs/contract.md and the requirements by somebody who had not read
the code; ``Plan.notifications`` is what must be told, in the order in which it happens.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from hashlib import blake2b
from typing import Any, Final

from tests.week.roster import ROSTER, absence, of_role, recipients
from tests.week.scenario import (
    CHANGE,
    CONSULTATION,
    CONTRACT,
    DEFERRABLE,
    DISASTER,
    GENERAL,
    HARDWARE,
    HOLIDAYS,
    MAKE_UP,
    SITE,
    ZONE,
    Scenario,
    Step,
)

HOUR: Final = timedelta(hours=1)
OFFSETS: Final = {
    "response": (-timedelta(minutes=15), timedelta(), HOUR),
    "solution": (-timedelta(days=1), timedelta(), timedelta(days=1)),
    "call_back": (-timedelta(days=1), timedelta(), timedelta(days=1)),
}
RESPONSE: Final = {DISASTER: HOUR, GENERAL: 2 * HOUR, CHANGE: 2 * HOUR, CONSULTATION: 2 * HOUR, HARDWARE: 2 * HOUR}
WINDOW: Final = timedelta(hours=72)
OPEN: Final = ("new", "acknowledged", "responded", "planned")


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing that people are told."""

    ticket: str  # number
    name: str  # the scenario's name of the ticket
    kind: str
    at: datetime
    people: tuple[str, ...]  # for whom it is
    disaster: bool
    unattended: bool  # the text says that nobody is on duty


@dataclass(slots=True)
class Ticket:
    """What matters of a ticket for those who are told of it."""

    number: str
    name: str
    klass: str
    notice: datetime
    called: bool  # a person asked for it
    state: str = "new"
    round: int = 1
    spare: str = ""
    touched: bool = False
    problem: bool = False  # there now
    begun: list[datetime] = field(default_factory=list)
    recurring: bool = False
    good_since: datetime | None = None
    asked: bool = False
    silent: datetime | None = None
    changed: datetime | None = None  # the class, by a person: the response clock runs from here
    old_due: datetime | None = None  # and ends no later than this
    responded: datetime | None = None
    planned: bool = False
    resolved: datetime | None = None
    closed: datetime | None = None
    assigned: str = ""
    drawn: str = ""
    callers: int = 0
    answered: int = 0
    worked: set[str] = field(default_factory=set)
    told: set[tuple[str, int]] = field(default_factory=set)  # clock and level, or "reminder" and number
    reminded: int = 0  # since anybody did anything
    reminded_before: int = 0  # of these, in earlier rounds
    known_to: dict[str, None] = field(default_factory=dict)  # this round's people

    def again(self, at: datetime) -> None:
        """The next round begins at ``new``."""
        self.state, self.round, self.notice = "new", self.round + 1, at
        self.touched = self.planned = self.asked = False
        self.responded = self.resolved = self.closed = self.good_since = self.silent = self.changed = self.old_due = (
            None
        )
        self.drawn, self.answered, self.reminded_before = "", 0, self.reminded
        self.worked, self.told, self.known_to = set(), set(), {}


def works(day: datetime) -> bool:
    """Whether a day is a working day by the decree."""
    return day.date() in MAKE_UP or (day.weekday() < 5 and day.date() not in HOLIDAYS)


def days_after(start: datetime, count: int, *, working: bool) -> datetime:
    """The end of the n-th day after a moment whose own day does not count."""
    day = datetime.combine(start.astimezone(ZONE).date(), time(), ZONE)
    while count:
        day += timedelta(days=1)
        count -= 1 if works(day) or not working else 0
    return day + timedelta(days=1)


def response_due(ticket: Ticket) -> datetime | None:
    """When the response is due; None if the class asks for none."""
    if ticket.klass == DEFERRABLE or (ticket.klass == HARDWARE and ticket.spare == "at_hand"):
        return None
    due = (ticket.changed or ticket.notice) + RESPONSE[ticket.klass]
    return due if ticket.old_due is None else min(due, ticket.old_due)


def clocks(ticket: Ticket) -> Iterator[tuple[str, datetime]]:
    """The clocks that run, and when they are due."""
    if ticket.state == "resolved" and ticket.resolved is not None:
        yield "call_back", days_after(ticket.resolved, 3, working=True)
    if ticket.state not in OPEN:
        return
    due = response_due(ticket)
    if due is not None and ticket.responded is None:
        yield "response", due
    if due is None:
        yield "solution", days_after(ticket.notice, 7 if ticket.klass == DEFERRABLE else 2, working=False)
    elif ticket.klass in (GENERAL, CHANGE, HARDWARE) and not ticket.planned:
        start = due if ticket.responded is None else min(due, ticket.responded)
        yield "solution", days_after(start, 7 if ticket.klass == CHANGE else 3, working=True)


def levels(ticket: Ticket) -> Iterator[tuple[datetime, str, int]]:
    """The levels that have not been told: when, clock, number."""
    for clock, due in clocks(ticket):
        for number, offset in enumerate(OFFSETS[clock]):
            if (clock, number) not in ticket.told:
                yield due + offset, clock, number


def reminders(ticket: Ticket) -> Iterator[tuple[datetime, str, int]]:
    """The reminders that have not been told."""
    if ticket.state == "new" and ticket.klass in (DISASTER, GENERAL) and not ticket.recurring:
        for number in range(3 - ticket.reminded_before):
            if ("reminder", number) not in ticket.told:
                yield ticket.notice + 4 * HOUR * (number + 1), "reminder", number


class Plan:
    """Goes through the steps and the times in between; ``extra`` are problems of the centre that the week made."""

    def __init__(self, scenario: Scenario, extra: Iterable[Step] = ()) -> None:
        self.notifications: list[Notification] = []
        self.tickets: dict[str, Ticket] = {}
        self._stopped = scenario.stopped
        for step in sorted([*scenario.steps, *extra]):
            self._until(step.at)
            self._take(step)
        self._until(scenario.until)

    def _until(self, limit: datetime) -> None:
        """Let pass what falls before a step: levels, reminders, questions."""
        while True:
            due = [
                (at, ticket)
                for ticket in self.tickets.values()
                if (at := self._next(ticket)) is not None and at < limit
            ]
            if not due:
                return
            at, ticket = min(due, key=lambda pair: pair[0])
            self._pass(ticket, at)

    def _awake(self, at: datetime) -> datetime:
        """What falls into the time in which the process is dead is seen when it runs again."""
        down, up = self._stopped
        return up if down <= at < up else at

    def _next(self, ticket: Ticket) -> datetime | None:
        times = [at for at, _, _ in (*levels(ticket), *reminders(ticket))]
        if self._asks(ticket) and ticket.good_since is not None:
            times.append(ticket.good_since + 24 * HOUR)
        if not times:
            return None
        return self._awake(min(times) if ticket.silent is None else max(min(times), ticket.silent))

    @staticmethod
    def _asks(ticket: Ticket) -> bool:
        return ticket.state in OPEN and not ticket.problem and ticket.good_since is not None and not ticket.asked

    def _pass(self, ticket: Ticket, at: datetime) -> None:
        """Only the highest level that has passed is told; so it is with reminders."""
        for clock in ("response", "solution", "call_back"):
            passed = [number for when, of, number in levels(ticket) if of == clock and when <= at]
            if passed:
                ticket.told |= {(clock, number) for number in passed}
                self._tell(ticket, "escalated", at, CONTRACT["escalation"][clock][max(passed)]["to"])
        passed = [number for when, _, number in reminders(ticket) if when <= at]
        if passed:
            ticket.told |= {("reminder", number) for number in passed}
            ticket.reminded += 1
            self._tell(ticket, "asked", at, ["engineer"])
        if self._asks(ticket) and ticket.good_since is not None and ticket.good_since + 24 * HOUR <= at:
            ticket.asked = True
            self._tell(ticket, "asked", at, [ticket.assigned or "engineer"])

    def _tell(self, ticket: Ticket, kind: str, at: datetime, names: Iterable[str], actor: str = "") -> None:
        if kind in ("resolved", "cancelled", "merged"):  # only those who heard of it
            people, unattended = tuple(person for person in names if person != actor), False
        else:
            people, unattended = recipients(names, at, actor)
        ticket.known_to |= dict.fromkeys(people)
        told = Notification(ticket.number, ticket.name, kind, at, people, ticket.klass == DISASTER, unattended)
        self.notifications.append(told)

    def _take(self, step: Step) -> None:
        if step.do in ("call", "form") or (step.do == "begins" and step.ticket not in self.tickets):
            self._open(step)
            return
        ticket = self.tickets[step.ticket]
        if step.do == "begins":
            self._begins(ticket, step)
        elif step.do == "ends":
            self._ends(ticket, step.at)
        else:
            ticket.touched = True
            getattr(self, f"_{step.do}")(ticket, step.at, ticket.drawn if step.by == "@drawn" else step.by, step.says)
            ticket.reminded = ticket.reminded_before = 0

    def _open(self, step: Step) -> None:
        number = f"{step.at.year}-{len(self.tickets) + 1:04}"
        called = step.do != "begins"
        ticket = Ticket(number, step.ticket, step.says["class"], step.at, called, spare=step.says.get("spare", ""))
        ticket.callers = int(called)
        ticket.problem = not called
        ticket.begun = [step.at]
        self.tickets[step.ticket] = ticket
        self._tell(ticket, "opened", step.at, ["engineer"], step.by)

    def _begins(self, ticket: Ticket, step: Step) -> None:
        ticket.begun.append(step.at)
        ticket.problem, ticket.good_since = True, None
        if ticket.state == "closed" and ticket.closed is not None and step.at - ticket.closed < WINDOW:
            ticket.again(step.at)
            ticket.klass = step.says["class"]
            self._tell(ticket, "reopened", step.at, ["engineer"])
        last = ticket.begun[-3:]
        if len(last) == 3 and max(last[1] - last[0], last[2] - last[1]) <= WINDOW:
            ticket.recurring = True

    def _ends(self, ticket: Ticket, at: datetime) -> None:
        ticket.problem = False
        if ticket.state == "new" and not ticket.touched and not ticket.called and not ticket.recurring:
            ticket.state, ticket.closed = "closed", at
            self._tell(ticket, "resolved", at, list(ticket.known_to))
        elif ticket.state in OPEN and not ticket.recurring:
            ticket.good_since, ticket.asked = at, False

    def _assigned(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.assigned = says["to"]
        ticket.worked.add(says["to"])
        self._tell(ticket, "assigned", at, [says["to"]], by)

    def _acknowledged(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state = "acknowledged"

    def _responded(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state = "responded" if ticket.state != "planned" else ticket.state
        ticket.responded = ticket.responded or at
        ticket.worked.add(by)

    def _planned(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state, ticket.planned = "planned", True
        ticket.responded = ticket.responded or at
        ticket.worked.add(by)

    def _silenced(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.silent = says["until"]

    def _escalated(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        _, clock, number = min(levels(ticket))
        ticket.told.add((clock, number))
        self._tell(ticket, "escalated", at, CONTRACT["escalation"][clock][number]["to"], by)

    def _class_changed(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.old_due = response_due(ticket)
        ticket.klass, ticket.changed = says["class"], at

    def _cancelled(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state = "cancelled"
        self._tell(ticket, "cancelled", at, list(ticket.known_to), by)

    def _merged(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state = "merged"
        self.tickets[says["into"]].callers += ticket.callers
        self._tell(ticket, "merged", at, list(ticket.known_to), by)

    def _resolved(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.state, ticket.resolved, ticket.silent = "resolved", at, None
        ticket.worked.add(by)
        self._tell(ticket, "resolved", at, list(ticket.known_to), by)
        fresh = [person for person in sorted(ROSTER) if ROSTER[person]["role"] in ("engineer", "dispatcher")]
        eligible = [person for person in fresh if person not in ticket.worked] or of_role("manager")
        eligible = [person for person in eligible if absence(person, at) is None] or eligible
        seed = blake2b(f"{SITE}/{ticket.number}/{ticket.round}".encode(), digest_size=8).digest()
        ticket.drawn = eligible[int.from_bytes(seed, "big") % len(eligible)]
        self._tell(ticket, "call_back", at, [ticket.drawn])

    def _confirmed(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.answered += 1
        if ticket.answered >= max(ticket.callers, 1):
            ticket.state, ticket.closed = "closed", at

    def _dissatisfied(self, ticket: Ticket, at: datetime, by: str, says: Any) -> None:
        ticket.again(at)
        self._tell(ticket, "reopened", at, ["engineer"], by)
