"""Quiet lives: the draw and the oracle, whose own mistakes nobody else would see."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.lives import oracle
from tests.lives.draw import draw, troubles, wirings

BEGIN = 1_772_380_800_000
"""2026-03-02 00:00 in Shanghai."""
DAY = 86_400_000


def scenario(*happens: dict[str, Any], power: str = "always", drives: list[str] | None = None) -> dict[str, Any]:
    return {
        "world": {
            "kit_power": power,
            "roads": {"city": {}, "long_hole": {"contact": "no"}, "dead_spot": {"contact": "no"}},
            "places": {"home": {}, "garage": {"contact": "no"}},
            "vehicles": {"a01": {"drives": drives or ["city 86400s"]}, "a02": {"drives": ["city 86400s"]}},
        },
        "happens": list(happens),
    }


def came(
    *tickets: tuple[str, str, float], problems: list[tuple[str, str, float]] | None = None, notes: int = 0
) -> dict[str, Any]:
    """(fault, at, hours since the beginning); each ticket is a problem too unless others are said."""
    return {
        "begins_ms": BEGIN,
        "until_ms": BEGIN + DAY,
        "tickets": [{"fault": fault, "at": at, "event_ms": BEGIN + round(h * 3_600_000)} for fault, at, h in tickets],
        "problems": [
            {"fault": fault, "at": at, "event_ms": BEGIN + round(h * 3_600_000)}
            for fault, at, h in (tickets if problems is None else problems)
        ],
        "notes": [{"fault": "camera_down", "at": "a01/camera-1", "began_ms": BEGIN}] * notes,
    }


BROKER = {"at": "36000s", "for": "30m", "centre": "broker_away"}
UPGRADE = {"at": "36000s", "vehicle": "a01", "device": "encoder", "fault": "firmware_changed"}


def test_it_imports_nothing_of_the_product() -> None:
    source = Path(oracle.__file__).read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {
            "agent", "collector", "firmware_profiles", "kitwatch", "simulator", "telemetry", "tests",
        }  # fmt: skip


def test_a_ticket_or_a_note_about_a_vehicle_is_wrong() -> None:
    assert oracle.judge(scenario(), came(), []).wrong == []
    assert oracle.judge(scenario(), came(("vehicle_silent", "a01", 5)), []).wrong == [
        "ticket vehicle_silent a01, begun 0d 05:00:00"
    ]
    assert len(oracle.judge(scenario(), came(notes=1), []).wrong) == 1


def test_what_happened_to_the_centre_is_told_once() -> None:
    told = came(("broker_down", "site", 10.0))
    assert oracle.judge(scenario(BROKER), told, []).wrong == []
    assert oracle.judge(scenario(BROKER), told, []).expected == {"broker_down": 1}
    assert oracle.judge(scenario(BROKER), came(), []).wrong == ["missing broker_down site"]
    assert len(oracle.judge(scenario(), told, []).wrong) == 2
    twice = came(("broker_down", "site", 10.0), ("broker_down", "site", 10.2))
    assert len(oracle.judge(scenario(BROKER), twice, []).wrong) == 2
    elsewhere = came(("broker_down", "site", 12.0))
    assert len(oracle.judge(scenario(BROKER), elsewhere, []).wrong) == 2


def test_two_outages_of_ours_may_stand_on_one_ticket() -> None:
    again = {**BROKER, "at": "60000s"}
    told = came(("broker_down", "site", 10.0), problems=[("broker_down", "site", 10.0), ("broker_down", "site", 16.7)])
    assert oracle.judge(scenario(BROKER, again), told, []).wrong == []


def test_a_ticket_that_is_opened_again_is_as_wrong_as_a_new_one() -> None:
    drives = ["city 36000s", "long_hole 780s", "city 49620s"]
    again = came(
        ("vehicle_silent", "a01", 10.0), problems=[("vehicle_silent", "a01", 10.0), ("vehicle_silent", "a01", 15.0)]
    )
    assert oracle.judge(scenario(drives=drives), again, []).wrong == ["ticket vehicle_silent a01, begun 0d 15:00:00"]


def test_an_outage_that_is_too_short_need_not_be_told() -> None:
    short = {**BROKER, "for": "1m"}
    assert oracle.judge(scenario(short), came(), []).wrong == []


def test_a_clock_that_nobody_can_compare_need_not_be_told() -> None:
    wrong = {"at": "36000s", "for": "60m", "centre": "clock_off", "by": "-660s"}
    assert oracle.judge(scenario(wrong), came(), []).wrong == ["missing centre_clock_wrong site"]
    assert oracle.judge(scenario(wrong, power="ignition"), came(), []).wrong == []
    slow = came(("centre_clock_wrong", "site", 10.0 - 660 / 3600))
    assert oracle.judge(scenario(wrong), slow, []).wrong == [], "by the clock that is wrong it began before it did"
    little = {**wrong, "by": "20s"}
    assert len(oracle.judge(scenario(little), came(("centre_clock_wrong", "site", 10.1)), []).wrong) == 2


def test_a_planned_upgrade_is_one_ticket_of_that_device() -> None:
    assert oracle.judge(scenario(UPGRADE), came(("firmware_changed", "a01/encoder", 10.02)), []).wrong == []
    assert oracle.judge(scenario(UPGRADE), came(), []).wrong == ["missing firmware_changed a01/encoder"]
    assert len(oracle.judge(scenario(UPGRADE), came(("firmware_changed", "a02/encoder", 10.02)), []).wrong) == 2


def test_one_first_pass_through_a_long_hole_is_excepted() -> None:
    drives = ["city 36000s", "long_hole 780s", "city 3600s", "long_hole 780s", "city 45240s"]
    first = came(("vehicle_silent", "a01", 10.0))
    verdict = oracle.judge(scenario(drives=drives), first, [])
    assert (verdict.wrong, verdict.excepted) == ([], {"first pass through a long hole": 1})
    both = came(("vehicle_silent", "a01", 10.0), ("vehicle_silent", "a01", 11.25))
    assert len(oracle.judge(scenario(drives=drives), both, []).wrong) == 1
    assert len(oracle.judge(scenario(drives=drives), came(("vehicle_silent", "a02", 10.0)), []).wrong) == 1
    assert len(oracle.judge(scenario(drives=drives), came(("vehicle_silent", "a01", 13.0)), []).wrong) == 1
    short = ["city 36000s", "dead_spot 540s", "city 49860s"]
    assert len(oracle.judge(scenario(drives=short), first, []).wrong) == 1


def test_two_parkings_in_a_place_without_a_name_are_excepted() -> None:
    def parked(*hours: float, seen: bool = False, place: str = "home") -> list[dict[str, Any]]:
        return [{"vehicle": "a01", "place": place, "from_s": h * 3600, "seen_still": seen} for h in hours]

    cut = scenario(power="ignition")
    silent = came(("vehicle_silent", "a01", 5.0))
    assert oracle.judge(cut, silent, parked(5.0)).wrong == []
    assert len(oracle.judge(cut, silent, parked(5.0, seen=True)).wrong) == 1
    assert len(oracle.judge(scenario(), silent, parked(5.0)).wrong) == 1, "kits that are always fed are never parked so"
    assert oracle.judge(cut, silent, parked(3.0, 5.0)).wrong == []
    assert len(oracle.judge(cut, silent, parked(1.0, 3.0, 5.0)).wrong) == 1, "the third time the place has a name"
    delayed = scenario(power="delayed")
    assert len(oracle.judge(delayed, silent, parked(5.0)).wrong) == 1, "its ignition was read as off"
    assert oracle.judge(delayed, silent, parked(5.0, place="garage")).wrong == []


@pytest.mark.parametrize("wiring", wirings())
def test_a_life_is_whole_days_and_the_same_for_its_seed(wiring: str) -> None:
    life = draw(wiring, 3, 12)
    assert life == draw(wiring, 3, 12)
    assert life.scenario != draw(wiring, 4, 12).scenario
    assert life.vehicles * life.days >= 12
    for shape in life.scenario["world"]["vehicles"].values():
        assert sum(oracle.seconds(leg.split()[1]) for leg in shape["drives"]) == life.days * 86_400
    garages = [one for one in life.parkings if one.place == "garage"]
    carports = [one for one in life.parkings if one.place == "carport"]
    if life.scenario["world"]["kit_power"] == "always":
        assert not garages, "a kit that runs on without contact for a night would be silent with good reason"
    assert not any(one.seen_still for one in (*garages, *carports)), "without a fix nobody sees that it stands"


def test_every_trouble_occurs() -> None:
    """In a hundred vehicle-days of each wiring, or it would be a quiet life of another kind."""
    counts = [draw(wiring, seed, 12).counts for wiring in wirings() for seed in range(1, 9)]
    there = {name for count in counts for name, number in count.items() if number}
    assert there >= troubles()


def test_parkings_are_where_the_drives_say() -> None:
    life = draw("cut", 1, 24)
    told = [dataclasses.asdict(one) for one in life.parkings]
    for name, shape in life.scenario["world"]["vehicles"].items():
        at_s = 0
        for leg in shape["drives"]:
            if leg.startswith("parked "):
                place = leg.split(" at ")[1]
                assert any((one["vehicle"], one["place"], one["from_s"]) == (name, place, at_s) for one in told), (
                    name,
                    leg,
                )
            at_s += oracle.seconds(leg.split()[1])
