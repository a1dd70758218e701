"""Which effects make a notification, and its words."""

from __future__ import annotations

import json

import msgspec
import pytest

from collector.core.notifications import Body, duration, notifications_of
from collector.core.tickets import ClosedNote, Effect, HistoryEntry, Ticket
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan

T0 = 1_790_000_000_000
DEVICES = {"cam1": Device(kind="camera", name="前摄像头"), "cam2": Device(kind="camera")}
SITE = Site(
    name="北区急救中心",
    vehicles={"amb-3": VehiclePlan(name="急救03车", agents={"router": AgentPlan(devices=DEVICES)})},
)
TICKET = Ticket(
    id="amb-3-7",
    site="north",
    vehicle="amb-3",
    device="cam1",
    key="camera_down/cam1",
    fault="camera_down",
    severity="major",
    sla_class="general",
    state="open",
    rule="camera",
    rule_version=1,
    event_ms=T0 - 8 * 60_000,
    detected_ms=T0,
    opened_ms=T0,
)
RESOLVED = msgspec.structs.replace(
    TICKET, state="resolved", resolved_event_ms=TICKET.event_ms + 5_400_000, resolved_ms=T0 + 5_000_000
)
NOTE = ClosedNote(
    site="north", vehicle="amb-3", device="cam1", key="camera_down/cam1", fault="camera_down", rule="camera",
    rule_version=1, began_ms=1, ended_ms=2, noted_ms=3,
)  # fmt: skip


def entry(what: str, at_ms: int = T0, ticket: str = "amb-3-7") -> HistoryEntry:
    return msgspec.convert({"ticket": ticket, "at_ms": at_ms, "who": "rule", "what": what}, HistoryEntry)


def test_the_fact_comes_first_and_what_to_do_last() -> None:
    (one,) = notifications_of([TICKET, entry("opened")], SITE)
    body = json.loads(one.body)
    assert body["text"] == {
        "zh": "急救03车 前摄像头 摄像头离线 8 分钟 (一般性故障): 检查摄像头供电",
        "en": "急救03车 前摄像头 Camera offline for 8 min (general fault): check camera power",
    }
    assert (one.ticket, one.created_ms, one.key) == ("amb-3-7", T0, body["id"])
    assert {key: body[key] for key in ("what", "site", "vehicle", "device", "fault", "event_ms", "detected_ms")} == {
        "what": "opened", "site": "north", "vehicle": "amb-3", "device": "cam1", "fault": "camera_down",
        "event_ms": T0 - 480_000, "detected_ms": T0,
    }  # fmt: skip


def test_resolved_says_how_long_it_lasted() -> None:
    (one,) = notifications_of([RESOLVED, entry("resolved", T0 + 5_000_000)], SITE)
    text = msgspec.json.decode(one.body, type=Body).text
    assert text.zh == "急救03车 前摄像头 已恢复: 摄像头离线, 历时 1 小时 30 分钟"
    assert text.en == "急救03车 前摄像头 resolved: Camera offline, lasted 1 h 30 min"


def test_notes_moved_events_and_tickets_that_only_changed_give_none() -> None:
    effects: list[Effect] = [NOTE, TICKET, entry("event_moved"), entry("note"), entry("opened", ticket="another")]
    assert notifications_of(effects, SITE) == []


def test_each_turn_of_a_ticket_is_a_notification_of_its_own_and_the_same_one_every_time() -> None:
    effects: list[Effect] = [TICKET, entry("opened"), RESOLVED, entry("resolved"), TICKET, entry("reopened", T0 + 1)]
    effects += [RESOLVED, entry("resolved", T0 + 2)]
    found = notifications_of(effects, SITE)
    assert len({one.key for one in found}) == 4
    assert [json.loads(one.body)["what"] for one in found] == ["opened", "resolved", "reopened", "resolved"]
    assert "再次摄像头离线" in json.loads(found[2].body)["text"]["zh"]
    assert notifications_of(effects, SITE) == found


def test_the_site_and_what_the_fleet_file_does_not_know() -> None:
    site = msgspec.structs.replace(TICKET, id="north.1", vehicle="", device="north", fault="site_unreachable")
    strange = msgspec.structs.replace(TICKET, id="x-1", vehicle="x", device="y", fault="unheard_of")
    effects: list[Effect] = [site, entry("opened", ticket="north.1"), strange, entry("opened", ticket="x-1")]
    found = notifications_of(effects, SITE)
    texts = [json.loads(one.body)["text"]["zh"] for one in found]
    assert texts == ["北区急救中心 站点通信中断 8 分钟 (一般性故障)", "x y unheard_of 8 分钟 (一般性故障)"]


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
