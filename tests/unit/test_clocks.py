"""The contract's clocks: its worked examples to the minute, and what they leave open."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pytest
from msgspec.structs import replace

from collector.calendars import load_calendar
from collector.core.calendar import Calendar
from collector.core.clocks import DEFAULT_CLASSES, ClassTerms, Clock, Facts, Spare, Terms, clocks
from telemetry.faults import SlaClass

ZONE = zoneinfo.ZoneInfo("Asia/Shanghai")
CALENDAR = load_calendar(None)
HOUR = 3_600_000


def at(text: str) -> int:
    """Return ``2026-05-08 16:00`` in Shanghai as UTC milliseconds."""
    return round(datetime.datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def local(time_ms: int | None) -> str | None:
    if time_ms is None:
        return None
    return datetime.datetime.fromtimestamp(time_ms / 1000, ZONE).strftime("%Y-%m-%d %H:%M")


def facts(
    sla_class: SlaClass,
    notice: str,
    *responses: str,
    changes: tuple[tuple[str, SlaClass], ...] = (),
    waits: tuple[tuple[str, str, str], ...] = (),
    plans: tuple[str, ...] = (),
    resolved: str | None = None,
    spare: Spare | None = None,
    ended: str | None = None,
) -> Facts:
    return Facts(
        at(notice),
        ((at(notice), sla_class), *((at(when), what) for when, what in changes)),
        responses=tuple(at(text) for text in responses),
        plans=tuple(at(text) for text in plans),
        resolved_ms=None if resolved is None else at(resolved),
        waits=tuple((reason, at(first), at(last)) for reason, first, last in waits),
        spares=() if spare is None else ((at(notice), spare),),
        ended_ms=None if ended is None else at(ended),
    )


def dues(told: Facts, terms: Terms | None = None, calendar: Calendar = CALENDAR) -> dict[str, str | None]:
    """Return when each clock is due, by what it is."""
    return {clock.what: local(clock.due_ms) for clock in clocks(told, terms or Terms(), calendar)}


# --- the worked examples of the contract (docs/contract.md), by their numbers -----------------------------------------

WAITED = (("customer", "2026-05-11 10:00", "2026-05-13 10:00"),)
EXAMPLES: list[tuple[str, Facts, Terms, dict[str, str | None]]] = [
    ("1", facts("disaster", "2026-10-03 02:10"), Terms(), {"response": "2026-10-03 03:10"}),
    (
        "2",
        facts("general", "2026-05-08 16:00", "2026-05-08 17:00"),
        Terms(),
        {"response": "2026-05-08 18:00", "solution": "2026-05-13 00:00"},
    ),
    ("3", facts("general", "2026-04-30 08:30", "2026-04-30 09:00"), Terms(), {"solution": "2026-05-09 00:00"}),
    ("4", facts("change", "2026-02-13 09:30", "2026-02-13 10:00"), Terms(), {"solution": "2026-03-03 00:00"}),
    ("5", facts("general", "2025-12-31 14:00", "2025-12-31 15:00"), Terms(), {"solution": "2026-01-07 00:00"}),
    ("6", facts("general", "2026-12-31 09:00", "2026-12-31 10:00"), Terms(), {"solution": None}),
    (
        "7",
        facts("general", "2026-05-08 16:00", "2026-05-08 17:00", waits=WAITED),
        Terms(),
        {"response": "2026-05-08 18:00", "solution": "2026-05-15 00:00"},
    ),
    (
        "8",
        facts("general", "2026-05-08 22:30", "2026-05-09 03:00"),
        Terms(),
        {"response": "2026-05-09 00:30", "solution": "2026-05-14 00:00"},
    ),
    ("9", facts("hardware", "2026-09-30 10:00", spare="at_hand"), Terms(), {"solution": "2026-10-03 00:00"}),
    (
        "9 with roll_off_holidays",
        facts("hardware", "2026-09-30 10:00", spare="at_hand"),
        Terms(roll_off_holidays=True),
        {"solution": "2026-10-09 00:00"},
    ),
    ("10", facts("deferrable", "2026-03-02 08:00"), Terms(), {"solution": "2026-03-10 00:00"}),
    (
        "11",
        facts("general", "2026-03-02 10:00", changes=(("2026-03-02 10:30", "disaster"),)),
        Terms(),
        {"response": "2026-03-02 11:30"},
    ),
    (
        "11, raised 11:40",
        facts("general", "2026-03-02 10:00", changes=(("2026-03-02 11:40", "disaster"),)),
        Terms(),
        {"response": "2026-03-02 12:00"},
    ),
    (
        "12",
        facts("disaster", "2026-03-02 10:00", changes=(("2026-03-02 10:30", "general"),)),
        Terms(),
        {"response": "2026-03-02 12:00"},
    ),
    ("13", facts("general", "2026-09-19 10:30", "2026-09-19 11:00"), Terms(), {"solution": "2026-09-23 00:00"}),
    ("14", facts("general", "2026-03-02 08:47"), Terms(), {"response": "2026-03-02 10:47"}),
]


@pytest.mark.parametrize(("told", "terms", "due"), [row[1:] for row in EXAMPLES], ids=[row[0] for row in EXAMPLES])
def test_the_worked_examples(told: Facts, terms: Terms, due: dict[str, str | None]) -> None:
    found = dues(told, terms)
    assert {what: found[what] for what in due} == due


def test_a_missing_year_is_named() -> None:
    found = clocks(facts("general", "2026-12-31 09:00", "2026-12-31 10:00"), Terms(), CALENDAR)
    assert (found[1].missing_year, found[1].status(at("2026-12-31 11:00"))) == (2027, "not_computable")


# --- what they leave open ---------------------------------------------------------------------------------------------


def test_without_a_response_the_second_clock_starts_when_it_was_due() -> None:
    assert dues(facts("general", "2026-05-08 16:00"))["solution"] == "2026-05-13 00:00"
    assert dues(facts("general", "2026-05-08 23:00"))["solution"] == "2026-05-14 00:00"  # due on Saturday 9, make-up


def test_parts_stop_nothing_and_the_response_clock_never_stops() -> None:
    waits = (("parts", "2026-05-11 10:00", "2026-05-13 10:00"), ("customer", "2026-05-08 16:10", "2026-05-08 16:50"))
    found = dues(facts("general", "2026-05-08 16:00", "2026-05-08 17:00", waits=waits))
    assert found == {"response": "2026-05-08 18:00", "solution": "2026-05-13 00:00"}


def test_a_waiting_over_midnight_and_a_weekend_counts_in_minutes() -> None:
    # Friday 22 May 12:00 to Monday 25 May 06:00: 12 h of Friday and 6 h of Monday do not count, the weekend never did
    waits = (("vehicle", "2026-05-22 12:00", "2026-05-25 06:00"),)
    found = dues(facts("general", "2026-05-20 09:00", "2026-05-20 09:30", waits=waits))
    assert found["solution"] == "2026-05-26 18:00"  # without: Thursday 21, Friday 22, Monday 25


def test_overlapping_waits_are_one() -> None:
    waits = (("customer", "2026-05-11 10:00", "2026-05-12 12:00"), ("vehicle", "2026-05-12 00:00", "2026-05-13 10:00"))
    found = dues(facts("general", "2026-05-08 16:00", "2026-05-08 17:00", waits=waits))
    assert found["solution"] == "2026-05-15 00:00"


def test_hardware_without_a_spare_is_general() -> None:
    for spare in ("ordered", "none", None):
        found = dues(facts("hardware", "2026-09-30 10:00", spare=spare))
        assert found == {"response": "2026-09-30 12:00", "solution": "2026-10-11 00:00"}  # 8, 9 and make-up 10 October


def test_a_roll_off_moves_calendar_days_off_every_day_that_is_not_worked() -> None:
    """Days of rest by law (法定休假日, art. 203) are weekends too; a made-up Saturday is none."""
    terms = Terms(roll_off_holidays=True)
    assert dues(facts("deferrable", "2026-03-14 10:00"), terms)["solution"] == "2026-03-24 00:00"  # from Saturday 21
    assert dues(facts("deferrable", "2026-02-21 10:00"), terms)["solution"] == "2026-03-01 00:00"  # made-up Saturday 28
    assert dues(facts("general", "2026-03-12 08:00"), terms)["solution"] == "2026-03-18 00:00"  # 13, 16, 17 March


def test_waiting_in_the_day_that_it_rolled_to_stops_it() -> None:
    waits = (("customer", "2026-10-08 10:00", "2026-10-08 16:00"),)
    told = facts("hardware", "2026-09-30 10:00", spare="at_hand", waits=waits)
    assert dues(told, Terms(roll_off_holidays=True))["solution"] == "2026-10-09 06:00"


def test_raised_after_the_response_a_response_is_asked_for_again() -> None:
    told = facts("general", "2026-03-02 10:00", "2026-03-02 10:20", changes=(("2026-03-02 15:00", "disaster"),))
    found = clocks(told, Terms(), CALENDAR)
    assert [(clock.what, local(clock.due_ms), local(clock.ended_ms)) for clock in found] == [
        ("response", "2026-03-02 12:00", "2026-03-02 10:20"),
        ("response", "2026-03-02 16:00", None),
    ]
    found = clocks(told, Terms(raise_asks_again=False), CALENDAR)
    assert [(clock.what, local(clock.due_ms)) for clock in found] == [("response", "2026-03-02 12:00")]


def test_a_raised_second_clock_never_ends_later_than_the_old_one() -> None:
    # a change request of Monday 2 March, plan due 12 March; raised to general on 10 March: 11, 12, 13 would be later
    told = facts("change", "2026-03-02 09:00", "2026-03-02 10:00", changes=(("2026-03-10 09:00", "general"),))
    found = {clock.what: clock for clock in clocks(told, Terms(), CALENDAR)}
    assert local(found["solution"].due_ms) == "2026-03-12 00:00"
    assert found["solution"].steps[-1].what == "capped"
    early = facts("change", "2026-03-02 09:00", "2026-03-02 10:00", changes=(("2026-03-03 09:00", "general"),))
    assert dues(early)["solution"] == "2026-03-07 00:00"  # the new clock: 4, 5, 6 March


def test_lowered_the_new_clock_runs_from_the_notice() -> None:
    told = facts("general", "2026-03-02 10:00", "2026-03-02 10:30", changes=(("2026-03-05 09:00", "change"),))
    assert dues(told) == {"response": "2026-03-02 12:00", "solution": "2026-03-12 00:00"}


def test_a_raised_second_clock_does_not_start_before_the_raise() -> None:
    # a change request that nobody answered (due Monday 2 March 12:00) is raised on Wednesday: 5, 6 and 9 March
    told = facts("change", "2026-03-02 10:00", "2026-03-04 11:00", changes=(("2026-03-04 10:00", "general"),))
    assert dues(told)["solution"] == "2026-03-10 00:00"


def test_a_clock_that_had_ended_does_not_hold_the_new_one() -> None:
    # the plan came in time; the spare part comes a week later, and is to be fitted in two days from then
    told = facts("hardware", "2026-03-02 10:00", "2026-03-02 10:30", plans=("2026-03-03 09:00",), spare="ordered")
    told = replace(told, spares=(*told.spares, (at("2026-03-12 09:00"), "at_hand")))
    assert dues(told)["solution"] == "2026-03-15 00:00"


def test_raised_where_one_of_both_ends_cannot_be_computed() -> None:
    # the plan is due on 30 December; raised that day the new clock would need 2027: the old end lies before that
    told = facts("change", "2026-12-21 09:00", "2026-12-21 10:00", changes=(("2026-12-29 09:00", "general"),))
    assert dues(told)["solution"] == "2026-12-31 00:00"
    # nothing is known of 2026, but no clock ends before it starts: the old one's end, before the raise, holds
    told = facts("deferrable", "2026-01-05 10:00", changes=(("2026-01-20 10:00", "general"),))
    assert dues(told, calendar=Calendar())["solution"] == "2026-01-13 00:00"
    # the old one ends in 2027, where is not known; so the new one's two days from New Year's Eve may be too long
    old = facts("hardware", "2026-12-30 09:00", "2026-12-30 10:00", spare="ordered")
    (_, solution) = clocks(replace(old, spares=((at("2026-12-31 09:00"), "at_hand"),)), Terms(), CALENDAR)
    assert (solution.due_ms, solution.missing_year) == (None, 2027)


def test_lowered_again_a_response_is_shown_once() -> None:
    changes: Any = (("2026-03-02 15:00", "disaster"), ("2026-03-02 15:10", "general"))
    told = facts("general", "2026-03-02 10:00", "2026-03-02 10:20", changes=changes)
    found = clocks(told, Terms(), CALENDAR)
    assert [(clock.what, local(clock.ended_ms)) for clock in found] == [
        ("response", "2026-03-02 10:20"),
        ("solution", None),
    ]


def test_where_a_raise_asks_for_nothing_again_an_earlier_response_counts() -> None:
    told = facts("deferrable", "2026-03-02 10:00", "2026-03-02 10:20", changes=(("2026-03-02 15:00", "general"),))
    (response, solution) = clocks(told, Terms(raise_asks_again=False), CALENDAR)
    assert (response.status(at("2026-03-03 00:00")), local(solution.start_ms)) == ("met", "2026-03-02 15:00")
    assert clocks(told, Terms(), CALENDAR)[0].status(at("2026-03-03 00:00")) == "missed"


ON_SITE = Terms(
    classes={**DEFAULT_CLASSES, "disaster": ClassTerms(HOUR, on_site_ms=4 * HOUR, recovery_ms=8 * HOUR)},
)


def test_on_site_and_recovery_are_counted_as_second_clocks_are() -> None:
    waits = (("vehicle", "2026-03-02 11:00", "2026-03-02 13:00"), ("parts", "2026-03-02 13:00", "2026-03-02 14:00"))
    told = facts("disaster", "2026-03-02 10:00", waits=waits)
    assert dues(told, ON_SITE) == {
        "response": "2026-03-02 11:00", "on_site": "2026-03-02 16:00", "recovery": "2026-03-02 20:00",
    }  # fmt: skip
    raised = facts("consultation", "2026-03-02 10:00", changes=(("2026-03-03 09:00", "disaster"),))
    assert (dues(raised, ON_SITE)["on_site"], dues(raised, ON_SITE)["recovery"]) == (
        "2026-03-03 13:00",
        "2026-03-03 17:00",
    )


def test_what_was_resolved_from_afar_needs_nobody_on_site() -> None:
    told = facts("disaster", "2026-03-02 10:00", "2026-03-02 10:40", resolved="2026-03-02 10:40")
    found = clocks(told, ON_SITE, CALENDAR)
    assert {clock.what: clock.status(at("2026-03-09 00:00")) for clock in found} == {
        "response": "met", "on_site": "met", "recovery": "met",
    }  # fmt: skip


def test_clocks_exist_from_the_contracts_start_on() -> None:
    terms = Terms(start_ms=at("2026-04-01 00:00"))
    assert dues(facts("general", "2026-03-31 23:59"), terms) == {}
    assert "response" in dues(facts("general", "2026-04-01 00:00"), terms)


@pytest.mark.parametrize(
    ("told", "now", "status"),
    [
        (facts("disaster", "2026-03-02 10:00"), "2026-03-02 11:00", "running"),
        (facts("disaster", "2026-03-02 10:00"), "2026-03-02 11:01", "missed"),
        (facts("disaster", "2026-03-02 10:00", "2026-03-02 11:00"), "2026-03-02 12:00", "met"),
        (facts("disaster", "2026-03-02 10:00", "2026-03-02 11:01"), "2026-03-02 12:00", "missed"),
        (facts("disaster", "2026-03-02 10:00", ended="2026-03-02 10:40"), "2026-03-02 12:00", "void"),
        (facts("disaster", "2026-03-02 10:00", ended="2026-03-02 11:10"), "2026-03-02 12:00", "missed"),
    ],
)
def test_how_a_clock_stands(told: Facts, now: str, status: str) -> None:
    assert clocks(told, Terms(), CALENDAR)[0].status(at(now)) == status


def test_a_plan_or_resolving_ends_the_second_clock() -> None:
    def solution(**more: Any) -> Clock:
        return clocks(facts("general", "2026-03-02 10:00", "2026-03-02 10:30", **more), Terms(), CALENDAR)[1]

    assert local(solution(plans=("2026-03-03 09:00", "2026-03-04 09:00")).ended_ms) == "2026-03-03 09:00"
    assert local(solution(resolved="2026-03-03 10:00").ended_ms) == "2026-03-03 10:00"
    assert solution().ended_ms is None


def test_summer_time_moves_no_midnight() -> None:
    """The last day ends at 24:00 local time, though Sunday 29 March 2026 has 23 hours in Berlin."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    notice = round(datetime.datetime(2026, 3, 27, 10, tzinfo=berlin).timestamp() * 1000)
    told = Facts(notice, ((notice, "deferrable"),))
    (clock,) = clocks(told, Terms(time_zone="Europe/Berlin"), CALENDAR)
    assert clock.due_ms == round(datetime.datetime(2026, 4, 4, tzinfo=berlin).timestamp() * 1000)


def test_what_is_waited_in_the_hour_that_comes_twice_counts() -> None:
    """On 25 October 2026 in Berlin 02:50 to 02:10 is 20 minutes: they are owed, and paid the day after the last."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    notice = round(datetime.datetime(2026, 10, 20, 10, tzinfo=berlin).timestamp() * 1000)
    first = datetime.datetime(2026, 10, 25, 2, 50, tzinfo=berlin).timestamp() * 1000
    last = datetime.datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=berlin).timestamp() * 1000
    told = Facts(notice, ((notice, "deferrable"),), waits=(("customer", round(first), round(last)),))
    (clock,) = clocks(told, Terms(time_zone="Europe/Berlin"), CALENDAR)
    assert clock.due_ms == round(datetime.datetime(2026, 10, 28, 0, 20, tzinfo=berlin).timestamp() * 1000)


def test_a_waiting_without_end_is_not_computable() -> None:
    waits = (("customer", "2026-03-03 00:00", "2046-01-01 00:00"),)
    found = clocks(facts("deferrable", "2026-03-02 08:00", waits=waits), Terms(), CALENDAR)
    assert found[0].due_ms is None
