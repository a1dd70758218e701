"""What lives, what is hidden and what explains, as records tell of a vehicle (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from collector.core.rules.files import parse_rules, shipped_files
from collector.core.rules.types import Rules
from telemetry.files import parse_yaml
from tests.unit.judging import SHIPPED, Story, vehicle_plan

SWITCH = "{kind: switch}"
MANAGED = "{kind: switch, snmp: {address: 10.0.0.6, community_file: /c}}"
PLAN = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      modem: {kind: modem, modem: {port: /dev/m}}
      switch: SWITCH
      camera-1: {kind: camera, depends_on: [switch], snmp: {address: 10.0.0.2, community_file: /c}}
      camera-2: {kind: camera, depends_on: [switch], snmp: {address: 10.0.0.3, community_file: /c}}
      encoder: {kind: encoder, depends_on: [switch], snmp: {address: 10.0.0.4, community_file: /c}}
  tablet:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      host: {kind: host, system: {}}
"""
VIDEO = ("camera-1", "camera-2", "encoder")


def story(switch: str = SWITCH, *, restart: bool = False) -> Story:
    return Story(SHIPPED, vehicle_plan(PLAN.replace("SWITCH", switch)), restart=restart)


def poll(one: Story, at: float, gone: Iterable[str], devices: Iterable[str] = ("router", *VIDEO)) -> None:
    """One round in which these do not answer."""
    for device in devices:
        one.sample(device, {"device.reachable": device not in gone}, at)


# --- all of a group is gone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("switch", [SWITCH, MANAGED])
def test_a_switch_without_power_is_one_fault_read_or_not(switch: str, restart: bool) -> None:
    one = story(switch, restart=restart)
    read = ("router", *(("switch",) if switch == MANAGED else ()), *VIDEO)
    for at in range(0, 300, 10):
        poll(one, at, read[1:] if at >= 60 else (), read)
    began = [(change.problem.key.text(), change.problem.cause is None) for change in one.news("began")]
    assert began[0] == ("video_all_down/switch", True), "the root begins first: no symptom has had a ticket"
    assert one.roots() == ["video_all_down/switch"]
    assert sorted(one.explained()) == sorted(
        [f"{'encoder' if id == 'encoder' else 'camera'}_down/{id}" for id in VIDEO]
        + (["management_unreachable/switch"] if switch == MANAGED else [])
    )
    (root,) = [problem for problem in one.problems() if problem.cause is None]
    assert (root.event_ms - one.events[0][1]) // 1000 == 60
    assert root.sla_class is None, "the catalogue's: a disaster"
    assert [sample["device"] for sample in root.evidence[0].samples] == list(VIDEO)
    for at in range(300, 600, 10):
        poll(one, at, (), read)
    assert one.active() == []
    assert {problem.over_event_ms - one.events[0][1] for problem in one.problems() if problem.over_event_ms} == {
        300_000
    }


def test_a_node_behind_which_anything_lives_is_no_cause() -> None:
    one = story()
    for at in range(0, 300, 10):
        poll(one, at, VIDEO[:2])
    assert one.roots() == ["camera_down/camera-1", "camera_down/camera-2"]


def test_a_switch_that_answers_is_not_what_its_cameras_lack() -> None:
    one = story(MANAGED)
    for at in range(0, 300, 10):
        poll(one, at, VIDEO, ("router", "switch", *VIDEO))
    assert one.roots() == ["camera_down/camera-1", "camera_down/camera-2", "encoder_down/encoder"]


def test_one_child_that_is_gone_says_nothing_of_its_switch() -> None:
    plan = PLAN.replace("SWITCH", SWITCH).replace("depends_on: [switch], ", "", 2)
    one = Story(SHIPPED, vehicle_plan(plan))
    for at in range(0, 300, 10):
        poll(one, at, ("encoder",))
    assert one.roots() == ["encoder_down/encoder"]


def test_of_two_switches_the_one_without_power_is_general() -> None:
    plan = PLAN.replace("SWITCH", SWITCH + "\n      second: {kind: switch}").replace(
        "encoder: {kind: encoder, depends_on: [switch]", "encoder: {kind: encoder, depends_on: [second]"
    )
    one = Story(SHIPPED, vehicle_plan(plan))
    for at in range(0, 300, 10):
        poll(one, at, VIDEO[:2])
    assert one.roots() == ["video_all_down/switch"]
    assert [problem.sla_class for problem in one.problems() if problem.cause is None] == ["general"]
    for at in range(300, 600, 10):
        poll(one, at, VIDEO)
    assert one.roots() == ["video_all_down/video"], "now it is all that the vehicle has"


@pytest.mark.parametrize(("lasts", "roots"), [(119, []), (121, ["video_all_down/switch"])])
def test_a_group_is_gone_only_after_its_time(lasts: int, roots: list[str]) -> None:
    one = story()
    for at in (*range(0, lasts, 10), lasts):
        poll(one, at, VIDEO)
    assert one.roots() == roots


def test_of_a_dead_router_all_video_is_a_symptom() -> None:
    one = story()
    for at in range(0, 400, 10):
        poll(one, at, ("router", *VIDEO))
    assert one.roots() == ["router_dead/router"]
    assert one.news("began")[0].problem.key.fault == "router_dead"


def test_a_group_that_ends_ends_with_its_first_child_and_the_others_are_given_their_time() -> None:
    one = story()
    for at in range(0, 300, 10):
        poll(one, at, VIDEO)
    for at in range(300, 440, 10):
        poll(one, at, VIDEO[1:])
    assert one.roots() == [], "camera-2 and the encoder have not outlived it yet"
    for at in range(440, 500, 10):
        poll(one, at, VIDEO[1:])
    assert one.roots() == ["camera_down/camera-2", "encoder_down/encoder"]


# --- life refutes -----------------------------------------------------------------------------------------------------


def test_a_router_behind_which_a_camera_answers_is_not_dead() -> None:
    one = story()
    for at in range(0, 400, 10):
        poll(one, at, ("router",))
    assert one.roots() == ["management_unreachable/router"]


def test_what_an_agent_reads_at_its_own_port_says_nothing_of_the_router() -> None:
    one = story()
    for at in range(0, 400, 10):
        poll(one, at, ("router", *VIDEO))
        one.sample("modem", {"device.reachable": True, "modem.temperature_c": 40}, at, input="modem")
    assert one.roots() == ["router_dead/router"]


def test_another_agents_reading_refutes_down_and_a_lasting_one_ends_with_it() -> None:
    """The tablet cannot read the router that the box reads: neither of them is wrong, and nothing is a fault."""
    one = story()
    for at in range(0, 600, 10):
        one.sample("router", {"device.reachable": False}, at, agent="tablet")
        one.sample("router", {"device.reachable": True}, at + 1)
    assert one.problems() == []
    for at in range(600, 900, 10):
        one.sample("router", {"device.reachable": False}, at, agent="tablet")
    assert one.roots() == ["router_dead/router"], "the box tells nothing any more"
    for at in range(900, 960, 10):
        one.sample("router", {"device.reachable": True}, at)
        one.sample("router", {"device.reachable": False}, at + 1, agent="tablet")
    assert one.active() == []


def test_what_is_read_through_a_foreign_network_is_unknown() -> None:
    plan = vehicle_plan(PLAN.replace("SWITCH", SWITCH))
    for foreign in (False, True):
        one = Story(SHIPPED, plan)
        if foreign:
            one.rules = _with_foreign()
            for at in range(0, 200, 10):
                one.sample("host", {"host.temperature_c": 95}, at, agent="tablet", input="system")
        for at in range(200, 500, 10):
            one.sample("router", {"device.reachable": False}, at, agent="tablet")
        assert one.roots() == (["foreign_network/host"] if foreign else ["router_dead/router"])


def _with_foreign() -> Rules:
    """The shipped rules, and one that finds a foreign network by a metric that this test can set."""
    rule = "rules: {foreign: {fault: foreign_network, condition: {metric: host.temperature_c, above: 94}, for: 30s}}"
    texts = [*shipped_files(), ("test", rule)]
    return parse_rules([(name, parse_yaml(text, name)) for name, text in texts])
