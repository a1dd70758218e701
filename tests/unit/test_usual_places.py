"""Rules that hold in some places only: 5G and the home network on record, known bad places."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from collector.core.coverage import LINK, SERVICE, Coverage, Usual
from collector.core.learnt import Learnt
from collector.core.places import cell_of
from telemetry.files import FileError
from telemetry.metrics import Value
from tests.unit.judging import SHIPPED, Story, rules_of, vehicle_plan

PLAN = """
agents:
  box:
    devices:
      modem: {kind: modem, modem: {port: /dev/m}}
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      gnss: {kind: gnss, gnss: {port: /dev/g}}
      uplink: {kind: link, depends_on: [router], probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}
"""
HERE, THERE = cell_of(31.2, 121.4), cell_of(31.3, 121.4)


def known(leg: str, *figures: int, others: int = 2) -> Learnt:
    """What others have here, and nothing of elsewhere."""
    usual = tuple(Usual(f"amb-{n + 2}", True, figures) for n in range(others))
    return Learnt(coverage=Coverage({HERE: {leg: usual}}))


def drive(
    learnt: Learnt, minutes: int, device: str, values: Mapping[str, Value], latitude: float | None = 31.2
) -> Story:
    story = Story(SHIPPED, plan=vehicle_plan(PLAN), learnt=learnt)
    return go_on(story, 0, minutes, device, values, latitude)


def go_on(
    story: Story, start: int, minutes: int, device: str, values: Mapping[str, Value], latitude: float | None = 31.2
) -> Story:
    input = {"modem": "modem", "uplink": "probe"}[device]
    for at in range(60 * start, 60 * (start + minutes), 10):
        story.sample("gnss", {"gnss.latitude": latitude, "gnss.longitude": latitude and 121.4}, at, input="gnss")
        story.sample(device, values, at, input=input)
    return story


LTE = {"modem.technology": "4g", "modem.registration": "home"}
NSA = {"modem.technology": "5g_nsa", "modem.registration": "home"}
ROAMING = {"modem.technology": "5g_nsa", "modem.registration": "roaming"}
LOSSY = {"link.loss_percent{target=a}": 20.0, "link.rtt_ms{target=a}": 50.0}
SLOW = {"link.loss_percent{target=a}": 0.0, "link.rtt_ms{target=a}": 450.0}
WELL = {"link.loss_percent{target=a}": 0.0, "link.rtt_ms{target=a}": 50.0}


@pytest.mark.parametrize(("values", "fault", "limit"), [(LTE, "nr_fallback", 15), (ROAMING, "roaming", 30)])
def test_for_long_where_it_is_on_record(values: Mapping[str, Value], fault: str, limit: int) -> None:
    record = known(SERVICE, 90, 100)
    assert drive(record, limit, "modem", values).faults() == []
    assert drive(record, limit + 1, "modem", values).faults() == [fault]
    assert drive(known(SERVICE, 50, 50), 90, "modem", values).faults() == [], "half of the samples are not most"
    assert drive(Learnt(), 90, "modem", values).faults() == [], "not enough record"
    assert drive(known(SERVICE, 90, 100, others=1), 90, "modem", values).faults() == []
    assert drive(record, 90, "modem", values, 31.3).faults() == [], "there nothing is known"
    assert drive(record, 90, "modem", values, None).faults() == [], "nobody knows where it is"


def test_time_elsewhere_does_not_count_and_what_is_open_stays_there() -> None:
    story = drive(known(SERVICE, 90, 100), 10, "modem", LTE)
    go_on(story, 10, 60, "modem", LTE, 31.3)
    go_on(story, 70, 14, "modem", LTE)
    assert story.faults() == [], "no first sample of a place with 5G opens what an hour without it has gathered"
    go_on(story, 84, 3, "modem", LTE)
    go_on(story, 87, 60, "modem", LTE, 31.3)
    assert story.active() == ["nr_fallback/modem"]
    go_on(story, 147, 5, "modem", NSA)
    assert story.active() == []


@pytest.mark.parametrize(
    ("values", "fault", "bad", "fine"),
    [(LOSSY, "packet_loss", (20, 50), (3, 50)), (SLOW, "high_delay", (0, 450), (0, 200))],
)
def test_a_known_bad_place_is_no_fault_of_the_kit(
    values: Mapping[str, Value], fault: str, bad: tuple[int, int], fine: tuple[int, int]
) -> None:
    assert drive(known(LINK, *bad), 60, "uplink", values).faults() == []
    assert drive(known(LINK, *fine), 60, "uplink", values).faults() == [fault]
    assert drive(Learnt(), 60, "uplink", values).faults() == [fault], "what is not known is no known bad place"
    assert drive(known(LINK, *bad), 60, "uplink", values, 31.3).faults() == [fault]
    story = drive(known(LINK, *bad), 60, "uplink", values)
    go_on(story, 60, 30, "uplink", WELL, 31.3)
    assert story.faults() == [], "no window brings it along"


def test_what_is_wrong_in_the_file_is_said() -> None:
    text = (
        "rules: {x: {fault: roaming, condition: {metric: modem.sim, is: [locked]}, only_where: {usual: %s, above: 5}}}"
    )
    rules_of(text % "home")
    with pytest.raises(FileError, match=r"rules.x.only_where.usual"):
        rules_of(text % "rsrp")
    with pytest.raises(FileError, match=r"rules.x.only_where"):
        rules_of(
            "rules: {x: {fault: vehicle_silent, condition: {silence_of: vehicle}, only_where: {usual: nr, above: 5}}}"
        )
