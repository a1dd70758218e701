"""Shipped drills: each can be read, says why, and is lived once; in all combinations and seeds by ``make drill``.

Written by hands that do not write what judges (docs/drills.md), from what is promised.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from collector.core.diagnosis import Topology
from collector.core.rules.schemas import CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from kitwatch.drill.compare import result_of
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import (
    Combination,
    Drill,
    Scenario,
    combinations,
    drill_of,
    load_scenario,
    milliseconds,
    shipped,
)
from simulator.life.faults import FAULTS as SIMULATED
from telemetry.faults import FAULTS

RULES = Rules({}, Topology(nodes={}, faults={}))
MESSAGES = 1_500
"""Of a life that are read: a day of one vehicle."""
LONG_FROM = 1_500
"""Moments, over all vehicles, that take a second or so to live."""
NOT_BEYOND = 30_000
"""From 40 s on: only `make drill` lives them."""


def lived(name: str) -> Any:
    """Live a scenario once: a poll a minute, as few vehicles as it takes, its first seed."""
    drill = slow_drill(name)
    return result_of(drill, Play(drill).run)


def slow_drill(name: str) -> Drill:
    scenario = load_scenario(name)
    return drill_of(name, scenario, slow_combination(scenario))


def slow_combination(scenario: Scenario) -> Combination:
    return min(combinations(scenario, 1), key=lambda one: (-one.poll_s, one.vehicles))


def lived_here() -> list[Any]:
    """Return the names, those that take longer marked so."""
    found = []
    for name in shipped():
        scenario = load_scenario(name)
        one = slow_combination(scenario)
        moments = milliseconds(scenario.lasts) // 1000 // one.poll_s * one.vehicles
        if moments <= NOT_BEYOND:
            found.append(pytest.param(name, marks=[pytest.mark.long] if moments >= LONG_FROM else []))
    return found


@pytest.mark.parametrize("name", shipped())
def test_a_scenario_can_be_read_and_says_why(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.about
    assert scenario.because.strip().endswith(".")
    assert {ticket.fault for ticket in scenario.expect.tickets} <= set(FAULTS)
    drill_of(name, scenario, next(combinations(scenario, 1)))


@pytest.mark.parametrize("name", shipped())
def test_a_life_says_what_its_metrics_can_be_to_the_type(name: str) -> None:
    """At depth core nobody checks it again: there would be other values, or more records, than through the intake."""
    read: dict[str, CompiledSchema] = {}
    samples = 0
    for heard in itertools.islice(slow_drill(name).lives.heard(), MESSAGES):
        if heard.kind == "schema":
            for id, schema in heard.body.schemas.items():
                read[id] = compile_schema(schema, RULES, "", site="north", vehicle="amb-1", agent="box")
        for moment in heard.body if heard.kind in ("live", "backlog") else ():
            for of, values in (entry for entry in moment.entries if len(entry) == 2):
                found = read[of].read(values)
                assert found == tuple(values), (of, values)
                assert [*map(type, found)] == [*map(type, values)], (of, values)
                samples += 1
    assert samples


def test_every_fault_is_expected_of_some_scenario() -> None:
    expected = {ticket.fault for name in shipped() for ticket in load_scenario(name).expect.tickets}
    assert expected == set(FAULTS)


def test_every_simulated_fault_happens_in_some_scenario() -> None:
    happens = {line.fault for name in shipped() for line in load_scenario(name).happens}
    assert set(SIMULATED) - happens == {"firmware_upgrade", "column_removed"}  # other names of a fault and of a removal


def test_a_third_of_the_scenarios_expect_nothing() -> None:
    """Troubles that are none: without them a product that opens tickets of everything would hold."""
    expected = [load_scenario(name).expect for name in shipped()]
    assert 3 * sum(not one.tickets and not one.notes for one in expected) > len(expected)


@pytest.mark.parametrize("name", lived_here())
def test_it_holds(name: str) -> None:
    result = lived(name)
    assert result["holds"], (result["missing"], result["unexpected"], result["differs"])
