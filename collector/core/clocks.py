"""The contract's clocks of a ticket, as a function of what happened, the contract's terms and the calendar. Pure.

Nothing is accumulated: whoever corrects a time, a term or the calendar asks again and gets the right answer. The rules
of counting are the contract's (docs/contract.md), after the Civil Code of the PRC, art. 201 and 203:

- **hours** run around the clock from the minute of effective notice;
- **working and calendar days**: the starting day does not count, the last one ends at 24:00 local time; the minutes of
  a waiting that stops the clock do not count;
- the second clock **after the response** starts at the response, but no later than when that was due;
- **raised**: the new class's clock runs from the change, but never ends later than the old one would have; raised by a
  merge, than the merged ticket's would have either; **lowered**: it runs from the notice.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from collector.core.calendar import Calendar, YearMissingError
from collector.core.counting import Counting, Step
from telemetry.faults import SlaClass

What = Literal["response", "solution", "on_site", "recovery"]
"""``response``: the first clock, ended by responding. ``solution``: the second, ended by a plan or by resolving.
``on_site`` and ``recovery``: hours that waiting stops as it does the second clock's, where the contract sets them."""
Status = Literal["running", "met", "missed", "void", "not_computable"]
"""``void``: the ticket ended otherwise before the clock was due."""

RANK: Final[Mapping[SlaClass, int]] = {
    "disaster": 3, "general": 2, "hardware": 2, "change": 1, "consultation": 1, "deferrable": 0,
}  # fmt: skip
"""How grave a class is; from one to another of the same rank is no raise."""
_ANSWERED: Final[tuple[What, ...]] = ("response", "on_site")
"""Ended by somebody's answer, which a raise may ask for again."""
_SECOND: Final[tuple[tuple[What, What], ...]] = (("solution", "recovery"), ("recovery", "solution"))
"""Ended by the matter's progress; each with what it takes the place of where a class has no such clock."""


class Solution(msgspec.Struct, frozen=True):
    """The second clock of a class."""

    days: int
    counted: Literal["working", "calendar"]
    after: Literal["notice", "response"]
    ends_with: Literal["plan", "resolve"]
    """Resolving ends one that asks for a plan, too."""


class ClassTerms(msgspec.Struct, frozen=True):
    """What a class promises; ``None``: no such clock. Durations are milliseconds."""

    response_ms: int | None = None
    solution: Solution | None = None
    on_site_ms: int | None = None
    recovery_ms: int | None = None


_HOUR: Final = 3_600_000
DEFAULT_CLASSES: Final[Mapping[SlaClass, ClassTerms]] = {
    "disaster": ClassTerms(1 * _HOUR),
    "general": ClassTerms(2 * _HOUR, Solution(3, "working", "response", "plan")),
    "change": ClassTerms(2 * _HOUR, Solution(7, "working", "response", "plan")),
    "consultation": ClassTerms(2 * _HOUR),
    "hardware": ClassTerms(None, Solution(2, "calendar", "notice", "resolve")),
    "deferrable": ClassTerms(None, Solution(7, "calendar", "notice", "resolve")),
}
"""What each class promises: docs/contract.md, R4 to R9."""


class Terms(msgspec.Struct, frozen=True):
    """What the contract says of clocks."""

    time_zone: str = "Asia/Shanghai"
    start_ms: int | None = None
    """Clocks exist for notices from then on; ``None``: for all."""
    classes: Mapping[SlaClass, ClassTerms] = msgspec.field(default_factory=lambda: DEFAULT_CLASSES)
    waiting_stops: tuple[str, ...] = ("customer", "vehicle")
    """Reasons of waiting for which the second clock stands still; the response clock never does."""
    raise_asks_again: bool = True
    """A class raised after the response asks for a response again."""
    roll_off_holidays: bool = False
    """A last calendar day that is not worked moves to the first working day after it (art. 203)."""


Spare = Literal["at_hand", "ordered", "none"]


class Facts(msgspec.Struct, frozen=True):
    """What clocks need to know of one round of a ticket. Times are UTC milliseconds, as stated and corrected."""

    notice_ms: int
    classes: tuple[tuple[int, SlaClass], ...]
    """From when on the ticket had which class; the first from the notice on."""
    responses: tuple[int, ...] = ()
    """Every response of the round; a plan and resolving are one too where there was none before."""
    on_site: tuple[int, ...] = ()
    """Those of them that were on site."""
    plans: tuple[int, ...] = ()
    resolved_ms: int | None = None
    recovered_ms: int | None = None
    """When the readings were good again."""
    waits: tuple[tuple[str, int, int], ...] = ()
    """Reason, from, until: each as long as it lasted, or is to last."""
    spares: tuple[tuple[int, Spare], ...] = ()
    """From when on the spare part was where; ``none`` before the first."""
    ended_ms: int | None = None
    """When the round ended without any of that: healed by itself, merged, cancelled."""
    merged: tuple[tuple[int, Facts], ...] = ()
    """When which other ticket's round went into this one."""


class Clock(msgspec.Struct, frozen=True):
    """One promise of the contract on a ticket."""

    what: What
    sla_class: SlaClass
    start_ms: int
    due_ms: int | None
    """``None``: it cannot be computed (``missing_year``)."""
    ended_ms: int | None = None
    missing_year: int | None = None
    void_ms: int | None = None
    """When the ticket ended otherwise."""
    steps: tuple[Step, ...] = ()

    def status(self, now_ms: int) -> Status:
        """Return how the clock stands."""
        if self.due_ms is None:
            return "not_computable"
        if self.ended_ms is not None and self.ended_ms <= now_ms:
            return "met" if self.ended_ms <= self.due_ms else "missed"
        if self.void_ms is not None and self.void_ms <= now_ms:
            return "void" if self.void_ms <= self.due_ms else "missed"
        return "running" if now_ms <= self.due_ms else "missed"


def clocks(facts: Facts, terms: Terms, calendar: Calendar) -> tuple[Clock, ...]:
    """Return every clock of a round: the response's (again where a raise asks for one), then the second, then others.

    None at all for a notice before the contract's start.
    """
    if terms.start_ms is not None and facts.notice_ms < terms.start_ms:
        return ()
    count = _Count(facts, terms, calendar)
    found = count.walk()
    if facts.ended_ms is None:
        return found
    return tuple(clock if clock.ended_ms is not None else replace(clock, void_ms=facts.ended_ms) for clock in found)


def end_of_working_days(start_ms: int, days: int, terms: Terms, calendar: Calendar) -> int:
    """Return when so many working days are over, counted as a solution's. Raises YearMissingError."""
    return _counting((), terms, calendar).days(start_ms, days, "working")[0]


def _counting(waits: Iterable[tuple[str, int, int]], terms: Terms, calendar: Calendar) -> Counting:
    stops = ((first, last) for reason, first, last in waits if reason in terms.waiting_stops)
    return Counting(terms.time_zone, calendar, stops, roll_off_holidays=terms.roll_off_holidays)


class _Phase(msgspec.Struct, frozen=True):
    """From a change of class to the next one."""

    sla_class: SlaClass
    at_ms: int
    from_ms: int
    """From when its clocks run: raised from the change, else from the notice."""
    raised: bool
    asks_again: bool
    """What was answered before has to be answered again."""


class _Count:
    """The clocks while the round's changes of class are walked through."""

    def __init__(self, facts: Facts, terms: Terms, calendar: Calendar) -> None:
        self._facts = facts
        self._terms = terms
        self._calendar = calendar
        self._counting = _counting(facts.waits, terms, calendar)

    def walk(self) -> tuple[Clock, ...]:
        answered: list[Clock] = []  # what had ended before a raise asked for it again
        found: dict[What, Clock] = {}
        for phase in self._phases():
            if not phase.raised:
                answered, found = [], {}  # every clock runs anew from the notice
            old, found = found, {}
            for what in _ANSWERED:
                clock = self._answered(what, phase, old.get(what))
                if clock is not None:
                    found[what] = clock = self._no_later_than_merged(clock, phase)
                    if clock is not old.get(what) and what in old and _has_ended(old[what], phase.at_ms):
                        answered.append(old[what])
            for what, other in _SECOND:
                clock = self._second(what, phase, old.get(what) or old.get(other), found.get("response"))
                if clock is not None:
                    found[what] = self._no_later_than_merged(clock, phase)
        order: tuple[What, ...] = ("response", "solution", "on_site", "recovery")
        return (*answered, *(found[what] for what in order if what in found))

    def _phases(self) -> Iterator[_Phase]:
        before: SlaClass | None = None
        for at_ms, sla_class in self._effective():
            higher = before is not None and RANK[sla_class] > RANK[before]
            # The spare part has come: from now on it is to be fitted.
            raised = higher or (before, sla_class) == ("general", "hardware")
            from_ms = at_ms if raised else self._facts.notice_ms
            yield _Phase(sla_class, at_ms, from_ms, raised, higher and self._terms.raise_asks_again)
            before = sla_class

    def _effective(self) -> list[tuple[int, SlaClass]]:
        """Return the class by which clocks go, from when on: hardware without a spare part at hand is general."""
        moments = sorted({at_ms for at_ms, _ in (*self._facts.classes, *self._facts.spares)})
        found: list[tuple[int, SlaClass]] = []
        for at_ms in moments:
            current = [sla_class for since, sla_class in self._facts.classes if since <= at_ms]
            if not current:
                continue
            sla_class = current[-1]
            spares = [spare for since, spare in self._facts.spares if since <= at_ms]
            if sla_class == "hardware" and (not spares or spares[-1] != "at_hand"):
                sla_class = "general"
            if not found or found[-1][1] != sla_class:
                found.append((at_ms, sla_class))
        return found

    def _answered(self, what: What, phase: _Phase, old: Clock | None) -> Clock | None:
        """Return the response, or being on site; as it was where it had ended and nobody asks again."""
        terms = self._terms.classes[phase.sla_class]
        span_ms = terms.response_ms if what == "response" else terms.on_site_ms
        if old is not None and _has_ended(old, phase.at_ms) and (span_ms is None or not phase.asks_again):
            return old
        if span_ms is None:
            return None
        since_ms = phase.from_ms if phase.asks_again else self._facts.notice_ms
        if what == "response":
            due_ms, ends = phase.from_ms + span_ms, self._facts.responses
            clock = Clock(what, phase.sla_class, phase.from_ms, due_ms, steps=(self._starts(phase),))
        else:
            clock = self._stoppable(what, phase, span_ms)
            ends = (*self._facts.on_site, *self._resolved())  # nobody has to come for what was resolved from afar
        return replace(self._capped(clock, old, phase), ended_ms=_first(ends, since_ms))

    def _second(self, what: What, phase: _Phase, old: Clock | None, response: Clock | None) -> Clock | None:
        """Return the solution, or the recovery; as it was where the same had ended it before."""
        terms = self._terms.classes[phase.sla_class]
        ends = list(self._resolved())
        if what == "recovery" and self._facts.recovered_ms is not None:
            ends.append(self._facts.recovered_ms)
        if what == "solution" and terms.solution is not None and terms.solution.ends_with == "plan":
            ends += self._facts.plans
        ended_ms = min(ends, default=None)
        if what == "solution" and terms.solution is not None:
            clock = self._solution(terms.solution, phase, response)
        elif what == "recovery" and terms.recovery_ms is not None:
            clock = self._stoppable(what, phase, terms.recovery_ms)
        else:
            return None
        if old is not None and old.what == what and _has_ended(old, phase.at_ms) and old.ended_ms == ended_ms:
            return old
        return replace(self._capped(clock, old, phase), ended_ms=ended_ms)

    def _stoppable(self, what: What, phase: _Phase, span_ms: int) -> Clock:
        due_ms, steps = self._counting.hours(phase.from_ms, span_ms)
        return Clock(what, phase.sla_class, phase.from_ms, due_ms, steps=(self._starts(phase), *steps))

    def _solution(self, promise: Solution, phase: _Phase, response: Clock | None) -> Clock:
        starts = self._starts(phase)
        if promise.after == "response" and response is not None and response.due_ms is not None:
            late = response.ended_ms is None or response.ended_ms > response.due_ms
            at_ms = response.due_ms if response.ended_ms is None or late else response.ended_ms
            if at_ms >= phase.from_ms:  # raised after it: from the change
                starts = Step("starts", at_ms=at_ms, why="response_due" if late else "response")
        start_ms = starts.at_ms or phase.from_ms
        clock = Clock("solution", phase.sla_class, start_ms, None, steps=(starts,))
        try:
            due_ms, steps = self._counting.days(start_ms, promise.days, promise.counted)
        except YearMissingError as missing:
            return replace(clock, missing_year=missing.year, steps=(starts, Step("missing")))
        return replace(clock, due_ms=due_ms, steps=(starts, *steps))

    def _starts(self, phase: _Phase) -> Step:
        return Step("starts", at_ms=phase.from_ms, why="notice" if phase.from_ms == self._facts.notice_ms else "change")

    def _resolved(self) -> tuple[int, ...]:
        return () if self._facts.resolved_ms is None else (self._facts.resolved_ms,)

    def _capped(self, clock: Clock, old: Clock | None, phase: _Phase) -> Clock:
        """Return a raised class's clock, which never ends later than the old one would have, if that still ran.

        What cannot be computed ends in the missing year or later: where the other end lies before, that one holds.
        """
        if old is None or _has_ended(old, phase.at_ms):
            return clock
        new_ms, old_ms = self._earliest(clock), self._earliest(old)
        if new_ms < old_ms or (new_ms == old_ms and (clock.due_ms is not None or old.due_ms is None)):
            return clock
        steps = tuple(step for step in clock.steps if step.what != "missing")
        why = Step("missing") if old.due_ms is None else Step("capped", at_ms=old.due_ms)
        return replace(clock, due_ms=old.due_ms, missing_year=old.missing_year, steps=(*steps, why))

    def _no_later_than_merged(self, clock: Clock, phase: _Phase) -> Clock:
        """Return a clock that a merge made graver: it ends no later than that of the ticket that came in."""
        if not phase.raised or _has_ended(clock, phase.at_ms):
            return clock
        for at_ms, facts in self._facts.merged:
            if at_ms == phase.at_ms:
                for theirs in _Count(facts, self._terms, self._calendar).walk():
                    if theirs.what == clock.what and theirs.sla_class == clock.sla_class:
                        clock = self._capped(clock, theirs, phase)
        return clock

    def _earliest(self, clock: Clock) -> int:
        """Return when a clock is due, or before when it cannot be."""
        if clock.due_ms is not None:
            return clock.due_ms
        assert clock.missing_year is not None
        return max(clock.start_ms, self._counting.midnight(datetime.date(clock.missing_year, 1, 1)))


def _has_ended(clock: Clock, by_ms: int) -> bool:
    return clock.ended_ms is not None and clock.ended_ms <= by_ms


def _first(times: Sequence[int], since_ms: int) -> int | None:
    return min((time_ms for time_ms in times if time_ms >= since_ms), default=None)
