"""What a preventive ticket says: what is forecast for when, in both languages."""

from __future__ import annotations

import json

import msgspec
import pytest

from collector.core.contract import DEFAULT
from collector.core.notifications import notifications_of
from collector.core.problems import Evidence, Forecast
from collector.core.tickets import events as e
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.telling import evidence_lines
from telemetry.fleet import DataPlan
from tests.unit.judging import SHIPPED, T0, Story, vehicle_plan
from tests.unit.test_notification_texts import SITE, TICKET

HOUR = 3600
DAY = 24 * HOUR


def forecast_of(story: Story) -> tuple[str, Forecast]:
    (problem,) = story.problems()
    found = problem.evidence[0].forecast
    assert found is not None, problem.evidence[0]
    return problem.key.text(), found


def test_a_modem_that_warms_says_when_it_will_be_too_hot() -> None:
    story = Story(rules=SHIPPED)
    for at in range(0, HOUR, 10):
        story.heat(76.5 + 5 * at / HOUR, at)
    key, found = forecast_of(story)
    assert (key, found.what, found.reaches, found.unit) == (
        "modem_hot/modem",
        "modem.temperature_c",
        85,
        "degC",
    )
    due = HOUR * (85 - 76.5) / 5
    assert abs(found.at_ms - T0 - 1000 * due) < 600_000, (found.at_ms - T0) / 1000 - due


def test_a_data_plan_says_when_it_is_used_up() -> None:
    plan = vehicle_plan()
    modem = plan.agents["box"].devices["modem"]
    planned = msgspec.structs.replace(modem, data_plan=DataPlan(gigabytes=100, billing_day=9))
    plan.agents["box"].devices["modem"] = planned
    story = Story(rules=SHIPPED, plan=plan)
    for at in range(0, 4 * DAY, 600):
        sent = {"modem.bytes_sent": round(8e9 * at / DAY), "modem.bytes_received": 0}
        story.sample("modem", sent, at)
    key, found = forecast_of(story)
    assert (key, found.reaches, found.unit) == ("data_volume_near_cap/modem", 100e9, "B")
    assert abs(found.at_ms - T0 - 12.5 * DAY * 1000) < 3_600_000


def test_a_certificate_tells_it_itself() -> None:
    story = Story(rules=SHIPPED)
    story.sample("uplink", {"link.certificate_days{target=a}": 20}, 0)
    _, found = forecast_of(story)
    assert (found.reaches, found.at_ms, found.labels) == (0, T0 + 20 * DAY * 1000, {"target": "a"})


def test_what_is_there_already_is_no_forecast() -> None:
    story = Story(rules=SHIPPED)
    for at in range(0, 600, 10):
        story.heat(90, at)
    (problem,) = story.problems()
    assert problem.evidence[0].forecast is None


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "  forecast: modem modem.bytes_sent reaches 100 GB at 2025-10-09 16:53 if it goes on like this"),
        ("zh", "  预测：照此下去，modem modem.bytes_sent 将于 2025-10-09 16:53 达到 100 GB"),
    ],
)
def test_in_both_languages(language: str, line: str) -> None:
    said = Evidence("r", 1, forecast=Forecast("modem.bytes_sent", 100e9, "B", T0, "modem"))
    assert line in evidence_lines(said, DEFAULT, language)  # type: ignore[arg-type]


def test_a_notification_says_it_in_place_of_how_long_it_has_lasted() -> None:
    said = Evidence("data_volume_near_cap", 2, forecast=Forecast("modem.bytes_sent", 100e9, "B", T0, "modem"))
    body = e.Opening(
        source="rule", fault="data_volume_near_cap", sla_class="deferrable", severity="minor", vehicle="amb-3",
        device="modem", event_ms=T0, detected_ms=T0, evidence=(said,),
    )  # fmt: skip
    event = TicketEvent(number=1, what="opened", at_ms=T0, recorded_ms=T0, who="rule", body=body)
    ticket = msgspec.structs.replace(TICKET, fault="data_volume_near_cap", sla_class="deferrable", device="modem")
    (one,) = notifications_of([Recorded(ticket, event)], SITE)
    text = json.loads(one.body)["text"]
    assert "预计 2025-10-09 16:53 达到 100 GB (可延后处理)" in text["zh"]
    assert "(forecast: 100 GB at 2025-10-09 16:53) (deferrable)" in text["en"]
