"""Each shipped rule, window, edge and verb taken away or halved in turn, as rules that can be judged by. Pure."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from collector.core.diagnosis import Topology
from collector.core.rules.files import load_rules, parse_rules
from collector.core.rules.types import Rules
from telemetry.durations import milliseconds

WINDOWS: Final = frozenset({"for", "clear_for", "over", "max_gap", "closes_after"})
"""Keys of a rules file that say for how long something has to be so."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One thing taken away or halved."""

    name: str
    faults: tuple[str, ...]
    """What it is about: scenarios that name one of these are asked first."""
    rules: Rules


def mutants() -> Iterator[Mutant]:
    """Yield all of them: rules, their windows, then the topology's edges and verbs."""
    shipped = load_rules()
    yield from _of_rules(shipped)
    yield from _of_topology(shipped)


def _of_rules(shipped: Rules) -> Iterator[Mutant]:
    for number, (_, content) in enumerate(shipped.files):
        for id, rule in content.get("rules", {}).items():
            fewer = {other: one for other, one in content["rules"].items() if other != id}
            yield Mutant(f"rule {id} deleted", (rule["fault"],), _with(shipped, number, fewer))
            for path, span in _spans(rule):
                if not milliseconds(span):
                    continue
                for word, value in (("halved", f"{milliseconds(span) // 2}ms"), ("zero", "0s")):
                    if word == "zero" and path[-1] in ("over", "max_gap"):
                        continue  # a window of no length is none
                    changed = copy.deepcopy(rule)
                    _put(changed, path, value)
                    name = f"rule {id}: {'.'.join(map(str, path))} {span} {word}"
                    try:
                        rules = _with(shipped, number, {**content["rules"], id: changed})
                    except ValueError:
                        continue  # the rules file itself refuses it
                    yield Mutant(name, (rule["fault"],), rules)


def _with(shipped: Rules, number: int, rules: dict[str, Any]) -> Rules:
    files = list(shipped.files)
    files[number] = (files[number][0], {**files[number][1], "rules": rules})
    return dataclasses.replace(parse_rules(files), topology=shipped.topology)


def _spans(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            if key in WINDOWS and isinstance(one, str | int | float):
                yield (*path, key), one
            else:
                yield from _spans(one, (*path, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _spans(one, (*path, number))


def _put(value: Any, path: tuple[str | int, ...], new: str) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


def _of_topology(shipped: Rules) -> Iterator[Mutant]:
    plain = msgspec.to_builtins(shipped.topology)
    for name, node in plain["nodes"].items():
        for key in ("needs", "needs_one_of"):
            for other in node.get(key, ()):
                ends = _faults_at(plain, name, other)
                yield _edge(shipped, f"edge {name} {key} {other} deleted", ends, name, key, other)
        for kind, others in node.get("needs_by_kind", {}).items():
            for other in others:
                changed = copy.deepcopy(plain)
                kept = [one for one in others if one != other]
                changed["nodes"][name]["needs_by_kind"][kind] = kept
                ends = (*_faults_of(shipped, kind, other), *_faults_at(plain, other))
                yield Mutant(f"edge {kind} needs {other} deleted", ends, _topology(shipped, changed))
    for fault, shape in plain["faults"].items():
        if shape.get("blocks"):
            yield _verb(shipped, f"verb {fault} blocks deleted", (fault,), fault, "blocks", new=False)
        if shape.get("blinds"):
            yield _verb(shipped, f"verb {fault} blinds deleted", (fault,), fault, "blinds", new="")
        for other in shape.get("degrades", ()):
            kept = [one for one in shape["degrades"] if one != other]
            yield _verb(shipped, f"verb {fault} degrades {other} deleted", (fault, other), fault, "degrades", new=kept)


def _faults_at(plain: Any, *nodes: str) -> tuple[str, ...]:
    """Return the faults of an edge's ends."""
    return tuple(fault for fault, shape in plain["faults"].items() if shape["at"] in nodes)


def _faults_of(shipped: Rules, *kinds: str) -> tuple[str, ...]:
    """Return the faults that only devices of these kinds have."""
    rules = (rule for _, content in shipped.files for rule in content.get("rules", {}).values())
    return tuple({rule["fault"] for rule in rules if set(rule.get("kinds", ("",))) & set(kinds)})


def _edge(shipped: Rules, name: str, faults: tuple[str, ...], node: str, key: str, other: str) -> Mutant:
    changed = msgspec.to_builtins(shipped.topology)
    changed["nodes"][node][key] = [one for one in changed["nodes"][node][key] if one != other]
    return Mutant(name, faults, _topology(shipped, changed))


def _verb(shipped: Rules, name: str, faults: tuple[str, ...], fault: str, key: str, *, new: Any) -> Mutant:
    changed = msgspec.to_builtins(shipped.topology)
    changed["faults"][fault][key] = new
    return Mutant(name, faults, _topology(shipped, changed))


def _topology(shipped: Rules, plain: Any) -> Rules:
    return dataclasses.replace(shipped, topology=msgspec.convert(plain, Topology))
