"""What explains what, on the shipped topology and the fleet file's word (docs/architecture.md, Judging)."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.core.diagnosis import Graph, Since, causes, check_topology
from collector.core.identities import ProblemKey
from collector.core.rules.files import shipped_topology
from telemetry.faults import FAULTS
from telemetry.fleet import VehiclePlan
from tests.unit.judging import vehicle_plan

PLAN = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      inner: {kind: modem, depends_on: [router], modem: {port: /dev/m}}
      other: {kind: modem, modem: {port: /dev/n}}
      switch: {kind: switch, snmp: {address: 10.0.0.6, community_file: /c}}
      camera-1: {kind: camera, depends_on: [switch], snmp: {address: 10.0.0.2, community_file: /c}}
      camera-2: {kind: camera, snmp: {address: 10.0.0.3, community_file: /c}}
      encoder: {kind: encoder, depends_on: [camera-1], snmp: {address: 10.0.0.4, community_file: /c}}
      uplink: {kind: link, depends_on: [router], probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}
"""
TOPOLOGY = shipped_topology()
GRAPH = Graph(TOPOLOGY, vehicle_plan(PLAN))


def key(text: str) -> ProblemKey:
    return ProblemKey.parse(text)


def found(*problems: str, alive: tuple[str, ...] = (), begun: dict[str, int] | None = None) -> dict[str, str]:
    """Symptom -> cause; all began at once unless ``begun`` says when."""
    listed = [Since(key(text), (begun or {}).get(text, 0)) for text in problems]
    by = causes(GRAPH, listed, lambda device: device in alive)
    for order in itertools.permutations(listed):
        assert causes(GRAPH, order, lambda device: device in alive) == by, "the order of problems cannot matter"
    return {one.text(): cause.text() for one, cause in by.items() if cause is not None}


@pytest.mark.parametrize(
    ("cause", "symptom"),
    [
        ("router_dead/router", "camera_down/camera-1"),  # by its switch, which needs a router
        ("router_dead/router", "camera_down/camera-2"),  # by its kind
        ("router_dead/router", "management_unreachable/other"),
        ("router_dead/router", "packet_loss/router"),
        ("router_dead/router", "high_delay/router"),
        ("router_dead/router", "stream_frozen/encoder/stream=main"),
        ("management_unreachable/switch", "camera_down/camera-1"),
        ("management_unreachable/switch", "encoder_down/encoder"),
        ("camera_down/camera-1", "stream_frozen/camera-1/stream=main"),
        ("camera_down/camera-1", "management_unreachable/camera-1"),
        ("camera_down/camera-1", "encoder_down/encoder"),
        ("video_all_down/switch", "stream_lossy/encoder/stream=main"),
        ("sim_absent/other", "registration_denied/other"),
        ("sim_locked/other", "antenna_degraded/other"),
        ("registration_denied/other", "antenna_degraded/other"),
        ("sim_absent/other", "packet_loss/router"),
        ("registration_denied/inner", "high_delay/router"),
        ("packet_loss/router", "high_delay/router"),
        ("site_unreachable/north", "vehicle_silent/amb-1"),
        ("site_unreachable/north", "agent_down/box"),
    ],
)
def test_a_cause_explains_and_is_not_explained(cause: str, symptom: str) -> None:
    assert found(cause, symptom) == {symptom: cause}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("camera_down/camera-1", "camera_down/camera-2"),
        ("camera_down/camera-2", "stream_frozen/camera-1/stream=main"),
        ("management_unreachable/switch", "camera_down/camera-2"),
        ("sim_absent/inner", "registration_denied/other"),
        ("sim_absent/inner", "sim_absent/other"),
        ("antenna_degraded/other", "packet_loss/router"),
        ("router_dead/router", "supply_sag/router"),
        ("router_dead/router", "modem_hot/inner"),
        ("stream_frozen/camera-1/stream=main", "stream_lossy/camera-1/stream=main"),
        ("vehicle_silent/amb-1", "agent_down/box"),
        ("unheard_of/router", "camera_down/camera-1"),
    ],
)
def test_these_have_nothing_to_do_with_each_other(one: str, other: str) -> None:
    assert found(one, other) == {}


def test_of_a_chain_the_root_is_the_cause_of_all() -> None:
    chain = ("router_dead/router", "management_unreachable/switch", "camera_down/camera-1", "encoder_down/encoder")
    assert found(*chain) == dict.fromkeys(chain[1:], chain[0])


def test_a_node_that_is_seen_to_work_is_no_cause() -> None:
    assert found("management_unreachable/switch", "camera_down/camera-1", alive=("switch",)) == {}


def test_the_same_fault_told_by_two_of_one_chain_is_the_one_that_began_first() -> None:
    both = ("sim_absent/inner", "sim_absent/router")
    assert found(*both, begun={both[0]: 5, both[1]: 9}) == {both[1]: both[0]}
    assert found(*both, begun={both[0]: 9, both[1]: 5}) == {both[0]: both[1]}
    assert len(found(*both)) == 1


def test_what_is_degraded_must_have_begun_later() -> None:
    assert found("packet_loss/router", "high_delay/router", begun={"packet_loss/router": 5}) == {}


def test_what_never_ends_by_itself_is_no_cause() -> None:
    listed = [Since(key("router_dead/router"), 0, sees_end=False), Since(key("camera_down/camera-2"), 0)]
    assert set(causes(GRAPH, listed, lambda device: False).values()) == {None}


def test_a_fault_that_blinds_explains_nothing() -> None:
    shape = msgspec.structs.replace(TOPOLOGY.faults["management_unreachable"], blocks=False, blinds=True)
    blinding = msgspec.structs.replace(TOPOLOGY, faults={**TOPOLOGY.faults, "management_unreachable": shape})
    graph = Graph(blinding, vehicle_plan(PLAN))
    switch, camera = key("management_unreachable/switch"), key("camera_down/camera-1")
    assert graph.stands_before(switch, camera, lambda device: False), "it hides it"
    assert set(causes(graph, [Since(switch, 0), Since(camera, 0)], lambda device: False).values()) == {None}


def test_depends_on_in_a_circle_ends() -> None:
    text = PLAN.replace("switch: {kind: switch,", "switch: {kind: switch, depends_on: [camera-1],")
    graph = Graph(TOPOLOGY, vehicle_plan(text))
    listed = [Since(key("management_unreachable/switch"), 5), Since(key("camera_down/camera-1"), 0)]
    by = causes(graph, listed, lambda device: False)
    assert by[listed[0].key] == listed[1].key, "of two that explain each other the earlier one is the cause"
    assert by[listed[1].key] is None


def test_every_word_of_the_shipped_topology_means_something() -> None:
    kinds = ("router", "camera", "encoder", "modem", "gnss", "switch", "ups", "power", "host", "link")
    assert check_topology(TOPOLOGY, FAULTS, kinds) == ""
    assert check_topology(TOPOLOGY, FAULTS, kinds[1:]) == "nodes.device: router"
    assert check_topology(TOPOLOGY, {}, kinds) == "faults: router_dead"


FAULTS_THAT_EXPLAIN = sorted(TOPOLOGY.faults)
DEVICES = [id for _, id, _ in vehicle_plan(PLAN).devices()]


@example(  # found by a long run: each of the three explains one of the others
    dict.fromkeys(
        (
            ProblemKey.of("camera_down", "switch"),
            ProblemKey.of("router_dead", "switch"),
            ProblemKey.of("router_dead", "camera-1"),
        ),
        0,
    ),
    set(),
)
@given(
    st.dictionaries(
        st.builds(ProblemKey, st.sampled_from(FAULTS_THAT_EXPLAIN), st.sampled_from(DEVICES)),
        st.integers(0, 3),
        max_size=8,
    ),
    st.sets(st.sampled_from(DEVICES)),
)
def test_causes_end_somewhere(problems: dict[ProblemKey, int], alive: set[str]) -> None:
    """No circle: whoever follows causes comes to a problem that nothing explains."""
    by = causes(GRAPH, [Since(one, at) for one, at in problems.items()], lambda device: device in alive)
    for one in problems:
        seen = {one}
        at: ProblemKey | None = by[one]
        while at is not None:
            assert at not in seen
            seen.add(at)
            at = by[at]


def test_an_unknown_device_needs_nothing() -> None:
    assert Graph(TOPOLOGY, VehiclePlan(agents={})).needs(("device", "x")) == frozenset()
