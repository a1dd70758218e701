"""When vehicles want to be looked at: the soonest is first, nobody is forgotten, and a word puts off what it may."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.identities import SourceKey
from collector.core.vehicle.state import Agent, Fact, Source, Vehicle
from collector.core.vehicle.wake import Wait, Wake
from collector.site.wakes import Wakes
from kitwatch.drill.came import Came
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import combinations, drill_of, load_scenario
from tests.unit.judging import vehicle_plan

NAMES = st.sampled_from([f"amb-{number}" for number in range(6)])
TIMES = st.none() | st.builds(Wake, st.integers(0, 50))


@given(st.lists(st.dictionaries(NAMES, TIMES, max_size=4), max_size=80), st.integers(0, 50))
def test_it_is_as_a_table_that_is_searched(updates: list[dict[str, Wake | None]], now_ms: int) -> None:
    wakes, table = Wakes(), {}
    for update in updates:
        wakes.update(update)
        table.update(update)
        known = [wake.at_ms for wake in table.values() if wake is not None]
        assert wakes.next_ms() == min(known, default=None)
        due = {(name, wake) for name, wake in table.items() if wake is not None and wake.at_ms <= now_ms}
        assert sorted(wakes.due(now_ms)) == sorted(due)


def test_what_is_out_of_date_does_not_pile_up() -> None:
    wakes = Wakes(["amb-1"])
    for time_ms in range(10_000):
        wakes.update({"amb-1": Wake(time_ms)})
    assert len(wakes._row) < 200


def test_everybody_is_looked_at_after_the_clock_was_set() -> None:
    wakes = Wakes(["amb-1", "amb-2"])
    wakes.update({"amb-1": Wake(5_000), "amb-2": None})
    assert list(wakes.due(1_000)) == []
    wakes.all_at_once()
    assert sorted(name for name, _ in wakes.due(1_000)) == ["amb-1", "amb-2"]


# --- what a word puts off ---------------------------------------------------------------------------------------------

ROUTER, MODEM = SourceKey("box", "router", "snmp"), SourceKey("box", "modem", "modem")
VEHICLE = msgspec.structs.replace(
    Vehicle.new("north", "amb-1", vehicle_plan()),
    agents={"box": Agent(heard_ms=1_050)},
    sources={ROUTER: Source(1_000, 900, 0), MODEM: Source(1_040, 900, 0)},
)
WAITS = (Wait(200, (ROUTER,)), Wait(300, (MODEM,)), Wait(500), Wait(400, agents=("box",)))


def test_a_word_puts_off_the_look_that_waits_for_silence() -> None:
    wake = Wake(700, None, WAITS)
    assert wake.put_off(VEHICLE) == Wake(1_200, None, WAITS), "the router's limit after its last word"
    arrived = msgspec.structs.replace(VEHICLE, arrived={ROUTER: 1_045})
    assert wake.put_off(arrived).at_ms == 1_245, "by a word that was not judged too"
    assert Wake(700, None, WAITS[2:]).put_off(VEHICLE).at_ms == 1_450, "an agent's word"
    assert Wake(700, None, WAITS[2:3]).put_off(VEHICLE).at_ms == 1_550, "anybody's"
    assert Wake(700, 900, WAITS).put_off(VEHICLE).at_ms == 900, "and nothing puts off the rest"


def test_what_was_never_heard_is_looked_at() -> None:
    silent = Wait(100, (SourceKey("box", "ups", "snmp"),))
    assert Wake(700, None, (*WAITS, silent)).put_off(VEHICLE).at_ms == 0
    assert Wake(700, None, (Wait(100, agents=("tablet",)),)).put_off(VEHICLE).at_ms == 0


@pytest.mark.parametrize(
    "also",
    [
        {"facts": {"ignition": Fact(False, ROUTER, 900)}},
        {"agents": {"box": Agent(heard_ms=1_050, left="parked")}},
        {"agents": {"box": Agent(heard_ms=1_050, untold_ms=5)}},
    ],
)
def test_nothing_is_put_off_where_time_may_bring_more_than_silence(also: dict[str, Any]) -> None:
    wake = Wake(700, None, WAITS)
    assert wake.put_off(msgspec.structs.replace(VEHICLE, **also)) is wake


def test_what_waits_for_nobody_stands() -> None:
    assert Wake(700).put_off(VEHICLE) == Wake(700)


@pytest.mark.parametrize("name", ["quiet", "silent_known_road", "on_duty_then_parked", "management_unreachable_router"])
def test_a_look_that_was_put_off_would_have_come_to_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same problems at the same times, on both clocks, where each look is taken as it comes due."""
    scenario = load_scenario(name)
    drill = drill_of(name, scenario, next(iter(combinations(scenario, 1))))
    found = Play(drill).run()
    monkeypatch.setattr(Wake, "put_off", lambda wake, heard: wake)
    taken = Play(drill).run()
    assert _told(found) == _told(taken)
    assert found.looks < taken.looks


def _told(came: Came) -> tuple[Any, Any, Any]:
    tickets = [(one.ticket, one.events, one.opened_ms, one.told, one.faults) for one in came.tickets.values()]
    return came.problems, tickets, came.notes
