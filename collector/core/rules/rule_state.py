"""The machine of one rule on one thing: from verdicts in order of event time to *open* and *resolve*. Pure.

What it guarantees:

- it opens only on a bad value, after bad values only for the rule's for-duration; the event time is the first of them;
- while it may not open it waits, and its for-duration begins anew when it may;
- it resolves only on a clear value, after clear values only for the clear-duration; the end is the first of them, or
  where its source was away before that a poll after its last word: kit that is off is not bad;
- a value in the hysteresis band breaks both rows, an unknown one breaks neither (docs/field-notes.md 43, 44);
- after a silence longer than the rule's longest gap a row begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from collector.core.identities import ProblemKey, SourceKey
from collector.core.rules.sampled import SampledRule
from collector.core.rules.verdicts import BAD, UNKNOWN
from telemetry.metrics import Value

Phase = Literal["pending", "firing", "clearing"]


class EvidenceSample(msgspec.Struct, frozen=True, array_like=True):
    """One value as a record brought it."""

    agent: str
    run: str
    sequence: int
    time_ms: int
    device: str
    metric: str
    labels: Mapping[str, str]
    value: Value
    shows: str = ""
    """What it is among a problem's samples: ``first``, ``worst``, ``last``, ``clear``, a blank between."""

    def plain(self) -> dict[str, Any]:
        """Return it as a problem's evidence keeps it."""
        return {name: getattr(self, name) for name in self.__struct_fields__}


class RuleState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule on one thing while it is not clear. Times are event times, UTC ms."""

    rule: str
    version: int
    source: SourceKey
    device: str
    problem: ProblemKey
    phase: Phase
    since_ms: int
    """When it became bad."""
    counted_ms: int
    """From when its for-duration counts: later than ``since_ms`` where its source was away or untold in between."""
    last_ms: int
    """Its last evidence."""
    clear_ms: int | None = None
    """When a clearing began: its clear-duration counts from there."""
    good_ms: int = 0
    """When what was bad ended: with the first clear value, or where its source was away before that, then."""
    inhibited: bool = msgspec.field(default=False, name="held")
    """It may not open now (a cause explains it, the vehicle is parked); its for-duration begins anew afterwards."""
    first: tuple[EvidenceSample, ...] = ()
    """The values that showed it first, or what cleared it first."""
    worst: tuple[EvidenceSample, ...] = ()
    last: tuple[EvidenceSample, ...] = ()
    """The worst value of each operand since it became bad, and the last bad ones."""


Action = Literal["", "open", "resolve", "passed"]
"""``passed``: what had lasted long enough, but was never opened, is over."""


class Move(NamedTuple):
    """What a verdict did: the rule's state afterwards (``None``: clear), and what is to be done."""

    state: RuleState | None
    action: Action


STILL: Final = Move(None, "")


class Subject(NamedTuple):
    """What a rule's state is about: the source that tells, the device, and the problem that it makes."""

    source: SourceKey
    device: str
    problem: ProblemKey


class Occasion(NamedTuple):
    """When a verdict was reached, and what its source has told before it. Times are event times, UTC ms."""

    time_ms: int
    began_ms: int
    """Of the first bad value: a window knows one before this sample."""
    from_ms: int
    """When the source last came back after it had been away: both durations are counted from there, because what it saw
    meanwhile may still come; the event time stays."""
    step_ms: int
    """How often the source is read."""
    untold_ms: int
    """So long before this sample its source has told nothing."""
    missing: bool
    """Whether records are missing: then ``untold_ms`` does not count to the for-duration."""


class Leave(NamedTuple):
    """Whether a rule may open on a bad value."""

    may_open: bool
    expected_ms: int
    """Since when it is expected to be good, which may be later than the sample: the for-duration counts from there."""
    explained: bool
    """What inhibited it was its cause, which has begun since; its own beginning stays what it was."""


def advance(
    state: RuleState | None,
    verdict: int,
    at: Occasion,
    rule: SampledRule,
    subject: Subject,
    leave: Leave,
    evidence: tuple[EvidenceSample, ...],
) -> Move:
    """Return what a verdict makes of a rule's state. ``evidence`` are the values behind it."""
    if verdict == UNKNOWN:
        return Move(state, "")
    if verdict == BAD:
        return _bad(state, at, rule, subject, leave, evidence)
    if state is None:
        return STILL
    if state.phase == "pending":
        lasted = state.last_ms - state.counted_ms
        passed = not state.inhibited and lasted > 0 and lasted >= rule.lasts_ms(at.step_ms)
        return Move(None, "passed" if passed else "")
    if verdict != 0:  # the band: what was bad stays so
        return Move(msgspec.structs.replace(state, phase="firing", clear_ms=None, last_ms=at.time_ms), "")
    return _clear(state, at, rule, evidence)


def _bad(
    state: RuleState | None,
    at: Occasion,
    rule: SampledRule,
    subject: Subject,
    leave: Leave,
    evidence: tuple[EvidenceSample, ...],
) -> Move:
    if state is not None and state.phase != "pending":
        return Move(msgspec.structs.replace(state, phase="firing", clear_ms=None, last_ms=at.time_ms), "")
    since_ms, counted_ms, first = min(at.began_ms, at.time_ms), at.time_ms, evidence
    if state is not None:
        broken = at.time_ms - state.last_ms > rule.max_gap_ms
        if not broken and (leave.explained or not (state.inhibited and leave.may_open)):
            since_ms, first = state.since_ms, state.first
            counted_ms = state.counted_ms + (at.untold_ms if at.missing else 0)
            if at.from_ms > state.last_ms:
                counted_ms = at.from_ms
    counted_ms = max(counted_ms, leave.expected_ms)
    due = leave.may_open and at.time_ms - counted_ms >= rule.lasts_ms(at.step_ms)
    return Move(
        RuleState(
            rule=rule.id,
            version=rule.version,
            source=subject.source,
            device=subject.device,
            problem=subject.problem,
            phase="firing" if due else "pending",
            since_ms=since_ms,
            counted_ms=counted_ms,
            last_ms=at.time_ms,
            inhibited=not leave.may_open,
            first=first,
        ),
        "open" if due else "",
    )


def _clear(state: RuleState, at: Occasion, rule: SampledRule, evidence: tuple[EvidenceSample, ...]) -> Move:
    back = at.from_ms == at.time_ms and not at.missing
    good_ms = max(at.time_ms - at.untold_ms if back else at.time_ms, state.last_ms)
    clear_ms, first = state.clear_ms, state.first
    if state.phase == "clearing":
        good_ms = state.good_ms or good_ms
    broken = at.time_ms - state.last_ms > rule.max_gap_ms
    if state.phase == "firing" or clear_ms is None or clear_ms < at.from_ms or broken:
        clear_ms, first = at.time_ms, evidence
    after = msgspec.structs.replace(
        state, phase="clearing", clear_ms=clear_ms, good_ms=good_ms, last_ms=at.time_ms, first=first
    )
    return Move(after, "resolve" if at.time_ms - clear_ms >= rule.clear_for_ms else "")
