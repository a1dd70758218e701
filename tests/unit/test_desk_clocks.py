"""What time asks of tickets: clocks as the events make them, escalation, call-backs."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

import msgspec
import pytest

from collector.contract import load_contract
from collector.core.calendar import Calendar
from collector.core.clocks import Clock
from collector.core.contract import Contract
from collector.core.roster import Person
from collector.core.tickets import events as e
from collector.core.tickets.calendar_need import missing_years
from collector.core.tickets.promises import clocks_of, settled_ms
from collector.core.tickets.timers import draw, drawn
from tests.unit.desks import DAY, HOUR, T0, Desk, call, key

ROSTER = {
    "wang": Person(name="王工", role="engineer"),
    "qian": Person(name="钱工", role="engineer"),
    "zhao": Person(name="赵", role="dispatcher"),
    "sun": Person(name="孙经理", role="manager"),
    "li": Person(name="李", role="information"),
}
CONTRACT: Contract = msgspec.structs.replace(load_contract(None).contract, roster=ROSTER)
MINUTE = 60.0


def desk_with(**opening: Any) -> Desk:
    """A desk with one ticket of a call at T0 (Mon 2026-09-21 22:13:20 in Shanghai)."""
    desk = Desk(CONTRACT)
    desk.act("opened", call(**opening), who="zhao", role="dispatcher")
    return desk


def clocks(desk: Desk) -> dict[str, Clock]:
    ticket = desk.ticket()
    return {clock.what: clock for clock in clocks_of(ticket, desk.rows[ticket.id], desk.contract)}


def escalations(desk: Desk) -> list[tuple[float, str, int, str]]:
    """(seconds after T0, clock, level, to) of each."""
    return [
        ((event.at_ms - T0) / 1000, event.body.clock, event.body.level, event.body.to)
        for event in desk.rows[desk.last]
        if isinstance(event.body, e.Escalation)
    ]


def pass_time(desk: Desk, until: float) -> None:
    """Wake the desk whenever it wants that, as the owner does."""
    while (wake_ms := desk.state.wake_ms) is not None and wake_ms <= T0 + until * 1000:
        desk.wait(max(desk.now, (wake_ms - T0) / 1000))
        desk.check()
        assert desk.state.wake_ms is None or desk.state.wake_ms > desk.now_ms, "it would be woken for ever"
    desk.wait(until)


def shanghai(time_ms: int) -> str:
    zone = datetime.timezone(datetime.timedelta(hours=8))
    return datetime.datetime.fromtimestamp(time_ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S")


def test_a_disaster_that_nobody_answers_goes_up_before_and_after_its_hour() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    pass_time(desk, 12 * HOUR)
    assert escalations(desk) == [
        (45 * MINUTE, "response/disaster", 1, "engineer"),
        (60 * MINUTE, "response/disaster", 2, "manager"),
        (120 * MINUTE, "response/disaster", 3, "information"),
    ]
    assert clocks(desk)["response"].status(desk.now_ms) == "missed"


@pytest.mark.parametrize(("at", "told"), [(44.9, 0), (45.1, 1), (59.9, 1), (60.1, 2)])
def test_a_response_ends_it_on_either_side_of_each_level(at: float, told: int) -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    pass_time(desk, at * MINUTE)
    desk.act("responded", e.Response("remote"), at=at * MINUTE)
    pass_time(desk, 12 * HOUR)
    assert len(escalations(desk)) == told
    assert clocks(desk)["response"].status(desk.now_ms) == ("met" if at < 60 else "missed")


def test_acknowledging_is_not_responding() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    desk.act("acknowledged", at=5 * MINUTE)
    pass_time(desk, 3 * HOUR)
    assert len(escalations(desk)) == 3


def test_after_an_outage_of_the_centre_one_is_told_not_three() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    desk.wait(30 * HOUR)
    assert escalations(desk) == [(30 * HOUR, "response/disaster", 3, "information")]
    pass_time(desk, 40 * HOUR)
    assert len(escalations(desk)) == 1


def test_the_second_clock_runs_from_the_response_over_working_days() -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=HOUR)
    found = clocks(desk)
    assert found["response"].status(desk.now_ms) == "met"
    due_ms = found["solution"].due_ms
    assert due_ms is not None
    # Mon 21 does not count; 22, 23, 24 September do; the 25th is the Mid-Autumn Festival
    assert shanghai(due_ms) == "2026-09-25 00:00:00"
    pass_time(desk, 10 * DAY)
    assert [(clock, level) for _, clock, level, _ in escalations(desk)] == [("solution/general", n) for n in (1, 2, 3)]
    assert escalations(desk)[1][0] == (due_ms - T0) / 1000


def test_a_plan_ends_it_and_a_plan_alone_is_the_response_too() -> None:
    desk = desk_with()
    desk.act("planned", at=HOUR)
    found = clocks(desk)
    assert {what: clock.status(desk.now_ms) for what, clock in found.items()} == {"response": "met", "solution": "met"}
    pass_time(desk, 30 * DAY)
    assert escalations(desk) == []


def test_a_wait_for_the_customer_stops_the_second_clock_and_ends_when_work_goes_on() -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=HOUR)
    before_ms = clocks(desk)["solution"].due_ms
    desk.act("waits", e.Wait("customer", "mail", T0 + round(40 * HOUR * 1000)), at=10 * HOUR)
    planned_ms = clocks(desk)["solution"].due_ms
    desk.act("goes_on", at=20 * HOUR)
    after_ms = clocks(desk)["solution"].due_ms
    assert before_ms is not None
    assert planned_ms is not None
    assert after_ms is not None
    assert before_ms < after_ms < planned_ms
    desk.act("waits", e.Wait("parts", "order", T0 + round(90 * HOUR * 1000)), at=21 * HOUR)
    assert clocks(desk)["solution"].due_ms == after_ms, "the supplier's own matter stops nothing"


def test_a_corrected_time_moves_every_clock_and_what_was_told_stays_told() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    pass_time(desk, 50 * MINUTE)
    desk.act("responded", e.Response("remote"), at=70 * MINUTE)
    assert clocks(desk)["response"].status(desk.now_ms) == "missed"
    told = len(escalations(desk))
    number = desk.rows[desk.last][-1].number
    desk.act("corrected", e.Correction(number, T0 + round(40 * MINUTE * 1000), "typed late"), at=80 * MINUTE)
    assert clocks(desk)["response"].status(desk.now_ms) == "met"
    assert len(escalations(desk)) == told


def test_a_class_that_is_raised_is_escalated_as_the_new_one() -> None:
    desk = desk_with()
    desk.act("class_changed", e.ClassChange("disaster", "critical", "no video at all"), at=30 * MINUTE)
    due_ms = clocks(desk)["response"].due_ms
    assert due_ms == T0 + round(90 * MINUTE * 1000)
    pass_time(desk, 3 * HOUR)
    assert [row[:3] for row in escalations(desk)] == [
        (75 * MINUTE, "response/disaster", 1),
        (90 * MINUTE, "response/disaster", 2),
        (150 * MINUTE, "response/disaster", 3),
    ]  # fmt: skip


def test_while_it_is_silenced_nobody_is_told_and_then_once() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    desk.act("silenced", e.Silence(T0 + round(5 * HOUR * 1000), "works in the garage"), at=MINUTE)
    pass_time(desk, 5 * HOUR - 1)
    assert escalations(desk) == []
    pass_time(desk, 6 * HOUR)
    assert escalations(desk) == [(5 * HOUR, "response/disaster", 3, "information")]


def test_hardware_counts_only_with_a_spare_at_hand() -> None:
    with_one = desk_with(sla_class="hardware", spare="at_hand")
    assert {what: shanghai(clock.due_ms or 0) for what, clock in clocks(with_one).items()} == {
        "solution": "2026-09-24 00:00:00"
    }
    without = desk_with(sla_class="hardware")
    assert set(clocks(without)) == {"response", "solution"}
    without.act("responded", e.Response("on_site"), at=HOUR)
    without.act("spare_noted", e.SpareWord("at_hand"), at=1.5 * HOUR)
    due_ms = clocks(without)["solution"].due_ms
    assert due_ms is not None
    assert shanghai(due_ms) == "2026-09-24 00:00:00"


def test_a_spare_that_was_at_hand_from_the_beginning_is_so_from_an_earlier_notice_too() -> None:
    desk = Desk(CONTRACT)
    desk.act("opened", call(sla_class="deferrable", severity="minor"), who="zhao")
    earlier = desk.last
    desk.act("opened", call(sla_class="hardware", spare="at_hand"), who="zhao", at=26 * HOUR)
    desk.act("merged", e.MergeInto(desk.last), ticket=earlier, at=27 * HOUR)
    found = clocks_of(desk.ticket(desk.last), desk.rows[desk.last], CONTRACT)
    assert [(clock.what, clock.start_ms) for clock in found] == [("solution", T0)]


def test_a_merge_into_a_less_grave_ticket_buys_no_time() -> None:
    """R4: a disaster of 22:13 merged 50 minutes later into a general fault is due at 23:13, not at 0:03."""
    desk = Desk(CONTRACT)
    desk.act("opened", call(sla_class="disaster", severity="critical"), who="zhao")
    grave = desk.last
    desk.act("opened", call(sla_class="general"), who="zhao", at=10 * MINUTE)
    desk.act("merged", e.MergeInto(desk.last), ticket=grave, at=50 * MINUTE)
    response = clocks(desk)["response"]
    assert (response.sla_class, response.start_ms) == ("disaster", desk.now_ms)
    assert response.due_ms == T0 + round(HOUR * 1000)
    desk.act("unmerged", ticket=grave, at=55 * MINUTE)
    assert clocks(desk)["response"].due_ms == T0 + round((10 * MINUTE + 2 * HOUR) * 1000)


def test_what_was_answered_before_a_merge_shortens_no_clock() -> None:
    desk = Desk(CONTRACT)
    desk.act("opened", call(sla_class="disaster", severity="critical"), who="zhao")
    grave = desk.last
    desk.act("responded", e.Response("remote"), ticket=grave, at=5 * MINUTE)
    desk.act("opened", call(sla_class="consultation"), who="zhao", at=10 * MINUTE)
    desk.act("merged", e.MergeInto(desk.last), ticket=grave, at=50 * MINUTE)
    assert clocks(desk)["response"].due_ms == T0 + round(110 * MINUTE * 1000)


def test_a_solution_brought_by_a_merge_is_due_when_it_was() -> None:
    """Three working days from the response there, not seven from the notice here."""
    desk = Desk(CONTRACT)
    desk.act("opened", call(sla_class="general"), who="zhao")
    grave = desk.last
    desk.act("responded", e.Response("remote"), ticket=grave, at=HOUR)
    due_ms = clocks(desk)["solution"].due_ms
    desk.act("opened", call(sla_class="deferrable", severity="minor"), who="zhao", at=2 * HOUR)
    desk.act("merged", e.MergeInto(desk.last), ticket=grave, at=DAY)
    assert clocks(desk)["solution"].due_ms == due_ms


def test_a_round_that_begins_again_has_clocks_and_levels_of_its_own() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", key("site_unreachable"))
    pass_time(desk, 3 * HOUR)
    first = len(escalations(desk))
    assert first == 3
    desk.act("resolved", e.Resolution("restarted", why_unrecovered="test"), at=3 * HOUR)
    desk.act("dissatisfied", who="qian", at=4 * HOUR)
    assert clocks(desk)["response"].start_ms == desk.now_ms
    pass_time(desk, 8 * HOUR)
    assert len(escalations(desk)) == 2 * first


def test_another_contract_counts_anew_from_the_same_events() -> None:
    desk = desk_with()
    wake_ms = desk.state.wake_ms
    shorter = msgspec.structs.replace(
        CONTRACT, terms=load_contract(None, "UTC").terms, escalation={**CONTRACT.escalation, "response": ()}
    )
    desk.contract = shorter
    desk.state = desk.state.under(shorter)
    assert wake_ms is not None
    assert desk.state.wake_ms is not None
    assert desk.state.wake_ms > wake_ms
    desk.check()


def test_a_year_without_a_calendar_is_said_and_never_guessed() -> None:
    desk = Desk(CONTRACT)
    begin = datetime.datetime(2049, 3, 1, 4, tzinfo=datetime.UTC).timestamp() - T0 / 1000
    desk.act("opened", call(event_ms=T0 + round(begin * 1000)), who="zhao", at=begin)
    desk.act("responded", e.Response("remote"), at=begin + HOUR)
    solution = clocks(desk)["solution"]
    assert (solution.due_ms, solution.missing_year, solution.status(desk.now_ms)) == (None, 2049, "not_computable")


# --- call-backs -------------------------------------------------------------------------------------------------------


def test_whoever_worked_on_it_is_never_drawn_and_the_draw_can_be_done_again() -> None:
    for _ in range(3):
        desk = desk_with()
        desk.act("responded", e.Response("remote"), at=HOUR)
        desk.act("resolved", e.Resolution("tightened the plug"), who="wang", at=1.5 * HOUR)
        (found,) = [event.body for event in desk.rows[desk.last] if isinstance(event.body, e.Draw)]
        assert found.among == ("qian", "zhao")
        assert found.to == drawn(found.seed, found.among)
        assert found.until_ms is not None
        assert shanghai(found.until_ms) == "2026-09-25 00:00:00"
        assert not found.worked


def test_everybody_is_drawn_about_as_often() -> None:
    ids = [f"p{n}" for n in range(5)]
    counts = Counter(drawn(f"north/2026-{n:04d}/1", ids) for n in range(5_000))
    assert min(counts.values()) > 900, counts


def test_where_all_have_worked_it_falls_to_the_managers() -> None:
    desk = desk_with()
    for who in ("wang", "qian", "zhao"):
        desk.act("assigned", e.Assignment(who), who="sun", role="manager", at=MINUTE)
    desk.act("resolved", e.Resolution("done"), at=HOUR)
    (found,) = [event.body for event in desk.rows[desk.last] if isinstance(event.body, e.Draw)]
    assert (found.to, found.among, found.worked) == ("sun", ("sun",), True)
    nobody = msgspec.structs.replace(CONTRACT, roster={})
    assert draw(desk.ticket(), nobody, desk.now_ms) is None


def test_a_call_back_that_nobody_makes_goes_up() -> None:
    desk = desk_with()
    desk.act("resolved", e.Resolution("done"), at=HOUR)
    pass_time(desk, 12 * DAY)
    told = [(shanghai(T0 + round(at * 1000)), clock, to) for at, clock, _, to in escalations(desk)]
    assert told == [
        ("2026-09-24 00:00:00", "call_back/1", "engineer"),
        ("2026-09-25 00:00:00", "call_back/1", "manager"),
        ("2026-09-26 00:00:00", "call_back/1", "information"),
    ]
    desk = desk_with()
    desk.act("resolved", e.Resolution("done"), at=HOUR)
    desk.act("confirmed", e.Satisfaction("excellent"), who="qian", at=2 * HOUR)
    pass_time(desk, 2 * DAY)
    assert escalations(desk) == []


# --- years and editions -----------------------------------------------------------------------------------------------


def without(*years: int) -> Contract:
    known = {year: one for year, one in CONTRACT.calendar.years.items() if year not in years}
    return msgspec.structs.replace(CONTRACT, calendar=Calendar(known))


def at(text: str) -> int:
    zone = datetime.timezone(datetime.timedelta(hours=8))
    return round(datetime.datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def test_which_years_are_missing_whatever_the_tickets() -> None:
    empty = Desk(CONTRACT).state
    assert missing_years(empty, without(2027), at("2026-11-30 23:59")) == []
    assert missing_years(empty, without(2027), at("2026-12-01 00:00")) == [2027]
    assert missing_years(empty, without(2026, 2027), at("2026-12-31 23:59")) == [2026, 2027]
    assert missing_years(empty, without(2027), at("2027-01-01 00:00")) == [2027]


def test_a_year_that_a_clock_or_a_call_back_needs_is_missing_while_it_does() -> None:
    short = without(2027)
    desk = Desk(short)
    desk.act("opened", call(), who="zhao", role="dispatcher")
    now_ms = at("2026-10-08 08:00")
    assert missing_years(desk.state, short, now_ms) == []
    desk.act("responded", e.Response("remote"), at=HOUR)
    desk.act("waits", e.Wait("customer", "letter", at("2027-01-04 00:00")), at=2 * HOUR)
    assert missing_years(desk.state, short, now_ms) == [2027]
    desk.act("planned", at=3 * HOUR)
    assert missing_years(desk.state, short, now_ms) == [], "the clock has ended"
    desk.now = (at("2026-12-30 09:00") - T0) / 1000
    desk.act("resolved", e.Resolution("done"))
    assert missing_years(desk.state, short, at("2026-11-01 00:00")) == [2027], "for its call-back"
    desk.act("confirmed", e.Satisfaction("good"), who="qian")
    assert missing_years(desk.state, short, at("2026-11-01 00:00")) == []


def test_what_is_settled_was_so_when_it_left_the_open_states() -> None:
    desk = desk_with()
    assert settled_ms(desk.ticket(), desk.rows[desk.last]) is None
    desk.act("resolved", e.Resolution("done"), at=HOUR, stated=0.5 * HOUR)
    desk.act("commented", e.Remark("thanks"), at=2 * HOUR)
    assert settled_ms(desk.ticket(), desk.rows[desk.last]) == T0 + round(HOUR * 1000)
    desk.act("dissatisfied", who="qian", at=3 * HOUR)
    assert settled_ms(desk.ticket(), desk.rows[desk.last]) is None
    desk.act("cancelled", e.Cancellation("drill", callers_word=True), at=4 * HOUR)
    assert settled_ms(desk.ticket(), desk.rows[desk.last]) == T0 + round(4 * HOUR * 1000)
