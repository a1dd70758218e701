"""The contract's clocks of a ticket, as a function of what happened, the contract's terms and the calendar. Pure.

Nothing is accumulated: whoever corrects a time, a term or the calendar asks again and gets the right answer. The rules
of counting are the contract's (docs/contract.md), after the Civil Code of the PRC, art. 201 and 203:

- **hours** run around the clock from the minute of effective notice;
- **working and calendar days**: the starting day does not count, the last one ends at 24:00 local time; a day is 1,440
  minutes, of which those of a waiting that stops the clock do not count;
- the second clock **after the response** starts at the response, but no later than when that was due;
- **raised**: the new class's clock runs from the change, but never ends later than the old one would have;
  **lowered**: it runs from the notice.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from collector.core.calendar import Calendar, YearMissingError
from telemetry.faults import SlaClass

What = Literal["response", "solution", "on_site", "recovery"]
"""``response``: the first clock, ended by responding. ``solution``: the second, ended by a plan or by resolving.
``on_site`` and ``recovery``: hours from the notice, where the contract sets them."""
Status = Literal["running", "met", "missed", "void", "not_computable"]
"""``void``: the ticket ended otherwise before the clock was due."""

RANK: Final[Mapping[SlaClass, int]] = {
    "disaster": 3, "general": 2, "hardware": 2, "change": 1, "consultation": 1, "deferrable": 0,
}  # fmt: skip
"""How grave a class is; from one to another of the same rank is no raise."""
_DAY: Final = datetime.timedelta(days=1)
_LONGEST: Final = 4000
"""Days after which a count is given up: a waiting without end."""


@dataclass(frozen=True, slots=True)
class Solution:
    """The second clock of a class."""

    days: int
    counted: Literal["working", "calendar"]
    after: Literal["notice", "response"]
    ends_with: Literal["plan", "resolve"]
    """Resolving ends one that asks for a plan, too."""


@dataclass(frozen=True, slots=True)
class ClassTerms:
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


@dataclass(frozen=True, slots=True)
class Terms:
    """What the contract says of clocks."""

    time_zone: str = "Asia/Shanghai"
    start_ms: int | None = None
    """Clocks exist for notices from then on; ``None``: for all."""
    classes: Mapping[SlaClass, ClassTerms] = field(default_factory=lambda: DEFAULT_CLASSES)
    waiting_stops: tuple[str, ...] = ("customer", "vehicle")
    """Reasons of waiting for which the second clock stands still; the response clock never does."""
    raise_asks_again: bool = True
    """A class raised after the response asks for a response again."""
    roll_off_holidays: bool = False
    """A last calendar day that is a public holiday moves to the first working day after it (art. 203)."""


Spare = Literal["at_hand", "ordered", "none"]


@dataclass(frozen=True, slots=True)
class Facts:
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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the count, for whoever wants it aloud."""

    what: Literal["starts", "counts", "skips", "waits", "rolls", "capped", "due", "missing"]
    day: datetime.date | None = None
    """The local day, where the step is about one."""
    at_ms: int | None = None
    minutes: int = 0
    """Minutes of the day that count, or that do not."""
    why: Literal["", "notice", "response", "response_due", "change", "weekend", "holiday", "make_up"] = ""


@dataclass(frozen=True, slots=True)
class Clock:
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
    facts = Facts(start_ms, ((start_ms, "general"),))
    return _Count(facts, terms, calendar).days(start_ms, Solution(days, "working", "notice", "resolve"))[0]


class _Count:
    """The clocks while the round's changes of class are walked through."""

    def __init__(self, facts: Facts, terms: Terms, calendar: Calendar) -> None:
        self._facts = facts
        self._terms = terms
        self._calendar = calendar
        self._zone = zoneinfo.ZoneInfo(terms.time_zone)
        self._pauses = _union(
            (first, last) for reason, first, last in facts.waits if reason in terms.waiting_stops and last > first
        )

    def walk(self) -> tuple[Clock, ...]:
        met: list[Clock] = []
        response: Clock | None = None
        solution: Clock | None = None
        before: SlaClass | None = None
        for at_ms, sla_class in self._effective():
            raised = before is not None and RANK[sla_class] > RANK[before]
            if before == "general" and sla_class == "hardware":
                raised = True  # the spare part has come: from now on it is to be fitted
            from_ms = at_ms if raised else self._facts.notice_ms
            old_response = response
            if raised and response is not None and _has_ended(response, at_ms):
                if self._terms.raise_asks_again and self._terms.classes[sla_class].response_ms is not None:
                    met.append(response)
                    response = self._response(sla_class, from_ms, None)
            else:
                response = self._response(sla_class, from_ms, old_response if raised else None)
            asked_again = response is not old_response
            if not (
                solution is not None and raised and _has_ended(solution, at_ms) and self._same_end(sla_class, before)
            ):
                solution = self._solution(
                    sla_class, from_ms, response, solution if raised else None, asked_again or not raised
                )
            before = sla_class
        assert before is not None
        found = [*met, *(clock for clock in (response, solution) if clock is not None)]
        return (*found, *self._others(before))

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

    def _same_end(self, sla_class: SlaClass, before: SlaClass | None) -> bool:
        old = self._terms.classes[before].solution if before is not None else None
        new = self._terms.classes[sla_class].solution
        return old is not None and new is not None and old.ends_with in (new.ends_with, "resolve")

    def _response(self, sla_class: SlaClass, from_ms: int, old: Clock | None) -> Clock | None:
        span_ms = self._terms.classes[sla_class].response_ms
        if span_ms is None:
            return None
        why: Literal["notice", "change"] = "notice" if from_ms == self._facts.notice_ms else "change"
        clock = Clock(
            "response", sla_class, from_ms, from_ms + span_ms, steps=(Step("starts", at_ms=from_ms, why=why),)
        )
        clock = _capped(clock, old)
        return replace(clock, ended_ms=_first(self._facts.responses, from_ms))

    def _solution(
        self, sla_class: SlaClass, from_ms: int, response: Clock | None, old: Clock | None, from_response: bool
    ) -> Clock | None:
        promise = self._terms.classes[sla_class].solution
        if promise is None:
            return None
        start_ms: int = from_ms
        why: Literal["notice", "response", "response_due", "change"]
        why = "notice" if from_ms == self._facts.notice_ms else "change"
        if promise.after == "response" and from_response and response is not None and response.due_ms is not None:
            if response.ended_ms is not None and response.ended_ms <= response.due_ms:
                start_ms, why = response.ended_ms, "response"
            else:
                start_ms, why = response.due_ms, "response_due"
        clock = Clock("solution", sla_class, start_ms, None, steps=(Step("starts", at_ms=start_ms, why=why),))
        try:
            due_ms, steps = self.days(start_ms, promise)
        except YearMissingError as missing:
            clock = replace(clock, missing_year=missing.year, steps=(*clock.steps, Step("missing")))
        else:
            clock = _capped(replace(clock, due_ms=due_ms, steps=(*clock.steps, *steps)), old)
        ends = [] if promise.ends_with == "resolve" else list(self._facts.plans)
        if self._facts.resolved_ms is not None:
            ends.append(self._facts.resolved_ms)
        return replace(clock, ended_ms=min(ends, default=None))

    def _others(self, sla_class: SlaClass) -> Iterator[Clock]:
        terms, notice_ms = self._terms.classes[sla_class], self._facts.notice_ms
        starts = (Step("starts", at_ms=notice_ms, why="notice"),)
        if terms.on_site_ms is not None:
            ended_ms = _first(self._facts.on_site, notice_ms)
            yield Clock("on_site", sla_class, notice_ms, notice_ms + terms.on_site_ms, ended_ms, steps=starts)
        if terms.recovery_ms is not None:
            ends = [at_ms for at_ms in (self._facts.recovered_ms, self._facts.resolved_ms) if at_ms is not None]
            due_ms = notice_ms + terms.recovery_ms
            yield Clock("recovery", sla_class, notice_ms, due_ms, min(ends, default=None), steps=starts)

    # --- days ---------------------------------------------------------------------------------------------------------

    def days(self, start_ms: int, promise: Solution) -> tuple[int, list[Step]]:
        """Return when ``days`` days of 1,440 minutes are over, waiting left out, and how that was counted.

        Counted on the local clock, so that a day is 1,440 minutes whatever the zone's summer time does. Raises
        YearMissingError.
        """
        steps: list[Step] = []
        left = promise.days * _DAY
        start = self._local(start_ms)
        pauses = [
            (max(self._local(first), start), self._local(last)) for first, last in self._pauses if last > start_ms
        ]
        day = start.date()
        for _ in range(_LONGEST):
            day += _DAY
            if promise.counted == "working" and not self._calendar.is_working(day):
                holiday = self._calendar.is_holiday(day)
                steps.append(Step("skips", day, why="holiday" if holiday else "weekend"))
                continue
            begin = datetime.datetime.combine(day, datetime.time())
            free, paused = _free(begin, begin + _DAY, pauses)
            make_up = promise.counted == "working" and day.weekday() >= 5
            if paused:
                steps.append(Step("waits", day, minutes=round(paused / datetime.timedelta(minutes=1))))
            for first, last in free:
                if last - first >= left:
                    end = first + left
                    minutes = 1440 - round(paused / datetime.timedelta(minutes=1))
                    steps.append(Step("counts", day, minutes=min(minutes, 1440), why="make_up" if make_up else ""))
                    return self._rolled(end, promise, steps)
                left -= last - first
            counted = round((_DAY - paused) / datetime.timedelta(minutes=1))
            if counted:
                steps.append(Step("counts", day, minutes=counted, why="make_up" if make_up else ""))
        raise YearMissingError(day.year)

    def _rolled(self, end: datetime.datetime, promise: Solution, steps: list[Step]) -> tuple[int, list[Step]]:
        """Return the end, moved off a public holiday where the contract says so."""
        last = end.date() if end.time() != datetime.time() else end.date() - _DAY
        if promise.counted == "calendar" and self._terms.roll_off_holidays and self._calendar.is_holiday(last):
            while not self._calendar.is_working(last):
                last += _DAY
            steps.append(Step("rolls", last))
            end = datetime.datetime.combine(last + _DAY, datetime.time())
        due_ms = round(end.replace(tzinfo=self._zone).timestamp() * 1000)
        return due_ms, steps

    def _local(self, time_ms: int) -> datetime.datetime:
        """Return the site's own wall clock, without a zone."""
        return datetime.datetime.fromtimestamp(time_ms / 1000, self._zone).replace(tzinfo=None)


def _capped(clock: Clock, old: Clock | None) -> Clock:
    """Return a raised class's clock, which never ends later than the old one would have."""
    if old is None or old.due_ms is None or clock.due_ms is None or clock.due_ms <= old.due_ms:
        return clock
    return replace(clock, due_ms=old.due_ms, steps=(*clock.steps, Step("capped", at_ms=old.due_ms)))


def _has_ended(clock: Clock, by_ms: int) -> bool:
    return clock.ended_ms is not None and clock.ended_ms <= by_ms


def _first(times: Sequence[int], since_ms: int) -> int | None:
    return min((time_ms for time_ms in times if time_ms >= since_ms), default=None)


def _union(spans: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans that overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def _free(
    begin: datetime.datetime, end: datetime.datetime, pauses: Sequence[tuple[datetime.datetime, datetime.datetime]]
) -> tuple[list[tuple[datetime.datetime, datetime.datetime]], datetime.timedelta]:
    """Return the stretches of a day that no pause covers, and how long the pauses are in it."""
    free, paused, place = [], datetime.timedelta(), begin
    for first, last in pauses:
        first, last = max(first, begin), min(last, end)
        if first >= last:
            continue
        if first > place:
            free.append((place, first))
        paused += last - max(first, place)
        place = max(place, last)
    if place < end:
        free.append((place, end))
    return free, paused
