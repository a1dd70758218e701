"""Gives a case to the product, as events of a ticket or as the facts that its clocks ask for, and sets side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import msgspec

from collector.calendars import load_calendar
from collector.core.calendar import Calendar
from collector.core.clocks import ClassTerms, Clock, Facts, Solution, Terms, clocks
from collector.core.contract import DEFAULT
from collector.core.tickets import events as e
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.fold import fold
from collector.core.tickets.promises import clocks_of
from telemetry.faults import severity
from tests.oracle.case import Act, Case, Contract, Counted, Length, last_round
from tests.oracle.oracle import Answer

MINUTE_MS = 60_000
STATES = {"running": "running", "met": "kept", "missed": "missed", "void": "void", "not_computable": "unknown"}


def by_facts(case: Case, zone: str) -> list[Counted]:
    """The product's clocks of the facts that the case comes to."""
    return _shown(clocks(_facts(last_round(case)), _terms(case.contract, zone), _calendar(case.loaded)), case.now)


def by_events(case: Case, zone: str) -> list[Counted]:
    """The product's clocks of a ticket to which this happened."""
    events = _events(case)
    contract = msgspec.structs.replace(
        DEFAULT, time_zone=zone, terms=_terms(case.contract, zone), calendar=_calendar(case.loaded)
    )
    return _shown(clocks_of(fold("north", "2026-0001", events), events, contract), case.now)


def differences(case: Case, answers: Mapping[str, Answer]) -> list[str]:
    """What differs from the oracle's answers in each zone, in lines; empty where nothing does."""
    lines = []
    for zone, expected in answers.items():
        left = sorted(expected.clocks, key=repr)
        for way, clocks_by in (("facts", by_facts), ("events", by_events)):
            right = sorted(clocks_by(case, zone), key=repr)
            if left != right:
                lines += [f"  {zone}, by {way}", *(f"    oracle  {clock}" for clock in left)]
                lines += [f"    product {clock}" for clock in right]
    return lines


def _shown(found: tuple[Clock, ...], now: int) -> list[Counted]:
    def minute(time_ms: int | None) -> int | None:
        if time_ms is None:
            return None
        assert time_ms % MINUTE_MS == 0, "every case is in whole minutes"
        return time_ms // MINUTE_MS

    return [
        Counted(clock.what, minute(clock.start_ms) or 0, minute(clock.due_ms), clock.missing_year,
                minute(clock.ended_ms), STATES[clock.status(now * MINUTE_MS)])
        for clock in found
    ]  # fmt: skip


@functools.cache
def _calendar(loaded: frozenset[int]) -> Calendar:
    years = load_calendar(None).years
    return Calendar({year: years[year] for year in loaded})


def _terms(contract: Contract, zone: str) -> Terms:
    def span(length: Length | None) -> int | None:
        return None if length is None else length.amount * 60 * MINUTE_MS

    classes: dict[Any, ClassTerms] = {}
    for klass in DEFAULT.terms.classes:
        second, solution = contract.second.get(klass), None
        if second is not None:
            planned = klass in {"general", "change"}
            solution = Solution(
                second.amount,
                "working" if second.unit == "working_days" else "calendar",
                "response" if planned else "notice",
                "plan" if planned else "resolve",
            )
        classes[klass] = ClassTerms(
            span(contract.first.get(klass)), solution, span(contract.on_site.get(klass)),
            span(contract.recovery.get(klass)),
        )  # fmt: skip
    return Terms(
        zone,
        contract.start * MINUTE_MS,
        classes,
        tuple(sorted(contract.stopping)),
        contract.raise_asks_again,
        contract.roll_off_holidays,
    )


def _facts(case: Case) -> Facts:
    acts = sorted(case.acts, key=lambda act: act.when)

    def when(*kinds: str, what: str = "") -> tuple[int, ...]:
        return tuple(act.when * MINUTE_MS for act in acts if act.kind in kinds and what in {"", act.what})

    waits: list[tuple[str, int, int]] = []
    for act in acts:
        if act.kind in {"go_on", "resolve"} and waits:
            reason, first, last = waits[-1]
            waits[-1] = (reason, first, min(last, act.when * MINUTE_MS))
        elif act.kind == "wait":
            waits.append((act.what, act.when * MINUTE_MS, (act.until or 0) * MINUTE_MS))
    notice_ms = case.notice * MINUTE_MS
    classes: Any = ((notice_ms, case.klass), *((act.when * MINUTE_MS, act.what) for act in acts if act.kind == "class"))
    spares: Any = ((notice_ms, case.spare), *((act.when * MINUTE_MS, act.what) for act in acts if act.kind == "spare"))
    return Facts(
        notice_ms,
        classes,
        responses=when("respond", "plan", "resolve"),
        on_site=when("respond", what="on_site"),
        plans=when("plan"),
        resolved_ms=next(iter(when("resolve")), None),
        waits=tuple(waits),
        spares=spares,
        ended_ms=next(iter(when("cancel", "heal")), None),
    )


def _events(case: Case) -> list[TicketEvent]:
    """The events, with the times first typed, and the corrections after them."""
    opening: Any = {"source": "call", "fault": "", "sla_class": case.klass, "severity": severity(case.klass),
                    "event_ms": 0, "detected_ms": 0, "spare": case.spare}  # fmt: skip
    first = case.notice if case.notice_typed is None else case.notice_typed
    events = [_event(1, "opened", first, e.Opening(**opening))]
    corrections: list[tuple[int, int]] = [] if case.notice_typed is None else [(1, case.notice)]
    for act in case.acts:
        what, body = _body(act)
        events.append(_event(len(events) + 1, what, act.at, body))
        corrections += [(len(events), time) for time in act.corrected]
    for number, time in corrections:
        events.append(_event(len(events) + 1, "corrected", time, e.Correction(number, time * MINUTE_MS, "typed wrong")))
    return events


def _event(number: int, what: str, at: int, body: e.Body) -> TicketEvent:
    who = e.RULE if what == "self_healed" else "wang"
    return TicketEvent(number=number, what=what, at_ms=at * MINUTE_MS, recorded_ms=at * MINUTE_MS, who=who, body=body)


def _body(act: Act) -> tuple[str, e.Body]:
    said: Any = act.what
    match act.kind:
        case "respond":
            return "responded", e.Response(said)
        case "plan":
            return "planned", e.NO_WORDS
        case "resolve":
            return "resolved", e.Resolution("done")
        case "wait":
            return "waits", e.Wait(said, "mail", (act.until or 0) * MINUTE_MS)
        case "go_on":
            return "goes_on", e.NO_WORDS
        case "class":
            return "class_changed", e.ClassChange(said, severity(said), "why")
        case "spare":
            return "spare_noted", e.SpareWord(said)
        case "cancel":
            return "cancelled", e.Cancellation("false alarm")
        case "reopen":
            return "dissatisfied", e.CallBack()
        case _:
            return "self_healed", e.NO_WORDS
