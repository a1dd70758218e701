"""``docs/rules.md``: what a rules file may hold, from the very types that read it and the text beside each field."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from collector.core.kinds import KINDS
from collector.core.rules import shapes
from collector.core.rules.reducers import REDUCERS, Reducer
from kitwatch.schema import reference

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

A rule is looked at whenever its first indicator has a sample; that one says of which device and labels the problem is.
"""


def markdown() -> str:
    """Return the reference."""
    lines = [_HEAD, "## The file", "", *reference(shapes.FileShape)]
    lines += ["", "## A rule", "", *reference(shapes.RuleShape), "", "## Conditions", "", _CONDITION]
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
            inner = [field.type for field in msgspec.structs.fields(kind.shape) if _is_struct(field.type)]
            for struct in inner:
                lines += ["", f"#### {struct.__name__}", "", *reference(struct)]
    lines += ["", "## An override", _anchor(shapes.OverrideShape), "", *reference(shapes.OverrideShape)]
    lines += ["", "## Settings", _anchor(shapes.SettingsShape), "", *reference(shapes.SettingsShape)]
    lines += ["", "## Words of the first version", "", "They are refused, and the message names the new one.", ""]
    lines += ["| was | is |", "|---|---|"]
    lines += [f"| `{old}` | {new.replace(chr(39), chr(96))} |" for old, new in shapes.OLD_WORDS.items()]
    return "\n".join(lines) + "\n"


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
