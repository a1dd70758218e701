"""What lives, what is hidden and what explains, as records tell of a vehicle (docs/diagnosis.md)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from collector.core.identities import ProblemKey
from collector.core.problems import ProblemChange, ProblemNews
from collector.core.rules.files import parse_rules, shipped_files
from collector.core.rules.types import Rules
from collector.core.vehicle.events import Acted, Listening
from telemetry.files import parse_yaml
from tests.unit.desks import Desk, key
from tests.unit.judging import SHIPPED, T0, Story, rules_of, vehicle_plan

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


@pytest.mark.parametrize(("lasts", "roots"), [(290, []), (310, ["video_all_down/switch"])])
def test_a_group_that_was_off_when_duty_began_is_given_its_time_to_start(lasts: int, roots: list[str]) -> None:
    """Found by a quiet life of cameras behind the ignition: each start of the engine told of the parking before it."""
    one = story()
    one.do(Acted("workshop", "a person"), 0)
    for at in range(0, 600, 10):
        poll(one, at, VIDEO)
    one.do(Acted("on_duty", "a person"), 600)
    for at in range(600, 600 + lasts, 10):
        poll(one, at, VIDEO)
    assert one.roots() == roots, "three minutes to start, two of the rule's own"
    for at in range(600 + lasts, 600 + lasts + 60, 10):
        poll(one, at, ())
    assert one.roots() == []


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


def test_a_stream_that_played_before_its_camera_died_says_nothing_afterwards() -> None:
    """Streams are played once a minute: by the time that a camera's fault is due the last one is overdue."""
    one = story()
    for at in range(0, 600, 10):
        poll(one, at, VIDEO[:1] if at >= 250 else ())
        if at % 60 == 0:
            playing = True if at < 250 else None
            one.sample("camera-1", {"stream.up{stream=main}": playing}, at, input="stream")
    assert [problem.key.text() for problem in one.problems()] == ["camera_down/camera-1"]


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


# --- waiting before the desk hears of it ------------------------------------------------------------------------------

FAST = """
rules:
  sim: {fault: sim_absent, condition: {metric: modem.sim, is: [absent]}, for: 0s}
  dead: {fault: router_dead, kinds: [router], condition: {metric: device.reachable, is: [false]}, for: 30s}
"""
SERIAL = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      modem: {kind: modem, modem: {port: /dev/m}}
"""


def pulled(one: Story, at: float, sim: str = "absent") -> list[ProblemNews]:
    effects = one.sample("modem", {"modem.sim": sim}, at, input="modem")
    return [effect.news for effect in effects if isinstance(effect, ProblemChange)]


def sims(*, router: float | None) -> Story:
    """A vehicle whose router answered last then; ``None``: nobody reads it."""
    one = Story(rules_of(FAST), vehicle_plan(SERIAL), restart=True)
    pulled(one, 0, "ready")
    if router is not None:
        one.sample("router", {"device.reachable": True}, router)
    return one


def waits(one: Story) -> bool:
    return one.vehicle.problems[ProblemKey("sim_absent", "modem")].waits_until_ms is not None


def test_where_nothing_upstream_is_read_the_desk_hears_of_it_at_once() -> None:
    one = sims(router=None)
    assert pulled(one, 10) == ["began"]
    assert not waits(one)


def test_a_problem_waits_for_a_sign_of_life_of_what_it_needs() -> None:
    one = sims(router=5)
    assert pulled(one, 10) == ["began"], "shown at once"
    assert waits(one)
    assert pulled(one, 20) == []
    one.sample("router", {"device.reachable": True}, 21)
    assert [change.news for change in one.changes()][-1] == "waited"
    assert not waits(one)


@pytest.mark.parametrize(("at", "news"), [(69.9, []), (70, ["waited"])])
def test_it_waits_for_a_minute_from_its_begin_at_most(at: float, news: list[str]) -> None:
    one = sims(router=5)
    pulled(one, 10)
    one.tick(at)
    assert [change.news for change in one.changes()][1:] == news


def test_a_cause_that_begins_meanwhile_gets_the_only_ticket() -> None:
    one = sims(router=5)
    for at in range(10, 60, 10):
        pulled(one, at)
        one.sample("router", {"device.reachable": False}, at + 1)
    assert one.explained() == {"sim_absent/modem": "router_dead/router"}
    assert "waited" not in [change.news for change in one.changes()]


def test_one_that_began_long_ago_waits_for_nothing() -> None:
    """Late data, and rules that take longer than a minute."""
    one = sims(router=5)
    effects = one.sample("modem", {"modem.sim": "absent"}, 10, now=70, input="modem")
    assert [effect.problem.waits_until_ms for effect in effects if isinstance(effect, ProblemChange)] == [None]


def test_at_the_desk_a_waiting_problem_is_shown_and_opens_its_ticket_when_it_has_waited() -> None:
    desk, ref = Desk(), key("sim_absent", "modem")
    desk.problem("began", ref, waits_until_ms=1)
    assert (desk.projection, desk.state.problems[ref].problem.state) == ({}, "active")
    desk.check()
    desk.problem("waited", ref, at=30)
    assert desk.told() == ["opened"]
    desk.problem("over", ref, at=40)
    desk.problem("again", ref, at=100, waits_until_ms=1)
    assert desk.ticket().state == "closed", "it may be a symptom"
    desk.problem("waited", ref, at=130)
    assert desk.told() == ["opened", "problem_over", "self_healed", "reopened"]
    desk.check()


def test_at_the_desk_one_that_ends_while_it_waits_never_was() -> None:
    desk, ref = Desk(), key("sim_absent", "modem")
    desk.problem("began", ref, waits_until_ms=1)
    desk.problem("over", ref, at=10)
    assert (desk.projection, desk.state.problems) == ({}, {})


# --- what outlives its cause ------------------------------------------------------------------------------------------

OUTLIVES = """
rules:
  dead: {fault: router_dead, kinds: [router], condition: {metric: device.reachable, is: [false]}, clear_for: 0s}
  down: {fault: camera_down, kinds: [camera], condition: {metric: device.reachable, is: [false]}, for: FOR}
"""


ON_A_SWITCH = """
agents:
  box:
    devices:
      router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
      uplink: {kind: link, probe: {targets: {a: {kind: icmp, address: 10.1.0.1}}}}
      camera-1: {kind: camera, CAMERA snmp: {address: 10.0.0.2, community_file: /c}}
"""


@pytest.mark.parametrize(
    ("camera", "loss", "fault"),
    [
        ("", 100.0, "router_dead"),
        ("", 20.0, "management_unreachable"),
        ("", None, "management_unreachable"),
        ("depends_on: [router],", 100.0, "management_unreachable"),
    ],
    ids=["no target", "a target", "nobody asks", "it hangs on the router's own ports"],
)
def test_who_lives_beside_a_router_shows_nothing_of_a_way_out_that_is_lost(
    camera: str, loss: float | None, fault: str
) -> None:
    """The box reaches its camera over a switch."""
    one = Story(SHIPPED, vehicle_plan(ON_A_SWITCH.replace("CAMERA", camera)))
    for at in range(0, 400, 10):
        one.sample("router", {"device.reachable": at < 60}, at)
        one.sample("camera-1", {"device.reachable": True}, at)
        if loss is not None:
            one.sample("uplink", {"link.loss_percent{target=a}": loss if at >= 60 else 0.0}, at, input="probe")
    assert [root for root in one.roots() if root.endswith("/router")] == [f"{fault}/router"]


def test_a_cause_that_is_about_to_be_over_explains_to_its_end() -> None:
    """The router answers again, and its rule waits for half a minute: its camera, polled later, has not outlived it."""
    rules = OUTLIVES.replace("clear_for: 0s", "clear_for: 30s").replace("FOR", "10s")
    hot = "  hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80}}\n"
    one = Story(rules_of(rules + hot), vehicle_plan(SERIAL_CAMERA))
    for at in range(0, 700, 10):
        one.sample("router", {"device.reachable": at >= 300}, at)
        one.heat(90 if at >= 310 else 40, at + 0.5, input="modem")  # something changes: causes are worked out anew
        one.sample("camera-1", {"device.reachable": at >= 320}, at + 1)
        assert "camera_down/camera-1" not in one.roots(), at
    assert one.active() == ["modem_hot/modem"]


@pytest.mark.parametrize("pace", [10, 60])
def test_each_poll_is_no_first_word_after_a_gap(pace: int) -> None:
    """With polls of a minute, and a tenth of a second more or less, an agent that speaks has spoken all the time."""
    one = Story(SHIPPED, vehicle_plan(SERIAL.replace("community_file: /c", f"community_file: /c, interval: {pace}")
                                      .replace("port: /dev/m", f"port: /dev/m, interval: {pace}")))  # fmt: skip
    for number in range(12):
        one.sample("router", {"device.reachable": True}, number * pace + (0.1 if number % 2 else 0.0))
    agent = one.vehicle.agents["box"]
    assert agent.heard_ms is not None
    assert agent.from_ms is not None
    assert agent.heard_ms - agent.from_ms >= 11 * pace * 1000


@pytest.mark.parametrize(
    ("for_", "step", "grace"),
    [("10s", 10, 150), ("10s", 60, 180), ("200s", 10, 200)],
    ids=["150 s", "three polls", "its for"],
)
def test_a_symptom_outlives_its_cause_by_the_greatest_of_three(for_: str, step: int, grace: int) -> None:
    for more, roots in ((-step, []), (0, ["camera_down/camera-1"])):
        one = Story(rules_of(OUTLIVES.replace("FOR", for_)), vehicle_plan(SERIAL_CAMERA))
        for at in range(0, 600, step):
            one.sample("router", {"device.reachable": False}, at)
            one.sample("camera-1", {"device.reachable": False}, at)
        one.sample("router", {"device.reachable": True}, 600)
        for at in range(600, 600 + grace + more, step):
            one.sample("camera-1", {"device.reachable": False}, at)
        assert one.roots() == []
        one.sample("camera-1", {"device.reachable": False}, 600 + grace + more)
        assert one.roots() == roots


def test_it_is_counted_on_samples_after_the_end_and_not_over_a_gap() -> None:
    """The kit was off for an hour after its router's fault ended: the camera has had no time to come back."""
    one = Story(rules_of(OUTLIVES.replace("FOR", "10s")), vehicle_plan(SERIAL_CAMERA))
    for at in range(0, 100, 10):
        one.sample("router", {"device.reachable": False}, at)
        one.sample("camera-1", {"device.reachable": False}, at)
    one.sample("router", {"device.reachable": True}, 100)
    for at in range(3_700, 3_850, 10):
        one.sample("camera-1", {"device.reachable": False}, at)
        assert one.roots() == [], at
    one.sample("camera-1", {"device.reachable": False}, 3_850)
    assert one.roots() == ["camera_down/camera-1"]


SERIAL_CAMERA = (
    SERIAL
    + """      camera-1: {kind: camera, depends_on: [router], snmp: {address: 10.0.0.2, community_file: /c}}
"""
)

# --- data that are missing --------------------------------------------------------------------------------------------

HOT = "rules: {hot: {fault: modem_hot, condition: {metric: modem.temperature_c, above: 80}, for: 10s}}"


def hot(until: int = 60, *, restart: bool = True) -> Story:
    one = Story(rules_of(HOT), vehicle_plan(SERIAL), restart=restart)
    for at in range(0, until, 10):
        one.heat(90, at, input="modem")
        one.sample("router", {"device.reachable": True}, at)
    return one


def states(one: Story) -> list[str]:
    return [change.news for change in one.changes()]


@pytest.mark.parametrize(("lasts", "news"), [(600, ["began"]), (610, ["began", "stale"])])
def test_what_its_agent_no_longer_tells_of_goes_stale(lasts: int, news: list[str]) -> None:
    one = hot()
    for at in range(60, 50 + lasts + 1, 10):
        one.sample("router", {"device.reachable": True}, at)
        one.tick(at)
    assert states(one) == news
    assert one.active() == ["modem_hot/modem"], "never closed by it"


@pytest.mark.parametrize(("lasts", "news"), [(599, ["began"]), (601, ["began", "stale"])])
def test_so_does_what_nobody_tells_of(lasts: int, news: list[str]) -> None:
    one = hot()
    one.tick(50 + lasts)
    assert states(one) == news


@pytest.mark.parametrize(("value", "news"), [(90, "back"), (60, "over")])
def test_the_next_word_ends_it(value: float, news: str) -> None:
    one = hot()
    one.tick(700)
    assert [problem.state for problem in one.vehicle.problems.values()] == ["stale"]
    for at in (710, 720, 730):
        one.heat(value, at, input="modem")
        one.tick(at)
    assert states(one) == ["began", "stale", "back", *(["over"] if news == "over" else [])]


def test_of_a_slow_poll_three_are_waited_for() -> None:
    one = Story(rules_of(HOT.replace("for: 10s", "for: 0s")), vehicle_plan(SERIAL))
    for at in (0, 300, 600):
        one.heat(90, at, input="modem")
    for at in range(610, 1_500, 10):
        one.sample("router", {"device.reachable": True}, at)
        one.tick(at)
    assert states(one) == ["began"]
    for at in (1_500, 1_510):
        one.sample("router", {"device.reachable": True}, at)
        one.tick(at)
    assert states(one) == ["began", "stale"]


def test_of_a_parked_vehicle_no_word_is_expected() -> None:
    one = hot()
    one.born("box", 55)
    one.left("box", "parked", 60)
    one.tick(900)
    assert states(one) == ["began"]


def test_nothing_is_missing_while_we_do_not_listen() -> None:
    one = hot()
    one.listening = Listening(None)
    one.tick(900)
    assert states(one) == ["began"]
    one.listening = Listening(T0 + 900_000)
    one.tick(1_499)
    assert states(one) == ["began"], "what was not heard was not missing"
    one.tick(1_501)
    assert states(one) == ["began", "stale"]


def test_at_the_desk_missing_data_ask_a_person_until_they_are_back() -> None:
    desk = Desk()
    desk.problem("began")
    for number in range(40):
        desk.problem("stale", at=1_000.0 * number + 10)
        assert desk.ticket().unjudged is None if number >= 10 else desk.ticket().unjudged is not None
        desk.problem("back", at=1_000.0 * number + 500)
        assert desk.ticket().unjudged is None
    assert desk.told().count("data_missing") == desk.told().count("data_back") == 10, "and then nothing new is said"
    assert desk.ticket().state == "new"
    desk.check()
