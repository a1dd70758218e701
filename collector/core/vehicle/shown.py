"""What a problem rests on, for people: its first, worst and last samples, and the whole kit as it was then. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from collector.core.problems import Forecast
from collector.core.rules.expressions import leaves
from collector.core.rules.rule_state import EvidenceSample, RuleState
from collector.core.rules.sampled import SampledRule
from collector.core.vehicle import life
from telemetry.metrics import METRICS

if TYPE_CHECKING:
    from collector.core.rules.schemas import CompiledSchema
    from collector.core.rules.watches import Watch
    from collector.core.vehicle.draft import Draft

MOST_KIT: Final = 40
"""Devices of which a problem's evidence says how they were; of the others how many there are."""
_DAYS_LEFT: Final = frozenset({"link.certificate_days"})
"""Metrics that tell themselves how many days are left."""
_DAY_MS: Final = 86_400_000
Samples = tuple[EvidenceSample, ...]
Shows = Literal["first", "worst", "last", "clear"]


def noted(rule: SampledRule, before: RuleState | None, after: RuleState, evidence: Samples) -> RuleState:
    """Return a rule's state with a bad sample among its worst and as its last one."""
    anew = before is None or before.since_ms != after.since_ms or not before.worst
    worst = evidence if anew or before is None else _worst(rule, before.worst, evidence)
    return msgspec.structs.replace(after, worst=worst, last=evidence)


def _worst(rule: SampledRule, known: Samples, new: Samples) -> Samples:
    by = {_operand(sample): sample for sample in known}
    for sample in new:
        other = by.get(_operand(sample))
        if other is None or _is_worse(rule, sample, other):
            by[_operand(sample)] = sample
    return tuple(by.values())


def _operand(sample: EvidenceSample) -> tuple[Any, ...]:
    return sample.device, sample.metric, tuple(sorted(sample.labels.items()))


def _is_worse(rule: SampledRule, sample: EvidenceSample, other: EvidenceSample) -> bool:
    """Say whether a number lies further beyond the rule's limit than another one; of states the first stays."""
    one, two = sample.value, other.value
    if not isinstance(one, int | float) or not isinstance(two, int | float):
        return False
    for leaf in leaves(rule.condition):
        if leaf.of is None and leaf.series.name == sample.metric:
            return one > two if leaf.above is not None else leaf.below is not None and one < two
    return False


def opening(state: RuleState) -> Samples:
    """Return the samples with which a problem begins."""
    return _said(("first", state.first), ("worst", state.worst), ("last", state.last))


def ending(state: RuleState, evidence: Samples) -> Samples:
    """Return the samples with which it ends: how bad it was, and what was good."""
    return _said(("worst", state.worst), ("last", state.last), ("clear", state.first), ("clear", evidence))


def forecast(draft: Draft, compiled: CompiledSchema, watch: Watch, time_ms: int, samples: Samples) -> Forecast | None:
    """Return what will come and when, where a rule goes by that; ``samples`` are those that a watch looked at."""
    for key, indicator in watch.windows:
        window, reducer, series = draft.windows.get(key), indicator.reducer, indicator.series
        found = None if window is None or reducer is None else reducer.foreseen(window, time_ms)
        if found is not None:
            return Forecast(series.name, found[0], series.unit, found[1], compiled.device, dict(key.labels))
    for sample in samples:
        if sample.metric in _DAYS_LEFT and isinstance(sample.value, int):
            at_ms = sample.time_ms + sample.value * _DAY_MS
            return Forecast(sample.metric, 0, METRICS[sample.metric].unit, at_ms, compiled.device, sample.labels)
    return None


def _said(*parts: tuple[Shows, Samples]) -> Samples:
    """Return each sample once, with all that it shows."""
    found: dict[tuple[Any, ...], EvidenceSample] = {}
    for shows, samples in parts:
        for sample in samples:
            name = (sample.agent, sample.run, sample.sequence, *_operand(sample))
            known = found.get(name)
            words = [] if known is None else known.shows.split()
            found[name] = msgspec.structs.replace(sample, shows=" ".join(dict.fromkeys([*words, shows])))
    return tuple(found.values())


def kit(draft: Draft) -> tuple[dict[str, Any], ...]:
    """Return how each device of the vehicle is, as far as it is known: whether it answers, and since when not."""
    answers = {(key.agent, key.device) for key, _ in life.answers(draft.sources)}
    found = []
    for agent, id, _ in draft.plan.devices():
        said = [source for key, source in draft.sources.items() if (key.agent, key.device) == (agent, id)]
        says = "answers" if (agent, id) in answers else "gone" if said else "unheard"
        alive_ms = max((source.alive_ms for source in said), default=0)
        found.append({"agent": agent, "device": id, "says": says, "time_ms": alive_ms or None})
    more = len(found) - MOST_KIT
    return tuple(found[:MOST_KIT]) + (({"more": more},) if more > 0 else ())
