"""The life of a ticket (docs/tickets.md), row by row of its table."""

from __future__ import annotations

import pytest

from collector.core.contract import DEFAULT, Contract
from collector.core.problems import Problem, ProblemChange, ProblemNews, ProblemRef
from collector.core.tickets import events as e
from collector.core.tickets.desk import desk_all
from collector.core.tickets.draft import DeskState, Recorded
from collector.core.tickets.on_problems import causes_first
from collector.core.tickets.refused import Refused
from tests.unit.desks import DAY, HOUR, T0, WINDOW, Desk, call, key

DONE = e.Resolution("cable reseated", "picture is back")


def refused(desk: Desk, reason: str, what: str, body: e.Body = e.NO_WORDS, **more: object) -> None:
    before = desk.state
    with pytest.raises(Refused) as caught:
        desk.act(what, body, **more)  # type: ignore[arg-type]
    assert caught.value.reason == reason
    assert desk.state is before


# --- problems -------------------------------------------------------------------------------------------------------


def test_a_problem_opens_a_ticket_and_its_end_closes_one_that_nobody_touched() -> None:
    desk = Desk()
    desk.problem("began", at=100)
    ticket = desk.ticket()
    assert (ticket.id, ticket.state, ticket.fault, ticket.device) == ("2026-0001", "new", "camera_down", "camera-1")
    assert (ticket.event_ms, ticket.notice_ms) == (T0 + 70_000, T0 + 100_000)
    desk.problem("over", at=200)
    ticket = desk.ticket()
    assert (ticket.state, ticket.closed_by, ticket.over_event_ms) == ("closed", "self_healed", T0 + 199_000)
    assert desk.told() == ["opened", "problem_over", "self_healed"]
    desk.check()


def test_a_ticket_is_not_detected_after_it_was_opened_though_the_clock_was_set_back_between() -> None:
    desk = Desk()
    desk.problem("began", at=100, event_ms=T0 + 150_000, detected_ms=T0 + 180_000)
    assert (desk.ticket().event_ms, desk.ticket().detected_ms) == (T0 + 100_000, T0 + 100_000)


def test_what_somebody_has_touched_waits_for_a_person() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("acknowledged")
    desk.problem("over", at=200)
    assert desk.ticket().state == "acknowledged"
    desk.act("resolved", DONE)
    ticket = desk.ticket()
    assert (ticket.state, ticket.worked, ticket.responded_ms) == ("resolved", ("wang",), T0 + 200_000)
    desk.check()


def test_reading_and_commenting_touch_nothing() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("commented", e.Remark("saw it"))
    desk.problem("over", at=200)
    assert desk.ticket().state == "closed"


def test_a_ticket_with_a_call_does_not_heal_by_itself() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("call_attached", e.Call(e.Caller("Nurse Li", "8001")))
    desk.problem("over", at=200)
    assert desk.ticket().state == "new"


def test_an_assigned_ticket_is_somebodys() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("assigned", e.Assignment("sun"))
    desk.problem("over", at=200)
    assert (desk.ticket().state, desk.ticket().assigned) == ("new", "sun")
    desk.act("resolved", DONE)
    for worker in ("sun", "wang"):
        refused(desk, "worked_on_it", "confirmed", e.Satisfaction("good"), who=worker)


def test_who_called_is_still_to_be_called_back_in_the_next_round() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("call_attached", e.Call(e.Caller("Nurse Li", "8001")))
    desk.problem("over", at=200)
    desk.act("resolved", DONE)
    desk.problem("again", at=300)
    assert (desk.ticket().state, desk.ticket().touched) == ("new", False)
    desk.problem("over", at=400)
    assert desk.ticket().state == "new"


def test_readings_that_were_good_are_bad_again() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("acknowledged", at=100)
    desk.problem("over", at=200)
    assert (desk.ticket().acknowledged_ms, desk.ticket().over_event_ms) == (T0 + 100_000, T0 + 199_000)
    desk.problem("again", at=300)
    assert (desk.ticket().over_event_ms, desk.ticket().over_ms) == (None, None)
    assert desk.ticket().times == (T0, T0 + 300_000)
    refused(desk, "not_recovered", "resolved", DONE)


def test_whoever_responded_has_worked_on_it() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("responded", e.Response("remote"), who="sun")
    assert desk.ticket().worked == ("sun",)


def test_the_same_problem_again_reopens_within_the_window_and_opens_a_linked_one_after_it() -> None:
    desk = Desk()
    desk.problem("began")
    desk.problem("over", at=HOUR)
    desk.problem("again", at=HOUR + WINDOW - 1)
    ticket = desk.ticket()
    assert (ticket.id, ticket.state, ticket.round) == ("2026-0001", "new", 2)
    assert ticket.notice_ms == desk.now_ms
    desk.problem("over", at=2 * WINDOW)
    desk.problem("again", at=3 * WINDOW)
    assert desk.last == "2026-0002"
    assert desk.told("2026-0001")[-1] == "window_over"
    desk.check()


def test_the_window_ends_by_itself_and_the_desk_says_when() -> None:
    desk = Desk()
    desk.problem("began")
    at_first = desk.state.wake_ms
    desk.problem("over", at=HOUR)
    assert (at_first, desk.state.wake_ms) == (T0 + 6_300_000, T0 + round((HOUR + WINDOW) * 1000))
    assert desk.wait(HOUR + WINDOW - 1) == []
    desk.wait(HOUR + WINDOW)
    assert desk.told()[-1] == "window_over"
    assert (desk.state.wake_ms, desk.state.tickets, desk.state.problems) == (None, {}, {})
    desk.check()


def test_after_the_third_time_it_is_recurring_and_further_times_are_only_counted() -> None:
    desk = Desk()
    desk.problem("began")
    for day in range(1, 3):
        desk.problem("over", at=day * DAY - HOUR)
        desk.problem("again", at=day * DAY)
    assert desk.told()[-2:] == ["reopened", "recurring"]
    rows = [what for what in desk.told() if what != "escalated"]
    for time in range(100):
        desk.problem("over", at=2 * DAY + time * HOUR + 1, times=time)
        desk.problem("again", at=2 * DAY + time * HOUR + 2, times=time + 1)
    assert [what for what in desk.told() if what != "escalated"] == rows
    assert desk.ticket().state == "new"
    assert desk.problems[key()].problem.times == 100
    desk.problem("over", at=9 * DAY)
    desk.act("resolved", DONE)
    assert not desk.ticket().recurring
    assert len(desk.projection) == 1
    desk.check()


def test_a_recurring_ticket_says_since_when_it_is_calm_and_asks_about_it() -> None:
    desk = Desk()
    desk.problem("began")
    for hour in (1, 2):
        desk.problem("over", at=hour * HOUR - 60)
        desk.problem("again", at=hour * HOUR)
    assert desk.ticket().recurring
    rows = len([what for what in desk.told() if what.startswith("problem_")])
    for day in range(7):  # it flaps by day and is calm for less than a day
        for time in range(20):
            desk.problem("over", at=day * DAY + (3 + time) * HOUR)
            desk.problem("again", at=day * DAY + (3 + time) * HOUR + 60)
    assert len([what for what in desk.told() if what.startswith("problem_")]) == rows
    end = 7 * DAY
    desk.problem("over", at=end)
    for at in (end + DAY - 1, end + DAY):
        desk.wait(at)
        desk.check()
        assert (desk.ticket().over_ms is None) == (at < end + DAY)
    assert desk.ticket().over_event_ms == T0 + round((end - 1) * 1000), "since it was, not since it was told"
    assert desk.ticket().state == "new"
    desk.problem("again", at=end + 1.5 * DAY)
    assert desk.ticket().over_ms is None, "it is there again"
    desk.problem("over", at=end + 1.6 * DAY)
    for at in (end + 2.6 * DAY, end + 3.6 * DAY):
        desk.wait(at)
        desk.check()
    assert desk.told()[-1] == "asked"


def test_a_week_of_flapping_is_one_ticket_and_few_rows() -> None:
    desk = Desk()
    desk.problem("began")
    for time in range(1_680):  # every six minutes
        desk.problem("over" if time % 2 == 0 else "again", at=time * 360)
    assert len(desk.projection) == 1
    assert len(desk.told()) < 20
    desk.check()


def test_a_symptom_opens_nothing_and_stands_once_on_its_causes_ticket() -> None:
    desk = Desk()
    router, camera = key("router_dead", "router"), key()
    desk.problem("began", router)
    desk.problem("began", camera, cause=router)
    desk.problem("over", camera, cause=router)
    desk.problem("again", camera, cause=router)
    assert desk.told() == ["opened", "problem_attached"]
    assert desk.ticket().problems[camera].role == "symptom"
    desk.problem("over", router, at=100)
    assert desk.ticket().state == "closed"
    desk.problem("caused", camera, at=400, cause=None)
    assert (desk.ticket().id, desk.ticket().fault) == ("2026-0002", "camera_down")
    desk.check()


def test_a_ticket_that_nobody_touched_follows_a_cause_that_has_none() -> None:
    desk = Desk()
    router, camera = key("router_dead", "router"), key()
    desk.problem("began", camera)
    desk.problem("caused", camera, at=30, cause=router)
    desk.problem("began", router, at=30)
    ticket = desk.ticket()
    assert (len(desk.projection), ticket.fault, ticket.device, ticket.root) == (1, "router_dead", "router", router)
    assert ticket.sla_class == "disaster"
    assert ticket.held() == [router]
    desk.problem("over", camera, at=40, cause=router)
    assert desk.ticket().state == "new"
    desk.problem("over", router, at=50)
    assert desk.ticket().state == "closed"
    desk.check()


def test_a_symptom_hears_of_its_cause_before_that_begins() -> None:
    router, camera, other = key("router_dead", "router"), key(), key(device="camera-2")

    def change(news: ProblemNews, ref: ProblemRef, cause: ProblemRef | None = None) -> ProblemChange:
        problem = Problem(
            site="north", vehicle="amb-1", key=ref.key, rule="r", rule_version=1, state="active", event_ms=1,
            detected_ms=2, cause=cause,
        )  # fmt: skip
        return ProblemChange(problem, news)

    told = [
        change("over", other),
        change("began", router),
        change("began", other),
        change("caused", camera, router),
        change("caused", other, router),
        change("caused", router, key("power_lost", "power")),
    ]
    over, began, another, caused, late, last = told
    assert causes_first(told) == [over, caused, began, another, late, last]


def test_many_changes_at_once_are_the_same_as_one_after_the_other() -> None:
    """A fleet that comes back: 300 problems begin, end and come again, some of them explained by another."""
    one = Desk()
    told: list[ProblemChange] = []
    for number in range(100):
        refs = [key(device=f"camera-{n}", vehicle=f"amb-{number}") for n in range(3)]
        for news, ref in zip(("began", "over", "again") * 3, sorted(refs * 3), strict=True):
            problem = Problem(
                site="north", vehicle=ref.vehicle, key=ref.key, rule="r", rule_version=1, event_ms=T0, detected_ms=T0,
                state="over" if news == "over" else "active", cause=refs[0] if number % 2 and ref != refs[0] else None,
            )  # fmt: skip
            told.append(ProblemChange(problem, news))  # type: ignore[arg-type]
    for change in told:
        one.do(change)
    one.check()
    state, effects = desk_all(DeskState(site="north"), told, one.contract, one.now_ms)
    assert state == one.state
    assert [effect for effect in effects if isinstance(effect, Recorded)] == [
        effect for effect in one.effects if isinstance(effect, Recorded)
    ]


def test_a_touched_ticket_and_its_cause_are_linked() -> None:
    desk = Desk()
    router, camera = key("router_dead", "router"), key()
    desk.problem("began", camera)
    desk.act("acknowledged")
    desk.problem("began", router)
    desk.problem("caused", camera, cause=router)
    desk.problem("caused", camera, cause=router)
    assert [link.other for link in desk.ticket("2026-0001").links] == ["2026-0002"]
    assert desk.told("2026-0001") == ["opened", "acknowledged", "linked"]
    desk.check()


def test_late_data_move_the_event_time_back_never_forward() -> None:
    desk = Desk()
    desk.problem("began", at=100)
    desk.problem("moved", event_ms=T0 - 500_000)
    desk.problem("moved", event_ms=T0 + 1)
    assert desk.ticket().event_ms == T0 - 500_000
    assert desk.told() == ["opened", "event_moved"]


def test_missing_data_close_nothing_and_what_is_gone_frees_the_key() -> None:
    desk = Desk()
    desk.problem("began")
    desk.problem("stale", at=10)
    desk.problem("stale", at=20)
    assert desk.told() == ["opened", "data_missing"]
    desk.problem("orphaned", at=30)
    assert desk.ticket().state == "new"
    assert desk.ticket().held() == []
    desk.check()
    desk.problem("began", at=40)
    assert desk.last == "2026-0002"
    desk.check()


def test_what_outlived_its_cause_without_data_gets_a_ticket_when_they_are_back() -> None:
    desk = Desk()
    router, sim = key("router_dead", "router"), key()
    desk.problem("began", router)
    desk.problem("began", sim, cause=router)
    desk.problem("orphaned", router, at=10)
    desk.problem("stale", sim, cause=router, at=20)
    desk.problem("caused", sim, state="stale", at=20)
    assert desk.last == "2026-0001", "nobody knows whether it is still there"
    desk.problem("back", sim, at=30)
    assert desk.last == "2026-0002"
    assert desk.ticket().fault == sim.key.fault
    desk.check()


def test_the_class_goes_by_duty_and_duty_only_raises_it() -> None:
    desk = Desk()
    ref = key("router_dead", "router")
    desk.problem("began", ref, duty="parked")
    assert desk.ticket().sla_class == "general"
    desk.problem("over", ref, at=10)
    desk.problem("again", ref, at=20, duty="on_mission")
    assert desk.ticket().sla_class == "disaster"
    desk.act("acknowledged")
    desk.problem("over", ref, at=30)
    desk.problem("again", ref, at=40, duty="parked")
    assert desk.ticket().sla_class == "disaster"
    other = key("packet_loss", "uplink")
    desk.problem("began", other, duty="parked")
    assert desk.ticket().sla_class == "deferrable"
    desk.act("acknowledged")
    desk.problem("over", other, at=50)
    desk.problem("again", other, at=60, duty="on_duty")
    assert desk.ticket().sla_class == "general"
    assert desk.told()[-1] == "class_changed"


def test_a_rules_own_class_holds() -> None:
    desk = Desk()
    desk.problem("began", sla_class="deferrable")
    assert (desk.ticket().sla_class, desk.ticket().severity) == ("deferrable", "minor")
    desk.problem("began", key(device="camera-2"), sla_class="general", severity="critical")
    assert (desk.ticket().sla_class, desk.ticket().severity) == ("general", "critical")


def test_a_fault_whose_end_no_reading_shows_ends_when_a_person_has_seen_it() -> None:
    desk = Desk()
    ref = key("firmware_changed", "router")
    desk.problem("began", ref, sees_end=False)
    desk.problem("began", key(), sees_end=True)
    desk.act("acknowledged", ticket="2026-0002")
    assert desk.ends() == []
    desk.act("acknowledged", ticket="2026-0001")
    assert desk.ends() == [ref]
    desk.problem("over", ref, at=10, sees_end=False)
    assert desk.ticket("2026-0001").state == "acknowledged"


# --- people ---------------------------------------------------------------------------------------------------------


def test_a_life_from_a_call_to_a_content_user() -> None:
    desk = Desk()
    desk.act("opened", call(text="no picture"), who="zhao", role="dispatcher", at=600, stated=500)
    assert desk.ticket().notice_ms == T0 + 500_000
    desk.act("acknowledged", at=700)
    desk.act("responded", e.Response("remote"), at=800, stated=750)
    desk.act("planned", e.Remark("new cable"), at=900)
    desk.act("planned", e.Remark("new camera"), at=1_000)
    assert (desk.ticket().responded_ms, desk.ticket().planned_ms) == (T0 + 750_000, T0 + 900_000)
    desk.act("waits", e.Wait("vehicle", "dispatch says tomorrow", T0 + 90_000_000), at=1_100)
    assert desk.ticket().is_waiting(desk.now_ms)
    refused(desk, "wait_reason", "waits", e.Wait("weather", "rain", T0 + 90_000_000))
    desk.act("goes_on", at=1_200)
    refused(desk, "not_waiting", "goes_on")
    desk.act("resolved", DONE, at=1_300)
    refused(desk, "worked_on_it", "confirmed", e.Satisfaction("good"))
    desk.act("dissatisfied", e.CallBack(text="gone again"), who="qian", at=1_400)
    ticket = desk.ticket()
    assert (ticket.state, ticket.round, ticket.responded_ms, ticket.worked) == ("new", 2, None, ())
    desk.act("resolved", DONE, who="sun", at=1_500)
    desk.act("confirmed", e.Satisfaction("excellent"), who="qian", at=1_600)
    assert (desk.ticket().state, desk.ticket().closed_by) == ("closed", "confirmed")
    desk.check()


def test_waiting_and_silence_end_by_themselves() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("waits", e.Wait("customer", "they decide", T0 + 10_000))
    desk.act("silenced", e.Silence(T0 + 20_000, "known"))
    ticket = desk.ticket()
    assert [ticket.is_waiting(T0 + ms) for ms in (9_999, 10_000)] == [True, False]
    assert [ticket.is_silenced(T0 + ms) for ms in (19_999, 20_000)] == [True, False]
    refused(desk, "until_past", "silenced", e.Silence(T0, "known"))


def test_resolve_needs_recovered_readings_or_a_reason() -> None:
    desk = Desk()
    desk.problem("began")
    refused(desk, "not_recovered", "resolved", DONE)
    desk.act("resolved", e.Resolution("camera taken out", why_unrecovered="spare is on order"))
    assert desk.ticket().state == "resolved"
    desk.act("confirmed", e.Satisfaction("good"), who="qian")
    desk.wait(WINDOW + 1)
    assert (desk.last, desk.ticket().state) == ("2026-0002", "new")
    assert [(link.other, link.relation) for link in desk.ticket().links] == [("2026-0001", "continues")]
    desk.check()


def test_three_call_backs_on_three_days_that_reach_nobody_close() -> None:
    desk = Desk()
    desk.act("opened", call(), role="dispatcher", who="zhao")
    desk.act("resolved", DONE)
    for day in (1, 2):
        desk.act("not_reached", who="qian", at=day * DAY)
    refused(desk, "same_day", "not_reached", e.CallBack(), who="qian")
    assert desk.ticket().state == "resolved"
    desk.act("not_reached", who="qian", at=3 * DAY)
    assert (desk.ticket().state, desk.ticket().closed_by) == ("closed", "given_up")
    desk.check()


def test_a_false_alarm_opens_nothing_more_until_the_next_time() -> None:
    desk = Desk()
    desk.problem("began")
    desk.act("cancelled", e.Cancellation("drill"))
    desk.problem("moved", at=10, event_ms=T0 - 1)
    desk.problem("caused", at=20, cause=None)
    assert len(desk.projection) == 1
    desk.check()
    desk.problem("over", at=30)
    desk.problem("again", at=40)
    assert desk.last == "2026-0002"
    desk.check()


def test_a_call_is_a_false_alarm_only_with_the_callers_word() -> None:
    desk = Desk()
    desk.act("opened", call(), role="dispatcher", who="zhao")
    refused(desk, "callers_word", "cancelled", e.Cancellation("nothing there"))
    desk.act("cancelled", e.Cancellation("nothing there", callers_word=True))
    assert desk.ticket().state == "cancelled"


def merged() -> Desk:
    """2026-0001 (a call, disaster) merged into 2026-0002 (a camera)."""
    desk = Desk()
    desk.problem("began", key(), at=100)
    desk.problem("began", key(device="camera-2"), at=200)
    desk.act("call_attached", e.Call(e.Caller("Nurse Li")), ticket="2026-0001")
    desk.act("class_changed", e.ClassChange("disaster", "critical", "operation"), ticket="2026-0001")
    desk.act("merged", e.MergeInto("2026-0002"), ticket="2026-0001", at=300)
    return desk


def test_a_merge_keeps_the_earliest_notice_the_higher_class_and_all_callers() -> None:
    desk = merged()
    one, other = desk.ticket("2026-0001"), desk.ticket("2026-0002")
    assert (one.state, one.held()) == ("merged", [])
    assert (other.notice_ms, other.sla_class, len(other.callers)) == (T0 + 100_000, "disaster", 1)
    assert other.held() == [key(device="camera-2"), key()]
    desk.act("commented", e.Remark("same cable"), ticket="2026-0001")
    assert desk.told("2026-0002")[-1] == "commented"
    desk.problem("over", key(), at=400)
    desk.problem("again", key(), at=500)
    assert desk.told("2026-0002")[-2:] == ["problem_over", "problem_again"]
    desk.check()


def test_an_undone_merge_leaves_both_as_if_it_had_not_been() -> None:
    desk = merged()
    desk.act("responded", e.Response("remote"), ticket="2026-0002", at=350)
    desk.act("unmerged", ticket="2026-0001", at=400)
    one, other = desk.ticket("2026-0001"), desk.ticket("2026-0002")
    assert (one.state, one.held(), len(one.callers), one.merged_into) == ("new", [key()], 1, "")
    assert not other.problems[key()].holds, "it says that it was about this for a while"
    assert (other.notice_ms, other.sla_class, other.callers) == (T0 + 200_000, "general", ())
    assert (other.state, other.responded_ms, other.held()) == ("responded", T0 + 350_000, [key(device="camera-2")])
    desk.check()
    desk.act("merged", e.MergeInto("2026-0002"), ticket="2026-0001", at=500)
    assert desk.ticket("2026-0002").held() == [key(device="camera-2"), key()]
    desk.check()


def test_a_merge_cannot_be_undone_once_the_other_is_not_open() -> None:
    desk = merged()
    desk.problem("over", key(), at=400)
    desk.problem("over", key(device="camera-2"), at=400)
    desk.act("resolved", DONE, ticket="2026-0002")
    refused(desk, "not_open", "unmerged", ticket="2026-0001")


def test_merges_that_are_none() -> None:
    desk = merged()
    refused(desk, "itself", "merged", e.MergeInto("2026-0002"), ticket="2026-0002")
    refused(desk, "not_open", "merged", e.MergeInto("2026-0001"), ticket="2026-0002")
    refused(desk, "not_open", "merged", e.MergeInto("2026-0099"), ticket="2026-0002")


def test_a_problem_of_another_ticket_is_not_attached() -> None:
    desk = Desk()
    desk.problem("began", key())
    desk.problem("began", key(device="camera-2"))
    refused(desk, "held_by_other", "problem_attached", e.Attachment(key()))
    refused(desk, "no_such_problem", "problem_attached", e.Attachment(key(device="camera-3")))
    desk.act("problem_attached", e.Attachment(key(device="camera-2")))
    desk.check()


def test_a_corrected_time_corrects_all_that_follows_from_it() -> None:
    desk = Desk()
    desk.problem("began", at=100)
    desk.act("responded", e.Response("remote"), at=900)
    right = e.Correction(2, T0 + 200_000, "typed the wrong hour")
    refused(desk, "not_own", "corrected", right, who="qian")
    refused(desk, "before_notice", "corrected", e.Correction(2, T0 + 50_000, "x"))
    refused(desk, "future", "corrected", e.Correction(2, T0 + 901_000, "x"))
    refused(desk, "no_such_event", "corrected", e.Correction(1, T0 + 200_000, "x"))
    desk.act("corrected", right)
    assert desk.ticket().responded_ms == T0 + 200_000
    assert desk.rows["2026-0001"][1].at_ms == T0 + 900_000, "what was said stands there still"
    refused(desk, "too_late", "corrected", right, at=900 + DAY + 1)
    desk.act("corrected", e.Correction(2, T0 + 300_000, "log of the call"), who="li", role="information")
    assert desk.ticket().responded_ms == T0 + 300_000
    desk.check()


@pytest.mark.parametrize("what", ["cancelled", "closed"])
def test_a_ticket_that_is_over_is_taken_in_hand_for_an_act(what: str) -> None:
    desk = Desk()
    desk.problem("began", at=100)
    desk.act("responded", e.Response("remote"), at=900)
    if what == "cancelled":
        desk.act("cancelled", e.Cancellation("drill"))
    else:
        desk.problem("over")
        desk.act("resolved", DONE)
        desk.act("confirmed", e.Satisfaction("good"), who="qian")
        desk.wait(WINDOW + DAY)
    assert desk.state.tickets == {}
    late = e.Correction(2, T0 + 200_000, "typed the wrong hour")
    refused(desk, "no_such_ticket", "corrected", late, who="li", role="information")
    desk.state = desk.state.with_ticket("2026-0001", desk.rows["2026-0001"])
    desk.act("corrected", late, who="li", role="information")
    assert (desk.ticket().responded_ms, desk.ticket().state) == (T0 + 200_000, what)
    assert desk.state.tickets == {}
    desk.check()


def test_an_act_is_neither_in_the_future_nor_before_the_notice() -> None:
    desk = Desk()
    desk.problem("began", at=100)
    refused(desk, "future", "acknowledged", stated=101)
    refused(desk, "before_notice", "acknowledged", stated=99)
    refused(desk, "no_such_act", "self_healed")
    refused(desk, "no_such_act", "dance")
    refused(desk, "shape", "responded")
    refused(desk, "shape", "opened", call(source="rule"))
    refused(desk, "no_such_ticket", "acknowledged", ticket="2026-0002")


def test_a_call_is_about_nothing_that_is_still_to_happen() -> None:
    """A moment ahead is another clock; more is a wrong date, which nobody would see again once it is taken."""
    desk = Desk()
    refused(desk, "future", "opened", call(event_ms=T0 + 60_001))
    refused(desk, "future", "opened", call(detected_ms=T0 + 60_001))
    desk.act("opened", call(event_ms=T0 + 60_000, detected_ms=T0 + 1))
    assert (desk.ticket().event_ms, desk.ticket().detected_ms) == (T0, T0)


def test_numbers_begin_anew_each_year_of_the_sites_own_zone() -> None:
    desk = Desk()
    desk.problem("began", at=0)
    new_year = 101 * DAY + 1 * HOUR + 46 * 60 + 40  # 2026-12-31 16:00 UTC, midnight in Shanghai
    desk.problem("began", key(device="camera-2"), at=new_year - 1)
    desk.problem("began", key(device="camera-3"), at=new_year)
    assert list(desk.projection) == ["2026-0001", "2026-0002", "2027-0001"]
    utc = Desk(contract=Contract(time_zone="UTC"))
    utc.problem("began", at=new_year)
    assert utc.last == "2026-0001"
    desk.check()


def test_the_contract_says_how_long_and_how_often() -> None:
    desk = Desk(contract=Contract(reopen_window_ms=60_000, recurring_times=2, wait_reasons=DEFAULT.wait_reasons))
    desk.problem("began")
    desk.problem("over", at=10)
    desk.problem("again", at=20)
    assert desk.told()[-1] == "recurring"
    assert desk.ticket().state == "new"


# --- tickets of the first version -----------------------------------------------------------------------------------


def migrated() -> Desk:
    """An open ticket of the first version, as the migration writes it."""
    desk = Desk()
    desk.problem("began", at=0)
    opening = desk.rows["2026-0001"][0].body
    assert isinstance(opening, e.Opening)
    facts = {name: getattr(opening, name) for name in opening.__struct_fields__}
    event = e.TicketEvent(
        number=1, what="migrated", at_ms=T0, recorded_ms=T0, who=e.UPGRADE,
        body=e.Migration(**facts, opened_ms=T0 - 9_000_000),
    )  # fmt: skip
    note = e.TicketEvent(number=2, what="noted", at_ms=T0, recorded_ms=T0, who="rule", body=e.Remark("opened: x"))
    desk.rows["2026-0001"] = [event, note]
    desk.projection.clear()
    from collector.core.tickets.fold import fold

    desk.projection["2026-0001"] = fold("north", "2026-0001", [event, note])
    desk.state = desk.again()
    return desk


def test_a_problem_still_active_finds_its_migrated_ticket() -> None:
    desk = migrated()
    assert not desk.ticket().in_contract
    desk.problem("began", at=10)
    desk.problem("moved", at=20, event_ms=T0 - 50_000)
    assert list(desk.projection) == ["2026-0001"]
    desk.problem("over", at=30)
    assert (desk.ticket().state, desk.ticket().in_contract) == ("closed", False)
    desk.problem("again", at=40)
    assert (desk.ticket().state, desk.ticket().in_contract) == ("new", True), "a new occurrence is a new notice"
    desk.check()


def test_nobody_is_told_of_a_migrated_ticket_before_it_is_in_the_contract() -> None:
    desk = migrated()
    desk.act("acknowledged", at=10)
    desk.problem("over", at=20)
    assert desk.state.wake_ms is None
    desk.wait(30 * DAY)
    assert desk.told() == ["migrated", "noted", "acknowledged", "problem_over"]
    desk.act("taken_into_contract")
    desk.wait(30 * DAY + HOUR)
    assert desk.told()[-1] == "taken_into_contract", "its clocks and its day begin with that"
    desk.wait(31 * DAY)
    assert {"escalated", "asked"} <= set(desk.told())
    desk.check()


def test_a_person_takes_a_migrated_ticket_into_the_contract() -> None:
    desk = migrated()
    desk.act("taken_into_contract", at=50)
    assert (desk.ticket().in_contract, desk.ticket().notice_ms) == (True, T0 + 50_000)
    refused(desk, "not_migrated", "taken_into_contract")
    desk.check()
