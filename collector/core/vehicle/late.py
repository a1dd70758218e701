"""The backlog lane: what happened while nobody listened (docs/architecture.md, Late data).

Rules have states of their own in it, stepped in order of event time. Where they meet the start of live they join it,
which may move an active problem's event time back; where they end before it they leave a closed note. Nothing here
begins or ends a problem.

They meet when the live lane's next sample follows the backlog's last one in the step in which the source polls; or,
once the backlog has been silent for the settle time while its agent speaks, across a gap that the rule would bridge.
"""

from __future__ import annotations

from typing import Final

import msgspec

from collector.core.identities import ProblemKey, RuleStateKey, SourceKey
from collector.core.rules.rule_state import RuleState, advance
from collector.core.rules.sampled import SampledRule
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN
from collector.core.rules.watches import Watch
from collector.core.vehicle.draft import Draft
from collector.core.vehicle.events import Observed
from collector.core.vehicle.state import Fact, Past

_NEXT: Final = 1.5
"""Of the source's step: how far apart two samples may be to have none between them; polls are aligned."""
PAST_IGNITION: Final = "past_ignition"


def observe(draft: Draft, event: Observed) -> None:
    """Step the backlog lane's states with a sample; one that is older than the lane has come to is not judged."""
    compiled = event.compiled
    past = draft.past.get(compiled.source)
    time_ms = event.time_ms
    if past is not None and time_ms <= past.last_ms:
        draft.skip("unordered")
        return
    draft.past[compiled.source] = Past(time_ms, 0 if past is None else time_ms - past.last_ms, draft.now_ms)
    for name, number in compiled.facts:
        value = event.values[number]
        if name == "ignition" and isinstance(value, bool):
            draft.facts[PAST_IGNITION] = Fact(value, compiled.source, time_ms)
    if past is not None and draft.late:
        _live_between(draft, compiled.source, past.last_ms, time_ms)
    for watch in compiled.watches:
        if watch.rule.working or not watch.plain:
            continue  # what worked then, or what a window held, is not known here
        verdict = watch.verdict(event.values)
        if verdict in (CLEAR, BAND):
            _correct_pending(draft, watch.key, time_ms)
        state = draft.late.get(watch.key)
        if state is None and verdict != BAD:
            continue
        if state is not None and state.version != watch.rule.version:
            state = None
        _step(draft, event, watch, state, verdict)
        _meet(draft, watch)


def _step(draft: Draft, event: Observed, watch: Watch, state: RuleState | None, verdict: int) -> None:
    rule = watch.rule
    evidence = (
        event.compiled.evidence(watch, *event.name, event.time_ms, event.values)
        if verdict not in (UNKNOWN, CLEAR)
        else ()
    )
    move = advance(
        state,
        verdict,
        event.time_ms,
        rule,
        watch.subject,
        may_open=verdict != BAD or _may_open(draft, rule, watch.subject.device, event.time_ms),
        evidence=evidence,
    )
    if move.action == "resolve" and move.state is not None:
        draft.note(rule, watch.subject.problem, move.state.since_ms, move.state.clear_ms or event.time_ms)
        draft.late.pop(watch.key, None)
    elif move.state is None:
        draft.late.pop(watch.key, None)
    elif move.state is not state:
        draft.late[watch.key] = move.state


def _correct_pending(draft: Draft, key: RuleStateKey, time_ms: int) -> None:
    """Let a live state that is pending across a gap begin behind it: the backlog proves that it was not bad."""
    live = draft.rule_states.get(key)
    source = None if live is None else draft.sources.get(live.source)
    if live is None or source is None or live.phase != "pending":
        return
    if live.since_ms < time_ms < source.from_ms:
        begins_ms = source.from_ms
        draft.rule_states[key] = msgspec.structs.replace(live, since_ms=begins_ms, counted_ms=begins_ms, first=())


def _may_open(draft: Draft, rule: SampledRule, device: str, time_ms: int) -> bool:
    ignition = draft.facts.get(PAST_IGNITION)
    if ignition is not None and not ignition.value and "parked" not in rule.when:
        return False
    key = ProblemKey(rule.fault.id, device)
    hidden = draft.is_hidden(key, draft.late.values(), past=True)
    return not hidden and draft.cause_of(key, time_ms, past=True) is None


def _live_between(draft: Draft, source: SourceKey, after_ms: int, before_ms: int) -> None:
    """End what the backlog has not ended where live spoke in between: the stretch before it is over."""
    live = draft.sources.get(source)
    if before_ms - after_ms <= 2 * _NEXT * _step_ms(draft, source):
        return
    if live is not None and live.from_ms < before_ms and live.last_ms > after_ms:
        for key in [key for key, state in draft.late.items() if state.source == source]:
            settle(draft, key)


def _step_ms(draft: Draft, source: SourceKey) -> int:
    """Return the time between two polls of a source, as either lane has seen it."""
    past = draft.past.get(source)
    live = draft.sources.get(source)
    steps = [found.step_ms for found in (past, live) if found is not None and found.step_ms > 0]
    return min(steps, default=0)


def _follows(draft: Draft, state: RuleState, time_ms: int) -> bool:
    """Say whether a live sample at ``time_ms`` comes next after the backlog lane's last sample of the source."""
    past = draft.past.get(state.source)
    last_ms = state.last_ms if past is None else past.last_ms
    return 0 < time_ms - last_ms <= _NEXT * _step_ms(draft, state.source)


def _begins(live: RuleState) -> int:
    """Return when the stretch of live began in which a state is bad."""
    return live.counted_ms if live.phase == "pending" else live.since_ms


def _meet(draft: Draft, watch: Watch) -> None:
    """Join or end a backlog state if the live lane begins right after it."""
    state = draft.late.get(watch.key)
    if state is None:
        return
    live = draft.rule_states.get(watch.key)
    if live is not None and live.version == state.version and _follows(draft, state, _begins(live)):
        _join(draft, watch.key, state, live)
        return
    source = draft.sources.get(state.source)
    if source is not None and _follows(draft, state, source.from_ms):
        _end(draft, watch.key, state, source.from_ms)


def before_live(draft: Draft, watch: Watch, verdict: int, time_ms: int) -> RuleState | None:
    """Return the state that the first live sample finds: what the backlog has come to right before it, or nothing.

    A clear live sample ends the backlog's state.
    """
    state = draft.late.get(watch.key)
    if state is None or state.version != watch.rule.version or not _follows(draft, state, time_ms):
        return None
    if verdict == CLEAR:
        _end(draft, watch.key, state, time_ms)
        return None
    if verdict != BAD:
        return None
    draft.late.pop(watch.key, None)
    return msgspec.structs.replace(state, phase="pending", clear_ms=None)


def settle(draft: Draft, key: RuleStateKey) -> None:
    """End a backlog state after which nothing more is expected before live."""
    state = draft.late[key]
    rule = draft.rules.by_id.get(state.rule)
    live = draft.rule_states.get(key)
    source = draft.sources.get(state.source)
    if isinstance(rule, SampledRule) and live is not None and source is not None:
        gap_ms = source.from_ms - state.last_ms
        if live.version == state.version and _begins(live) == source.from_ms and 0 < gap_ms <= rule.max_gap_ms:
            _join(draft, key, state, live)
            return
    ended_ms = state.last_ms
    if source is not None and 0 < source.from_ms - ended_ms <= draft.rules.settings.gap_ms:
        ended_ms = source.from_ms
    _end(draft, key, state, ended_ms)


def settle_idle(draft: Draft) -> None:
    """Settle each source whose backlog has been silent for the settle time while its agent speaks; forget its lane."""
    settle_ms = draft.rules.settings.settle_ms
    for source, past in list(draft.past.items()):
        agent = draft.agents.get(source.agent)
        drained = agent is not None and agent.heard_ms is not None and agent.heard_ms - past.touched_ms >= settle_ms
        if not drained and draft.now_ms - past.touched_ms < draft.rules.settings.lateness_ms:
            draft.wake_at(past.touched_ms + draft.rules.settings.lateness_ms)
            draft.wake_at(max(past.touched_ms + settle_ms, draft.now_ms + 1_000))
            continue
        for key in [key for key, state in draft.late.items() if state.source == source]:
            settle(draft, key)
        draft.past.pop(source, None)
    if not draft.past:
        draft.facts.pop(PAST_IGNITION, None)


def _join(draft: Draft, key: RuleStateKey, state: RuleState, live: RuleState) -> None:
    """Let the live state begin where the backlog's did."""
    if live.inhibited or state.inhibited:
        _end(draft, key, state, _begins(live))
        return
    draft.late.pop(key, None)
    if state.since_ms < live.since_ms:
        first = state.first if live.phase == "pending" else live.first
        live = msgspec.structs.replace(live, since_ms=state.since_ms, first=first)
    draft.rule_states[key] = msgspec.structs.replace(live, counted_ms=live.since_ms)
    rule = draft.rules.by_id.get(state.rule)
    if rule is not None and live.phase != "pending":
        draft.move(live.problem, state.since_ms, state.first, rule)


def _end(draft: Draft, key: RuleStateKey, state: RuleState, ended_ms: int) -> None:
    """Leave a note of what had lasted long enough."""
    draft.late.pop(key, None)
    rule = draft.rules.by_id.get(state.rule)
    if rule is not None and state.phase != "pending":
        draft.note(rule, state.problem, state.since_ms, state.clear_ms or ended_ms)
