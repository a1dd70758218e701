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


def advance(
    state: RuleState | None,
    verdict: int,
    time_ms: int,
    rule: SampledRule,
    subject: Subject,
    *,
    may_open: bool,
    evidence: tuple[EvidenceSample, ...],
    from_ms: int = 0,
    expected_ms: int = 0,
    began_ms: int | None = None,
    explained: bool = False,
    step_ms: int = 0,
    untold_ms: int = 0,
    missing: bool = False,
) -> Move:
    """Return what ``verdict`` at ``time_ms`` makes of a rule's state. ``evidence`` are the values behind the verdict.

    ``explained``: what inhibited it was its cause, which has begun since; its own beginning stays what it was.
    ``from_ms`` is when the source last came back after it had been away: both durations are counted from there, because
    what it saw meanwhile may still come; the event time stays. ``expected_ms`` is since when it is expected to be good,
    which may be later than this sample: the for-duration counts from there. ``began_ms`` is the event time where that
    is not this sample's: a window knows its first bad one. ``step_ms``: how often the source is read. ``untold_ms``: so
    long before this sample its source has told nothing; where records are ``missing`` that does not count to the
    for-duration.
    """
    if verdict == UNKNOWN:
        return Move(state, "")
    if verdict == BAD:
        return _bad(
            state,
            time_ms,
            rule,
            subject,
            may_open,
            evidence,
            from_ms,
            expected_ms,
            began_ms,
            explained,
            step_ms,
            untold_ms if missing else 0,
        )
    if state is None:
        return STILL
    if state.phase == "pending":
        lasted = state.last_ms - state.counted_ms
        passed = not state.inhibited and lasted > 0 and lasted >= rule.lasts_ms(step_ms)
        return Move(None, "passed" if passed else "")
    if verdict != 0:  # the band: what was bad stays so
        return Move(msgspec.structs.replace(state, phase="firing", clear_ms=None, last_ms=time_ms), "")
    good_ms = time_ms - untold_ms if from_ms == time_ms and not missing else time_ms
    return _clear(state, time_ms, rule, evidence, from_ms, max(good_ms, state.last_ms))


def _bad(
    state: RuleState | None,
    time_ms: int,
    rule: SampledRule,
    subject: Subject,
    may_open: bool,
    evidence: tuple[EvidenceSample, ...],
    from_ms: int,
    expected_ms: int,
    began_ms: int | None,
    explained: bool,
    step_ms: int,
    untold_ms: int,
) -> Move:
    if state is not None and state.phase != "pending":
        return Move(msgspec.structs.replace(state, phase="firing", clear_ms=None, last_ms=time_ms), "")
    since_ms, counted_ms, first = time_ms if began_ms is None else min(began_ms, time_ms), time_ms, evidence
    if state is not None:
        broken = time_ms - state.last_ms > rule.max_gap_ms
        if not broken and (explained or not (state.inhibited and may_open)):
            since_ms, first = state.since_ms, state.first
            counted_ms = from_ms if from_ms > state.last_ms else state.counted_ms + untold_ms
    counted_ms = max(counted_ms, expected_ms)
    due = may_open and time_ms - counted_ms >= rule.lasts_ms(step_ms)
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
            last_ms=time_ms,
            inhibited=not may_open,
            first=first,
        ),
        "open" if due else "",
    )


def _clear(
    state: RuleState,
    time_ms: int,
    rule: SampledRule,
    evidence: tuple[EvidenceSample, ...],
    from_ms: int,
    good_ms: int,
) -> Move:
    clear_ms = state.clear_ms
    if state.phase == "clearing":
        good_ms = state.good_ms or good_ms
    first = state.first
    broken = time_ms - state.last_ms > rule.max_gap_ms
    if state.phase == "firing" or clear_ms is None or clear_ms < from_ms or broken:
        clear_ms = time_ms
        first = evidence
    after = msgspec.structs.replace(
        state, phase="clearing", clear_ms=clear_ms, good_ms=good_ms, last_ms=time_ms, first=first
    )
    return Move(after, "resolve" if time_ms - clear_ms >= rule.clear_for_ms else "")
