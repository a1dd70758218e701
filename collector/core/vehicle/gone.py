"""A whole group that is gone: all cameras and encoders, or all that hang on one switch, read or not.

Each of the children has been gone for the rule's `for` since it was expected to be there, and none lives: what they
hang on is the cause. Until then they begin nothing of their own, so that one switch without power is one ticket.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from collector.core.diagnosis import LEAST_CHILDREN, OUTLIVES_MS, Node
from collector.core.identities import ProblemKey
from collector.core.rules.all_gone import AllGoneRule
from collector.core.rules.rule_state import EvidenceSample
from collector.core.vehicle import expectation, life

if TYPE_CHECKING:
    from collector.core.vehicle.draft import Draft

_MOST_SHOWN: Final = 4
"""Children of which the evidence shows a sample."""


class _Bad(msgspec.Struct, frozen=True):
    """A device that does not answer: since when, and what tells of it last."""

    since_ms: int
    last_ms: int
    first: tuple[EvidenceSample, ...] = ()


class Group(msgspec.Struct, frozen=True):
    """What hangs together and is gone. Times are event times."""

    rule: AllGoneRule
    key: ProblemKey
    node: Node
    whole: bool
    """It is all that the vehicle has."""
    since_ms: int
    """Since when all of it is."""
    last_ms: int
    first: tuple[EvidenceSample, ...]


def groups(draft: Draft) -> Iterator[Group]:
    """Yield what is gone as a whole, the greatest first; what is part of one that was yielded does not come again."""
    bad = _bad(draft) if draft.rule_states or draft.problems else {}
    for rule in _rules(draft) if len(bad) >= LEAST_CHILDREN else ():
        at = draft.rules.topology.faults[rule.fault.id].at
        children = draft.graph.devices(rule.children)
        shown: set[str] = set()
        for middle, kids in draft.graph.middles(at, children).items():
            if shown.issuperset(kids) or not bad.keys() >= set(kids):
                continue
            since_ms = max(bad[kid].since_ms for kid in kids)
            if _lives(draft, middle, kids, since_ms):
                continue
            shown.update(kids)
            first = tuple(sample for kid in kids[:_MOST_SHOWN] for sample in bad[kid].first[:1])
            last_ms = max(bad[kid].last_ms for kid in kids)
            key = ProblemKey(rule.fault.id, middle)
            yield Group(rule, key, (at, middle), len(kids) == len(children), since_ms, last_ms, first)


def hides(draft: Draft, key: ProblemKey) -> bool:
    """Say whether a problem of this key is about to be explained by a group that is gone and has not lasted yet."""
    node = draft.graph.node(key)
    if node is None or not _rules(draft):
        return False
    needs = draft.graph.needs(node)
    return any(
        one.node in needs and one.key not in draft.problems and draft.duty() in one.rule.when for one in groups(draft)
    )


def judge(draft: Draft) -> None:
    """Let the problem of a group begin once it has lasted, and be over once anything of it lives."""
    if not _rules(draft):
        return
    gone = {one.key: one for one in groups(draft)}
    for key, one in gone.items():
        since_ms = max(one.since_ms, expectation.since_event_ms(draft, one.rule, key, "camera", None))
        due = one.last_ms - since_ms >= one.rule.for_ms and draft.duty() in one.rule.when
        if due and key not in draft.problems and not draft.is_hidden(key, draft.rule_states.values()):
            draft.open(one.rule, key, since_ms, one.first, _TEXT, sla_class=None if one.whole else "general")
    for problem in list(draft.problems.values()):
        rule = draft.rules.by_id.get(problem.rule)
        if isinstance(rule, AllGoneRule) and problem.key not in gone:
            _end(draft, rule, problem.key, problem.event_ms)


_TEXT: Final = "all that hangs on it is gone, and nothing of it lives"


def _end(draft: Draft, rule: AllGoneRule, key: ProblemKey, since_ms: int) -> None:
    """End it when the first of the group that lives came back; with none that lives nobody can say."""
    graph = draft.graph
    at = draft.rules.topology.faults[key.fault].at
    kids = graph.middles(at, graph.devices(rule.children)).get(key.device, ())
    back = []
    for kid in (key.device, *kids):
        if draft.lives(("device", kid), since_ms):
            clear = [
                state.clear_ms
                for state in draft.rule_states.values()
                if state.device == kid and state.clear_ms is not None and state.clear_ms > since_ms
            ]
            back.append(min(clear, default=max(since_ms, draft.sign_ms(("device", kid)))))
    if back and not draft.may_be_told_otherwise:
        draft.close(rule, key, min(back), text="something that hangs on it lives")


def _lives(draft: Draft, middle: str, kids: tuple[str, ...], since_ms: int) -> bool:
    return any(draft.lives(("device", one), since_ms) for one in (middle, *kids))


def _bad(draft: Draft) -> dict[str, _Bad]:
    """Return of each device that is gone since when it is, as rules on samples tell, or a problem of it does."""
    at_device, latest_ms = draft.graph.at_device, life.latest_ms(draft.sources)
    told = [
        (state.device, _Bad(state.since_ms, state.last_ms, state.first))
        for state in draft.rule_states.values()
        if state.phase in ("pending", "firing")
        and at_device(state.problem.fault)
        and latest_ms - state.last_ms <= OUTLIVES_MS + draft.step_ms(state.device)
    ]
    told += [
        (key.device, _Bad(problem.event_ms, latest_ms))
        for key, problem in draft.problems.items()
        if at_device(key.fault)
    ]
    found: dict[str, _Bad] = {}
    for device, one in told:
        if device not in found or one.since_ms < found[device].since_ms:
            found[device] = one
    return found


def _rules(draft: Draft) -> tuple[AllGoneRule, ...]:
    """Return the rules of this kind that hold for the vehicle; worked out once."""
    memory, name = draft.rules.memory, ("all gone", draft.before.site, draft.before.vehicle)
    found = memory.get(name)
    if not isinstance(found, tuple):
        rules = draft.rules.effective(draft.before.site, draft.before.vehicle)
        found = memory[name] = tuple(rule for rule in rules if isinstance(rule, AllGoneRule))
    return found
