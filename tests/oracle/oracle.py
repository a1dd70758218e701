"""Steps a ticket's clocks minute by minute, in the site's local days.

Naive on purpose: no arithmetic of days, no shortcut; a minute is looked at, counted or not, and the next one comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.oracle.case import Act, Case, Counted, Length, last_round
from tests.oracle.days import FIRST, MAKE_UP_DAYS, MissingYearError, is_worked, local_days, year_of

ROOM = 400 * 1440  # minutes after the notice in which every case's clocks end
RANK = {"disaster": 3, "general": 2, "hardware": 2, "change": 1, "consultation": 1, "deferrable": 0}


@dataclass(frozen=True)
class Due:
    """Where the stepping ended."""

    at: int | None
    missing_year: int | None = None
    not_before: int = 0  # when it cannot be computed: the first minute of the missing year, before which it cannot end
    make_up: bool = False  # a make-up day was counted


@dataclass(frozen=True)
class Phase:
    """From ``at`` on the clocks are those of ``klass``."""

    at: int
    klass: str
    how: str  # opened, raised, lowered
    asks_again: bool = False


@dataclass(frozen=True)
class Clock:
    """A clock of one phase, as if that phase had lasted."""

    name: str
    start: int
    due: Due
    ended: int | None
    ends_with: str


@dataclass(frozen=True)
class Answer:
    """The clocks of a case, and which kinds of difficulty it met."""

    clocks: tuple[Counted, ...]
    met: frozenset[str]


class Stepper:
    """One case in one zone."""

    def __init__(self, case: Case, zone: str) -> None:
        self.case = case
        self.days = local_days(zone)
        self.acts = sorted((act for act in case.acts), key=lambda act: act.when)
        self.paused = bytearray(ROOM)
        self.waits = self._waits()
        for begin, end in self.waits:
            for minute in range(max(begin, case.notice), end):
                self.paused[minute - case.notice] = 1
        self.phases = self._phases()

    def _waits(self) -> list[tuple[int, int]]:
        """The waits that stop a second clock: from, to; each ends at go on, at its time, at resolve."""
        waits, reason, begin, until = [], "", 0, 0
        for act in self.acts:
            if reason and (act.kind in {"go_on", "resolve"} or act.when >= until):
                waits.append((reason, begin, min(until, act.when)))
                reason = ""
            if act.kind == "wait":
                assert act.until is not None
                reason, begin, until = act.what, act.when, act.until
        if reason:
            waits.append((reason, begin, until))
        return [(begin, end) for reason, begin, end in waits if reason in self.case.contract.stopping]

    def _phases(self) -> list[Phase]:
        """What the class was, one after the other; hardware without a spare counts as general."""
        klass, spare = str(self.case.klass), self.case.spare

        def counted() -> str:
            return "general" if klass == "hardware" and spare != "at_hand" else klass

        phases = [Phase(self.case.notice, counted(), "opened")]
        for act in self.acts:
            if act.kind == "class":
                klass = act.what
            elif act.kind == "spare":
                spare = act.what
            if counted() != phases[-1].klass:
                higher = RANK[counted()] > RANK[phases[-1].klass]
                fitted = (phases[-1].klass, counted()) == ("general", "hardware")
                how = "raised" if higher or fitted else "lowered"
                phases.append(Phase(act.when, counted(), how, higher and self.case.contract.raise_asks_again))
        return phases

    # Stepping.

    def walk(self, start: int, length: Length) -> Due:
        """Step from ``start`` until the length is used up."""
        if length.unit == "hours":
            return Due(self._hours(start, length.amount * 60))
        try:
            return self._walk_days(start, length)
        except MissingYearError as error:
            minute = start
            while year_of(self.days[minute - FIRST]) < error.year:
                minute += 1
            return Due(None, error.year, minute)

    def _hours(self, start: int, minutes: int) -> int:
        minute = start
        while minutes:
            if not self.paused[minute - self.case.notice]:
                minutes -= 1
            minute += 1
        return minute

    def _walk_days(self, start: int, length: Length) -> Due:
        days, paused, notice = self.days, self.paused, self.case.notice
        loaded, roll = self.case.loaded, self.case.contract.roll_off_holidays and length.unit == "calendar_days"
        counts: Callable[[int], bool] = (
            (lambda day: is_worked(day, loaded)) if length.unit == "working_days" else (lambda _: True)
        )
        minute, day, left, owed, last, make_up = start, days[start - FIRST], length.amount, 0, 0, False
        while days[minute - FIRST] == day:  # the starting day does not count
            minute += 1
        while True:
            day = days[minute - FIRST]
            counted = counts(day)
            while days[minute - FIRST] == day and (left or owed):
                if counted:
                    if paused[minute - notice]:
                        owed += 1 if left else 0  # a minute of a counted day that did not count is owed
                    elif not left:
                        owed -= 1  # after the counted days, minutes that count pay what is owed
                minute += 1
            if counted:
                last, make_up = day, make_up or (length.unit == "working_days" and day in MAKE_UP_DAYS)
                left = max(0, left - 1)
            if left or owed:
                continue
            if not roll or is_worked(last, loaded):
                return Due(minute, make_up=make_up)
            # The last day moves to the first working day after it, whose minutes count.
            while days[minute - FIRST] == last or not is_worked(days[minute - FIRST], loaded):
                minute += 1
            left = 1

    # The clocks of a phase.

    def first_act(self, kinds: set[str], since: int = 0, what: str = "") -> int | None:
        """When the first of such acts was done."""
        for act in self.acts:
            if act.when >= since and (act.kind in kinds and (act.kind != "respond" or what in {"", act.what})):
                return act.when
        return None

    def base(self, k: int) -> int:
        """Where the clocks of a phase start: at the raise; else at the notice."""
        return self.phases[k].at if self.phases[k].how == "raised" else self.case.notice

    def since(self, k: int) -> int:
        """From when on a response answers this phase."""
        return self.phases[k].at if self.phases[k].asks_again else self.case.notice

    def capped(self, k: int, due: Due, old: Clock | None) -> Due:
        """A raised clock never ends later than the old one would have, if that one still ran."""
        if old is None or (old.ended is not None and old.ended < self.phases[k].at):
            return due
        return earlier(due, old.due)

    def answer(self, k: int, name: str) -> list[Clock]:
        """The first clock, or being on site: those that ended before a raise that asked again, and the present one."""
        phase, contract = self.phases[k], self.case.contract
        length = (contract.first if name == "response" else contract.on_site).get(phase.klass)
        before = self.answer(k - 1, name) if phase.how == "raised" else []
        earlier_ones, old = before[:-1], before[-1] if before else None
        ended_before = old is not None and old.ended is not None and old.ended < phase.at
        if ended_before and (length is None or not phase.asks_again):
            return before
        if length is None:
            return earlier_ones
        start = self.base(k)
        # No waiting stops the response; being on site is stopped like a second clock.
        due = Due(start + length.amount * 60) if name == "response" else self.walk(start, length)
        kinds, what = (
            ({"respond", "plan", "resolve"}, "") if name == "response" else ({"respond", "resolve"}, "on_site")
        )
        clock = Clock(name, start, self.capped(k, due, old), self.first_act(kinds, self.since(k), what), name)
        return [*before, clock] if ended_before else [*earlier_ones, clock]

    def second(self, k: int) -> Clock | None:
        """The second clock, or the recovery that the contract sets for a class that has none."""
        phase, contract = self.phases[k], self.case.contract
        name = "solution" if phase.klass in contract.second else "recovery"
        length = contract.second.get(phase.klass) or contract.recovery.get(phase.klass)
        if length is None:
            return None
        from_response = phase.klass in {"general", "change"}
        ends_with = "plan" if from_response else "resolve"
        old = self.second(k - 1) if phase.how == "raised" else None
        if old is not None and old.ended is not None and old.ended < phase.at and old.ends_with == ends_with:
            return replace(old, name=name)
        start = self._second_start(k) if from_response else self.base(k)
        ended = self.first_act({"plan", "resolve"} if ends_with == "plan" else {"resolve"})
        return Clock(name, start, self.capped(k, self.walk(start, length), old), ended, ends_with)

    def _second_start(self, k: int) -> int:
        """After the response, but no later than when the response was due; never before the change of class."""
        base, first = self.base(k), self.answer(k, "response")[-1]
        assert first.due.at is not None
        if first.ended is not None and first.ended < base:
            return base
        return max(base, first.due.at if first.ended is None else min(first.ended, first.due.at))


def earlier(one: Due, other: Due) -> Due:
    """The earlier of two ends; of one that cannot be computed only that it is not before its missing year is known."""
    if one.at is not None and other.at is not None:
        return one if one.at <= other.at else other
    if one.at is None and other.at is None:
        return one if one.not_before <= other.not_before else other
    known, unknown = (one, other) if one.at is not None else (other, one)
    assert known.at is not None
    return known if known.at <= unknown.not_before else unknown


def answer(case: Case, zone: str) -> Answer:
    """The clocks of a case at its site in ``zone``."""
    reopened = any(act.kind == "reopen" for act in case.acts)
    case = last_round(case)
    if case.notice < case.contract.start:
        return Answer((), frozenset())
    stepper = Stepper(case, zone)
    k = len(stepper.phases) - 1
    second = stepper.second(k)
    clocks = [*stepper.answer(k, "response"), *([second] if second else []), *stepper.answer(k, "on_site")]
    given_up = next((act.when for act in stepper.acts if act.kind in {"cancel", "heal"}), None)
    shown = tuple(
        Counted(clock.name, clock.start, clock.due.at, clock.due.missing_year, clock.ended,
                _state(clock, given_up, case.now))
        for clock in clocks
    )  # fmt: skip
    return Answer(shown, frozenset(_met(case, stepper, clocks) | ({"reopened"} if reopened else set())))


def _state(clock: Clock, given_up: int | None, now: int) -> str:
    if clock.due.at is None:
        return "unknown"
    if clock.ended is not None:
        return "kept" if clock.ended <= clock.due.at else "missed"
    if given_up is not None:
        return "void" if given_up <= clock.due.at else "missed"
    return "running" if now <= clock.due.at else "missed"


def _met(case: Case, stepper: Stepper, clocks: list[Clock]) -> set[str]:
    """Which of the difficulties that must be shown are in this case."""
    met, days = set(), stepper.days
    for clock in clocks:
        due = clock.due
        if due.at is None:
            met.add("missing year")
        elif year_of(days[clock.start - FIRST]) != year_of(days[due.at - 1 - FIRST]):
            met.add("year's end")
        if due.make_up:
            met.add("make-up day")
        if clock.name == "response" and due.at is not None and clock.ended is not None and clock.ended > due.at:
            met.add("response late")
    nights = [(begin, end) for begin, end in stepper.waits if days[begin - FIRST] != days[end - FIRST]]
    for clock in clocks:
        if clock.name != "response" and any(b < (clock.due.at or b + 1) and e > clock.start for b, e in nights):
            met.add("pause over midnight")
    classes: list[Act] = [act for act in stepper.acts if act.kind == "class"]
    for act in classes:
        met.update(f"class {phase.how}" for phase in stepper.phases if phase.at == act.when and phase.how != "opened")
    if len(case.zones) > 1:
        met.add("two zones")
    return met
