"""Indicators by name that rules look at from other sources: equal ones are one, whichever rules look at them.

Their windows and last words are kept once, under the name and what the indicator says (its content, as a short hash):
what "weak radio" is does not hang on the rule that asks. A rule that changes its indicator begins with a new window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from collector.core.identities import OperandKey
from collector.core.rules.expressions import AllOf, AnyOf, Indicator, Not, leaves
from collector.core.rules.reducers import Reducer
from collector.core.rules.sampled import SampledRule
from collector.core.rules.types import Rule, Rules
from telemetry.metrics import Metric

_MEMORY: Final = "shared indicators"


def looked_at(rule: SampledRule) -> Iterator[Indicator]:
    """Yield a rule's indicators by name that other sources may tell: all but its first one."""
    first, *others = leaves(rule.condition)
    for indicator in others:
        if indicator.name and indicator is not first:
            yield indicator


def shared_name(indicator: Indicator) -> str:
    """Return the name under which all equal indicators are kept."""
    content = msgspec.json.encode(_plain(indicator), order="deterministic")
    return f"{indicator.name}-{hashlib.blake2b(content, digest_size=4).hexdigest()}"


def rules_of(rules: Rules, key: OperandKey) -> tuple[Rule, ...]:
    """Return the rules that look at an operand, as they are without overrides.

    None does at what a state of before keeps for a single rule and is shared now.
    """
    if key.rule:
        rule = rules.by_id.get(key.rule)
        if rule is None or (isinstance(rule, SampledRule) and key.indicator in {one.name for one in looked_at(rule)}):
            return ()
        return (rule,)
    found: Mapping[str, tuple[Rule, ...]] | None = rules.memory.get(_MEMORY)
    if found is None:
        found = rules.memory[_MEMORY] = _all_shared(rules)
    return found.get(key.indicator, ())


def _all_shared(rules: Rules) -> dict[str, tuple[Rule, ...]]:
    found: dict[str, dict[str, Rule]] = {}
    for rule in (*rules.by_id.values(), *(override.rule for override in rules.overrides)):
        if isinstance(rule, SampledRule):
            for indicator in looked_at(rule):
                found.setdefault(shared_name(indicator), {}).setdefault(rule.id, rule)
    return {name: tuple(by_id.values()) for name, by_id in found.items()}


def _plain(value: Any) -> Any:
    """Return all that a condition says as plain data; what is not said does not stand there."""
    match value:
        case Indicator():
            said = {field.name: getattr(value, field.name) for field in msgspec.structs.fields(value)}
            defaults = {field.name: field.default for field in msgspec.structs.fields(value)}
            return {name: _plain(one) for name, one in said.items() if one != defaults[name]}
        case AllOf(parts) | AnyOf(parts):
            return [type(value).__name__, *map(_plain, parts)]
        case Not(part):
            return ["Not", _plain(part)]
        case Reducer():
            return [type(value).__name__, msgspec.to_builtins(value)]
        case Metric():
            return value.name
        case frozenset():
            return sorted(map(repr, value))
        case _:
            return value
