"""Problems whose data are missing: shown as such, never ended by it (docs/diagnosis.md).

What rules on samples have found goes stale when nothing has told of it for ten minutes, or three polls where that is
longer: its agent is not heard (our clock), or speaks and says nothing of it (the kit's). Nobody expects a word of a
vehicle that is parked. The next word ends it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core.problems import Problem
from collector.core.rules.rule_state import RuleState
from collector.core.vehicle.draft import Draft

MISSING_MS: Final = 600_000
_POLLS: Final = 3


def judge(draft: Draft) -> None:
    """Let problems go stale whose data are missing, and be active again whose data are back."""
    if draft.listening.since_ms is None:
        return
    for problem in list(draft.problems.values()):
        held = [one for one in draft.rule_states.values() if one.problem == problem.key and one.phase != "pending"]
        if not held:
            continue
        missing_ms = min(_missing_ms(draft, state) for state in held)
        if problem.state == "stale" and not missing_ms:
            _turn(draft, problem, "active", "data are back")
        elif problem.state == "active" and missing_ms and draft.duty() not in ("parked", "workshop"):
            _turn(draft, problem, "stale", f"no data for {missing_ms // 60_000} min")


def _turn(draft: Draft, problem: Problem, state: str, text: str) -> None:
    turned = msgspec.structs.replace(problem, state=state)
    draft.problems[problem.key] = turned
    draft.tell(turned, "stale" if state == "stale" else "back", text)


def _missing_ms(draft: Draft, state: RuleState) -> int:
    """Return for how long nothing has told of what a rule holds, 0 while that is not too long."""
    source, agent = draft.sources.get(state.source), draft.agents.get(state.source.agent)
    limit_ms = max(round(MISSING_MS / draft.rules.speed), _POLLS * (0 if source is None else source.step_ms))
    spoke_ms = max(
        (one.last_ms for key, one in draft.sources.items() if key.agent == state.source.agent), default=state.last_ms
    )
    unsaid_ms = spoke_ms - state.last_ms
    heard_ms = max(draft.listening.since_ms or 0, 0 if agent is None or agent.heard_ms is None else agent.heard_ms)
    limit_of_silence_ms = limit_ms + (0 if agent is None else agent.interval_ms)
    unheard_ms = draft.now_ms - heard_ms
    if unsaid_ms > limit_ms:
        return unsaid_ms
    if unheard_ms > limit_of_silence_ms:
        return unheard_ms
    draft.wake_at(heard_ms + limit_of_silence_ms + 1)
    return 0
