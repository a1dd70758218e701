"""Holes in an agent's sequence: the vehicle as it was before one, and how it becomes the state (docs/decisions/0065).

When records are missing, the vehicle is kept as it was at the last word, and live goes on with its own copy. When they
have come, or never will, that *fork* is stepped through them and all that came since, in each agent's own order and
merged by event time; then it becomes the state. There is no second judging for late data: what was pending at the
hole's beginning goes on, an end inside is found, and windows have seen all, by construction.

What holds:

- what a fork comes to depends on it, the records, the rules and the fleet file, and on no clock of ours: its time is
  the records' own;
- contact (who was heard when, silence, what agents tell of themselves) is live's; readings, windows, rules and their
  problems are the fork's;
- policy is a difference of problems (``rejoin``): one in both began when the fork says; one in the fork only begins
  now with its true begin; one in live only is over; one that began and ended inside is a closed note.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from collector.core.identities import ProblemKey
from collector.core.problems import ClosedNote, Evidence, Problem, ProblemChange, ProblemRef
from collector.core.rules.all_gone import AllGoneRule
from collector.core.rules.reception import ReceptionRule
from collector.core.rules.sampled import SampledRule
from collector.core.rules.types import Rules
from collector.core.survey import NOTHING
from collector.core.vehicle import expectation, gone, others
from collector.core.vehicle.draft import MOST_SPANS, Draft, Effect
from collector.core.vehicle.events import Born, Event, Gone, Missed, Observed, OfSequence
from collector.core.vehicle.others import Others
from collector.core.vehicle.state import Ended, Fork, Vehicle
from collector.core.vehicle.step import Context, take
from telemetry.intervals import Intervals

_OF_READINGS = (SampledRule, AllGoneRule, ReceptionRule)
"""Rules that go by what the kit says, at the time of the kit."""
Pairs = tuple[tuple[int, int], ...]


class Before(NamedTuple):
    """A vehicle as it was committed last, and the batch of the log that did it."""

    vehicle: Vehicle
    position: int


# --- holes ------------------------------------------------------------------------------------------------------------


def happened(vehicle: Vehicle, event: OfSequence | Born, before: Before, now_ms: int) -> Vehicle:
    """Return the vehicle after what the order of an agent's records tells; a birth was stepped already."""
    if isinstance(event, Born):
        agent = vehicle.agents.get(event.agent)
        if agent is None or (agent.run, agent.session) != (event.run, event.session):
            return vehicle  # delivered again, and past
        return _waits_for(vehicle, event.agent, dict(event.missing), before, now_ms)
    fork = vehicle.fork
    if isinstance(event, Gone):
        return came(vehicle, event.agent, event.run, Intervals(event.pairs))
    if isinstance(event, Missed):
        runs = dict(fork.missing.get(event.agent, {})) if fork else {}
        numbers = Intervals(runs.get(event.run, ()))
        numbers.update(Intervals(event.pairs))
        return _waits_for(vehicle, event.agent, {**runs, event.run: tuple(numbers.pairs())}, before, now_ms)
    fork = fork or _taken(before, now_ms)
    return msgspec.structs.replace(vehicle, fork=msgspec.structs.replace(fork, silent=(*fork.silent, event.agent)))


def came(vehicle: Vehicle, agent: str, run: str, numbers: Intervals) -> Vehicle:
    """Return the vehicle after an agent's word: these numbers have come, or will never come."""
    fork = vehicle.fork
    if fork is None:
        return vehicle
    runs = fork.missing.get(agent, {})
    if run in runs:
        left = Intervals(runs[run]).minus(numbers)
        rest = {name: pairs for name, pairs in runs.items() if name != run}
        fork = _missing(fork, agent, {**rest, run: tuple(left.pairs())} if left else rest)
    if agent in fork.silent:
        fork = msgspec.structs.replace(fork, silent=tuple(name for name in fork.silent if name != agent))
    return _with(vehicle, fork)


def _waits_for(vehicle: Vehicle, agent: str, runs: Mapping[str, Pairs], before: Before, now_ms: int) -> Vehicle:
    """Let these be the records of an agent that are missing."""
    fork = vehicle.fork
    if fork is None and not runs:
        return vehicle
    fork = _missing(fork or _taken(before, now_ms), agent, runs)
    return _with(vehicle, msgspec.structs.replace(fork, found=True, filled_ms=None, settled=False) if runs else fork)


def _taken(before: Before, now_ms: int) -> Fork:
    base = msgspec.structs.replace(_before_people(before.vehicle), fork=None)
    return Fork(base.to_json().decode(), before.position, now_ms)


def _before_people(vehicle: Vehicle) -> Vehicle:
    """Return a vehicle without a mission of which we were told after its last word: what is missing is from before."""
    heard_ms = max((agent.heard_ms or 0 for agent in vehicle.agents.values()), default=0)
    told_ms = max((ours for ours, _ in vehicle.expectation.left.values()), default=0)
    if vehicle.given != "on_mission" or told_ms <= heard_ms:
        return vehicle
    return msgspec.structs.replace(vehicle, given="", missions=())


def _missing(fork: Fork, agent: str, runs: Mapping[str, Pairs]) -> Fork:
    rest = {name: found for name, found in fork.missing.items() if name != agent}
    return msgspec.structs.replace(fork, missing={**rest, agent: runs} if runs else rest)


def _with(vehicle: Vehicle, fork: Fork) -> Vehicle:
    if fork == vehicle.fork:
        return vehicle
    return msgspec.structs.replace(vehicle, fork=fork if fork.found or fork.silent else None)


# --- stepping a fork to the present -----------------------------------------------------------------------------------


class At(NamedTuple):
    """An event and the moment of the kit at which it is stepped, UTC ms."""

    time_ms: int
    event: Event


class Over(NamedTuple):
    """Something that began and ended, and whether something else explained it: then it is no matter of its own."""

    note: ClosedNote
    explained: bool


class Stepping:
    """A fork on its way to the present. What it is given is in order."""

    def __init__(self, fork: Fork) -> None:
        """Begin where the fork was taken. Raises StateError."""
        self.position = fork.position
        self.vehicle = fork.vehicle()
        self.over: list[Over] = []
        """What has ended on the way."""
        self._unplaced: list[Observed] = []
        self.time_ms = 0
        """How far it has come."""
        self._diagnosed = dict(self.vehicle.problems)

    def copy(self) -> Stepping:
        """Return one that goes on by itself."""
        other = copy.copy(self)
        other.over = list(self.over)
        return other

    def advance(self, events: Sequence[At], context: Context, rules: Rules) -> None:
        """Step it through these."""
        draft = Draft(
            self.vehicle, context.plan, context.listening, NOTHING, rules, 0, most_problems=context.most_problems,
            learnt=context.learnt,
        )  # fmt: skip
        draft.unplaced = self._unplaced
        for time_ms, event in events:
            if time_ms != self.time_ms:
                self._judge_moment(draft)
            draft.now_ms = self.time_ms = time_ms
            draft.begin(time_ms)
            if time_ms and draft.given_before:  # word of a mission that waited for us is no event of the fork
                expectation.note_duty(draft, time_ms)
            take(draft, event)
        self._unplaced = draft.unplaced
        self.vehicle, effects = draft.finish(diagnose=False)
        self.over += _over(effects)

    def _judge_moment(self, draft: Draft) -> None:
        """Look at what all records of one moment say together, as live does after each message."""
        if draft.problems or draft.rule_states:
            gone.judge(draft)
        if draft.problems:
            draft.diagnose(self._diagnosed)
        self._diagnosed = dict(draft.problems)


def _over(effects: Iterable[Effect]) -> Iterable[Over]:
    for effect in effects:
        if isinstance(effect, ClosedNote):
            yield Over(effect, explained=False)
        elif isinstance(effect, ProblemChange) and effect.problem.state == "over":
            yield Over(_note_of(effect.problem), explained=effect.problem.cause is not None)


def _note_of(problem: Problem) -> ClosedNote:
    return ClosedNote(
        site=problem.site,
        vehicle=problem.vehicle,
        device=problem.key.device,
        key=problem.key.text(),
        fault=problem.key.fault,
        rule=problem.rule,
        rule_version=problem.rule_version,
        began_ms=problem.event_ms,
        ended_ms=problem.over_event_ms or problem.event_ms,
        noted_ms=problem.over_ms or 0,
    )


# --- becoming the state -----------------------------------------------------------------------------------------------


def rejoin(
    vehicle: Vehicle, stepped: Stepping, context: Context, rules: Rules, now_ms: int, beside: Others = tuple
) -> tuple[Vehicle, list[Effect]]:
    """Let what a fork has come to be the state, and return what differs from what live has said meanwhile.

    ``beside`` are the site's other vehicles.
    """
    draft = Draft(
        vehicle, context.plan, context.listening, context.verdict, rules, now_ms, most_problems=context.most_problems,
        learnt=context.learnt,
    )  # fmt: skip
    draft.fork = None
    _Difference(draft, stepped, beside).tell()
    _become(draft, stepped.vehicle, stepped.time_ms)
    return draft.finish()


class _Difference:
    """What the fork says otherwise of the problems that rules on samples have found."""

    def __init__(self, draft: Draft, stepped: Stepping, beside: Others) -> None:
        self._draft = draft
        self._beside = beside
        self._stepped = stepped
        self._live = dict(draft.problems)
        self._told = dict(draft.ended)

    def tell(self) -> None:
        draft, true = self._draft, self._stepped.vehicle.problems
        for note, explained in self._stepped.over:
            if not explained:
                self._was_there(note)
        for key, problem in self._live.items():
            if not self._is_sampled(problem):
                continue
            if key not in true:
                self._is_over(problem)
            elif self._is_sampled(true[key]):
                self._began(problem, true[key])
        for key, problem in sorted(true.items(), key=lambda one: (one[1].event_ms, one[0])):
            if key not in self._live and self._is_sampled(problem):
                self._begins(problem)
        draft.problems = {key: one for key, one in draft.problems.items() if key in true or key in self._live}

    def _is_sampled(self, problem: Problem) -> bool:
        return isinstance(self._draft.rules.by_id.get(problem.rule), _OF_READINGS)

    def _is_the_networks(self, key: ProblemKey, began_ms: int, ended_ms: int) -> bool:
        draft = self._draft
        return others.is_the_networks(key, began_ms, ended_ms, self._beside, draft.rules, draft.now_ms)

    def _was_there(self, note: ClosedNote) -> None:
        """Leave a note of what began and ended in the hole, unless live has told of that time."""
        key = ProblemKey.parse(note.key)
        problem, ended, true = self._live.get(key), self._told.get(key), self._stepped.vehicle.problems.get(key)
        if problem is not None and problem.event_ms < note.ended_ms and true is None:
            return  # it is over with this
        if ended is not None and any(begin < note.ended_ms and note.began_ms < end for begin, end in ended.spans):
            return
        if not self._is_the_networks(key, note.began_ms, note.ended_ms):
            self._draft.effects.append(msgspec.structs.replace(note, noted_ms=self._draft.now_ms))

    def _is_over(self, problem: Problem) -> None:
        """Live alone has it: it ended in the hole, or never was."""
        ends = [note.ended_ms for note, _ in self._stepped.over if note.key == problem.key.text()]
        text = "late data: it is over"
        evidence = Evidence(problem.rule, problem.rule_version, text=text)
        self._draft.end(problem.key, max(ends, default=self._good_ms(problem.key)), evidence, text)

    def _good_ms(self, key: ProblemKey) -> int:
        """Return when live has seen what the fork never had end, or how far the fork has come."""
        held = [one for one in self._draft.rule_states.values() if one.problem == key and one.phase != "pending"]
        good = [one.good_ms for one in held if one.phase == "clearing"]
        return min([self._stepped.time_ms, *([max(good)] if good and len(good) == len(held) else [])])

    def _began(self, problem: Problem, true: Problem) -> None:
        """Both have it: it began when the fork says."""
        draft = self._draft
        after = msgspec.structs.replace(problem, event_ms=true.event_ms, times=true.times, flapping=true.flapping)
        if true.event_ms != problem.event_ms:
            after = msgspec.structs.replace(after, evidence=(*true.evidence[:1], *problem.evidence)[:3])
            draft.tell(
                after, "moved", "late data: it began " + ("earlier" if true.event_ms < problem.event_ms else "later")
            )
        draft.problems[problem.key] = after

    def _begins(self, true: Problem) -> None:
        """The fork alone has it: it begins now, with its true begin."""
        draft = self._draft
        if self._is_the_networks(true.key, true.event_ms, draft.now_ms):
            return
        cause = draft.cause_of(true.key, true.event_ms)
        ref = None if cause is None else ProblemRef(true.vehicle, cause)
        problem = msgspec.structs.replace(true, detected_ms=draft.now_ms, cause=ref)
        draft.problems[true.key] = problem
        draft.tell(problem, "began" if problem.times == 1 else "again", true.evidence[0].text if true.evidence else "")


def _become(draft: Draft, true: Vehicle, until_ms: int) -> None:
    """Take the fork's readings, windows and rules, and live's contact.

    Of what is ahead of our clock, and not judged, live alone knows where the vehicle was and whether it drove: what it
    has from after ``until_ms``, where the fork has come to, is the newer word.
    """
    live = draft.sources
    draft.sources = {
        key: msgspec.structs.replace(source, answered_ms=live[key].answered_ms if key in live else source.answered_ms)
        for key, source in true.sources.items()
    }
    draft.rule_states = dict(true.rule_states)
    draft.windows = dict(true.windows)
    draft.readings = dict(true.readings)
    draft.reception = dict(true.reception)
    draft.clear_until = dict(true.clear_until)
    draft.facts = {**true.facts, **{name: fact for name, fact in draft.facts.items() if fact.time_ms > until_ms}}
    draft.proofs = dict(true.proofs)
    if draft.position is None or draft.position.time_ms <= until_ms:
        draft.position = true.position or draft.position
    restarts = {
        agent: found if (found := true.expectation.restarts.get(agent)) and found.run == restart.run else restart
        for agent, restart in draft.expectation.restarts.items()
    }
    draft.expectation = msgspec.structs.replace(draft.expectation, restarts=restarts)
    sampled: set[str] = set()
    others: set[str] = set()
    for rule in draft.rules.by_id.values():
        (sampled if isinstance(rule, _OF_READINGS) else others).add(rule.fault.id)
    ended = {key: one for key, one in draft.ended.items() if key.fault not in sampled - others}
    for key, one in true.ended.items():
        if key.fault in sampled:
            ended[key] = _both(one, ended[key]) if key in ended else one
    draft.ended = ended


def _both(one: Ended, other: Ended) -> Ended:
    spans = tuple(sorted({*one.spans, *other.spans}))[-MOST_SPANS:]
    return Ended(max(one.times, other.times), spans, max(one.over_ms, other.over_ms))
