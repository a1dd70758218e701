"""A problem that begins and ends again and again is one problem (docs/rules.md, ``flapping``). Pure.

It stays active while it flaps, counts how often it has begun, and is over after a quiet time: what is told of it is its
beginning and its end.
"""

from __future__ import annotations

import msgspec

from collector.core.identities import ProblemKey
from collector.core.rules.rule_state import RuleState
from collector.core.rules.sampled import SampledRule
from collector.core.vehicle.draft import Draft


def holds(draft: Draft, rule: SampledRule, key: ProblemKey, end_ms: int, time_ms: int) -> bool:
    """Say whether a problem that has been clear since ``end_ms`` goes on because it flaps; it is marked then."""
    problem = draft.problems.get(key)
    if problem is None:
        return False
    ended = draft.ended.get(key)
    spans = () if ended is None else ended.spans
    times = [problem.event_ms, end_ms, *(time for span in spans for time in span)]
    inner = 2 * (problem.times - 1 - (0 if ended is None else ended.times))
    found = [
        one.quiet_ms for one in rule.flapping if sum(end_ms - t <= one.within_ms for t in times) + inner >= one.changes
    ]
    quiet_ms = max(found, default=rule.flapping[-1].quiet_ms if problem.flapping and rule.flapping else 0)
    if time_ms - end_ms >= quiet_ms:
        return False
    if not problem.flapping:
        draft.problems[key] = msgspec.structs.replace(problem, flapping=True)
        draft.tell(draft.problems[key], "noted", f"flapping: over after {quiet_ms // 60_000} quiet minutes")
    return True


def counted(draft: Draft, rule: SampledRule, state: RuleState, time_ms: int) -> None:
    """Count a flapping problem that is bad anew after it was clear for as long as would have ended it."""
    problem = draft.problems.get(state.problem)
    if problem is None or not problem.flapping or state.phase != "clearing" or state.clear_ms is None:
        return
    if state.last_ms - state.clear_ms >= rule.clear_for_ms:
        draft.problems[state.problem] = msgspec.structs.replace(problem, times=problem.times + 1)
