"""Conditions over indicators: windows, other devices, three values, and the predicate that lets good samples pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.core.rules.expressions import AllOf, AnyOf, Condition, Indicator, Not, compiled, guards, leaves
from collector.core.rules.files import parse_rules
from collector.core.rules.schemas import MOST_EVIDENCE, CompiledSchema, compile_schema
from collector.core.rules.types import Rules
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN
from collector.core.vehicle.operands import MOST_WINDOWS
from collector.core.vehicle.state import Vehicle
from telemetry.files import parse_yaml
from telemetry.metrics import METRICS
from telemetry.records import Column, Schema
from tests.unit.judging import PLAN, SHIPPED, Story, rules_of, vehicle_plan

# --- in three values --------------------------------------------------------------------------------------------------

VERDICTS = (CLEAR, BAND, UNKNOWN, BAD)
NAMES = "abcd"
LEAVES = st.sampled_from([Indicator(name=name, metric=METRICS["modem.temperature_c"], above=80.0) for name in NAMES])
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=3).map(tuple).map(AllOf),
        st.lists(inner, min_size=1, max_size=3).map(tuple).map(AnyOf),
    ),
    max_leaves=6,
)


def judged(condition: Condition, values: tuple[int, ...]) -> int:
    def judge_of(indicator: Indicator) -> Any:
        return lambda values: values[NAMES.index(indicator.name)]

    return compiled(condition, judge_of)(values)


@given(CONDITIONS, st.tuples(*[st.sampled_from([True, False])] * 4))
def test_what_is_known_of_all_is_plain_logic(condition: Condition, truths: tuple[bool, ...]) -> None:
    def logic(part: Condition) -> bool:
        match part:
            case Indicator():
                return truths[NAMES.index(part.name)]
            case Not(inner):
                return not logic(inner)
            case AllOf(parts):
                return all(logic(one) for one in parts)
            case AnyOf(parts):
                return any(logic(one) for one in parts)

    found = judged(condition, tuple(BAD if truth else CLEAR for truth in truths))
    assert found == (BAD if logic(condition) else CLEAR)


@given(CONDITIONS, st.tuples(*[st.sampled_from([CLEAR, UNKNOWN, BAD])] * 4))
def test_what_is_certain_stays_so_whatever_the_unknown_are(condition: Condition, values: tuple[int, ...]) -> None:
    """Kleene: a verdict that is known holds for every value that the unknown ones could have."""
    found = judged(condition, values)
    if found in (CLEAR, BAD):
        for other in (CLEAR, BAD):
            assert judged(condition, tuple(other if value == UNKNOWN else value for value in values)) == found


@given(CONDITIONS, st.tuples(*[st.sampled_from(VERDICTS)] * 4))
def test_where_no_guard_is_bad_the_condition_is_not(condition: Condition, values: tuple[int, ...]) -> None:
    for found in guards(condition):
        if all(values[NAMES.index(one.name)] != BAD for one in found):
            assert judged(condition, values) != BAD
        assert set(map(id, found)) <= set(map(id, leaves(condition)))


# --- windows ----------------------------------------------------------------------------------------------------------


def rule(text: str, fault: str = "packet_loss") -> Story:
    return Story(rules_of(f"rules: {{a: {{fault: {fault}, {text}}}}}"), restart=True)


def test_a_rate_needs_nothing_but_yaml() -> None:
    """Errors of an interface, more than one in ten seconds over five minutes; the switch restarts in between."""
    story = rule(
        "kinds: [switch], condition: {metric: interface.errors, rate: {over: 5m, per: 10s, min_count: 5}, above: 1}",
        "stream_lossy",
    )
    errors = 0
    for at in range(0, 1200, 10):
        errors = 0 if at == 600 else errors + (3 if at >= 300 else 0)
        story.sample("switch", {"interface.errors{interface=p1}": errors, "interface.errors{interface=p2}": 7}, at)
    assert story.active() == ["stream_lossy/switch/interface=p1"]
    (problem,) = story.problems()
    assert 300_000 < problem.event_ms - story.events[0][1] < 450_000
    assert [key.labels for key in story.vehicle.windows] == [(("interface", "p1"),), (("interface", "p2"),)]


def test_a_share_finds_what_flickers_and_lets_go_when_it_is_rare() -> None:
    """20 s in, 20 s out: no row of 30 s, but half of ten minutes."""
    flicker = (
        "kinds: [modem], condition: {metric: modem.sim, is: [absent], share: {over: 10m, min_count: 10}, above: 0.3}"
    )
    story = rule(flicker, "sim_absent")
    for at in range(0, 600, 10):
        story.sample("modem", {"modem.sim": "absent" if at % 40 < 20 else "ready"}, at)
    assert story.faults() == ["sim_absent"]
    for at in range(600, 1200, 10):
        story.sample("modem", {"modem.sim": "absent" if at % 200 == 0 else "ready"}, at)
    assert story.life()[0][1] == "over"


def test_a_share_of_a_condition_counts_samples_of_which_all_is_known() -> None:
    of = "{any_of: [{metric: modem.rsrp_dbm, below: -108}, {metric: modem.sinr_db, below: 0}]}"
    story = rule(f"condition: {{share: {{over: 10m, min_count: 4}}, of: {of}, above: 0.3}}", "antenna_degraded")
    for at in range(0, 100, 10):
        story.sample("modem", {"modem.rsrp_dbm{leg=nr}": None, "modem.sinr_db{leg=nr}": None}, at)
    assert story.vehicle.windows == {}
    for at in range(100, 200, 10):
        story.sample("modem", {"modem.rsrp_dbm{leg=nr}": -110.0, "modem.sinr_db{leg=nr}": None}, at)
    assert story.problems() == []
    story.sample("modem", {"modem.rsrp_dbm{leg=nr}": -80.0, "modem.sinr_db{leg=nr}": -3.0}, 200)
    assert story.faults() == ["antenna_degraded"], "100 s of the five minutes that count at least"
    assert story.life()[0][2] == 100


def test_a_mean_finds_a_loss_that_no_row_of_bad_polls_does() -> None:
    story = rule("kinds: [link], condition: {metric: link.loss_percent, mean: {over: 10m}, above: 7, clear: 4}")
    for at in range(0, 900, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0 if at % 40 == 0 and at > 100 else 0.0}, at)
    assert story.faults() == ["packet_loss"]


def test_the_time_to_a_full_disk() -> None:
    until = "condition: {metric: host.disk_percent, until: {over: 2h, reaches: 100}, below: 24h}"
    story = rule(until, "disk_filling")
    for number in range(120):
        story.sample("host", {"host.disk_percent": 50 + number / 30}, number * 60, agent="tablet", input="system")
    assert story.faults() == ["disk_filling"]  # two percent an hour: 100 in 23 h
    assert story.life()[0][1] == "active"


def test_a_new_version_begins_its_window_anew() -> None:
    text = "condition: {metric: link.loss_percent, mean: {over: 10m, min_count: 5}, above: 7}"
    story = rule(text)
    for at in range(0, 40, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, at)
    story.rules = rules_of(f"rules: {{a: {{fault: packet_loss, version: 2, {text}}}}}")
    for at in range(40, 340, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, at)
    assert story.problems() == []
    story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, 340)
    assert story.faults() == ["packet_loss"]


def test_windows_of_a_withdrawn_rule_are_forgotten() -> None:
    story = rule("condition: {metric: link.loss_percent, mean: {over: 10m, min_count: 5}, above: 7}")
    story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, 0)
    assert len(story.vehicle.windows) == 1
    story.rules = rules_of("rules: {}")
    story.tick(10)
    assert story.vehicle.windows == {}


def test_labels_without_end_make_no_windows_without_end() -> None:
    """Counted, and the windows that are there go on."""
    story = rule("condition: {metric: interface.errors, rate: {over: 5m}, above: 1}", "stream_lossy")
    story.restart = False
    for number in range(MOST_WINDOWS // 100 + 1):
        ports = {f"interface.errors{{interface=p{number}-{port}}}": 1 for port in range(100)}
        story.sample("switch", ports, number * 10)
    assert len(story.vehicle.windows) == MOST_WINDOWS
    assert story.vehicle.skipped == {"windows": 100}
    for at in range(200, 300, 10):
        story.sample("switch", {"interface.errors{interface=p0-0}": at * 5}, at)
    assert story.active() == ["stream_lossy/switch/interface=p0-0"]


def test_numbers_that_add_up_to_none_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a metric without bounds; all of the catalogue's have some."""
    monkeypatch.setattr(CompiledSchema, "check", lambda self, values: values)
    story = rule("condition: {metric: agent.clock_offset_s, mean: {over: 10m}, above: 60}", "clock_unset")
    for at in range(0, 100, 10):
        story.sample("agent", {"agent.clock_offset_s": 1.7e308}, at, input="agent")
    assert story.vehicle.windows == {}
    for at in range(100, 401, 10):
        story.sample("agent", {"agent.clock_offset_s": 90.0}, at, input="agent")
    assert story.faults() == ["clock_unset"]


def test_a_problem_of_a_thousand_values_keeps_a_few() -> None:
    story = rule("condition: {metric: interface.errors, above: 1, of: all}", "stream_lossy")
    story.sample("switch", {f"interface.errors{{interface=p{port}}}": 5 for port in range(900)}, 0)
    (problem,) = story.problems()
    assert len(problem.evidence[0].samples) == MOST_EVIDENCE


# --- across devices ---------------------------------------------------------------------------------------------------

LOSSY = """
rules:
  loss_without_weak_radio:
    fault: packet_loss
    kinds: [link]
    indicators:
      lossy: {metric: link.loss_percent, above: 7, clear: 4}
      weak: {metric: modem.rsrp_dbm, below: -108, of: OF}
    condition: {all_of: [lossy, {not: weak}]}
    for: 30s
"""


def driven(rsrp: dict[str, float | None], of: str = "any", stop: int = 600) -> Story:
    """The link loses all the time; every 10 s each modem says how strong it hears."""
    plan = vehicle_plan(
        PLAN.replace("      power:", "      modem-2: {kind: modem, modem: {port: /dev/n}}\n      power:")
    )
    story = Story(rules_of(LOSSY.replace("OF", of)), plan=plan, restart=True)
    for at in range(0, 300, 10):
        for modem, value in rsrp.items():
            if at < stop:
                story.sample(modem, {"modem.rsrp_dbm{leg=nr}": value}, at, input="modem")
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, at + 1, input="probe")
    return story


def test_a_rule_looks_at_another_device() -> None:
    assert driven({"modem": -85.0}).faults() == ["packet_loss"]
    assert driven({"modem": -115.0}).faults() == []
    assert driven({"modem": -85.0, "modem-2": -115.0}).faults() == []
    assert driven({"modem": -85.0, "modem-2": -115.0}, "all").faults() == ["packet_loss"]


def test_what_is_unknown_elsewhere_leaves_the_condition_unknown() -> None:
    assert driven({}).faults() == []
    assert driven({"modem": None}).faults() == []


def test_a_word_of_another_device_expires() -> None:
    """Gap of a minute and two and a half polls behind the last word at 100: what is not told any more is unknown."""
    story = driven({"modem": -85.0}, stop=110)
    assert story.faults() == ["packet_loss"]
    story.sample("uplink", {"link.loss_percent{target=a}": 0.0}, 400, input="probe")
    for at in range(410, 600, 10):
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, at, input="probe")
    assert len(story.problems()) == 1, "the loss alone opens nothing new"


def test_two_agents_are_two_operands() -> None:
    story = Story(rules_of(LOSSY.replace("OF", "any")), restart=True)
    for at in range(0, 200, 10):
        story.sample("modem", {"modem.rsrp_dbm{leg=nr}": -115.0}, at, agent="tablet", input="modem")
        story.sample("modem", {"modem.rsrp_dbm{leg=nr}": -85.0}, at, agent="box", input="modem")
        story.sample("uplink", {"link.loss_percent{target=a}": 30.0}, at + 1, input="probe")
    assert story.problems() == []
    assert {key.source.agent for key in story.vehicle.readings} == {"box", "tablet"}


SHARED = """
rules:
  loss:
    fault: packet_loss
    kinds: [link]
    indicators:
      lossy: {metric: link.loss_percent, above: 7, clear: 4}
      weak: {share: {over: 10m}, of: {metric: modem.rsrp_dbm, below: -108}, above: 0.1}
    condition: {all_of: [lossy, {not: weak}]}
    for: 90s
  delay:
    fault: high_delay
    kinds: [link]
    version: 3
    when: [on_duty]
    indicators:
      slow: {metric: link.rtt_ms, above: 300}
      weak: {share: {over: 10m}, of: {metric: modem.rsrp_dbm, below: BELOW}, above: 0.1}
    condition: {all_of: [slow, {not: weak}]}
    for: 90s
"""


def heard_weakly(rules: Rules, rsrp: float = -115.0) -> Story:
    story = Story(rules, restart=True)
    for at in range(0, 200, 10):
        story.sample("modem", {"modem.rsrp_dbm{leg=nr}": rsrp}, at, input="modem")
        values: dict[str, Any] = {"link.loss_percent{target=a}": 30.0, "link.rtt_ms{target=a}": 400.0}
        story.sample("uplink", values, at + 1, input="probe")
    return story


def test_equal_indicators_of_several_rules_are_one() -> None:
    """What weak radio is does not hang on the rule that asks: one window, one word, whatever the rules' versions."""
    story = heard_weakly(rules_of(SHARED.replace("BELOW", "-108")))
    assert story.problems() == []
    assert (len(story.vehicle.windows), len(story.vehicle.readings)) == (1, 1)
    assert sorted(heard_weakly(story.rules, -85.0).faults()) == ["high_delay", "packet_loss"]


def test_indicators_of_one_name_that_say_something_else_are_two() -> None:
    story = heard_weakly(rules_of(SHARED.replace("BELOW", "-120")))
    assert story.faults() == ["high_delay"], "-115 dBm is weak for the other rule only"
    assert len(story.vehicle.readings) == 2
    assert len({key.indicator for key in story.vehicle.readings}) == 2


def test_a_shared_window_stays_while_one_of_its_rules_does() -> None:
    story = heard_weakly(rules_of(SHARED.replace("BELOW", "-108")))
    kept = story.vehicle.windows
    fewer = parse_yaml(SHARED.replace("BELOW", "-108"), "rules.yaml")
    del fewer["rules"]["loss"]
    story.rules = parse_rules([("rules.yaml", fewer)])
    story.tick(201)
    assert story.vehicle.windows == kept
    story.rules = rules_of("rules: {}")
    story.tick(202)
    assert (story.vehicle.windows, story.vehicle.readings) == ({}, {})


def test_windows_that_each_rule_had_of_its_own_are_read_and_forgotten() -> None:
    """States of before they were shared: nobody would ever look at those again."""
    story = heard_weakly(rules_of(SHARED.replace("BELOW", "-108")))
    ((name, window),) = story.vehicle.windows.items()
    assert f'"{name.text()}"' in story.vehicle.to_json().decode()
    before = story.vehicle.to_json().decode().replace(f"|{name.indicator}|", "loss|weak|")
    story.vehicle = Vehicle.from_json(before.encode())
    assert story.vehicle.windows == {name._replace(rule="loss", indicator="weak"): window}
    story.tick(201)
    assert (story.vehicle.windows, story.vehicle.readings) == ({}, {})
    story.sample("modem", {"modem.rsrp_dbm{leg=nr}": -115.0}, 210, input="modem")
    assert [*story.vehicle.windows] == [name]


def test_a_good_sample_of_another_voltage_leaves_at_once() -> None:
    """What ``only_if`` shuts out is not asked: 12 V are bad for a rule on 24 V systems that does not look there."""
    schema = Schema("snmp", "power", (Column("power.supply_v"),))
    compiled = compile_schema(schema, SHIPPED, "power", site="north", vehicle="amb-1", agent="box")
    assert {"supply_sag_12", "supply_sag_24"} <= {watch.rule.id for watch in compiled.watches}
    found = {volts: compiled.all_clear([volts]) for volts in (6.0, 11.6, 12.6, 23.0, 27.0)}
    assert found == {6.0: True, 11.6: False, 12.6: True, 23.0: False, 27.0: True}


def test_an_engine_that_runs_on_a_good_voltage_leaves_at_once() -> None:
    """Any part of ``all_of`` that is not bad says that the sample is not: a weak alternator needs a low voltage too."""
    schema = Schema("snmp", "power", (Column("power.supply_v"), Column("power.engine")))
    compiled = compile_schema(schema, SHIPPED, "power", site="north", vehicle="amb-1", agent="box")
    assert {"alternator_weak_12", "alternator_weak_24"} <= {watch.rule.id for watch in compiled.watches}
    cases = ((13.8, True), (12.8, True), (12.8, False), (27.4, True), (25.6, True))
    assert [compiled.all_clear(case) for case in cases] == [True, False, True, True, False]
