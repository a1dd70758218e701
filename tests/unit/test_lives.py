"""Quiet lives: the draw and the oracle, whose own mistakes nobody else would see."""

from __future__ import annotations

import ast
import itertools
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.lives import course, oracle
from tests.lives.counted import counted
from tests.lives.draw import draw, troubles, wirings
from tests.lives.run import Lived, Which, again, live_all

BEGIN = 1_772_380_800_000
"""2026-03-02 00:00 in Shanghai."""
DAY = 86_400_000


CITY = ["city 86400s"]
Times = Sequence[tuple[str, str, float]]
"""(fault, at, hours since the beginning)."""


def scenario(
    *happens: dict[str, Any],
    power: str = "always",
    goodbye: str = "no",
    told: str = "yes",
    tablet: str = "no",
    kept: str = "yes",
    **drives: Any,
) -> dict[str, Any]:
    return {
        "world": {
            "kit_power": power,
            "goodbye": goodbye,
            "told": told,
            "centre_synchronised": kept,
            "roads": {"city": {}} | {name: {"contact": "no"} for name in ("long_hole", "dead_spot", "tunnel")},
            "places": {"home": {}, "garage": {"contact": "no"}, "carport": {"fix": "no"}},
            "vehicles": {name: {"drives": legs} for name, legs in ({"a01": CITY, "a02": CITY} | drives).items()},
        },
        "vary": {"tablet": [tablet]},
        "happens": list(happens),
    }  # fmt: skip


def came(
    *tickets: tuple[str, str, float], problems: Times | None = None, notes: int = 0, late_s: float = 0
) -> dict[str, Any]:
    """Each ticket is told once, and is a problem too unless others are said; ``late_s``: from begin to found."""

    def begun(hours: float) -> int:
        return BEGIN + round(hours * 3_600_000)

    return {
        "begins_ms": BEGIN,
        "until_ms": BEGIN + DAY,
        "tickets": [
            {"id": f"t{number}", "fault": fault, "at": at, "event_ms": begun(hours)}
            for number, (fault, at, hours) in enumerate(tickets)
        ],
        "problems": [
            {"fault": fault, "at": at, "event_ms": begun(hours), "detected_ms": begun(hours) + round(1000 * late_s)}
            for fault, at, hours in (tickets if problems is None else problems)
        ],
        "notes": [{"fault": "camera_down", "at": "a01/camera-1", "began_ms": BEGIN}] * notes,
        "notifications": [{"ticket": f"t{number}", "at_ms": BEGIN, "what": "opened"} for number in range(len(tickets))],
    }  # fmt: skip


def wrong(life: dict[str, Any], *tickets: tuple[str, str, float], **more: Any) -> list[str]:
    return oracle.judge(life, came(*tickets, **more)).wrong


BROKER = {"at": "36000s", "for": "30m", "centre": "broker_away"}
UPGRADE = {"at": "36000s", "vehicle": "a01", "device": "encoder", "fault": "firmware_changed"}


def clock_off(by: str, at: str = "36000s", lasts: str = "60m") -> dict[str, Any]:
    return {"at": at, "for": lasts, "centre": "clock_off", "by": by}


@pytest.mark.parametrize("module", [oracle, course])
def test_it_imports_nothing_of_the_product(module: ModuleType) -> None:
    source = Path(str(module.__file__)).read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names if name != "tests.lives.course"} & {
            "agent", "collector", "firmware_profiles", "kitwatch", "simulator", "telemetry", "tests",
        }  # fmt: skip


def test_a_ticket_or_a_note_about_a_vehicle_is_wrong() -> None:
    assert wrong(scenario()) == []
    assert wrong(scenario(), ("vehicle_silent", "a01", 5)) == ["ticket vehicle_silent a01, begun 0d 05:00:00"]
    assert wrong(scenario(), problems=[("vehicle_silent", "a01", 5)]) == [], "a problem in which nobody's work stands"
    assert len(wrong(scenario(), notes=1)) == 1


# --- what must be told ------------------------------------------------------------------------------------------------


def test_what_happened_to_the_centre_is_told_once() -> None:
    told = came(("broker_down", "site", 10.0))
    assert oracle.judge(scenario(BROKER), told).wrong == []
    assert oracle.judge(scenario(BROKER), told).expected == {"broker_down": 1}
    assert wrong(scenario(BROKER)) == ["missing broker_down site, begun 0d 09:58:00"]
    assert wrong(scenario(), ("broker_down", "site", 10.0)) == ["ticket broker_down site, begun 0d 10:00:00"]
    assert len(wrong(scenario(BROKER), ("broker_down", "site", 10.0), ("broker_down", "site", 10.05))) == 1
    assert len(wrong(scenario(BROKER), problems=[("broker_down", "site", 10.0)])) == 1, "nobody was told"


def test_an_outage_of_ours_is_told_in_its_time() -> None:
    """Within 90 s, and two minutes of slack."""
    assert wrong(scenario(BROKER), ("broker_down", "site", 10 + 209 / 3600)) == []
    assert len(wrong(scenario(BROKER), ("broker_down", "site", 10 + 211 / 3600))) == 2
    assert len(wrong(scenario(BROKER), ("broker_down", "site", 10 - 121 / 3600))) == 2
    assert wrong(scenario(BROKER), ("broker_down", "site", 10.0), late_s=209) == []
    assert wrong(scenario(BROKER), ("broker_down", "site", 10.0), late_s=211) == [
        "told late broker_down site, begun 0d 10:00:00"
    ]
    away = {**BROKER, "centre": "collector_away"}
    assert wrong(scenario(away), ("platform_module_down", "collector", 10.0), late_s=1800 + 60) == [], "when it is back"


def test_two_outages_of_ours_may_stand_on_one_ticket() -> None:
    again = {**BROKER, "at": "60000s"}
    times = [("broker_down", "site", 10.0), ("broker_down", "site", 60000 / 3600)]
    assert wrong(scenario(BROKER, again), ("broker_down", "site", 10.0), problems=times) == []
    assert wrong(scenario(BROKER, again), *times) == []


def test_two_tickets_for_what_began_once_are_wrong() -> None:
    once = [("broker_down", "site", 10.0)]
    assert wrong(scenario(BROKER), *once, *once, problems=once) == ["2 tickets broker_down site, which began 1 times"]


def test_who_is_told_twice_or_never_is_told_wrongly() -> None:
    told = came(("broker_down", "site", 10.0))
    told["notifications"] += [{"ticket": "t0", "at_ms": BEGIN, "what": "resolved"}]
    assert oracle.judge(scenario(BROKER), told).wrong == []
    told["notifications"] += [{"ticket": "t0", "at_ms": BEGIN, "what": "reopened+asked"}]
    assert len(oracle.judge(scenario(BROKER), told).wrong) == 1
    told["notifications"] = []
    assert len(oracle.judge(scenario(BROKER), told).wrong) == 1


def test_a_ticket_that_is_opened_again_is_as_wrong_as_a_new_one() -> None:
    drives = ["city 36000s", "long_hole 780s", "city 49620s"]
    times = [("vehicle_silent", "a01", 10.0), ("vehicle_silent", "a01", 15.0)]
    assert wrong(scenario(a01=drives), ("vehicle_silent", "a01", 10.0), problems=times) == [
        "ticket vehicle_silent a01, begun 0d 15:00:00"
    ]


def test_an_outage_that_is_too_short_need_not_be_told() -> None:
    assert wrong(scenario({**BROKER, "for": "1m"})) == []


def test_our_clock_is_told_as_wrong_where_enough_kits_were_heard_together() -> None:
    off, told = clock_off("-660s"), ("centre_clock_wrong", "site", 10.0)
    missing = ["missing centre_clock_wrong site, begun 0d 09:47:00"]
    assert (wrong(scenario(off), told), wrong(scenario(off))) == ([], missing)
    assert wrong(scenario(off, a03=CITY)) == missing, "three agree"
    parked = ["parked 86400s at home"]
    assert wrong(scenario(off, a01=parked, power="ignition")) == [], "one of two is heard"
    assert wrong(scenario(off, a01=parked, power="ignition", tablet="yes")) == missing, "tablets speak on"
    short = ["parked 36000s at home", "city 900s", "parked 49500s at home"]
    assert wrong(scenario(off, a01=short, power="ignition")) == [], "not for long enough"
    little = clock_off("20s")
    assert wrong(scenario(little)) == []
    assert len(wrong(scenario(little), told)) == 1


def test_our_clock_is_wrong_once_where_nobody_has_found_it_right_in_between() -> None:
    told, again = ("centre_clock_wrong", "site", 10.0), clock_off("1h", "50000s", "120m")
    asleep = ["city 39000s", "parked 12000s at home", "city 35400s"]
    awake = ["city 39000s", "parked 5000s at home", "city 42400s"]

    def missing(first: dict[str, Any], *tickets: tuple[str, str, float], **drives: Any) -> int:
        return len(wrong(scenario(first, again, power="ignition", **drives), *tickets))

    assert missing(clock_off("-660s"), told, a01=asleep, a02=asleep) == 0
    assert missing(clock_off("-660s"), told, a01=asleep, a02=awake) == 0, "one cannot say so"
    assert missing(clock_off("-660s"), told, a01=awake, a02=awake) == 1
    assert missing(clock_off("-660s", "40000s"), a01=asleep, a02=asleep) == 1, "nobody was there to find the first"


def test_a_site_of_one_goes_by_its_own_machine() -> None:
    life = scenario(clock_off("1h"), kept="no")
    del life["world"]["vehicles"]["a02"]
    assert len(wrong(life)) == 1
    life["world"]["centre_synchronised"] = "yes"
    assert wrong(life) == []


def test_a_clock_that_is_wrong_dates_its_own_problem_by_what_it_is_off_and_no_way_else() -> None:
    slow = scenario(clock_off("-660s"))
    assert wrong(slow, ("centre_clock_wrong", "site", 10.0 - 660 / 3600)) == []
    assert len(wrong(slow, ("centre_clock_wrong", "site", 10.0 - 781 / 3600))) == 2
    assert len(wrong(slow, ("centre_clock_wrong", "site", 10.0 + 1021 / 3600))) == 2, "found too late"
    assert wrong(slow, ("centre_clock_wrong", "site", 10.0 + 1019 / 3600)) == []


def test_a_planned_upgrade_is_one_ticket_of_that_device() -> None:
    assert wrong(scenario(UPGRADE), ("firmware_changed", "a01/encoder", 10.02)) == []
    assert wrong(scenario(UPGRADE)) == ["missing firmware_changed a01/encoder, begun 0d 09:58:00"]
    assert len(wrong(scenario(UPGRADE), ("firmware_changed", "a02/encoder", 10.02))) == 2
    assert len(wrong(scenario(UPGRADE), ("firmware_changed", "a01/encoder", 9.9))) == 2, "before it was made"


def test_a_kit_that_is_off_tells_of_its_upgrade_at_its_next_start() -> None:
    drives = ["parked 39600s at home", "city 3600s", "parked 43200s at home"]
    cut = scenario(UPGRADE, a01=drives, power="ignition")
    assert wrong(cut, ("firmware_changed", "a01/encoder", 11.03)) == []
    assert len(wrong(cut)) == 1
    assert len(wrong(cut, ("firmware_changed", "a01/encoder", 11.3))) == 2


@pytest.mark.parametrize(("off_s", "away_for"), [(40000, "4h"), (38000, "1h")])
def test_an_upgrade_while_nobody_listened_is_told_once_its_kit_has_power_and_somebody_listens(
    off_s: int, away_for: str
) -> None:
    """Two minutes and a half after the start of 60,000 s a kit is surely heard, and half an hour is given to tell.

    Found by a quiet life: it was read, its kit was off, and we were back, all within half an hour.
    """
    drives = [f"city {off_s}s", f"parked {60000 - off_s}s at home", "city 26400s"]
    away = {"at": "35000s", "for": away_for, "centre": "collector_away"}
    cut = scenario(UPGRADE, away, a01=drives, power="ignition")
    least = wrong(cut, ("firmware_changed", "a01/encoder", 10.02), late_s=61900 - 36072)
    late = wrong(cut, ("firmware_changed", "a01/encoder", 10.02), late_s=62100 - 36072)
    assert [one.split()[0] for one in least] == ["missing"], "the outage itself"
    assert [one for one in late if one not in least] == ["told late firmware_changed a01/encoder, begun 0d 10:01:12"]


@pytest.mark.parametrize(("by", "hour", "right"), [("-1h", 9.02, True), ("-150s", 9.02, False), ("1h", 9.02, False)])
def test_an_upgrade_is_dated_by_our_clock_while_that_is_slow(by: str, hour: float, right: bool) -> None:
    """No problem begins after it was told: a ticket that says so would be no better with our clock in order again."""
    found = wrong(scenario(UPGRADE, clock_off(by, at="34200s")), ("firmware_changed", "a01/encoder", hour))
    assert any("firmware_changed" in line for line in found) is not right


# --- what is excepted -------------------------------------------------------------------------------------------------

HOLE = ["city 36000s", "long_hole 780s", "city 3600s", "long_hole 780s", "city 45240s"]
SILENT = ("vehicle_silent", "a01", 10.0)


def test_one_first_pass_through_a_long_hole_is_excepted() -> None:
    verdict = oracle.judge(scenario(a01=HOLE), came(SILENT))
    assert (verdict.wrong, verdict.excepted) == ([], {"first pass through a long hole": 1})
    assert len(wrong(scenario(a01=HOLE), SILENT, ("vehicle_silent", "a01", 11 + 780 / 3600))) == 1
    assert len(wrong(scenario(a01=HOLE), ("vehicle_silent", "a02", 10.0))) == 1
    assert wrong(scenario(a01=HOLE), ("vehicle_silent", "a01", 10 - 119 / 3600)) == []
    assert len(wrong(scenario(a01=HOLE), ("vehicle_silent", "a01", 10 - 121 / 3600))) == 1
    assert len(wrong(scenario(a01=HOLE), ("vehicle_silent", "a01", 10 + 121 / 3600))) == 1
    short = ["city 36000s", "dead_spot 540s", "city 49860s"]
    assert len(wrong(scenario(a01=short), SILENT)) == 1


@pytest.mark.parametrize(("lasts_s", "excepted"), [(600, True), (590, False)])
def test_kit_that_lives_on_without_contact_for_ten_minutes_is_in_a_hole(lasts_s: int, excepted: bool) -> None:
    """Found by a quiet life: it died as its vehicle drove off, and its silence lasted until the poll after that."""
    drives = ["city 36000s", f"parked {lasts_s}s at garage", f"city {50400 - lasts_s}s"]
    verdict = oracle.judge(scenario(power="delayed", told="yes", a01=drives), came(SILENT))
    assert (verdict.wrong == [], verdict.excepted) == (
        excepted,
        {"first pass through a long hole": 1} if excepted else {},
    )


def test_a_later_pass_is_not_the_first_once_the_site_can_know() -> None:
    learnt_s = 36000 + 780 + oracle.LEARNT_S
    before, after = ([f"city {s}s", "long_hole 780s", f"city {85620 - s}s"] for s in (learnt_s - 1, learnt_s))
    silent = ("vehicle_silent", "a02", learnt_s / 3600)
    assert wrong(scenario(a01=HOLE, a02=before), silent) == []
    assert len(wrong(scenario(a01=HOLE, a02=before), SILENT, silent)) == 1, "one a hole and site"
    assert len(wrong(scenario(a01=HOLE, a02=after), silent)) == 1


def test_a_silence_is_dated_by_a_clock_of_ours_that_is_off_then_and_only_then() -> None:
    during = clock_off("1h", "35000s", "90m")
    morning = clock_off("1h", "20000s", "60m")
    expected = ("centre_clock_wrong", "site")
    assert wrong(scenario(during, a01=HOLE), (*expected, 35000 / 3600), ("vehicle_silent", "a01", 11.0)) == []
    assert len(wrong(scenario(during, a01=HOLE), (*expected, 35000 / 3600), ("vehicle_silent", "a01", 9.0))) == 1
    assert len(wrong(scenario(morning, a01=HOLE), (*expected, 20000 / 3600), ("vehicle_silent", "a01", 9.33))) == 1
    assert len(wrong(scenario(morning, a01=HOLE), (*expected, 20000 / 3600), ("vehicle_silent", "a01", 11.0))) == 1


def test_nothing_is_excepted_of_a_vehicle_that_is_out_of_the_fleet_file() -> None:
    gone = {"at": "35000s", "centre": "remove", "vehicle": "a01"}
    assert len(wrong(scenario(gone, a01=HOLE), SILENT)) == 1
    assert len(wrong(scenario(gone, power="ignition", a01=parked(10.0)), SILENT)) == 1
    through = ["city 36000s", "tunnel 180s", "city 50220s"]
    assert len(wrong(scenario(gone, a01=through, a02=through, a03=through), ("site_unreachable", "site", 10.0))) == 1


def parked(*hours: float, place: str = "home", standing: int = 0) -> list[str]:
    """Drives that park for half an hour each time, until the day ends."""
    legs, at_s = [], 0
    for hour in hours:
        drive_s = round(hour * 3600) - at_s - standing
        legs += [f"city {drive_s}s", *([f"standing {standing}s at {place}"] if standing else [])]
        legs.append(f"parked 1800s at {place}")
        at_s = round(hour * 3600) + 1800
    return [*legs, f"city {86_400 - at_s}s"]


def test_two_parkings_in_a_place_without_a_name_are_excepted() -> None:
    silent = ("vehicle_silent", "a01", 5.0)

    def of(*hours: float, power: str = "ignition", tablet: str = "no", **how: Any) -> dict[str, Any]:
        return scenario(power=power, tablet=tablet, a01=parked(*hours, **how))

    verdict = oracle.judge(of(5.0), came(silent))
    assert (verdict.wrong, verdict.excepted) == ([], {"parking that was not seen, in a place without a name": 1})
    assert wrong(of(5.0), ("vehicle_silent", "a01", 5 + 119 / 3600)) == []
    assert len(wrong(of(5.0), ("vehicle_silent", "a01", 5 + 121 / 3600))) == 1
    assert wrong(of(5.0, standing=20), silent) == [], "one poll may die with the kit"
    assert len(wrong(of(5.0, standing=21), silent)) == 1, "seen still"
    assert wrong(of(5.0, standing=60, place="carport"), silent) == [], "no receiver tells that it stands"
    assert len(wrong(of(5.0, power="always"), silent)) == 1, "kits that are always fed are never parked so"
    assert wrong(of(3.0, 5.0), silent) == []
    assert len(wrong(of(1.0, 3.0, 5.0), silent)) == 1, "the third time the place has a name"


def test_what_began_while_we_were_deaf_teaches_nothing() -> None:
    deaf = {"at": "10700s", "for": "3m", "centre": "broker_away"}
    told = ("broker_down", "site", 10700 / 3600)
    parkings = scenario(deaf, power="ignition", a01=parked(1.0, 3.0, 5.0))
    assert wrong(parkings, told, ("vehicle_silent", "a01", 5.0)) == []
    over = {**deaf, "at": "12300s"}  # the parking of three o'clock ends in it
    assert (
        wrong(
            scenario(over, power="ignition", a01=parked(1.0, 3.0, 5.0)),
            ("broker_down", "site", 12300 / 3600),
            ("vehicle_silent", "a01", 5.0),
        )
        == []
    )
    assert (
        len(
            wrong(
                parkings,
                told,
                ("vehicle_silent", "a01", 1.0),
                ("vehicle_silent", "a01", 3.0),
                ("vehicle_silent", "a01", 5.0),
            )
        )
        == 1
    )
    passes = ["city 10800s", "long_hole 780s", "city 30000s", "long_hole 780s", "city 44040s"]
    assert wrong(scenario(deaf, a01=passes), told, ("vehicle_silent", "a01", 41580 / 3600)) == []
    assert len(wrong(scenario(a01=passes), ("vehicle_silent", "a01", 41580 / 3600))) == 1


def test_a_parking_is_told_as_one_thing_if_at_all() -> None:
    cut = scenario(power="ignition", a01=parked(5.0))
    assert (
        len(wrong(cut, ("vehicle_silent", "a01", 5.0), ("power_lost", "a01", 5.0), ("agent_down", "a01/box", 5.0))) == 2
    )
    assert wrong(cut, ("power_lost", "a01", 5.0)) == []
    assert len(wrong(cut, ("agent_down", "a01/box", 5.0))) == 1, "nobody else speaks"
    tablet = scenario(power="ignition", tablet="yes", a01=parked(5.0))
    assert wrong(tablet, ("agent_down", "a01/box", 5.0)) == []
    assert len(wrong(tablet, ("vehicle_silent", "a01", 5.0))) == 1, "the tablet speaks"
    garage = scenario(power="ignition", tablet="yes", a01=parked(5.0, place="garage"))
    assert wrong(garage, ("vehicle_silent", "a01", 5.0)) == []


def test_who_parks_beside_others_before_the_place_has_its_name_is_counted_apart() -> None:
    three = scenario(power="ignition", a01=parked(5.0), a02=parked(5.1), a03=parked(5.2))
    verdict = oracle.judge(three, came(*(("vehicle_silent", f"a0{n}", 4.9 + n / 10) for n in (1, 2, 3))))
    assert (verdict.wrong, sorted(verdict.excepted.values())) == ([], [1, 2])
    later = scenario(power="ignition", a01=parked(5.0), a02=parked(5.1), a03=parked(5.61))
    assert len(wrong(later, ("vehicle_silent", "a03", 5.61))) == 1, "two have started there"


def test_who_says_goodbye_is_parked_where_that_is_heard() -> None:
    silent = ("vehicle_silent", "a01", 5.0)
    assert len(wrong(scenario(power="ignition", goodbye="yes", a01=parked(5.0)), silent)) == 1
    assert wrong(scenario(power="ignition", goodbye="yes", a01=parked(5.0, place="garage")), silent) == []


def test_a_kit_of_which_nothing_is_said_starts_twice_before_it_is_known() -> None:
    def of(*hours: float, **how: Any) -> dict[str, Any]:
        return scenario(**{"power": "ignition", "told": "no", "a01": parked(*hours, standing=60), **how})

    silent = ("vehicle_silent", "a01", 5.0)
    verdict = oracle.judge(of(3.0, 5.0), came(silent))
    assert (verdict.wrong, verdict.excepted) == ([], {"kit of which nothing says how it is fed, before two starts": 1})
    assert len(wrong(of(1.0, 3.0, 5.0), silent)) == 1, "two starts say it"
    assert len(wrong(of(3.0, 5.0, told="yes"), silent)) == 1
    assert len(wrong(of(3.0, 5.0, goodbye="yes"), silent)) == 1
    assert len(wrong(of(3.0, 5.0, power="delayed"), silent)) == 1
    assert wrong(of(3.0, 5.0, a02=parked(1.0), a03=parked(2.0)), silent) == [], "each vehicle has its own wiring"


def test_of_a_kit_that_is_fed_for_a_while_the_ignition_is_read_where_that_is_heard() -> None:
    silent = ("vehicle_silent", "a01", 5.0)
    assert len(wrong(scenario(power="delayed", a01=parked(5.0)), silent)) == 1
    verdict = oracle.judge(scenario(power="delayed", a01=parked(5.0, place="garage")), came(silent))
    assert verdict.wrong == []
    assert verdict.excepted == {"delayed kit whose ignition nobody heard go off, in a place without a name": 1}


def test_the_only_kit_awake_may_be_told_as_wrong_where_our_machine_swears_that_it_is_right() -> None:
    asleep = ["city 35000s", "parked 51400s at home"]
    off, unset = clock_off("1h"), ("clock_unset", "a01/box", 10.1)

    def of(kept: str = "yes", **drives: Any) -> dict[str, Any]:
        return scenario(off, power="ignition", kept=kept, **drives)

    found: dict[str, Any] = {"late_s": 3600}  # by a clock that is an hour fast
    verdict = oracle.judge(of(a02=asleep), came(unset, **found))
    assert (verdict.wrong, verdict.excepted) == ([], {"only kit awake, against our clock": 1})
    assert len(wrong(of(a02=asleep), ("clock_unset", "a02/box", 10.1), **found)) == 1
    assert len(wrong(of("no", a02=asleep), unset, **found)) == 1, "then it is the centre"
    assert len(wrong(of(a02=asleep), ("clock_unset", "a01/box", 9.9), **found)) == 1, "our clock was right"
    woken = ["city 35000s", "parked 1000s at home", "city 160s", "parked 50240s at home"]
    assert len(wrong(of(a02=woken), unset, **found)) == 1, "another one said the same"


def test_three_of_three_in_one_tunnel_are_an_unreachable_site() -> None:
    through, stays = ["city 36000s", "tunnel 180s", "city 50220s"], CITY
    unreachable = ("site_unreachable", "site", 10.0)
    three = scenario(a01=through, a02=through, a03=through)
    verdict = oracle.judge(three, came(unreachable))
    assert (verdict.wrong, verdict.excepted) == ([], {"whole site in one tunnel": 1})
    assert len(wrong(three, ("site_unreachable", "site", 10.1))) == 1
    assert len(wrong(scenario(a01=through, a02=through, a03=through, a04=stays), unreachable)) == 1, "one speaks"
    home = ["city 35000s", "parked 51400s at home"]
    with_parked: dict[str, Any] = {"a01": through, "a02": through, "a03": through, "a04": home}
    assert len(wrong(scenario(**with_parked), unreachable)) == 1, "parked, and speaks"
    assert wrong(scenario(**with_parked, power="ignition"), unreachable) == [], "parked, and is off"
    assert len(wrong(scenario(a01=through, a02=through), unreachable)) == 1, "two are no site"
    brief = ["city 36000s", "tunnel 149s", "city 50251s"]
    assert len(wrong(scenario(a01=brief, a02=brief, a03=brief), unreachable)) == 1


# --- the draw ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wiring", wirings())
def test_a_life_is_whole_days_and_the_same_for_its_seed(wiring: str) -> None:
    life = draw(wiring, 3, 12)
    assert life == draw(wiring, 3, 12)
    assert life.scenario != draw(wiring, 4, 12).scenario
    assert life.vehicles * life.days >= 12
    for shape in life.scenario["world"]["vehicles"].values():
        assert sum(course.seconds(leg.split()[1]) for leg in shape["drives"]) == life.days * 86_400
    if life.scenario["world"]["kit_power"] == "always":
        garages = [leg for legs in course.Course(life.scenario).legs.values() for leg in legs if leg.place == "garage"]
        assert not garages, "a kit that runs on without contact for a night would be silent with good reason"


def test_every_wiring_is_lived_with_and_without_a_tablet_by_sites_of_each_size() -> None:
    lives = [draw(wiring, seed, 1) for wiring in wirings() for seed in range(1, 21)]
    sizes = {life.vehicles for life in lives}
    assert {(life.wiring, life.tablet, life.vehicles) for life in lives} == {
        (wiring, tablet, size) for wiring in wirings() for tablet in ("no", "yes") for size in sizes
    }
    fed = {(life.scenario["world"]["kit_power"], life.scenario["world"].get("goodbye"), life.tablet) for life in lives}
    assert fed >= {(power, "yes", tablet) for power in ("delayed", "ignition") for tablet in ("no", "yes")}
    swears = {(life.vehicles > 1, life.scenario["world"]["centre_synchronised"]) for life in lives}
    assert swears == {(False, "no"), (True, "no"), (True, "yes")}


def test_every_trouble_is_lived_often_enough() -> None:
    """In the lives that must be shown, or they would be quiet ones of another kind."""
    lives = [draw(wiring, seed, 1000 / 80) for wiring in wirings() for seed in range(1, 21)]
    whole = Lived(vehicle_days=1000.0, troubles={"all": sum((life.counts for life in lives), Counter[str]())})
    assert whole.too_few() == {}
    assert Lived(vehicle_days=1000.0).too_few() == dict.fromkeys(troubles(), 0)
    assert set(Lived(vehicle_days=0.2).too_few()) == {"handover", "nsa_flip"}


def test_what_comes_while_the_kit_is_off_is_no_trouble() -> None:
    legs = ["city 36000s", "parked 50400s at home"]
    lines = [
        {"at": at, "vehicle": "all", "fault": fault} for at in ("3600s", "40000s") for fault in ("cranking", "hot_day")
    ]
    lived = counted(scenario(*lines, power="ignition", a01=legs))
    assert (lived["cranking"], lived["hot_day"]) == (3, 4)
    assert lived["parkings home without goodbye"] == 1
    assert counted(scenario(a01=legs))["parkings, kit lives on"] == 1


def test_no_outage_of_ours_begins_within_three_hours_of_another() -> None:
    hours, long = set(), 0
    for seed in range(1, 21):
        lines = [line for line in draw("cut", seed, 12.5).scenario["happens"] if "centre" in line]
        spans = [(course.seconds(line["at"]), course.seconds(line.get("for", "0s"))) for line in lines]
        hours |= {at_s // 3600 % 24 for at_s, _ in spans}
        long += sum(lasts_s >= 36_000 for _, lasts_s in spans)
        assert all(b - a - lasts_s > 10_800 for (a, lasts_s), (b, _) in itertools.pairwise(spans))
    assert len(hours) > 20, "at any hour"
    assert long, "half a day too"


def test_no_vehicle_is_parked_elsewhere_without_a_drive() -> None:
    for wiring in wirings():
        for legs in course.Course(draw(wiring, 2, 12).scenario).legs.values():
            for before, leg in itertools.pairwise(legs):
                assert not (before.place and leg.place) or before.place == leg.place


def test_no_pass_is_longer_than_what_is_allowed_after_the_shortest_one() -> None:
    """One and a half times of what was seen and a minute; so a false ticket is none of the draw's."""
    passes: dict[str, list[int]] = {}
    for seed in range(1, 21):
        for legs in course.Course(draw("always", seed, 12).scenario).legs.values():
            for leg in legs:
                passes.setdefault(leg.what, []).append(leg.lasts_s)
    for hole in ("tunnel_100", "tunnel_180", "tunnel_234", "dead_spot", "long_hole", "longer_hole"):
        least, most = min(passes[hole]), max(passes[hole])
        assert most > 1.15 * least, "no two are the same"
        assert most + 40 <= min(max(1.5 * least + 60, 240), 1800)
    assert max(passes["dead_spot"]) < oracle.LONG_HOLE_S < min(passes["long_hole"])


@pytest.mark.parametrize("days", [1.0, 7.5, 12.5, 40.0])
def test_what_it_says_lives_exactly_that_life_again(days: float) -> None:
    life = draw("cut", 7, days)
    words = shlex.split(again(life).partition("=")[2])[0].split()
    said = dict(zip(words[::2], words[1::2], strict=True))
    assert draw(said["--wiring"], int(said["--seed"]), float(said["--vehicle-days"])) == life


def test_a_run_that_is_over_begins_no_life() -> None:
    assert list(live_all([Which("cut", 7, 1.0)], 1, lambda: True)) == []
