"""Which events of tickets make a notification, and its words."""

from __future__ import annotations

import json

import msgspec
import pytest

from collector.core.contract import DEFAULT
from collector.core.notifications import Body, duration, message_of, notifications_of, why_it_comes
from collector.core.roster import Person
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.ticket import Ticket
from collector.core.tickets.transitions import TABLE
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan

T0 = 1_790_000_000_000
DEVICES = {"cam1": Device(kind="camera", name="前摄像头"), "cam2": Device(kind="camera")}
SITE = Site(
    name="北区急救中心",
    vehicles={"amb-3": VehiclePlan(name="急救03车", agents={"router": AgentPlan(devices=DEVICES)})},
)
TICKET = Ticket(
    id="2026-0007",
    site="north",
    source="rule",
    vehicle="amb-3",
    device="cam1",
    fault="camera_down",
    severity="major",
    sla_class="general",
    event_ms=T0 - 8 * 60_000,
    detected_ms=T0,
    opened_ms=T0,
    notice_ms=T0,
    changed_ms=T0,
)
CLOSED = msgspec.structs.replace(TICKET, state="closed", over_event_ms=TICKET.event_ms + 5_400_000)


def recorded(ticket: Ticket, what: str, number: int = 1, at_ms: int = T0) -> Recorded:
    event = TicketEvent(number=number, what=what, at_ms=at_ms, recorded_ms=at_ms, who="rule", body=e.NO_WORDS)
    return Recorded(ticket, event)


def test_the_fact_comes_first_and_what_to_do_last() -> None:
    (one,) = notifications_of([recorded(TICKET, "opened")], SITE)
    body = json.loads(one.body)
    assert body["text"] == {
        "zh": "急救03车 前摄像头 摄像头离线 8 分钟 (一般性故障), 工单 2026-0007: 检查摄像头供电",
        "en": "急救03车 前摄像头 Camera offline for 8 min (general fault), 2026-0007: check camera power",
    }
    assert (one.ticket, one.created_ms, one.key) == ("2026-0007", T0, body["id"])
    assert {key: body[key] for key in ("what", "site", "vehicle", "device", "fault", "event_ms", "detected_ms")} == {
        "what": "opened", "site": "north", "vehicle": "amb-3", "device": "cam1", "fault": "camera_down",
        "event_ms": T0 - 480_000, "detected_ms": T0,
    }  # fmt: skip


def test_resolved_says_how_long_it_lasted() -> None:
    (one,) = notifications_of([recorded(CLOSED, "self_healed", 3, T0 + 5_000_000)], SITE)
    text = msgspec.json.decode(one.body, type=Body).text
    assert text.zh == "急救03车 前摄像头 已恢复: 摄像头离线, 历时 1 小时 30 分钟, 工单 2026-0007"
    assert text.en == "急救03车 前摄像头 resolved: Camera offline, lasted 1 h 30 min, 2026-0007"


def test_other_events_give_none() -> None:
    told = {
        "opened", "reopened", "reopened_by_hand", "self_healed", "resolved", "dissatisfied", "escalated", "asked",
        "call_back_drawn", "assigned", "taken_over", "cancelled", "merged", "unmerged",
    }  # fmt: skip
    assert notifications_of([recorded(TICKET, what) for what in TABLE if what not in told], SITE) == []


def body_of(what: str, body: e.Body, at_ms: int = T0) -> Body:
    one = recorded(TICKET, what, 2, at_ms)
    (found,) = notifications_of([Recorded(one.ticket, msgspec.structs.replace(one.event, body=body))], SITE)
    return msgspec.json.decode(found.body, type=Body)


def test_an_escalation_says_which_clock_how_late_and_who_is_asked() -> None:
    soon = e.Escalation("engineer", "", "response/general", 1, T0 + 15 * 60_000)
    text = body_of("escalated", soon).text
    assert text.zh == "急救03车 前摄像头 摄像头离线: 工单 2026-0007 响应时限还剩 15 分钟, 请 工程师 处理"
    assert text.en == "急救03车 前摄像头 Camera offline: 2026-0007, response 15 min left, for engineer"
    late = e.Escalation("manager", "", "solution/general", 2, T0 - 3_600_000)
    assert body_of("escalated", late).text.en.endswith("solution overdue by 1 h 0 min, for manager")
    now = body_of("escalated", e.Escalation("manager", "", "response/general", 2, T0 - 20_000)).text
    assert now.zh.endswith("工单 2026-0007 响应时限已到, 请 主管 处理"), "and not: over by 20 seconds"
    assert now.en.endswith("2026-0007, response due now, for manager")
    by_hand = e.Escalation("sun", "the customer is angry")
    assert body_of("escalated", by_hand).text.zh.endswith("工单 2026-0007 升级至 sun: the customer is angry")


def test_what_a_person_has_opened_again_says_who_is_not_content_and_why() -> None:
    bad = body_of("dissatisfied", e.CallBack(e.Caller("李护士", "8001"), "还是没有图像")).text
    assert bad.zh == (
        "急救03车 前摄像头 摄像头离线: 工单 2026-0007 (一般性故障) 回访未解决 (李护士 8001): 还是没有图像"
    )
    assert bad.en.endswith("2026-0007 (general fault), call-back: not solved (李护士 8001): 还是没有图像")
    by_hand = body_of("reopened_by_hand", e.Remark("又坏了")).text
    assert by_hand.zh.endswith("工单 2026-0007 (一般性故障) 人工重新打开: 又坏了")
    assert by_hand.en.endswith("2026-0007 (general fault), reopened by hand: 又坏了")


def test_a_call_says_who_called_and_what_for() -> None:
    ticket = msgspec.structs.replace(TICKET, source="call", fault="", device="")
    opening = e.Opening(
        source="call", fault="", sla_class="general", severity="major", vehicle="amb-3", event_ms=T0, detected_ms=T0,
        caller=e.Caller("Nurse Li", "8001"), text="no picture\nsince this morning",
    )  # fmt: skip

    def told(opening: e.Opening) -> Body:
        one = recorded(ticket, "opened")
        (found,) = notifications_of([Recorded(ticket, msgspec.structs.replace(one.event, body=opening))], SITE)
        return msgspec.json.decode(found.body, type=Body)

    text = told(opening).text
    assert text.zh == "急救03车 报修: 工单 2026-0007 (一般性故障), 报修人 Nurse Li 8001: no picture since this morning"
    assert text.en == (
        "急救03车 a request: 2026-0007 (general fault), from Nurse Li 8001: no picture since this morning"
    )
    long = told(msgspec.structs.replace(opening, caller=None, text="x" * 4000)).text
    assert long.en.endswith("(general fault): " + "x" * 119 + "…")


def test_a_person_is_asked_what_readings_cannot_say() -> None:
    good = e.Escalation("wang", "", "readings_good/1", 1, T0 - 24 * 3_600_000)
    text = body_of("asked", good).text
    assert text.zh == "急救03车 前摄像头 摄像头离线: 工单 2026-0007 读数已恢复 1 天 0 小时, 请 wang 确认后解决"
    assert text.en == "急救03车 前摄像头 Camera offline: 2026-0007, readings good for 1 d 0 h: wang to look and resolve"
    gone = e.Escalation("engineer", "", "orphaned/1", 1, T0)
    assert body_of("asked", gone).text.zh.endswith("车辆、设备或规则已不在, 请 工程师 决定如何处理")


@pytest.mark.parametrize(
    ("what", "body", "zh", "en"),
    [
        ("cancelled", e.Cancellation("washed\nthe van"), "是误报, 已取消: washed the van",
         "was a false alarm, cancelled: washed the van"),
        ("merged", e.MergeInto("2026-0003"), "已并入 2026-0003, 请看该工单", "goes on in 2026-0003"),
        ("unmerged", e.NO_WORDS, "已从另一工单拆出, 单独处理", "is a ticket of its own again"),
    ],
)  # fmt: skip
def test_a_ticket_that_is_gone_says_why_and_where(what: str, body: e.Body, zh: str, en: str) -> None:
    text = body_of(what, body).text
    assert text.zh == f"急救03车 前摄像头 摄像头离线: 工单 2026-0007 {zh}"
    assert text.en == f"急救03车 前摄像头 Camera offline: 2026-0007 {en}"


def test_a_message_says_why_it_comes_and_that_it_is_late() -> None:
    opened, later = body_of("opened", e.NO_WORDS), body_of("cancelled", e.Cancellation("a test"))
    contract = msgspec.structs.replace(DEFAULT, roster={"zhao": Person(name="赵工", role="engineer")})
    why = why_it_comes(("zhao",), ("sms",), contract)
    assert why.zh == "转自 赵工 (未能通知本人): sms 未送达: "
    assert why.en == "passed on from 赵工, who could not be told: sms did not deliver it: "
    late = message_of([opened, opened], "sun", "", later, why)
    assert (late.id, late.folded, late.what) == (f"{opened.id}/sun", 2, "cancelled")
    assert late.text.zh == f"{why.zh}补发 2 条较早的通知, 最新: {later.text.zh}"
    assert late.text.en == f"{why.en}2 from before this, late; the latest: {later.text.en}"
    assert message_of([opened], "zhao", "").text == opened.text


def test_a_call_back_names_who_was_drawn() -> None:
    told = body_of("call_back_drawn", e.Draw("qian", ("qian", "zhao"), "north/2026-0007/1"))
    assert told.what == "call_back"
    assert told.text.zh == "急救03车 前摄像头 摄像头离线: 工单 2026-0007 请 qian 回访"


def test_nobody_is_told_of_a_ticket_of_the_first_version() -> None:
    migrated = msgspec.structs.replace(CLOSED, in_contract=False)
    assert notifications_of([recorded(migrated, "self_healed")], SITE) == []


def test_each_turn_of_a_ticket_is_a_notification_of_its_own_and_the_same_one_every_time() -> None:
    turns = (("opened", TICKET), ("self_healed", CLOSED), ("reopened", TICKET), ("self_healed", CLOSED))
    told = [recorded(ticket, what, number) for number, (what, ticket) in enumerate(turns, start=1)]
    found = notifications_of(told, SITE)
    assert len({one.key for one in found}) == 4
    assert [json.loads(one.body)["what"] for one in found] == ["opened", "resolved", "reopened", "resolved"]
    assert "再次摄像头离线" in json.loads(found[2].body)["text"]["zh"]
    assert notifications_of(told, SITE) == found


def test_the_site_and_what_the_fleet_file_does_not_know() -> None:
    site = msgspec.structs.replace(TICKET, id="2026-0008", vehicle="", device="north", fault="site_unreachable")
    strange = msgspec.structs.replace(TICKET, id="2026-0009", vehicle="x", device="y", fault="unheard_of")
    found = notifications_of([recorded(site, "opened"), recorded(strange, "opened")], SITE)
    texts = [json.loads(one.body)["text"]["zh"] for one in found]
    assert texts == [
        "北区急救中心 站点通信中断 8 分钟 (一般性故障), 工单 2026-0008: 联系站点网络，查看消息服务所在主机",
        "x y unheard_of 8 分钟 (一般性故障), 工单 2026-0009",
    ]


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (-5, "0 秒", "0 s"),
        (59.9, "59 秒", "59 s"),
        (60, "1 分钟", "1 min"),
        (3600, "1 小时 0 分钟", "1 h 0 min"),
        (90_000, "1 天 1 小时", "1 d 1 h"),
    ],
)
def test_durations(seconds: float, zh: str, en: str) -> None:
    assert duration(round(seconds * 1000)) == (zh, en)
