"""Rules files: what they say, what overrides what, and one clear line for each mistake."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.rules.files import load_rules, parse_rules, shipped_files
from collector.core.rules.reducers import REDUCERS
from collector.core.rules.sampled import SampledRule
from collector.core.rules.schemas import compile_schema
from collector.core.rules.shapes import (
    OLD_WORDS,
    FileShape,
    IndicatorKeys,
    OverrideShape,
    RuleShape,
    SettingsShape,
)
from collector.core.rules.types import Rules
from collector.core.vehicle.silence import SilenceRule
from kitwatch.main import main
from kitwatch.rules import add_arguments, run
from kitwatch.rules_reference import markdown
from telemetry.files import FileError, convert, parse_yaml
from telemetry.fleet import Fleet
from telemetry.json_schema import meanings
from telemetry.records import Column, Schema
from tests.unit.judging import HOT, SHIPPED, rules_of

FLEET = """
sites:
  north:
    vehicles:
      amb-1:
        agents:
          box:
            devices:
              router: {kind: router, snmp: {address: 10.0.0.1, community_file: /c}}
"""


def fleet() -> Fleet:
    return convert(parse_yaml(FLEET, "fleet"), Fleet, "fleet")


# --- what ships -------------------------------------------------------------------------------------------------------


def test_shipped_rules_cover_this_waves_faults() -> None:
    wanted = """sim_absent sim_locked registration_denied antenna_degraded modem_hot high_delay packet_loss router_dead
    camera_down encoder_down management_unreachable stream_frozen stream_lossy supply_sag ups_battery_worn on_battery
    disk_filling host_hot cpu_runaway vehicle_silent agent_down clock_unset outbox_overrun identity_clash
    firmware_changed certificate_expiring profile_unknown site_unreachable gnss_antenna"""
    assert set(wanted.split()) <= {rule.fault.id for rule in SHIPPED.by_id.values()}


def test_every_shipped_figure_has_a_source_and_is_about_the_device_it_names() -> None:
    for rule in SHIPPED.by_id.values():
        assert rule.source, rule.id
        if rule.kinds and "any" not in rule.fault.roots and isinstance(rule, SilenceRule):
            assert rule.kinds <= set(rule.fault.roots), rule.id


def test_the_site_is_judged_before_any_vehicle_and_the_root_before_its_symptoms() -> None:
    """Durations that the order of judging rests on; the vehicle's own limit is 180 s in the fleet file."""
    assert SHIPPED.by_id["site_unreachable"].for_ms < 180_000
    for symptom in ("camera_down", "encoder_down", "management_unreachable"):
        assert SHIPPED.by_id["router_dead"].for_ms < SHIPPED.by_id[symptom].for_ms
    for symptom in ("camera_absent", "encoder_absent", "management_absent"):
        assert SHIPPED.by_id["router_absent"].for_ms < SHIPPED.by_id[symptom].for_ms


def test_nfpa_figures() -> None:
    """NFPA 1901, after field notes, Figures: an alarm within 140 s of 11.70 V, 23.4 V on 24 V."""
    for id, volts in (("supply_sag_12", 11.7), ("supply_sag_24", 23.4)):
        rule = SHIPPED.by_id[id]
        assert isinstance(rule, SampledRule)
        assert rule.first.below == volts
        assert rule.for_ms + 10_000 <= 140_000  # one poll of ten seconds beside it


# --- overriding -------------------------------------------------------------------------------------------------------


def limit(rules: Rules, vehicle: str = "amb-9", device: str = "modem", model: str = "") -> float | None:
    compiled = compile_schema(
        Schema("snmp", device, (Column("modem.temperature_c"),)),
        rules,
        "modem",
        site="north",
        vehicle=vehicle,
        agent="box",
        model=model,
    )
    hot = [watch.rule for watch in compiled.watches if watch.rule.fault.id == "modem_hot"]
    return hot[0].first.above if hot else None


def test_the_most_special_override_holds() -> None:
    text = (
        HOT
        + """
overrides:
  - {rule: modem_hot, models: ["RUTX*"], set: {condition: {above: 84}}}
  - {rule: modem_hot, vehicles: [amb-1], set: {condition: {above: 83}}}
  - {rule: modem_hot, sites: [north], set: {condition: {above: 82}}}
  - {rule: modem_hot, vehicles: [amb-2], disabled: true}
"""
    )
    rules = rules_of(text)
    assert limit(rules) == 82
    assert limit(rules, vehicle="amb-1") == 83
    assert limit(rules, vehicle="amb-1", model="RUTX50") == 84
    assert limit(rules, vehicle="amb-2") is None


def test_later_files_replace_and_override_shipped_rules(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("overrides: [{rule: modem_hot, set: {condition: {above: 90, clear: 85}, version: 2}}]\n")
    second.write_text(HOT.replace("above: 80", "above: 77"))
    rules = load_rules([first, second])
    assert limit(rules) == 90  # an override is laid over what the last file has left of the rule
    assert limit(load_rules([second])) == 77
    assert limit(load_rules()) == 80


def test_an_override_may_turn_a_threshold_round() -> None:
    rules = rules_of(HOT + "overrides: [{rule: modem_hot, set: {condition: {below: -20, clear: -10}}}]")
    rule = rules.overrides[0].rule
    assert isinstance(rule, SampledRule)
    assert (rule.first.above, rule.first.below) == (None, -20)


def test_speed_divides_durations() -> None:
    rules = SHIPPED.scaled(20)
    roaming = rules.by_id["roaming"]
    assert isinstance(roaming, SampledRule)
    assert (roaming.for_ms, roaming.clear_for_ms, roaming.max_gap_ms) == (90_000, 15_000, 180_000)
    assert rules.speed == 20
    # agents poll no faster for it, so silence keeps a floor, and the site's stays under the vehicle's
    assert rules.by_id["site_unreachable"].for_ms == 10_000
    assert rules.silence_ms(180) == 20_000
    assert rules.settings.lateness_ms == 72 * 3_600_000  # how late data may be is not a matter of the demo's speed
    with pytest.raises(ValueError, match="above 0"):
        SHIPPED.scaled(0)


def test_settings() -> None:
    assert rules_of("settings: {lateness: 2d, settle: 90s}").settings.lateness_ms == 172_800_000


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("condition: {metric: modem.temperatur_c}", "rules.modem_hot.condition.metric: expected a metric of the "
         "catalogue, found 'modem.temperatur_c', did you mean 'modem.temperature_c'?"),
        ("fault: modem_hott", "rules.modem_hot.fault: expected a fault of the catalogue, found 'modem_hott', "
         "did you mean 'modem_hot'?"),
        ("fro: 80", "rules.modem_hot: expected one of the keys"),
        ("condition: {abov: 80}", "rules.modem_hot.condition: expected one of the keys"),
        ("for: 10 minutes", "rules.modem_hot.for: expected a duration such as 30s, 10m, 2h or 3d, found '10 minutes'"),
        ("for: -5", "rules.modem_hot.for: expected a duration"),
        ("condition: {above: hot}", "rules.modem_hot.condition.above: expected a duration"),
        ("condition: {above: 900}", "rules.modem_hot.condition.above: expected -45 to 130 degC, found 900"),
        ("condition: {clear: 85}", "rules.modem_hot.condition.clear: expected at most the limit of 80, found 85"),
        ("condition: {metric: modem.band}", "rules.modem_hot.condition.metric: expected a metric that is a number, "
         "found modem.band (text)"),
        ("class: catastrophe", "rules.modem_hot.class: expected one of change, consultation, deferrable, disaster"),
        ("when: [driving]", "rules.modem_hot.when.0: expected one of on_duty"),
        ("kinds: [rooter]", "rules.modem_hot.kinds.0: expected one of"),
        ("under: [router_dead]", "rules.modem_hot.under: expected nothing: the shipped topology and"),
        ("condition: {group_by: [legs]}", "rules.modem_hot.condition.group_by: expected labels of "
         "modem.temperature_c, found 'legs'"),
        ("condition: {of: most}", "rules.modem_hot.condition.of: expected each, all, any or a condition, found 'most'"),
        ("condition: {of: {metric: modem.sim}}", "rules.modem_hot.condition.of: expected a condition only with share"),
        ("condition: {mean: {over: 10m}, rate: {over: 1h}}", "rules.modem_hot.condition: expected one of mean, rate"),
        ("condition: {mean: {ower: 10m}}", "rules.modem_hot.condition.mean: expected"),
        ("condition: {mean: {over: long}}", "rules.modem_hot.condition.mean"),
        ("condition: {share: {over: 10m}}", "rules.modem_hot.condition: expected 'of' or 'is' with share and count"),
        ("condition: {is: [true]}", "rules.modem_hot.condition.is: expected a limit or values, found both"),
        ("condition: {all_of: []}", "rules.modem_hot.condition.metric: expected 'all_of' alone"),
        ("only_if: {works: maybe}", "rules.modem_hot.only_if.works: expected true or false"),
        ("only_if: {any_of: []}", "rules.modem_hot.only_if.any_of: expected a list of conditions, found []"),
        ("only_if: hot", "rules.modem_hot.only_if: expected one of the rule's indicators, found 'hot'"),
        ("only_if: 5", "rules.modem_hot.only_if: expected an indicator or all_of, any_of, not; found 5"),
        ("indicators: {cold: {metric: modem.temperature_c, below: 0}}", "rules.modem_hot.indicators.cold: expected "
         "every indicator in the condition"),
        ("version: 0", "rules.modem_hot.version: expected"),
        ("devices: [camera-9]", "rules.modem_hot.devices: expected a device of one of these vehicles, found "
         "'camera-9'"),
        ("vehicles: [amb-2]", "rules.modem_hot.vehicles: expected a vehicle of the fleet file, found 'amb-2', "
         "did you mean 'amb-1'?"),
        ("sites: [south]", "rules.modem_hot.sites: expected a site of the fleet file, found 'south'"),
    ],
)  # fmt: skip
def test_one_clear_line(change: str, message: str) -> None:
    data = parse_yaml(HOT, "rules.yaml")
    rule = data["rules"]["modem_hot"]
    for key, value in parse_yaml(change, "change").items():
        rule[key] = {**rule[key], **value} if key == "condition" else value
    with pytest.raises(FileError) as caught:
        parse_rules([("rules.yaml", data)], fleet())
    assert str(caught.value).startswith(f"rules.yaml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule: {}", "expected one of the keys rules, overrides, settings; found 'rule', did you mean 'rules'?"),
        ("rules: {Hot-1: {}}", "rules.Hot-1: expected a name of small letters"),
        ("overrides: [{rule: nothing, set: {condition: {above: 1}}}]", "overrides.0.rule: expected the name of a rule"),
        (HOT + "overrides: [{rule: modem_hot}]", "overrides.0: expected either 'set'"),
        (HOT + "overrides: [{rule: modem_hot, set: {abov: 1}}]", "overrides.0.set: expected one of the keys"),
        (
            "rules: {a: {fault: sim_absent, condition: {metric: modem.sim, is: [gone]}}}",
            "rules.a.condition.is: expected one of",
        ),
        ("rules: {a: {fault: sim_absent, condition: {metric: modem.sim}}}", "rules.a.condition: expected a limit"),
        ("rules: {a: {fault: sim_absent}}", "rules.a: expected the key 'condition'"),
        (
            "rules: {a: {fault: profile_unknown, condition: {event: problem}}}",
            "rules.a.condition.starts_with: expected the words",
        ),
        (
            "rules: {a: {fault: agent_down, condition: {silence_of: agents}}}",
            "rules.a.condition.silence_of: expected one of agent, device, vehicle",
        ),
        (
            "rules: {a: {fault: agent_down, condition: {silence_of: agent}, max_gap: 1h}}",
            "rules.a.max_gap: expected it only with a condition on samples",
        ),
        ("settings: {lateness: long}", "settings.lateness: expected a duration"),
        ("rules: []", "rules: expected"),
    ],
)
def test_more_mistakes(text: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        rules_of(text)
    assert str(caught.value).startswith(f"rules.yaml: {message}")


OLD = "{kind: threshold, fault: modem_hot, metric: modem.temperature_c, above: 80, for: 1m}"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (OLD, "rules.a.kind: expected 'condition' alone"),
        ("{fault: modem_hot, metric: modem.temperature_c}", "rules.a.metric: expected 'condition: {metric: ...}'"),
        ("{fault: sim_absent, condition: {metric: modem.sim, is: [absent], neither: [busy]}}",
         "rules.a.condition.neither: expected 'ignore'"),
        ("{fault: modem_hot, also: []}", "rules.a.also: expected 'condition: {all_of: [...]}'"),
        ("{fault: modem_hot, either: []}", "rules.a.either: expected 'condition: {all_of: [..., {any_of: [...]}]}'"),
        ("{fault: modem_hot, where: []}", "rules.a.where: expected 'only_if'"),
        ("{fault: modem_hot, together: true}", "rules.a.together: expected 'of: all'"),
        ("{fault: modem_hot, apart: [leg]}", "rules.a.apart: expected 'group_by'"),
        ("{fault: modem_hot, bridge: 1h}", "rules.a.bridge: expected 'max_gap'"),
        ("{fault: router_dead, working: false}", "rules.a.working: expected 'only_if: {works: ...}'"),
        ("{fault: agent_down, of: agent}", "rules.a.of: expected 'condition: {silence_of: ...}'"),
        ("{fault: outbox_overrun, begins: [evicted]}", "rules.a.begins: expected 'condition: {event: ..., starts_with"),
    ],
)  # fmt: skip
def test_words_of_the_first_version_are_refused_with_the_new_one(rule: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        rules_of(f"rules: {{a: {rule}}}")
    assert str(caught.value).startswith(f"rules.yaml: {message}")
    assert "which is no more" in str(caught.value)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 100) | st.sampled_from(["1m", "modem_hot", "threshold", "x", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "fault",
                    "condition",
                    "metric",
                    "above",
                    "for",
                    "is",
                    "of",
                    "not",
                    "all_of",
                    "mean",
                    "over",
                    "share",
                    "only_if",
                    "works",
                    "indicators",
                    "hot",
                    "zz",
                    "silence_of",
                    "event",
                    "rules",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(PLAIN)
@settings(max_examples=300, deadline=None)
def test_whatever_a_file_holds_is_rules_or_a_file_error(data: Any) -> None:
    whole = {"fault": "modem_hot", "condition": data}
    for content in (data, {"rules": {"modem_hot": data}}, {"overrides": [data]}, {"rules": {"a": whole}}):
        file = "rules.yaml"
        try:
            parse_rules([(file, content)])
        except FileError as error:
            file = error.file
        assert file == "rules.yaml"


# --- the command ------------------------------------------------------------------------------------------------------


def test_check_says_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, fleet_file = tmp_path / "rules.yaml", tmp_path / "fleet.yaml"
    file.write_text("overrides: [{rule: modem_hot, vehicles: [amb-1], set: {condition: {above: 85}}}]\n")
    fleet_file.write_text(FLEET)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert run(parser.parse_args(["check", str(file), "--fleet", str(fleet_file), "--json"])) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rules"]) == len(SHIPPED.by_id)
    assert found["overrides"][0]["rule"] == "modem_hot"


def test_check_of_a_wrong_file_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(HOT.replace("modem.temperature_c", "zzz"))
    assert main(["rules", "check", str(file)]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.splitlines() == [
        f"kitwatch: {file}: rules.modem_hot.condition.metric: expected a metric of the catalogue, found 'zzz'"
    ]


def test_the_reference_is_what_the_types_say() -> None:
    """``kitwatch rules keys > docs/rules.md`` writes it anew."""
    text = markdown()
    assert (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8") == text
    for word in (*REDUCERS, *OLD_WORDS, "all_of", "any_of", "only_if", "group_by", "max_gap", "ignore", "min_count"):
        assert f"`{word}" in text, word
    shapes: list[type[msgspec.Struct]] = [FileShape, RuleShape, IndicatorKeys, OverrideShape, SettingsShape]
    for struct in (*shapes, *REDUCERS.values()):
        unexplained = {field.name for field in msgspec.structs.fields(struct)} - set(meanings(struct))
        assert not unexplained, struct


def test_the_example_of_the_reference_is_sound() -> None:
    example = markdown().split("```yaml")[1].split("```")[0]
    rules = rules_of(example)
    assert set(rules.by_id) == {"modem_hot", "loss_without_weak_radio"}


def test_shipped_files_are_package_data() -> None:
    names = [name for name, _ in shipped_files()]
    assert names == sorted(names)
    assert len(names) >= 5
