"""Shipped drills: each can be read and says why; some of each kind are lived here, all of them by ``make drill``.

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
from kitwatch.drill.scenario import Drill, combinations, drill_of, load_scenario, shipped
from simulator.life.faults import FAULTS as SIMULATED
from telemetry.faults import FAULTS

RULES = Rules({}, Topology(nodes={}, faults={}))
MESSAGES = 1_500
"""Of a life that are read: a day of one vehicle."""
LIVED = """
    agent_down_tablet agent_killed broker_away calendar_missing camera_down camera_half_answers carrier_without_data
    carrier_without_data_two collector_away_minute cranking device_removed device_removed_with_problem
    fault_over_while_collector_away fault_while_broker_away fault_while_collector_away firmware_changed_encoder
    gnss_antenna_open handover_bursts high_delay host_hot influxdb_refuses late_fault_began_in_tunnel
    management_unreachable_camera management_unreachable_router mission_fault modem_hot modem_hot_slope
    modem_hot_weak modem_warm_weak nsa_flips on_duty_then_parked parked_camera_dark parked_disaster parked_fault
    planned_restart_0300 platform_module_blip power_short_on_road reload_with_problem router_dead
    rule_removed_with_problem sim_absent_live silent_while_collector_away stream_frozen supply_near_limit supply_sag
    supply_sag_weak switch_blind two_faults_at_once vehicle_removed_with_problem weak_hole workshop_fault
    workshop_fault_stays centre_parts router_takes_all_in_a_gap site_late_back verbs well_again_in_a_gap
""".split()  # noqa: SIM905
"""Quick ones of every kind."""


def lived(name: str) -> Any:
    """Live a scenario once: a poll a minute, as few vehicles as it takes, its first seed."""
    drill = slow_drill(name)
    return result_of(drill, Play(drill).run)


def slow_drill(name: str) -> Drill:
    scenario = load_scenario(name)
    return drill_of(name, scenario, min(combinations(scenario, 1), key=lambda one: (-one.poll_s, one.vehicles)))


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


@pytest.mark.parametrize("name", LIVED)
def test_it_holds(name: str) -> None:
    result = lived(name)
    assert result["holds"], (result["missing"], result["unexpected"], result["differs"])
