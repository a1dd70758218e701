"""What explains what, on the shipped topology and the fleet file's word (docs/architecture.md, Judging)."""

from __future__ import annotations

import functools
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collector.core.diagnosis import Graph, Node, Since, causes, check_topology, graph_of
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
  tablet:
    devices:
      host: {kind: host, system: {}}
"""
TOPOLOGY = shipped_topology()
GRAPH = Graph(TOPOLOGY, vehicle_plan(PLAN))


def key(text: str) -> ProblemKey:
    return ProblemKey.parse(text)


def found(*problems: str, alive: tuple[str, ...] = (), begun: dict[str, int] | None = None) -> dict[str, str]:
    """Symptom -> cause; all began at once unless ``begun`` says when."""
    listed = [Since(key(text), (begun or {}).get(text, 0)) for text in problems]
    living = {("device", id) for id in alive}
    by = causes(GRAPH, listed, lambda node, since: node in living)
    for order in itertools.permutations(listed):
        assert causes(GRAPH, order, lambda node, since: node in living) == by, "the order of problems cannot matter"
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
        ("antenna_degraded/other", "packet_loss/router"),
        ("antenna_degraded/other", "nr_fallback/other"),
        ("stream_lossy/camera-1/stream=main", "stream_frozen/camera-1/stream=main"),
        ("encoder_no_video/encoder", "stream_frozen/encoder/stream=main"),
        ("camera_down/camera-1", "encoder_no_video/encoder"),
        ("video_all_down/switch", "camera_down/camera-2"),  # read or not, the one switch is what it hangs on
        ("video_all_down/switch", "management_unreachable/switch"),
        ("router_dead/router", "video_all_down/switch"),
        ("router_dead/router", "vehicle_silent/amb-1"),
        ("router_dead/router", "agent_down/box"),
        ("wan_no_data/router", "vehicle_silent/amb-1"),
        ("wan_no_data/router", "packet_loss/router"),
        ("modem_hung/other", "sim_absent/other"),
        ("modem_hot/other", "modem_hung/other"),
        ("supply_sag/inner", "router_reboot_loop/router"),
        ("alternator_weak/router", "supply_sag/router"),
        ("alternator_weak/router", "on_battery/ups"),
        ("supply_sag/router", "on_battery/ups"),
        ("router_reboot_loop/router", "agent_down/box"),
        ("gnss_antenna/router", "gnss_jumping/router"),
        ("disk_filling/host", "outbox_volatile/tablet"),
        ("outbox_volatile/box", "outbox_overrun/box"),
        ("site_unreachable/north", "vehicle_silent/amb-1"),
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
        ("router_dead/router", "supply_sag/router"),
        ("router_dead/router", "modem_hot/inner"),
        ("antenna_degraded/inner", "nr_fallback/other"),
        ("sim_absent/inner", "vehicle_silent/amb-1"),  # the other modem may be the way out
        ("router_dead/router", "outbox_volatile/box"),
        ("router_dead/router", "certificate_expiring/camera-1"),
        ("login_refused/camera-1", "camera_down/camera-1"),
        ("wan_no_data/router", "camera_down/camera-2"),
        ("disk_filling/host", "outbox_volatile/box"),
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
    assert set(causes(GRAPH, listed, lambda node, since: False).values()) == {None}


@pytest.mark.parametrize(
    ("one", "other", "agent", "blind"),
    [
        ("login_refused/camera-1", "stream_frozen/camera-1/stream=main", "box", True),
        ("login_refused/camera-1", "stream_frozen/encoder/stream=main", "box", False),
        ("management_unreachable/switch", "camera_down/camera-1", "box", False),  # whoever else sees it judges it
        ("management_unreachable/other", "modem_hot/other", "box", True),
        ("management_unreachable/other", "management_unreachable/other", "box", False),
        ("foreign_network/host", "router_dead/router", "tablet", True),
        ("foreign_network/host", "router_dead/router", "box", False),
        ("foreign_network/host", "host_hot/host", "tablet", False),
        ("camera_down/camera-1", "stream_frozen/camera-1/stream=main", "box", False),
    ],
)
def test_what_is_read_through_a_blind_node_is_unknown(one: str, other: str, agent: str, blind: bool) -> None:
    assert GRAPH.blinds(key(one), key(other), agent) is blind


def test_of_one_modem_the_vehicle_needs_that_one() -> None:
    """The same vehicle without its second modem: the SIM explains its silence."""
    text = "\n".join(line for line in PLAN.splitlines() if "other:" not in line)
    graph = Graph(TOPOLOGY, vehicle_plan(text))
    listed = [Since(key("sim_absent/inner"), 0), Since(key("vehicle_silent/amb-1"), 5)]
    assert causes(graph, listed, lambda node, since: False)[listed[1].key] == listed[0].key


def test_vehicles_have_one_graph_where_they_are_equipped_alike_and_only_there() -> None:
    memory: dict[object, object] = {}

    def made(vehicle: str, text: str) -> Graph:
        return graph_of(memory, TOPOLOGY, vehicle, vehicle_plan(text))

    first = made("a", PLAN)
    assert made("b", PLAN + "plate: X") is first
    other = made("c", PLAN.replace("camera-2: {kind: camera,", "camera-2: {kind: camera, depends_on: [switch],"))
    assert (first.depends_on("camera-2"), other.depends_on("camera-2")) == ([], ["switch"])
    assert made("b", PLAN.replace("inner: {kind: modem,", "inner: {kind: router,")).kind("inner") == "router"
    assert made("a", PLAN) is first


def test_a_sign_of_life_from_before_the_cause_refutes_nothing() -> None:
    listed = [Since(key("router_dead/router"), 100), Since(key("camera_down/camera-2"), 100)]
    for sign_ms, by in ((100, {"router_dead"}), (101, set[str]())):
        alive = functools.partial(_shown_at, sign_ms)
        assert {one.fault for one in causes(GRAPH, listed, alive).values() if one is not None} == by


def _shown_at(sign_ms: int, node: Node, since_ms: int) -> bool:
    return node == ("device", "router") and sign_ms > since_ms


def test_what_several_hang_on_together() -> None:
    """All that the vehicle has first; a switch behind which there is one camera is no middle of anything."""
    text = PLAN.replace("camera-2: {kind: camera,", "camera-2: {kind: camera, depends_on: [second],").replace(
        "switch: {kind: switch,", "second: {kind: switch}\n      switch: {kind: switch,"
    )
    graph, all_ = Graph(TOPOLOGY, vehicle_plan(text)), ("camera-1", "camera-2", "encoder")
    assert graph.middles("video", all_) == {"video": all_, "switch": ("camera-1", "encoder")}
    assert GRAPH.middles("video", all_) == {"switch": all_}, "the vehicle has one switch: that is what it all hangs on"
    assert GRAPH.middles("video", all_[:1]) == {}


def test_every_fault_of_the_catalogue_has_its_place() -> None:
    """A fault without a place explains nothing and is explained by nothing, and nobody has said so on purpose."""
    assert set(TOPOLOGY.faults) == set(FAULTS), "a new fault has a line in collector/rules/topology.yaml"


def test_depends_on_in_a_circle_ends() -> None:
    text = PLAN.replace("switch: {kind: switch,", "switch: {kind: switch, depends_on: [camera-1],")
    graph = Graph(TOPOLOGY, vehicle_plan(text))
    listed = [Since(key("management_unreachable/switch"), 5), Since(key("camera_down/camera-1"), 0)]
    by = causes(graph, listed, lambda node, since: False)
    assert by[listed[0].key] == listed[1].key, "of two that explain each other the earlier one is the cause"
    assert by[listed[1].key] is None


def test_every_word_of_the_shipped_topology_means_something() -> None:
    kinds = ("router", "camera", "encoder", "modem", "gnss", "switch", "ups", "power", "host", "link")
    assert check_topology(TOPOLOGY, FAULTS, kinds) == ""
    assert check_topology(TOPOLOGY, FAULTS, kinds[1:]) == "nodes.device: router"
    assert check_topology(TOPOLOGY, {}, kinds) == "faults: power_lost"


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
    living = {("device", id) for id in alive}
    by = causes(GRAPH, [Since(one, at) for one, at in problems.items()], lambda node, since: node in living)
    for one in problems:
        seen = {one}
        at: ProblemKey | None = by[one]
        while at is not None:
            assert at not in seen
            seen.add(at)
            at = by[at]


def test_an_unknown_device_needs_what_all_need() -> None:
    assert Graph(TOPOLOGY, VehiclePlan(agents={})).needs(("sim", "x")) == {
        ("device", "x"),
        ("supply", ""),
    }
