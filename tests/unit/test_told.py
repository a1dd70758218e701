"""Faults in ordinary lives: the draw, and the oracle, whose own mistakes nobody else would see."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kitwatch.drill.scenario import load_scenario
from tests.told import course, oracle
from tests.told.draw import ENDINGS, SITUATIONS, Case, Put, cases, draw, forms
from tests.told.run import Told, keep, live, printed, table

BEGIN = 1_772_409_600_000
CITY = ["city 10000s"]


def case(
    fault: str, form: str, from_s: int, to_s: int | None, *, drives: list[str] = CITY, record: str = "usual",
    tablet: str = "no", power: str = "always", centre: Mapping[str, Any] | None = None,
) -> Case:  # fmt: skip
    """A fault of a01; a02 drives through the city."""
    scenario = {
        "lasts": "10000s",
        "vary": {"poll": ["10s"], "vehicles": [2], "tablet": [tablet]},
        "world": {
            "kit_power": power,
            "roads": {"city": {}, "dead_spot": {"contact": "no"}, "tunnel_180": {"contact": "no", "fix": "no"}},
            "places": {"home": {}, "hospital": {}},
            "vehicles": {"a01": {"drives": drives}, "a02": {"drives": CITY}},
        },
        "happens": [centre] if centre else [],
    }
    return Case("told", "always", 2, tablet, record, scenario, [Put(fault, form, "a01", "road", "road", from_s, to_s)])


def expected(of: Case) -> tuple[oracle.Truth, oracle.Expected]:
    put = of.puts[0]
    truth = oracle.truth(of.scenario, dataclasses.asdict(put), forms()[put.fault][put.form], of.record)
    return truth, oracle.expected(truth)


def test_what_ends_while_the_kit_is_off_ends_by_its_last_word_or_by_its_first_after_that() -> None:
    """Nothing that is off tells when: a parking cuts the kit from 3000 to 6000 s, and data pass again at 4000."""
    drives = ["city 2880s", "standing 120s at home", "parked 3000s at home", "city 4000s"]
    _, told = expected(case("wan_no_data", "none", 2000, 4000, drives=drives, power="ignition"))
    assert told.ends is not None
    assert (told.ends[0] <= 3000, 6000 < told.ends[1] < 6300) == (True, True)


def ticket(
    fault: str, at: str, event_s: float, opened_s: float, over_s: float | None, sla: str = "general", first: str = ""
) -> dict[str, Any]:
    def ms(at_s: float) -> int:
        return BEGIN + round(1000 * at_s)

    return {
        "fault": fault, "at": at, "class": sla, "state": "closed" if over_s else "new", "event_ms": ms(event_s),
        "opened_ms": ms(opened_s), "over_event_ms": None if over_s is None else ms(over_s),
        "faults": [{"since_ms": ms(opened_s), "fault": first or fault}], "events": [{"body": {"sla_class": sla}}],
    }  # fmt: skip


def judged(of: Case, *tickets: dict[str, Any], notes: Sequence[tuple[str, str, float, float]] = ()) -> tuple[str, int]:
    """Return what the oracle says of the fault, and how much was false beside it."""
    came = {
        "begins_ms": BEGIN,
        "tickets": list(tickets),
        "notes": [
            {"fault": fault, "at": at, "began_ms": BEGIN + round(1000 * a), "ended_ms": BEGIN + round(1000 * b)}
            for fault, at, a, b in notes
        ],
    }
    (verdict,), false = oracle.judge(came, [expected(of)], of.scenario)
    return verdict.result, len(false)


DARK = case("camera_down", "without", 3000, 5000)
SIM = case("sim_absent", "pulled", 3000, 5400)


@pytest.mark.parametrize("module", [oracle, course])
def test_it_imports_nothing_of_the_product(module: Any) -> None:
    for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.split(".")[0] for name in names} & {
            "agent", "collector", "firmware_profiles", "kitwatch", "simulator", "telemetry",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("came", "result"),
    [
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, 5010)], ("right", 0)),
        ([], ("missed", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3400, 5010)], ("late", 0)),
        ([ticket("camera_down", "a01/camera-1", 3010, 3130, 5010)], ("wrong place", 0)),
        ([ticket("management_unreachable", "a01/camera-2", 3010, 3130, 5010)], ("wrong name", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, 5010, first="management_unreachable")], ("wrong name", 0)),
        ([ticket("camera_down", "a01/camera-2", 3200, 3250, 5010)], ("wrong time", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, 4700)], ("wrong time", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, None)], ("wrong time", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, 5010, "disaster")], ("wrong class", 0)),
        ([ticket("camera_down", "a01/camera-2", 3010, 3130, 5010)] * 2, ("split", 0)),
        (
            [
                ticket("camera_down", "a01/camera-2", 3010, 3130, 5010),
                ticket("encoder_down", "a01/encoder", 3040, 3150, 5000),
            ],
            ("split", 0),
        ),
        (
            [
                ticket("camera_down", "a01/camera-2", 3010, 3130, 5010),
                ticket("modem_hot", "a02/modem", 3040, 3150, 5000),
            ],
            ("right", 1),
        ),
    ],
)
def test_a_camera_that_is_gone_is_one_ticket(came: list[dict[str, Any]], result: tuple[str, int]) -> None:
    assert judged(DARK, *came) == result


def test_what_is_under_the_limit_is_nothing() -> None:
    warm = case("modem_hot", "under", 3000, 6000)
    assert judged(warm) == ("right", 0)
    assert judged(warm, ticket("modem_hot", "a01/modem", 3010, 3300, 6000)) == ("false", 0)
    assert judged(warm, notes=[("modem_hot", "a01/modem", 3010, 6000)]) == ("false", 0)


def test_the_silence_of_the_only_way_out_is_renamed() -> None:
    told = ticket("sim_absent", "a01/modem", 3000, 3250, 5400, "general", "vehicle_silent")
    assert expected(SIM)[1].must == "ticket"
    assert judged(SIM, {**told, "class": "disaster"}) == ("right", 0)
    assert judged(SIM, told) == ("wrong class", 0), "silent for 20 min"
    assert judged(SIM, ticket("vehicle_silent", "a01", 3000, 3250, 5400, "disaster")) == ("wrong name", 0)
    early = ticket("sim_absent", "a01/modem", 3000, 3100, 5400, "general", "vehicle_silent")
    assert judged(SIM, early) == ("early", 0)
    late = ticket("sim_absent", "a01/modem", 3000, 3600, 5400, "general", "vehicle_silent")
    assert judged(SIM, late) == ("late", 0)
    unknown = case("sim_absent", "pulled", 3000, 5400, record="none")
    assert judged(unknown, {**told, "class": "disaster"}) == ("early", 0), "ten minutes where nothing is known"


def test_what_began_and_ended_unheard_is_a_note() -> None:
    short = case("sim_absent", "pulled", 3000, 3170)
    assert expected(short)[1].must == "note"
    assert judged(short, notes=[("sim_absent", "a01/modem", 3000, 3170)]) == ("right", 0)
    two = [("sim_absent", "a01/modem", 3000.0, 3170.0), ("packet_loss", "a01/router", 3000.0, 3170.0)]
    assert judged(short, notes=two) == ("right", 1)
    assert judged(short) == ("missed", 0)
    assert judged(short, ticket("sim_absent", "a01/modem", 3000, 3250, 3170, first="vehicle_silent"))[0] == "false"


@pytest.mark.parametrize(("before_s", "event_s", "result"), [(20, 3500, "right"), (400, 3880, "wrong time")])
def test_what_had_no_data_for_a_moment_before_a_hole_has_none_since_then(
    before_s: int, event_s: int, result: str
) -> None:
    """In the hole it is not registered: what lasts begins after it, unless it had lasted for three minutes before."""
    drives = [f"city {3000 + before_s}s", "dead_spot 480s", "city 6500s"]
    of = case("wan_no_data", "none", 3000, 5000, drives=drives, tablet="yes")
    late = ticket("wan_no_data", "a01/router", event_s, 4000, 5010, "deferrable", "agent_down")
    assert judged(of, late) == (result, 0)


@pytest.mark.parametrize(("parked_s", "must"), [(3060, "open"), (3400, "ticket")])
def test_a_router_that_dies_seconds_before_parking_need_not_be_named(parked_s: int, must: str) -> None:
    """What a parked vehicle does not reach opens nothing, and the backlog tells of no more than that."""
    drives = [f"city {parked_s - 120}s", "standing 120s at home", "parked 3000s at home", "city 3000s"]
    _, told = expected(case("router_dead", "dead", 3000, 5000, drives=drives, power="delayed"))
    assert told.must == must


def test_a_tablet_that_speaks_on_makes_it_agent_down() -> None:
    pulled = case("sim_absent", "pulled", 3000, 5400, tablet="yes")
    told = ticket("sim_absent", "a01/modem", 3000, 3310, 5400, "deferrable", "agent_down")
    assert judged(pulled, told) == ("right", 0)
    assert judged(pulled, {**told, "class": "disaster"}) == ("wrong class", 0)
    dead = case("router_dead", "dead", 3000, 5400, tablet="yes")
    assert judged(dead, ticket("router_dead", "a01/router", 3000, 3120, 5400, "disaster")) == ("right", 0)


def test_while_parked_the_silence_of_a_device_opens_nothing() -> None:
    parked = ["city 2000s", "standing 120s at home", "parked 6000s at home", "city 1880s"]
    assert expected(case("camera_down", "without", 3000, 5000, drives=parked))[1].must == "nothing"
    assert expected(case("sim_absent", "pulled", 3000, 5000, drives=parked))[1].must == "note"
    hot = expected(case("modem_hot", "strong", 3000, 5000, drives=parked))[1]
    assert (hot.must, list(hot.first_classes), list(hot.classes)) == ("ticket", ["deferrable"], ["deferrable"])
    on = expected(case("modem_hot", "strong", 3000, 9900, drives=parked))[1]
    assert list(on.classes) == ["general"], "duty raises it"
    assert expected(case("supply_sag", "strong", 3000, 5000, drives=parked))[1].must == "nothing", "the ignition is off"
    cut = expected(case("modem_hot", "strong", 3000, 5000, drives=parked, power="ignition"))[1]
    assert cut.must == "nothing", "a kit without power reads nothing"


def test_a_fault_of_forty_seconds_before_parking_is_open() -> None:
    parked = ["city 2000s", "standing 120s at home", "parked 6000s at home", "city 1880s"]
    assert expected(case("camera_down", "without", 2080, 5000, drives=parked))[1].must == "open"


def test_what_may_be_too_short_before_parking_may_begin_anew_after_it() -> None:
    parked = ["city 2000s", "standing 120s at home", "parked 1800s at home", "city 6080s"]
    told = expected(case("high_delay", "weak", 2060, 5500, drives=parked))[1]
    assert told.must == "open", "a minute, and then not for as long as is sure"
    assert told.begins[0] < 2060
    assert told.begins[1] > 3920
    sure = expected(case("high_delay", "weak", 2060, 9000, drives=parked))[1]
    assert sure.must == "ticket"


def test_who_lost_the_fix_in_a_tunnel_has_had_none_since_then() -> None:
    drives = ["city 3000s", "tunnel_180 180s", "city 6820s"]
    told = expected(case("gnss_antenna", "no fix", 3100, 9000, drives=drives))[1]
    assert told.begins[0] == pytest.approx(2940)


def test_what_begins_in_a_tunnel_is_told_after_it() -> None:
    tunnel = case("camera_down", "without", 3020, 5000, drives=["city 3000s", "tunnel_180 180s", "city 6820s"])
    told = expected(tunnel)[1]
    assert told.must == "ticket"
    assert (told.begins[0], told.begins[1]) == pytest.approx((2960, 3080))
    assert 3320 <= told.by < 3700
    within = case("camera_down", "without", 3060, 3600, drives=["city 3000s", "dead_spot 2400s", "city 4600s"])
    assert expected(within)[1].must == "note"


def test_who_falls_silent_while_we_are_deaf_is_unheard() -> None:
    away = {"at": "2900s", "for": "600s", "centre": "broker_away"}
    assert expected(case("sim_absent", "pulled", 3000, 5400, centre=away))[1].must == "told"
    told = ticket("broker_down", "site", 2900, 2930, 3500, "disaster")
    note = [("sim_absent", "a01/modem", 3000.0, 5400.0)]
    assert judged(case("sim_absent", "pulled", 3000, 5400, centre=away), told, notes=note) == ("right", 0)
    assert judged(case("sim_absent", "pulled", 3000, 5400), told, notes=note)[1] == 1, "there was no outage"


def test_lost_power_is_told_at_the_next_start() -> None:
    told = ticket("power_lost", "a01/power", 3000, 3250, None, "disaster", "vehicle_silent")
    told["events"] = [{"body": {"sla_class": "general"}}]
    assert judged(case("power_lost", "lost", 3000, 5400), told) == ("right", 0)
    standing = ["city 2000s", "standing 7000s at hospital", "city 1000s"]
    still = expected(case("power_lost", "lost", 3000, 5400, drives=standing, power="ignition"))[1]
    assert still.must == "nothing", "kit that dies with the ignition, while it stands, is parked"


def test_lives_are_the_same_for_their_seed_and_have_every_fault_in_every_form() -> None:
    first = cases(140, 3)
    assert first == cases(140, 3)
    assert first != cases(140, 4)
    put = {(one.fault, one.form) for each in first for one in each.puts}
    assert put == {(fault, form) for fault, of in forms().items() for form in of}
    assert {one.situation for each in first for one in each.puts} == set(SITUATIONS)
    assert {one.ending for each in first for one in each.puts} == set(ENDINGS)
    assert {each.vehicles for each in first} == {1, 2, 3, 12}
    assert {each.wiring for each in first} == {"always", "behind_ignition", "goodbye", "cut"}
    assert any(len(each.puts) == 2 for each in first)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_life_that_was_told_wrong_is_kept_as_a_scenario(number: int, tmp_path: Path) -> None:
    one = draw([("camera_down", "without")], 1, number)
    told = Told(one, [oracle.Verdict("missed", "nothing came", "ticket")], [], 1.0)
    path = keep(told, tmp_path)
    assert "missed" in yaml.safe_load(path.read_text("utf-8"))["because"]
    assert load_scenario(str(path)).world.vehicles


def test_the_table_counts_what_came() -> None:
    told = Told(DARK, [oracle.Verdict("late", "", "ticket")], ["ticket x"], 1.0)
    right = Told(DARK, [oracle.Verdict("right", "", "ticket")], [], 1.0)
    either = Told(DARK, [oracle.Verdict("right", "", "open")], [], 1.0)
    rows = table([told, right, either])
    assert rows == {"camera_down (without)": {"tried": 3, "left open": 1, "late": 1, "right": 2}}
    assert "false beside a fault: 1" in printed(rows, 1)


@pytest.mark.parametrize(
    ("which", "number"), [(("camera_down", "without"), 1), (("sim_absent", "pulled"), 2), (("modem_hot", "under"), 3)]
)
def test_a_fault_in_an_ordinary_life_is_told(which: tuple[str, str], number: int) -> None:
    """The short form of ``make told``."""
    told = live(draw([which], 11, number))
    assert not told.wrong, (told.verdicts, told.false)
