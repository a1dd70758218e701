"""A vehicle's state as earlier versions stored it, brought to today's format. Plain data in, plain data out.

Of the first version: its keys were texts joined with ``/`` and ``|``; one that cannot be read today names nothing that
could be judged, and is left behind. Its open tickets are problems now: the same key, active, so that a fault that lasts
goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from collector.core.identities import (
    Identity,
    IdentityError,
    InventoryKey,
    OccurrenceKey,
    ProblemKey,
    RuleStateKey,
    SourceKey,
    TroubleKey,
    check_id,
    check_label,
)

_UNSEEN_END = frozenset({"firmware_changed"})
_KEPT = ("site", "vehicle", "given", "agents", "skipped")


def from_format_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return format 2 of a vehicle."""
    facts = {
        name: [value, list(source), time_ms]
        for name, (value, text, time_ms) in plain.get("facts", {}).items()
        for source in _readable(SourceKey.parse, text)
    }
    tickets = dict(_keyed(plain.get("tickets", {}), problem_key))
    return {
        **{name: plain[name] for name in _KEPT if name in plain},
        "sources": dict(_keyed(plain.get("sources", {}), SourceKey.parse)),
        "proofs": dict(_keyed(plain.get("proofs", {}), SourceKey.parse)),
        "facts": facts,
        "rule_states": _rule_states(plain.get("conditions", {})),
        "troubles": dict(_keyed(plain.get("problems", {}), TroubleKey.parse)),
        "occurrences": dict(_keyed(plain.get("pulses", {}), _occurrence_key)),
        "inventory": dict(_keyed(plain.get("inventory", {}), InventoryKey.parse)),
        "changes": dict(_keyed(plain.get("changes", {}), InventoryKey.parse)),
        "problems": {key: problem_of_ticket(ticket) for key, ticket in tickets.items()},
        "ended": {key: [len(spans), spans] for key, spans in _keyed(plain.get("ended", {}), problem_key)},
    }


def from_format_2(plain: dict[str, Any]) -> dict[str, Any]:
    """Return format 3: there is no second judging for late data any more (docs/decisions/0065).

    What it was about stands in the log; of what it had found and not told yet nobody knows whether it was whole.
    """
    rest = {name: part for name, part in plain.items() if name not in ("past", "late")}
    facts = {name: fact for name, fact in plain.get("facts", {}).items() if name != "past_ignition"}
    return {**rest, "facts": facts}


def problem_of_ticket(ticket: Mapping[str, Any]) -> dict[str, Any]:
    """Return the problem that an open ticket of format 1 told of."""
    fault, device, labels = problem_key(ticket["key"])
    return {
        "site": ticket["site"],
        "vehicle": ticket["vehicle"],
        "key": [fault, device, labels],
        "rule": ticket["rule"],
        "rule_version": ticket["rule_version"],
        "state": "active",
        "event_ms": ticket["event_ms"],
        "detected_ms": ticket["detected_ms"],
        "sees_end": fault not in _UNSEEN_END,
        "evidence": ticket.get("evidence", [])[:1],
    }


def problem_key(text: str) -> ProblemKey:
    """Return the key of a ticket of format 1, whose labels' values were not escaped. Raises IdentityError."""
    fault, _, rest = text.partition("/")
    device, _, labels = rest.partition("/")
    return ProblemKey(fault, check_id(device, "a device"), _labels(labels))


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for part in text.split(",") if text else ():
        name, equals, value = part.partition("=")
        if equals:
            found.append((check_label(name), value))
        elif found:
            found[-1] = found[-1][0], f"{found[-1][1]},{part}"
        else:
            raise IdentityError("label=value", part)
    return tuple(sorted(found))


def _rule_states(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    found = {}
    for key, condition in _keyed(plain, _rule_state_key):
        for problem in _readable(problem_key, condition["ticket"]):
            rest = {name: value for name, value in condition.items() if name not in ("ticket", "source")}
            found[key] = {**rest, "source": condition["source"].split("/"), "problem": list(problem)}
    return found


def _rule_state_key(text: str) -> RuleStateKey:
    rule, source, labels = (*text.split("|", 2), "", "")[:3]
    return RuleStateKey(rule, SourceKey.parse(source), _labels(labels))


def _occurrence_key(text: str) -> OccurrenceKey:
    kind, agent, reason = (*text.split("/", 2), "", "")[:3]
    return OccurrenceKey(kind, check_id(agent, "an agent"), reason)


def _keyed(part: Mapping[str, Any], parse: Callable[[str], Identity]) -> Iterator[tuple[str, Any]]:
    """Yield (text of the key today, value) of those whose key can be read."""
    for text, value in part.items():
        for key in _readable(parse, text):
            yield key.text(), value


def _readable(parse: Callable[[str], Identity], text: str) -> Iterator[Any]:
    try:
        yield parse(text)
    except IdentityError:
        return
