"""What a ticket rests on: first, worst and last samples, the whole kit then, cause and verb, what to do first."""

from __future__ import annotations

import argparse
import json

import pytest

from collector.core.contract import DEFAULT
from collector.core.problems import Evidence
from collector.core.tickets import events as e
from collector.core.tickets.telling import event_words, evidence_lines
from collector.core.vehicle.shown import MOST_KIT
from collector.web.tickets import show_ticket
from kitwatch.tickets import _print_ticket
from telemetry.faults import FAULTS
from tests.unit.desks import Desk, key
from tests.unit.judging import SHIPPED, Story, rules_of, vehicle_plan

HOT = "rules: {hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80, clear: 75}, for: 30s}}"
LOW = "rules: {low: {fault: supply_sag, condition: {metric: power.supply_v, below: 11.7}, for: 30s}}"
SIM = "rules: {sim: {fault: sim_absent, condition: {metric: modem.sim, is: [absent]}, for: 20s}}"


def shown(evidence: Evidence) -> list[tuple[str, object]]:
    return [(sample["shows"], sample["value"]) for sample in evidence.samples]


@pytest.mark.parametrize(
    ("rules", "metric", "bad", "good", "opening", "ending"),
    [
        (
            HOT, "modem.temperature_c", (85, 99, 90, 88, 97), 60,
            [("first", 85), ("worst", 99), ("last", 88)],
            [("worst", 99), ("last", 97), ("clear", 60), ("clear", 60)],
        ),
        (
            LOW, "power.supply_v", (11.5, 10.5, 11.0, 9.5, 10.9), 12.5,
            [("first", 11.5), ("worst last", 9.5)],
            [("worst", 9.5), ("last", 10.9), ("clear", 12.5), ("clear", 12.5)],
        ),
        (
            SIM, "modem.sim", ("absent",) * 5, "ready",
            [("first worst", "absent"), ("last", "absent")],
            [("worst", "absent"), ("last", "absent"), ("clear", "ready"), ("clear", "ready")],
        ),
    ],
    ids=["above", "below", "state"],
)  # fmt: skip
@pytest.mark.parametrize("restart", [False, True])
def test_the_first_the_worst_and_the_last_sample(
    rules: str, metric: str, bad: tuple[float, ...], good: float, opening: list[object], ending: list[object],
    *, restart: bool,
) -> None:  # fmt: skip
    story = Story(rules_of(rules), restart=restart)
    for number, value in enumerate((*bad, *[good] * 4)):
        story.sample("modem", {metric: value}, number * 10)
    (problem,) = story.problems()
    assert shown(problem.evidence[0]) == opening
    assert problem.state == "over"
    assert shown(problem.evidence[-1]) == ending


def test_a_new_row_of_bad_samples_forgets_how_bad_the_one_before_was() -> None:
    story = Story(rules_of(HOT))
    for at, value in enumerate((99, 60, 85, 84, 83, 82)):
        story.heat(value, at * 10)
    (problem,) = story.problems()
    assert shown(problem.evidence[0]) == [("first worst", 85), ("last", 82)]


def test_the_whole_kit_is_shown_as_it_was_then() -> None:
    story = Story(rules_of(HOT))
    story.sample("router", {"device.reachable": True}, 0)
    for at in range(0, 40, 10):
        story.sample("router", {"device.reachable": at < 20}, at)
        story.sample("switch", {"device.reachable": True}, at)
        story.heat(90, at)
    (problem,) = story.problems()
    kit = {one["device"]: (one["agent"], one["says"]) for one in problem.evidence[0].kit}
    assert kit["router"] == ("box", "gone")
    assert kit["switch"] == kit["modem"] == ("box", "answers")
    assert kit["host"] == ("tablet", "unheard")
    assert len(kit) == sum(1 for _ in story.plan.devices())


def test_of_a_large_kit_the_rest_is_counted() -> None:
    devices = "\n".join(
        f"      camera-{n}: {{kind: camera, snmp: {{address: 10.0.1.{n}, community_file: /c}}}}"
        for n in range(MOST_KIT + 5)
    )
    plan = "agents:\n  box:\n    devices:\n      modem: {kind: modem, modem: {port: /dev/m}}\n" + devices
    story = Story(rules_of(HOT), vehicle_plan(plan))
    for at in range(0, 40, 10):
        story.heat(90, at)
    kit = story.problems()[0].evidence[0].kit
    assert (len(kit), kit[-1]) == (MOST_KIT + 1, {"more": 6})


def test_a_symptom_says_by_which_verb_it_is_explained() -> None:
    story = Story(SHIPPED)
    for at in range(0, 300, 10):
        story.sample("router", {"device.reachable": False}, at)
        story.sample("camera-1", {"device.reachable": False}, at)
    (symptom,) = [problem for problem in story.problems() if problem.cause]
    assert symptom.verb == "blocks"
    assert symptom.evidence[0].kit == (), "the root's says it"
    desk, router = Desk(), key("router_dead", "router")
    desk.problem("began", router)
    desk.problem("began", cause=router, verb="blocks")
    attached = desk.rows[desk.last][-1]
    assert isinstance(attached.body, e.Attachment)
    assert event_words(attached, DEFAULT, "en").endswith("it blocks that")
    assert event_words(attached, DEFAULT, "zh").endswith("由其阻断")


def test_it_is_told_in_both_languages() -> None:
    sample = {
        "agent": "box", "run": "r", "sequence": 1, "time_ms": 1_772_430_000_000, "device": "modem",
        "metric": "modem.temperature_c", "labels": {}, "value": 99, "shows": "first worst",
    }  # fmt: skip
    kit = (
        {"agent": "box", "device": "router", "says": "gone", "time_ms": 1_772_430_000_000},
        {"agent": "tablet", "device": "host", "says": "unheard", "time_ms": None},
        {"more": 3},
    )
    evidence = Evidence("hot", 2, (sample,), "modem.temperature_c 99", kit)
    assert evidence_lines(evidence, DEFAULT, "en") == [
        "rule hot, version 2: modem.temperature_c 99",
        "  first, worst: 2026-03-02 13:40:00  modem modem.temperature_c = 99",
        "the kit then: router (box) does not answer, last at 2026-03-02 13:40:00, host (tablet) was never heard, "
        "and 3 more",
    ]
    assert evidence_lines(evidence, DEFAULT, "zh") == [
        "规则 hot，版本 2：modem.temperature_c 99",
        "  首个、最差：2026-03-02 13:40:00  modem modem.temperature_c = 99",
        "当时全车设备：router (box) 无应答，最后应答 2026-03-02 13:40:00、host (tablet) 从未上报、另有 3 台",
    ]
    assert evidence_lines(Evidence("r", 1, ({"value": True},)), DEFAULT, "en")[1] == "  no time that is known   = true"


def test_of_every_fault_the_first_thing_to_do_is_said_in_both_languages() -> None:
    assert [fault.id for fault in FAULTS.values() if not (fault.first_zh and fault.first_en)] == []


@pytest.mark.parametrize(
    ("lang", "lines"),
    [
        ("en", ["  first: check camera power", "  rule r, version 1: began at 0.0"]),
        ("zh", ["  先做：检查摄像头供电", "  规则 r，版本 1：began at 0.0"]),
    ],
)
def test_the_command_and_the_api_show_it(lang: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    desk.problem("began")
    found = show_ticket(desk.ticket(), desk.rows[desk.last], DEFAULT)
    assert found["first"] == {"zh": "检查摄像头供电", "en": "check camera power"}
    assert dict(found["evidence"][0]["words"])[lang] == [lines[1].strip()]
    _print_ticket(argparse.Namespace(json=False, lang=lang, zone="Asia/Shanghai"), json.loads(json.dumps(found)))
    said = capsys.readouterr().out.splitlines()
    assert lines[0] in said
    assert lines[1] in said
    assert said.index(lines[0]) < said.index(lines[1]) < len(said) - 1, "before the history"
