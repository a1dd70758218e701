"""What people do to tickets beyond the plain walk: raised after the response, up by hand, opened again, each caller."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import msgspec
import pytest

from collector.core.clocks import Clock
from collector.core.roster import Away, Person
from collector.core.tickets import events as e
from collector.core.tickets.promises import clocks_of
from collector.core.tickets.refused import Reason, Refused
from collector.core.tickets.timers import drawn
from tests.unit.desks import DAY, HOUR, T0, WINDOW, Desk, call, key
from tests.unit.test_desk_clocks import CONTRACT, MINUTE, desk_with, escalations, pass_time

LI, MA = e.Caller("Nurse Li", "8001"), e.Caller("Dr Ma", "8002")
DONE = e.Resolution("tightened the plug")
WORSE = e.ClassChange("disaster", "critical", "no video at all")


def refused(desk: Desk, reason: Reason, what: str, body: e.Body = e.NO_WORDS, **more: Any) -> Refused:
    before = desk.state
    with pytest.raises(Refused) as caught:
        desk.act(what, body, **more)
    assert caught.value.reason == reason
    assert desk.state is before
    return caught.value


def responses(desk: Desk) -> list[Clock]:
    found = clocks_of(desk.ticket(), desk.rows[desk.last], desk.contract)
    return [clock for clock in found if clock.what == "response"]


def ms(seconds: float) -> int:
    return T0 + round(seconds * 1000)


# --- a class raised after the response --------------------------------------------------------------------------------


def test_raised_after_the_response_somebody_responds_again() -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=30 * MINUTE)
    refused(desk, "responded_already", "responded", e.Response("remote"))
    desk.act("class_changed", WORSE, at=HOUR)
    assert [clock.status(desk.now_ms) for clock in responses(desk)] == ["met", "running"]
    desk.act("responded", e.Response("remote"), at=1.5 * HOUR)
    assert [clock.status(desk.now_ms) for clock in responses(desk)] == ["met", "met"]
    assert desk.ticket().responded_ms == ms(30 * MINUTE), "the first one is the ticket's"
    refused(desk, "responded_already", "responded", e.Response("remote"))
    pass_time(desk, 5 * DAY)
    assert [clock for _, clock, _, _ in escalations(desk) if clock.startswith("response")] == []


@pytest.mark.parametrize(("what", "body"), [("planned", e.Remark("new camera")), ("resolved", DONE)])
def test_what_is_more_than_a_response_is_one_after_a_raise_too(what: str, body: e.Body) -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=30 * MINUTE)
    desk.act("class_changed", WORSE, at=HOUR)
    desk.act(what, body, at=1.5 * HOUR)
    assert [clock.status(desk.now_ms + 3_600_000) for clock in responses(desk)] == ["met", "met"]


def test_a_contract_may_not_ask_again() -> None:
    terms = msgspec.structs.replace(CONTRACT, terms=type(CONTRACT.terms)(raise_asks_again=False))
    desk = Desk(terms)
    desk.act("opened", call(), who="zhao", role="dispatcher")
    desk.act("responded", e.Response("remote"), at=30 * MINUTE)
    desk.act("class_changed", WORSE, at=HOUR)
    refused(desk, "responded_already", "responded", e.Response("remote"))


# --- up by hand -------------------------------------------------------------------------------------------------------


def test_up_by_hand_the_next_level_is_told_at_once_and_not_again_at_its_time() -> None:
    desk = desk_with(sla_class="disaster", severity="critical")
    pass_time(desk, 50 * MINUTE)
    desk.act("escalated", e.Escalation(why="nobody knows this modem"))
    pass_time(desk, 12 * HOUR)
    assert escalations(desk) == [
        (45 * MINUTE, "response/disaster", 1, "engineer"),
        (50 * MINUTE, "response/disaster", 2, "manager"),
        (120 * MINUTE, "response/disaster", 3, "information"),
    ]
    refused(desk, "no_level_left", "escalated", e.Escalation(why="still nobody"))
    desk.act("escalated", e.Escalation("li manager", "still nobody"))
    assert escalations(desk)[-1] == (12 * HOUR, "", 0, "li manager")


def test_it_goes_up_to_somebody_whom_the_contract_knows_and_with_a_reason() -> None:
    desk = desk_with()
    refused(desk, "no_such_person", "escalated", e.Escalation("the boss", "hard"))
    found = refused(desk, "no_reason", "escalated", e.Escalation("sun", " "))
    assert found.found == "why"
    desk.act("escalated", e.Escalation("sun", "hard", "response/general", 3))
    assert escalations(desk) == [(0.0, "", 0, "sun")], "a level counts as told only where it was"


# --- opened again -----------------------------------------------------------------------------------------------------


def test_a_person_opens_again_what_is_not_closed_for_good() -> None:
    desk = desk_with()
    desk.act("resolved", DONE, at=HOUR)
    refused(desk, "no_reason", "reopened_by_hand")
    refused(desk, "no_reason", "commented", e.Remark(" "))
    desk.act("reopened_by_hand", e.Remark("Nurse Li: black again"), who="zhao", at=2 * HOUR, stated=1.5 * HOUR)
    ticket = desk.ticket()
    assert (ticket.state, ticket.round, ticket.touched, ticket.worked) == ("new", 2, True, ())
    assert ticket.notice_ms == ms(1.5 * HOUR), "notice is when it was said"
    assert [clock.due_ms for clock in responses(desk)] == [ms(3.5 * HOUR)]
    desk.act("resolved", DONE, at=3 * HOUR)
    desk.act("confirmed", e.Satisfaction("good"), who="qian", at=4 * HOUR)
    desk.act("reopened_by_hand", e.Remark("once more"), who="zhao", at=5 * HOUR)
    assert desk.ticket().round == 3
    desk.act("resolved", DONE, at=6 * HOUR)
    desk.act("confirmed", e.Satisfaction("good"), who="qian", at=7 * HOUR)
    desk.check()
    desk.wait(7 * HOUR + WINDOW + 1)
    desk.state = desk.state.with_ticket(desk.last, desk.rows[desk.last])
    refused(desk, "window_over", "reopened_by_hand", e.Remark("years later"))


def test_what_a_user_was_not_content_with_does_not_close_by_itself() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", key(), at=0)
    desk.act("resolved", e.Resolution("swapped", why_unrecovered="readings lag"), at=20)
    desk.act("dissatisfied", who="qian", at=30)
    desk.problem("over", key(), at=40)
    assert (desk.ticket().state, desk.ticket().round) == ("new", 2)
    desk.check()


# --- corrected times --------------------------------------------------------------------------------------------------


def test_a_time_is_corrected_within_its_own_round() -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=100)
    desk.act("resolved", DONE, at=HOUR)
    desk.act("dissatisfied", who="qian", at=2 * HOUR)
    desk.act("corrected", e.Correction(2, ms(50), "clock of the van"), at=3 * HOUR)
    fixed = [event.at_ms for event in desk.rows[desk.last] if event.what == "responded"]
    assert fixed == [ms(100)], "the events stay as they were written"
    refused(desk, "before_notice", "corrected", e.Correction(2, ms(-1), "x"))
    desk.check()


def test_a_notice_is_not_moved_past_what_was_done_since() -> None:
    desk = desk_with()
    desk.act("responded", e.Response("remote"), at=10 * MINUTE)
    first = e.Correction(1, ms(20 * MINUTE), "they called later")
    refused(desk, "acts_before", "corrected", first, who="zhao", role="dispatcher", at=30 * MINUTE)
    desk.act("corrected", e.Correction(1, ms(5 * MINUTE), "x"), who="zhao", role="dispatcher")
    assert [clock.due_ms for clock in responses(desk)] == [ms(125 * MINUTE)]
    desk.act("resolved", DONE, at=HOUR)
    desk.act("dissatisfied", who="qian", at=2 * HOUR)
    number = desk.rows[desk.last][-1].number
    desk.act("corrected", e.Correction(number, ms(1.5 * HOUR), "they said so earlier"), who="qian", at=3 * HOUR)
    assert desk.ticket().notice_ms == ms(1.5 * HOUR)
    desk.check()


# --- call-backs -------------------------------------------------------------------------------------------------------


def two_callers() -> Desk:
    """A resolved ticket into which another caller's was merged."""
    desk = desk_with(caller=LI)
    desk.act("opened", call(caller=MA), who="zhao", role="dispatcher")
    desk.act("merged", e.MergeInto("2026-0001"), ticket="2026-0002", at=10)
    desk.act("call_attached", e.Call(LI), ticket="2026-0001", at=20)
    desk.act("resolved", DONE, ticket="2026-0001", at=HOUR)
    assert desk.ticket("2026-0001").to_ask() == (LI, MA), "who called twice is called back once"
    return desk


def test_each_caller_is_called_back_before_the_ticket_closes() -> None:
    desk = two_callers()
    one = "2026-0001"
    found = refused(desk, "which_caller", "confirmed", e.Satisfaction("good"), who="qian", ticket=one)
    assert found.found == "Nurse Li 8001, Dr Ma 8002"
    refused(desk, "which_caller", "confirmed", e.Satisfaction("good", e.Caller("Dr Who")), who="qian", ticket=one)
    desk.act("confirmed", e.Satisfaction("good", e.Caller("Nurse Li")), who="qian", ticket=one, at=2 * HOUR)
    assert (desk.ticket(one).state, desk.ticket(one).to_ask()) == ("resolved", (MA,))
    refused(desk, "which_caller", "confirmed", e.Satisfaction("good", e.Caller("Nurse Li")), who="qian", ticket=one)
    desk.act("confirmed", e.Satisfaction("excellent"), who="qian", ticket=one, at=3 * HOUR)
    assert (desk.ticket(one).state, desk.ticket(one).closed_by) == ("closed", "confirmed")
    assert [event.body.caller for event in desk.rows[one] if event.what == "confirmed"] == [LI, MA]  # type: ignore[attr-defined]
    desk.check()


def test_one_caller_who_is_not_content_opens_it_again_and_all_are_asked_anew() -> None:
    desk = two_callers()
    one = "2026-0001"
    desk.act("confirmed", e.Satisfaction("good", e.Caller("Nurse Li")), who="qian", ticket=one, at=2 * HOUR)
    desk.act("dissatisfied", e.CallBack(), who="qian", ticket=one, at=3 * HOUR)
    assert (desk.ticket(one).state, desk.ticket(one).to_ask()) == ("new", (LI, MA))


def test_each_caller_is_tried_on_three_days() -> None:
    desk = two_callers()
    one = "2026-0001"
    for day in (1, 2, 3):
        desk.act("not_reached", e.CallBack(MA), who="qian", ticket=one, at=day * DAY)
    assert (desk.ticket(one).state, desk.ticket(one).to_ask()) == ("resolved", (LI,))
    desk.act("confirmed", e.Satisfaction("good"), who="qian", ticket=one, at=4 * DAY)
    assert (desk.ticket(one).state, desk.ticket(one).closed_by) == ("closed", "confirmed")
    desk = two_callers()
    desk.act("confirmed", e.Satisfaction("good", LI), who="qian", ticket=one, at=2 * HOUR)
    for day in (1, 2, 3):
        desk.act("not_reached", who="qian", ticket=one, at=day * DAY)
    assert (desk.ticket(one).state, desk.ticket(one).closed_by) == ("closed", "confirmed"), "somebody has answered"
    desk = two_callers()
    for day in (1, 2, 3):
        for caller in (LI, MA):
            desk.act("not_reached", e.CallBack(caller), who="qian", ticket=one, at=day * DAY)
    assert (desk.ticket(one).state, desk.ticket(one).closed_by) == ("closed", "given_up")
    desk.check()


@pytest.mark.parametrize(
    ("vehicle", "sla_class", "key_set", "closed"),
    [("", "deferrable", False, True), ("", "deferrable", True, False), ("", "general", False, False),
     ("amb-1", "deferrable", False, False)],
)  # fmt: skip
def test_what_can_wait_of_the_centre_itself_needs_no_call_back(
    vehicle: str, sla_class: str, key_set: bool, closed: bool
) -> None:
    desk = Desk(msgspec.structs.replace(CONTRACT, call_back_own_deferrable=key_set))
    ref = key("outbox_volatile", "collector", vehicle)
    desk.problem("began", ref, sla_class=sla_class)
    desk.act("resolved", e.Resolution("mended", why_unrecovered="test"), at=60)
    assert desk.told()[-1] == ("no_call_back" if closed else "call_back_drawn")
    assert desk.ticket().state == ("closed" if closed else "resolved")
    assert desk.ticket().closed_by == ("no_call_back" if closed else "")


def test_a_call_back_for_which_nobody_is_left_goes_up_all_the_same() -> None:
    desk = Desk(msgspec.structs.replace(CONTRACT, roster={"wang": CONTRACT.roster["wang"]}))
    desk.act("opened", call(), who="wang")
    desk.act("resolved", DONE, at=HOUR)
    assert desk.told()[-1] == "resolved", "nobody could be drawn"
    pass_time(desk, 12 * DAY)
    assert [(clock, to) for _, clock, _, to in escalations(desk)] == [
        ("call_back/1", "engineer"), ("call_back/1", "manager"), ("call_back/1", "information"),
    ]  # fmt: skip


def test_a_draw_over_a_year_that_is_put_in_later_is_due_then() -> None:
    short = msgspec.structs.replace(CONTRACT, calendar=type(CONTRACT.calendar)({}))
    desk = Desk(short)
    desk.act("opened", call(), who="zhao", role="dispatcher")
    desk.act("resolved", DONE, at=HOUR)
    (found,) = [event.body for event in desk.rows[desk.last] if isinstance(event.body, e.Draw)]
    assert (found.until_ms, found.to) == (None, drawn(found.seed, found.among))
    pass_time(desk, 10 * DAY)
    assert escalations(desk) == []
    desk.contract, desk.state = CONTRACT, desk.state.under(CONTRACT)
    desk.wait(11 * DAY)
    assert [clock for _, clock, _, _ in escalations(desk)] == ["call_back/1"]


def test_nobody_who_is_absent_is_drawn_while_somebody_is_there() -> None:
    """The stand-in may be who worked on it, and could not call back."""
    day = datetime.datetime.fromtimestamp(T0 / 1000, zoneinfo.ZoneInfo("Asia/Shanghai")).date()
    away = (Away(day, day, "wang"),)

    def drawn_among(*absent: str) -> tuple[str, ...]:
        people = {
            id: Person(name=id, role="engineer", away=away if id in absent else ()) for id in ("wang", "qian", "zhao")
        }
        desk = Desk(msgspec.structs.replace(CONTRACT, roster=people))
        desk.act("opened", call(), who="wang", role="engineer")
        desk.act("resolved", DONE, who="wang", role="engineer", at=60)
        (found,) = [event.body for event in desk.rows[desk.last] if isinstance(event.body, e.Draw)]
        return found.among

    assert drawn_among() == ("qian", "zhao")
    assert drawn_among("qian") == ("zhao",)
    assert drawn_among("qian", "zhao") == ("qian", "zhao"), "else nobody would call back"


# --- what readings cannot say -----------------------------------------------------------------------------------------


def asked(desk: Desk) -> list[tuple[float, str, str]]:
    """(seconds after T0, of what, whom) of each."""
    return [
        ((event.at_ms - T0) / 1000, event.body.clock.partition("/")[0], event.body.to)
        for event in desk.rows[desk.last]
        if event.what == "asked" and isinstance(event.body, e.Escalation)
    ]


def test_a_day_after_the_readings_are_good_somebody_is_asked_once() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", sla_class="deferrable")
    desk.act("acknowledged", at=60)
    desk.problem("over", at=HOUR)
    pass_time(desk, HOUR + DAY - 1)
    assert asked(desk) == []
    pass_time(desk, 4 * DAY)
    assert asked(desk) == [(HOUR + DAY, "readings_good", "engineer")]
    desk.act("assigned", e.Assignment("qian"))
    desk.problem("again", at=4 * DAY + HOUR)
    desk.problem("over", at=4 * DAY + 2 * HOUR)
    pass_time(desk, 5 * DAY + HOUR)
    assert len(asked(desk)) == 1, "it is another end, with a day of its own"
    pass_time(desk, 6 * DAY)
    assert asked(desk)[1:] == [(5 * DAY + 2 * HOUR, "readings_good", "qian")]
    assert desk.ticket().is_open


def test_nobody_is_asked_about_what_is_resolved_or_silenced() -> None:
    for what, body in (("resolved", DONE), ("silenced", e.Silence(ms(9 * DAY), "known"))):
        desk = Desk(CONTRACT)
        desk.problem("began", sla_class="deferrable")
        desk.act("acknowledged", at=60)
        desk.problem("over", at=HOUR)
        desk.act(what, body, at=2 * HOUR)
        pass_time(desk, 6 * DAY)
        assert asked(desk) == []


def test_a_round_that_begins_with_good_readings_has_a_day_too() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", sla_class="deferrable")
    desk.act("acknowledged", at=60)
    desk.problem("over", at=HOUR)
    desk.act("resolved", DONE, at=2 * HOUR)
    desk.act("dissatisfied", who="qian", at=3 * DAY)
    pass_time(desk, 3 * DAY + 23 * HOUR)
    assert asked(desk) == []
    pass_time(desk, 5 * DAY)
    assert asked(desk) == [(4 * DAY, "readings_good", "engineer")]


def test_what_is_gone_is_asked_about_at_once_and_what_is_not_seen_after_a_day() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", sla_class="deferrable")
    desk.problem("stale", at=HOUR)
    pass_time(desk, 3 * DAY)
    assert asked(desk) == [(HOUR + DAY, "data_missing", "engineer")]
    desk.problem("orphaned", at=4 * DAY)
    pass_time(desk, 4 * DAY + 1)
    assert asked(desk)[1:] == [(4 * DAY, "orphaned", "engineer")]
    assert desk.ticket().state == "new", "never closed by it"
    desk.check()


def test_what_a_person_is_asked_is_no_level_to_go_up_to() -> None:
    desk = Desk(CONTRACT)
    desk.problem("began", sla_class="consultation")
    desk.act("responded", e.Response("remote"), at=60)
    desk.problem("over", at=HOUR)
    refused(desk, "no_level_left", "escalated", e.Escalation(why="hard"))
