"""Judging one vehicle: ``step(vehicle, event, context, rules, now) -> (vehicle, effects)``.

What it guarantees, whatever the events:

- it is a pure function: no clock, no chance, no I/O, and its arguments are never changed; a vehicle that was written as
  JSON and read again goes on as if it had not been;
- at most one problem is active for a key (fault, device, labels of what broke), whichever rules and agents say so, and
  it is over only when nothing holds it any more;
- a problem begins on evidence that has lasted for the rule's for-duration; its event time is the first bad value's,
  its detection time ``now``; it ends on evidence, never on silence or on unknown values;
- silence counts only while we listen, is never held against a parked vehicle, and is the site's fault when the survey
  says so;
- what is too old, from the future, or older than what its source told before is not judged, and counted in ``skipped``;
- a record that was missing, so that live has gone on without it, changes nothing here: its turn comes when the fork of
  the vehicle is stepped (``forks``);
- a problem that another one explains names that as its cause, until it has outlived it.

What it leaves out: people, their tickets and clocks (the desk), and coverage.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from collector.core.identities import RuleStateKey, SourceKey
from collector.core.learnt import NOTHING as NOTHING_LEARNT
from collector.core.learnt import Learnt
from collector.core.problems import Evidence
from collector.core.rules.rule_state import Leave, Occasion, RuleState, advance
from collector.core.rules.sampled import SampledRule
from collector.core.rules.schemas import POSITION, CompiledSchema
from collector.core.rules.types import Rules
from collector.core.rules.verdicts import BAD, BAND, CLEAR, UNKNOWN
from collector.core.rules.watches import Watch
from collector.core.survey import NOTHING, Verdict, poll_pace
from collector.core.vehicle import (
    agents,
    expectation,
    flapping,
    life,
    operands,
    over_time,
    reception,
    restarts,
    shown,
    silence,
    usual,
)
from collector.core.vehicle.draft import MOST_PROBLEMS, Draft, Effect
from collector.core.vehicle.duty import DRIVES_KMH
from collector.core.vehicle.events import (
    Acknowledged,
    Acted,
    Born,
    ClockRead,
    Died,
    Event,
    Happened,
    Left,
    Listed,
    Listening,
    Observed,
    OverQuota,
    TimePassed,
    Told,
    Unlisted,
)
from collector.core.vehicle.parking import ALWAYS_MS
from collector.core.vehicle.state import MOST_MISSIONS, Agent, Fact, Fork, Position, Proof, Source, Vehicle
from collector.core.vehicle.wake import Wake
from telemetry.fleet import VehiclePlan

GONE_MS: Final = 3_600_000
"""A metric that its source has not told for so long is gone; one leg of a modem comes and goes, its metric does not."""


_PENDING_MS: Final = 60_000
"""What is pending hides silences that it would explain, until nobody tells of it any more: looked at so often."""
_SETTLES_MS: Final = 70_000
"""After a backlog live speaks so long, and for two polls, before the fork becomes the state: what has ended is told by
what comes then, and most rules are clear after a minute."""
_SETTLES_WITHIN_MS: Final = 600_000
"""Where something is missing again and again before that, it becomes the state whenever nothing is."""


class Context(msgspec.Struct, frozen=True):
    """What others know: the fleet file's word on the vehicle, since when we listen, the survey's verdict."""

    plan: VehiclePlan
    listening: Listening
    verdict: Verdict = NOTHING
    most_problems: int = MOST_PROBLEMS
    """Of one fault at a time."""
    learnt: Learnt = NOTHING_LEARNT
    """What is known of the places."""


def step(vehicle: Vehicle, event: Event, context: Context, rules: Rules, now_ms: int) -> tuple[Vehicle, list[Effect]]:
    """Return the vehicle after ``event`` and what is to be kept. ``now_ms`` is our clock, UTC ms."""
    draft = begin(vehicle, context, rules, now_ms)
    take(draft, event)
    return draft.finish()


def take(draft: Draft, event: Event) -> None:
    """Take an event into a vehicle's working copy."""
    if isinstance(event, Observed | Happened):
        _tell(draft, (event,))
    elif isinstance(event, TimePassed):
        _look(draft)
    elif isinstance(event, Born):
        agents.born(draft, event)
    elif isinstance(event, Left | Died):
        agents.left(draft, event)
    elif isinstance(event, OverQuota):
        draft.exceed(event.quota, event.text)
    elif isinstance(event, Acted):
        _acted(draft, event)
    elif isinstance(event, Acknowledged):
        _acknowledged(draft, event)
    elif isinstance(event, Unlisted):
        _unlisted(draft, event.device)
    elif isinstance(event, ClockRead):
        agents.clock_read(draft, event)
    elif isinstance(event, Listed):
        expectation.named(draft, event.name)


def _acted(draft: Draft, event: Acted) -> None:
    """Take a word on the duty: the last one counts. Missions may overlap, and word of them may come out of order."""
    before = draft.given
    _give(draft, event)
    if event.at_ms and draft.given != before:
        draft.given_before = (*draft.given_before, (event.at_ms, before))[-MOST_MISSIONS:]
    expectation.note_duty(draft)


def _give(draft: Draft, event: Acted) -> None:
    if not event.mission:
        draft.given, draft.missions = event.state, ()
        return
    others = tuple(one for one in draft.missions if one != event.mission)
    if event.state == "on_mission":
        if event.mission not in draft.missions_over:
            draft.given, draft.missions = event.state, (*others, event.mission)[-MOST_MISSIONS:]
        return
    over = tuple(one for one in draft.missions_over if one != event.mission)
    draft.missions, draft.missions_over = others, (*over, event.mission)[-MOST_MISSIONS:]
    if draft.given == "on_mission" and not others:
        draft.given = event.state


def look(vehicle: Vehicle, context: Context, rules: Rules, now_ms: int) -> tuple[Vehicle, list[Effect], Wake | None]:
    """Return the same as ``step`` with ``TimePassed``, and when to look again (``None``: never).

    Until then only an event that ``needs_look`` tells of can make a difference.
    """
    draft = begin(vehicle, context, rules, now_ms)
    _look(draft)
    return *draft.finish(), draft.wake


def begin(vehicle: Vehicle, context: Context, rules: Rules, now_ms: int) -> Draft:
    """Return a working copy of a vehicle."""
    return Draft(
        vehicle,
        context.plan,
        context.listening,
        context.verdict,
        rules,
        now_ms,
        most_problems=context.most_problems,
        learnt=context.learnt,
    )


def _look(draft: Draft) -> None:
    over_time.pass_time(draft)
    if draft.rule_states:
        draft.wake_at(draft.now_ms + _PENDING_MS)
    if draft.fork is not None:
        _look_at_fork(draft, draft.fork)


def _look_at_fork(draft: Draft, fork: Fork) -> None:
    """Let a fork be over where all has come and live has spoken since, or where nobody waits any more."""
    given_up_ms = fork.since_ms + draft.rules.settings.lateness_ms
    if draft.now_ms >= given_up_ms:
        draft.fork = msgspec.structs.replace(fork, missing={}, silent=(), settled=True) if fork.found else None
        return
    draft.wake_at(given_up_ms)
    if not fork.found or fork.missing or fork.settled:
        return
    filled_ms = draft.now_ms if fork.filled_ms is None else fork.filled_ms
    pace_ms = poll_pace(draft.rules, draft.before.vehicle, draft.plan, None)
    first_ms = filled_ms if fork.filled_first_ms is None else fork.filled_first_ms
    settled_ms = min(
        filled_ms + round(_SETTLES_MS / draft.rules.speed) + 2 * pace_ms,
        first_ms + round(_SETTLES_WITHIN_MS / draft.rules.speed),
    )
    draft.fork = msgspec.structs.replace(
        fork, filled_ms=filled_ms, filled_first_ms=first_ms, settled=draft.now_ms >= settled_ms
    )
    draft.wake_at(settled_ms)


def needs_look(before: Vehicle, after: Vehicle | Draft) -> bool:
    """Say whether what has happened may bring forward what time alone can change.

    A good sample of a healthy vehicle never does: it only makes silence begin later. Nor does a further bad one of what
    was pending: ``look`` asks to come back while something is.
    """
    if after.problems or after.occurrences or after.fork is not before.fork:
        return True
    if (before.rule_states or after.rule_states) and _phases(before) != _phases(after):
        return True
    if after.expectation is not before.expectation or _newsworthy(after) != _newsworthy(before):
        return True
    if len(after.sources) != len(before.sources) or not _same_keys(after.proofs, before.proofs):
        return True  # no source is ever forgotten but with a fork
    if len(after.agents) != len(before.agents):
        return True
    for name, agent in after.agents.items():
        was = before.agents.get(name)
        if agent is not was and (was is None or _came_back(was, agent)):
            return True
    return False


_newsworthy: Final = operator.attrgetter("facts", "given", "changes", "troubles", "ended")
"""Parts of which any change is news."""


def _same_keys(one: Mapping[SourceKey, Any], other: Mapping[SourceKey, Any]) -> bool:
    """Say whether both have the same keys. Nearly always they are the same objects in the same order."""
    return [*one] == [*other] or one.keys() == other.keys()


def _phases(vehicle: Vehicle | Draft) -> list[tuple[RuleStateKey, str, bool]]:
    """Return what silence goes by of what is pending or active."""
    return [(key, state.phase, state.inhibited) for key, state in vehicle.rule_states.items()]


def _came_back(before: Agent, after: Agent) -> bool:
    """Say whether an agent is another than it was in what brings forward what time can change."""
    return (
        _words(before) != _words(after)
        or (before.clock_off is None) != (after.clock_off is None)
        or (before.untold_ms is None) != (after.untold_ms is None)
    )


_words: Final = operator.attrgetter("from_ms", "run", "left", "lost", "interval_ms")


def _acknowledged(draft: Draft, event: Acknowledged) -> None:
    """End a problem whose end no reading shows; any other one goes on until its readings are good."""
    problem = draft.problems.get(event.problem)
    if problem is None or problem.sees_end:
        return
    for key, change in list(draft.changes.items()):
        if change.device == problem.key.device:
            draft.changes.pop(key, None)
    text = f"acknowledged by {event.who}"
    draft.end(problem.key, draft.now_ms, Evidence(problem.rule, problem.rule_version, text=text), text)


def _unlisted(draft: Draft, device: str) -> None:
    """Leave the vehicle's problems, or one device's, to a person; what comes anew is judged anew."""
    for problem in list(draft.problems.values()):
        if device in ("", problem.key.device):
            draft.orphan(problem, f"the fleet file no longer names {device or 'the vehicle'}: a person must decide")
    for key, state in list(draft.rule_states.items()):
        if device in ("", state.problem.device):
            draft.rule_states.pop(key)


# --- samples ----------------------------------------------------------------------------------------------------------


def step_all(
    vehicle: Vehicle, events: Sequence[Told], context: Context, rules: Rules, now_ms: int
) -> tuple[Vehicle, list[Effect]]:
    """Return the same as ``step`` with one event after the other, but for causes: they are looked for once, at the end.

    A message's records share one working copy.
    """
    draft = begin(vehicle, context, rules, now_ms)
    go_on(draft, events, now_ms)
    return draft.finish()


def go_on(draft: Draft, events: Sequence[Told], now_ms: int) -> bool:
    """Step a message's records in a working copy; say whether it may stay open for the next one: none of it is news."""
    draft.now_ms = now_ms
    draft.unplaced.clear()
    _tell(draft, events)
    if draft.rule_states or draft.problems or draft.effects or draft.fork is not None:
        return False
    draft.taken.append((now_ms, events))
    return not needs_look(draft.before, draft)


def _tell(draft: Draft, events: Sequence[Told]) -> None:
    """Step records in their order. What hangs on agent and time alone is asked once for those that share them."""
    settings, now_ms = draft.rules.settings, draft.now_ms
    teller, at_ms, why = "", -1, ""
    for event in events:
        time_ms = event.time_ms
        draft.begin(time_ms)
        if not isinstance(event, Observed):
            at_ms = -1
            agents.happened(draft, event)
            continue
        name = event.name.agent
        if time_ms != at_ms or name != teller:
            agent = draft.agents.get(name)
            if agent is None or agent.heard_ms != now_ms:
                agent = agents.hear(draft, name, time_ms)
            gap_ms = settings.gap_ms + agent.interval_ms
            late_ms = now_ms - time_ms
            why = "future" if late_ms < -settings.future_ms else "too_late" if late_ms > settings.lateness_ms else ""
            teller, at_ms = name, time_ms if agent.heard_ms == now_ms else -1
        if why:
            _unjudged(draft, event, why)
        elif draft.fork is None or not draft.fork.lacks(event.name):
            _judge_sample(draft, event, gap_ms)
        else:  # its turn comes when the hole is filled
            silence.came_late(draft, event)


def _unjudged(draft: Draft, event: Observed, why: str) -> None:
    """Count a sample that is not judged; what came live was heard all the same, whatever is wrong with a clock."""
    if event.lane == "live" and event.compiled.said_something(event.values):
        draft.arrived = {**draft.arrived, event.compiled.source: draft.now_ms}
        source = draft.sources.get(event.compiled.source)
        if source is not None:
            draft.sources[event.compiled.source] = msgspec.structs.replace(source, answered_ms=draft.now_ms)
    if event.lane == "live" and why == "future":  # whether it drives is true by whatever clock
        _note_facts(draft, event)
    draft.skip(why)


def _judge_sample(draft: Draft, event: Observed, gap_ms: int) -> None:
    compiled, values, time_ms = event.compiled, event.values, event.time_ms
    source = draft.sources.get(compiled.source)
    if source is not None and time_ms < source.last_ms:
        _unjudged(draft, event, "unordered")
        return
    answered_ms: int | None
    if compiled.reachable is not None and values[compiled.reachable] is True:  # as nearly every sample says
        answered_ms, alive_ms = draft.now_ms, time_ms
    else:
        says, lives = compiled.said_something(values), compiled.shows_life(values)
        answered_ms = draft.now_ms if says else None if source is None else source.answered_ms
        alive_ms = time_ms if lives else 0 if source is None else source.alive_ms
    from_ms, step_ms, untold_ms = time_ms, 0, 0
    if source is not None:
        from_ms, step_ms = source.from_ms, source.step_ms
        if time_ms - source.last_ms != step_ms:  # else it is read at its own pace, as nearly always
            untold_ms = max(0, time_ms - source.last_ms - max(step_ms, compiled.interval_ms))
            from_ms, step_ms = _pace(source, time_ms, compiled.interval_ms, gap_ms)
    draft.sources[compiled.source] = Source(answered_ms, time_ms, from_ms, step_ms, alive_ms)
    if compiled.notes:
        if compiled.facts:
            _note_facts(draft, event)
        if compiled.receptions and draft.learnt.coverage:
            reception.observe(draft, event)
        if compiled.proves:
            _note_proof(draft, event)
    is_wrong = draft.rule_states or draft.problems
    if compiled.operands:
        rests = time_ms < draft.clear_until.get(compiled.source, 0) and compiled.all_clear(values)
        if rests and not (is_wrong and _is_watched(draft, compiled)):
            return
        values = operands.beside(draft, event, gap_ms)
    if compiled.nothing_bad(values) and not (is_wrong and _is_watched(draft, compiled)):
        return  # nothing is wrong here and nothing was: the rule, and most of the cost of judging
    for watch in compiled.watches:
        verdict = watch.verdict(values)
        state = draft.rule_states.get(watch.key)
        if state is None:
            if verdict in (UNKNOWN, BAND):
                continue
            if verdict == CLEAR and watch.subject.problem not in draft.problems:
                continue
        elif verdict == UNKNOWN and state.version == watch.rule.version:
            continue
        _judge(draft, event, watch, state, verdict, from_ms, untold_ms)
    if draft.problems:
        _columns_gone(draft, compiled, time_ms)


def _columns_gone(draft: Draft, compiled: CompiledSchema, time_ms: int) -> None:
    """Leave to a person what rested on a metric that its source has not told any more for long."""
    metrics = {column.metric for column in compiled.schema.columns}
    for key, state in list(draft.rule_states.items()):
        rule = draft.rules.by_id.get(state.rule)
        if key.source != compiled.source or state.phase == "pending" or not isinstance(rule, SampledRule):
            continue
        metric = rule.first.series.name
        if metric not in metrics and time_ms - state.last_ms >= GONE_MS:
            draft.rule_states.pop(key)
            if state.problem in draft.problems and not draft.is_held(state.problem):
                why = f"{compiled.device} does not tell {metric} any more: a person must decide"
                draft.orphan(draft.problems[state.problem], why)


def _is_watched(draft: Draft, compiled: CompiledSchema) -> bool:
    """Say whether anything that is pending or active waits for a word of this source."""
    source = compiled.source
    for key in draft.rule_states:
        if key.source == source:
            return True
    return bool(draft.problems) and not compiled.problems.isdisjoint(draft.problems)


def _pace(source: Source, time_ms: int, interval_ms: int, gap_ms: int) -> tuple[int, int]:
    """Return since when a source has been there without a gap, and the step in which it is read.

    A gap is one of more than two polls and ``gap_ms``. ``interval_ms`` is 0 where the fleet file does not say it; a new
    pace is believed at the second step of it.
    """
    passed_ms = time_ms - source.last_ms
    if not passed_ms:
        return source.from_ms, source.step_ms
    known_ms = max(source.step_ms, interval_ms)
    away = passed_ms > (gap_ms + 2.5 * known_ms if known_ms else 15 * gap_ms)
    first_step = source.from_ms == source.last_ms
    return time_ms if away else source.from_ms, source.step_ms if away and not first_step else passed_ms


def _note_proof(draft: Draft, event: Observed) -> None:
    """Note that devices do their work; it counts until the next sample is overdue."""
    compiled = event.compiled
    works = compiled.works(event.values)
    if works:
        until_ms = life.counts_until(draft.sources[compiled.source], event.time_ms, compiled.interval_ms)
        draft.proofs[compiled.source] = Proof(compiled.proven, until_ms)
    elif works is False:
        draft.proofs.pop(compiled.source, None)


def _note_facts(draft: Draft, event: Observed) -> None:
    """Note what a sample says of the vehicle as a whole."""
    compiled = event.compiled
    for name, number in compiled.facts:
        if name == POSITION:
            _note_position(draft, event, compiled.place)
        else:
            _note_fact(draft, name, event.values[number], compiled.source, event.time_ms)


def _note_fact(draft: Draft, name: str, value: Any, source: SourceKey, time_ms: int) -> None:
    if not isinstance(value, bool):
        return
    known = draft.facts.get(name)
    if known is None or known.value != value or known.source != source:
        draft.facts[name] = Fact(value, source, time_ms)
        if name == "ignition":
            if known is not None and value and known.source == source:
                _ignition_on(draft, known, time_ms)
            expectation.note_duty(draft, time_ms)


def _ignition_on(draft: Draft, off: Fact, time_ms: int) -> None:
    """Learn from the ignition that is on again whether the kit has lived without it."""
    source = draft.sources.get(off.source)
    if source is None or source.last_ms != time_ms:
        return  # by a clock by which nothing is judged it is not known how long it spoke
    without_ms = time_ms - source.step_ms - off.time_ms  # to the last sample before this one
    if source.from_ms <= off.time_ms and without_ms > ALWAYS_MS:
        expectation.heard_without_ignition(draft)


def _note_position(draft: Draft, event: Observed, place: tuple[int, int, int | None]) -> None:
    """Note where the vehicle is, as its receiver says; one that drives is not parked."""
    latitude, longitude = event.values[place[0]], event.values[place[1]]
    agent = event.name.agent
    if latitude is None or longitude is None:
        known = draft.position
        if known is not None and not known.lost_ms and known.agent == agent:
            draft.position = msgspec.structs.replace(known, lost_ms=event.time_ms)
        return
    speed: Any = None if place[2] is None else event.values[place[2]]
    draft.position = Position(event.time_ms, latitude, longitude, speed, agent)  # type: ignore[arg-type]
    if draft.unplaced:
        reception.place(draft)
    if draft.expectation.restarts:
        restarts.found(draft, draft.position)
    if speed is not None and speed >= DRIVES_KMH and draft.expectation.parking is not None:
        expectation.drives(draft, event.time_ms)


def _judge(
    draft: Draft,
    event: Observed,
    watch: Watch,
    state: RuleState | None,
    verdict: int,
    from_ms: int,
    untold_ms: int,
) -> None:
    rule, subject, time_ms = watch.rule, watch.subject, event.time_ms
    if state is not None and state.version != rule.version:
        state = _adopt(draft, watch, state)
    if verdict == BAD and (rule.only_where or rule.except_where) and not usual.counts(draft, rule, time_ms):
        if state is None or state.phase != "pending":
            return  # of this place it says nothing
        verdict = CLEAR
    if state is None and verdict == CLEAR:
        state = _take_over(draft, watch, time_ms)
    inhibited = explained = False
    expected_ms = 0
    text = ""
    since_ms = time_ms if state is None else state.since_ms
    step_ms = draft.sources[subject.source].step_ms
    denial = draft.denial(rule, subject.problem, subject.source.agent, time_ms) if verdict == BAD else ""
    if denial:
        if state is not None and state.phase != "pending":
            verdict, text = CLEAR, denial
        elif time_ms - since_ms >= rule.lasts_ms(step_ms):
            inhibited = True  # looked at when it is due, because the one who tells of the work may be the slower one
    if verdict == BAD and not inhibited and (state is None or state.phase == "pending"):
        device = expectation.planned(draft, subject)
        inhibited = not expectation.holds_now(draft, rule, device if rule.contact else None) or draft.is_hidden(
            subject.problem, draft.rule_states.values(), agent=subject.source.agent
        )
        if rule.contact and not inhibited:
            expected_ms = expectation.since_event_ms(draft, rule, subject.problem, event.compiled.kind, device)
        explained = not inhibited and bool(draft.problems) and draft.cause_of(subject.problem, time_ms) is not None
    if verdict == BAD and state is not None:
        flapping.counted(draft, rule, state, time_ms)
    evidence = event.compiled.evidence(watch, event.name, time_ms, event.values)
    at = Occasion(
        time_ms,
        began_ms=operands.begun(draft, watch, time_ms) if watch.windows else time_ms,
        from_ms=from_ms,
        step_ms=step_ms,
        untold_ms=untold_ms,
        missing=draft.has_hole,
    )
    move = advance(state, verdict, at, rule, subject, Leave(not inhibited, expected_ms, explained), evidence)
    after = move.state
    if after is not None and verdict == BAD:
        after = shown.noted(rule, state, after, evidence)
    if after is None:
        draft.rule_states.pop(watch.key, None)
    elif after is not state:
        draft.rule_states[watch.key] = after
    if move.action == "open" and after is not None:
        foreseen = shown.forecast(draft, event.compiled, watch, time_ms, evidence)
        draft.open(rule, subject.problem, after.since_ms, shown.opening(after), forecast=foreseen)
    elif move.action == "passed" and state is not None:
        draft.note(rule, subject.problem, state.since_ms, time_ms)
    elif move.action == "resolve" and after is not None:
        clear_ms, good_ms = after.clear_ms or time_ms, after.good_ms or time_ms
        draft.rule_states.pop(watch.key, None)
        if draft.is_held(subject.problem):
            return
        flaps = not text and flapping.holds(draft, rule, subject.problem, clear_ms, time_ms)
        if flaps or draft.may_be_told_otherwise:
            draft.rule_states[watch.key] = after
            return
        end_ms = min(operands.ended(draft, watch, clear_ms), good_ms) if watch.windows else good_ms
        draft.close(rule, subject.problem, end_ms, shown.ending(after, evidence), text)


def _adopt(draft: Draft, watch: Watch, state: RuleState) -> RuleState | None:
    """Return where a new version of a rule begins: anew, but with the problem that the old one had found."""
    problem = draft.problems.get(watch.subject.problem)
    if state.phase == "pending" or problem is None:
        draft.rule_states.pop(watch.key, None)
        return None
    if problem.rule == watch.rule.id and problem.rule_version != watch.rule.version:
        draft.adopt(problem, watch.rule)
    after = msgspec.structs.replace(
        state, version=watch.rule.version, problem=watch.subject.problem, phase="firing", clear_ms=None
    )
    draft.rule_states[watch.key] = after
    return after


def _take_over(draft: Draft, watch: Watch, time_ms: int) -> RuleState | None:
    """Return a state for a problem of this rule that no state holds any more, so that it can be cleared."""
    problem = draft.problems.get(watch.subject.problem)
    if problem is None or problem.rule != watch.rule.id:
        return None
    if any(other.problem == problem.key for other in draft.rule_states.values()):
        return None
    subject = watch.subject
    return RuleState(
        rule=watch.rule.id,
        version=watch.rule.version,
        source=subject.source,
        device=subject.device,
        problem=subject.problem,
        phase="firing",
        since_ms=problem.event_ms,
        counted_ms=problem.event_ms,
        last_ms=time_ms,
    )
