"""What pages say, without a browser: can it send video, what is worst, times as people read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from collector.core.rules.files import load_rules
from collector.core.rules.schemas import compile_schema
from collector.core.vehicle.events import Observed, RecordName
from collector.core.vehicle.key_figures import KeyFigure, key_figures
from collector.core.vehicle.summary import Details, ProblemSummary
from collector.core.vehicle.video import HAMPERS, NO_WAY_OUT, STOPS, Video, video_of
from collector.read.tickets import TicketRow
from collector.web import texts, wording
from collector.web.fleet_page import worst_of
from telemetry.faults import FAULTS
from telemetry.fleet import VehiclePlan
from telemetry.records import Column, Schema

PLAN = VehiclePlan(agents={})
TEMPLATES = Path(texts.__file__).parents[1] / "templates"


def figure(metric: str, value: object, device: str = "camera-1") -> KeyFigure:
    return KeyFigure(metric, device, "", value, 1)  # type: ignore[arg-type]


def problem(fault: str, device: str = "modem", cause: str | None = None) -> ProblemSummary:
    return ProblemSummary(f"{fault}/{device}", fault, device, "active", 5, 6, 1, cause)


def seen(details: Details, state: str = "on_duty", *, is_heard: bool = True, is_listening: bool = True) -> Video:
    return video_of(state, details, PLAN, is_heard=is_heard, is_listening=is_listening)


PLAYS = [figure("stream.up", True), figure("stream.frozen", False)]


@pytest.mark.parametrize(
    ("figures", "faults", "expected"),
    [
        (PLAYS, [], Video("yes")),
        (PLAYS, ["packet_loss"], Video("limited", "packet_loss")),
        ([*PLAYS, figure("stream.up", False, "camera-2")], [], Video("limited", "some_down")),
        ([figure("stream.up", True), figure("stream.frozen", True)], [], Video("no", "no_picture")),
        ([figure("stream.up", False)], [], Video("no", "no_picture")),
        (PLAYS, ["encoder_down"], Video("no", "encoder_down")),
        (PLAYS, ["sim_absent"], Video("no", "sim_absent")),
        ([*PLAYS, figure("modem.registration", "home", "modem-2")], ["sim_absent"], Video("limited", "sim_absent")),
        ([figure("device.video_input", True, "encoder")], [], Video("yes")),
        ([], [], Video("unknown", "unread")),
    ],
)
def test_video_goes_by_pictures_and_the_way_out(figures: list[KeyFigure], faults: list[str], expected: Video) -> None:
    assert seen(Details(figures=figures, problems=[problem(fault) for fault in faults])) == expected


def test_a_figure_of_before_counts_until_its_device_has_spoken() -> None:
    schema = Schema("modem", "modem", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
    compiled = compile_schema(schema, load_rules(), "modem", site="c1", vehicle="a", agent="router", fleet=PLAN)
    said = Observed(RecordName("router", "aa", 1), "live", 9, compiled, [None, "absent"])
    before = [figure("modem.rsrp_dbm", -80.0, "modem"), figure("power.supply_v", 13.9, "power")]
    assert [(one.metric, one.value) for one in key_figures([said], before)] == [
        ("modem.sim", "absent"), ("power.supply_v", 13.9),
    ]  # fmt: skip


def test_nothing_is_known_of_who_is_not_heard() -> None:
    details = Details(figures=PLAYS)
    assert seen(details, is_heard=False) == Video("unknown", "silent")
    assert seen(details, "silent") == Video("unknown", "silent")
    assert seen(details, is_listening=False) == Video("unknown", "not_listening")
    assert seen(details, "parked", is_heard=False) == Video("off", "parked")
    assert seen(Details(), "parked") == Video("off", "parked")
    assert seen(details, "parked") == Video("yes")


def test_faults_that_video_goes_by_stand_in_the_catalogue() -> None:
    assert {*STOPS, *HAMPERS, *NO_WAY_OUT} <= FAULTS.keys()


def ticket(fault: str, *, over: int | None = None) -> TicketRow:
    return TicketRow(
        site="c1", id="2026-0001", vehicle="amb", device="modem", fault=fault, severity="major", sla_class="general",
        state="new", live=True, round=1, event_ms=1, detected_ms=1, opened_ms=1, notice_ms=1, over_event_ms=over,
        resolved_ms=None, closed_ms=None, closed_by="", changed_ms=1, assigned="", recurring=False, in_contract=True,
        waiting_reason="", waiting_until_ms=None, silenced_until_ms=None, merged_into="",
    )  # fmt: skip


def test_the_worst_counts_causes_once_and_says_where_there_is_no_ticket() -> None:
    found = worst_of([problem("packet_loss"), problem("camera_down", "cam", "packet_loss/modem")], [])
    assert found is not None
    assert (found.fault, found.ticket, found.more) == ("packet_loss", "", 0)
    found = worst_of([problem("sim_absent"), problem("modem_hot")], [ticket("modem_hot")])
    assert found is not None
    assert (found.fault, found.ticket, found.more) == ("sim_absent", "", 1)
    assert worst_of([], [ticket("modem_hot", over=5)]) is None, "readings are good"


def test_times_are_told_as_people_read_them() -> None:
    assert [wording.span(ms, "zh") for ms in (-5, 119_000, 120_000, 7_200_000, 172_800_000)] == [
        "0秒", "119秒", "2分钟", "2小时", "2天",
    ]  # fmt: skip
    assert [wording.left(ms, "en") for ms in (3_723_000, -61_000, 172_800_000)] == ["1:02:03", "0:01:01", "2 d"]
    assert wording.clock(0, "Asia/Shanghai", 3_600_000) == "08:00"
    assert wording.clock(0, "Asia/Shanghai", 86_400_000 * 2) == "01-01 08:00"
    assert wording.clock(0, "Nowhere/Land", 86_400_000 * 800) == "1970-01-01 00:00"


def test_both_languages_have_every_text_and_templates_name_no_other() -> None:
    chinese, english = texts.WORDS["zh"], texts.WORDS["en"]
    assert chinese.keys() == english.keys()
    assert {name: group.keys() for name, group in texts.GROUPS["zh"].items()} == {
        name: group.keys() for name, group in texts.GROUPS["en"].items()
    }
    for name, text in chinese.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english[name])), name
    source = "".join(one.read_text() for one in TEMPLATES.iterdir())
    used = {*re.findall(r"\bt\.(\w+)", source), *re.findall(r"t\.say\('(\w+)'[,)]", source)}
    used -= {"say", "name", "pick", "has", "language"}
    assert used - chinese.keys() == set()
    dynamic = {name for name in chinese if name.startswith("site_")}
    assert chinese.keys() - used - dynamic == set(), "nobody says these"
