"""What a rules file may hold, from the very types that read it and the text beside each field.

For readers (``docs/rules.md``) and for editors (JSON Schema). A rule is read in steps, so its type alone does not say
what a condition is; here that is put together.
"""

from __future__ import annotations

import inspect
from typing import Any, get_args

import msgspec

from collector.core.kinds import KINDS
from collector.core.rules import shapes
from collector.core.rules.reducers import REDUCERS, Reducer
from collector.core.rules.usual import UsualShape
from collector.rule_tests import EventShape, ExpectShape, SeriesShape, TestShape
from kitwatch.schema import DRAFT, reference
from telemetry.faults import FAULTS
from telemetry.json_schema import explain, types_in
from telemetry.metrics import METRICS

_HEAD = """# Rules

Written by `kitwatch rules keys` from the types that read the files; do not edit it by hand. `kitwatch rules check`
says whether files are sound and what holds with them.

The shipped rules are read first (`collector/rules/`), then the files of `collector.yaml`'s `rules`, in their order. A
rule of the same name replaces the earlier one as a whole; an override changes single keys of it for some.

```yaml
rules:
  modem_hot:
    fault: modem_hot
    condition: {metric: modem.temperature_c, above: 80, clear: 75}
    for: 5m
    source: makers give 85 degC as the end of the extended range
  loss_without_weak_radio:
    fault: packet_loss
    kinds: [link]
    indicators:
      lossy: {metric: link.loss_percent, mean: {over: 10m}, above: 7, clear: 4}
      weak_radio:
        share: {over: 10m}
        of: {any_of: [{metric: modem.rsrp_dbm, below: -108}, {metric: modem.sinr_db, below: 0}]}
        above: 0.3
    condition: {all_of: [lossy, {not: weak_radio}]}
overrides:
  - {rule: modem_hot, models: ["RUTX*"], set: {condition: {above: 85}, version: 2}}
```

Durations are `500ms`, `30s`, `10m`, `2h`, `3d`, or a number of seconds. What explains what does not stand in rules: it
is `collector/rules/topology.yaml`, and `depends_on` in the fleet file.
"""
_CONDITION = """A condition is one of these:

- an indicator;
- the name of one of the rule's `indicators`;
- `{all_of: [...]}`, `{any_of: [...]}`, lists of conditions, or `{not: ...}`;
- silence, or an event (below); such a condition stands alone.

It has three values. Unknown stays unknown: *all of* a clear and an unknown one is clear, of a bad and an unknown one
unknown. Between the limits of an indicator it is neither, and breaks a row of bad or of clear samples.

Where a fault may flicker, its rule says both: that it is bad now, and that it was bad for a share of the time
(`any_of: [{is: [absent], ...}, {is: [absent], share: {over: 10m}, above: 0.3, clear: 0.1, ...}]`). A problem that a
window shows began with the window's first bad sample and ended after its last one, however long the window remembers.
What a mean shows began where its values have been beyond the limit by most since then: a burst that was long over is
not its beginning.

A rule is looked at whenever its first indicator has a sample; that one says of which device and labels the problem is.
"""


_READINGS = """
Each fault of the catalogue has a shipped rule. What a rule needs of the kit and of the fleet file, beside what every
kit tells:

- `data_volume_near_cap`: `data_plan` of the modem in the fleet file, and a modem or router that counts its bytes.
- `foreign_network`: `hardware_address` of the routers in the fleet file (MAC of the side to the vehicle, or BSSID).
- `alternator_weak`: `power.engine` (an input of the router wired to D+, or the vehicle's bus by a profile of your own);
  from day to day: `power.ignition` and a kit that is fed while the vehicle is parked.
- `encoder_no_video`: `device.video_input`. Of the shipped profiles Hikvision's over HTTP reads it (analogue inputs); no
  device of the shared captures tells it over SNMP.
- `firmware_blocked`: a profile that names versions (`blocked`, with why and where to go); of the shipped ones RutOS
  7.0 to 7.3.4. Who knows of one without a profile writes a rule: `{metric: device.firmware, is: ["V1.2.3"]}` with
  `kinds`.
- `modem_hung`: a modem that an agent reads by AT commands; behind a router's management nobody sees the port.
- `ups_battery_worn`: a self-test by RFC 1628 or PowerNet-MIB; RFC 1628 has no flag for the battery's replacement.
- `battery_worn`: Linux drivers that tell `energy_full_design` or `charge_full_design`; on Windows only the charge.
- `packet_loss`, `high_delay`, `wan_no_data`: RSRP or SINR of any modem; without it a bad place is not told from a
  bad link. `wan_no_data` needs its registration too.
- What flickers (a SIM card 20 s in, 20 s out; registration denied by turns; a picture that stands half of the time) is
  found where it is polled more often than it changes.
- A device whose management answers half of the time by chance is not told: `management_unreachable` needs 15 polls.
- `wan_no_data` mostly comes with the backlog, for nothing passes while it lasts. Where none of the site's vehicles that
  are heard then was heard while it lasted, it is the network's, and not the vehicle's ([diagnosis](diagnosis.md)).
- 5 % of loss is no fault: the mean must be above 7. 7 % is found after about 310 s, 10 % after 300.
"""
_TESTS = """`kitwatch rules test [FILE ...]` plays tests with the product's own judging and says what was not as
expected; without a file the shipped ones, which stand in `collector/rules/tests/`. `--rules` puts rules on top of the
shipped ones.

```text
tests:
  - name: the SIM is out for ten minutes
    rules: [sim_absent]
    lasts: 30m
    series: [{device: modem, kind: modem, values: {modem.sim: "ready x 60, absent x 60, ready"}}]
    expect: [{at: 619s, problems: []}, {at: 11m, problems: [sim_absent/modem]}, {at: 27m, problems: []}]
    begins: {sim_absent/modem: 10m}
```

A test begins on 2 March 2026, 00:00 UTC, and knows just the devices of its series.
"""


def markdown() -> str:
    """Return the reference."""
    lines = [_HEAD, "## The file", "", *reference(shapes.FileShape)]
    lines += ["", "## A rule", "", *reference(shapes.RuleShape)]
    lines += ["", "### Flapping", _anchor(shapes.FlappingShape), "", *reference(shapes.FlappingShape)]
    lines += ["", "### What is usual in a place", _anchor(UsualShape), "", *reference(UsualShape)]
    lines += ["", "## Conditions", "", _CONDITION]
    common = list(shapes.IndicatorKeys.__struct_fields__)
    lines += ["### An indicator", "", *reference(shapes.IndicatorKeys, common)]
    lines += ["", "### Reducers", "", _sentence(Reducer), ""]
    lines += ["A reducer is a key of an indicator; without one the value itself is judged.", ""]
    lines += ["| key | what it is | keys beside `over`, `min_count` |", "|---|---|---|"]
    for word, reducer in REDUCERS.items():
        lines.append(f"| `{word}` | {_sentence(reducer)} | {_own_keys(reducer)} |")
    lines += ["", *reference(Reducer)[2:]]
    for kind in KINDS:
        if kind.shape is not None:
            lines += ["", f"### `{kind.word}`", "", *reference(kind.shape)]
            fields = msgspec.structs.fields(kind.shape)
            for struct in (one for field in fields for one in (field.type, *get_args(field.type)) if _is_struct(one)):
                lines += ["", f"#### {struct.__name__}", "", *reference(struct)]
    lines += ["", "## What rules need"]
    lines += _READINGS.splitlines()
    lines += ["", "## Unit tests", "", _TESTS]
    for shape in (TestShape, SeriesShape, EventShape, ExpectShape):
        lines += [f"### {shape.__name__.removesuffix('Shape')}", _anchor(shape), "", *reference(shape), ""]
    lines = lines[:-1]
    lines += ["", "## An override", _anchor(shapes.OverrideShape), "", *reference(shapes.OverrideShape)]
    lines += ["", "## Settings", _anchor(shapes.SettingsShape), "", *reference(shapes.SettingsShape)]
    lines += ["", "## Words of the first version", "", "They are refused, and the message names the new one.", ""]
    lines += ["| was | is |", "|---|---|"]
    lines += [f"| `{old}` | {new.replace(chr(39), chr(96))} |" for old, new in shapes.OLD_WORDS.items()]
    return "\n".join(lines) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a rules file, each key with its meaning."""
    kinds = [kind.shape for kind in KINDS if kind.shape is not None]
    types = [shapes.FileShape, shapes.RuleShape, shapes.IndicatorShape, *kinds]
    _, defs = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    every: list[type[msgspec.Struct]] = [found for one in types for found in types_in(one)]
    explain(defs, every)
    file, rule, indicator, override = (
        defs[name]["properties"] for name in ("FileShape", "RuleShape", "IndicatorShape", "OverrideShape")
    )
    for word, reducer in REDUCERS.items():
        indicator[word]["description"] = _sentence(reducer)
    indicator["metric"]["anyOf"][0] = {"enum": sorted(METRICS)}
    indicator["of"] |= {"anyOf": [{"enum": ["each", "all", "any"]}, _ref("Condition"), {"type": "null"}]}
    rule["fault"]["enum"] = sorted(FAULTS)
    rule["condition"] |= _ref("Condition")
    rule["indicators"]["additionalProperties"] = _ref("IndicatorShape")
    works = _object(works={"type": "boolean"})
    asked = [_ref("Condition"), works]
    rule["only_if"] |= {"anyOf": [*asked, _object(all_of=_list({"anyOf": asked})), {"type": "null"}]}
    defs["Condition"] = {
        "anyOf": [
            {"type": "string", "description": "The name of one of the rule's indicators."},
            _ref("IndicatorShape"),
            *(_object(**{word: _list(_ref("Condition"))}) for word in ("all_of", "any_of")),
            _object(**{"not": _ref("Condition")}),
            *(_ref(kind.__name__) for kind in kinds),
        ]
    }
    file["rules"]["additionalProperties"] = _ref("RuleShape")
    defs["RuleChange"] = {key: value for key, value in defs["RuleShape"].items() if key not in ("title", "required")}
    override["set"] = _ref("RuleChange") | {"description": override["set"]["description"], "default": {}}
    return {"$schema": DRAFT, "title": "rules/NAME.yaml", **_ref("FileShape"), "$defs": defs}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(**keys: dict[str, Any]) -> dict[str, Any]:
    """Return a mapping with these keys, all required, and no others."""
    return {"type": "object", "properties": keys, "required": list(keys), "additionalProperties": False}


def _anchor(struct: type[msgspec.Struct]) -> str:
    """Return where links to a type lead that stands under a heading of other words."""
    return f'\n<a id="{struct.__name__.lower()}"></a>'


def _sentence(kind: type) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def _own_keys(reducer: type[Reducer]) -> str:
    own = [field for field in msgspec.structs.fields(reducer) if field.name not in Reducer.__struct_fields__]
    rows = {row.split("|")[1].strip(" `"): row.split("|")[4].strip() for row in reference(reducer)[4:]}
    return "; ".join(f"`{field.name}`: {rows[field.name]}" for field in own)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
