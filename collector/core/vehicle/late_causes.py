"""Late explanation: a silence whose cause came with the backlog (docs/diagnosis.md).

The vehicle's only way out was the thing that failed, so nobody could say so while it lasted. What a step finds to have
begun, or to have been, in the time of a silence of the vehicle or of an agent may be what that silence was: then the
desk is told, and the ticket of the silence becomes the cause's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from collector.core.diagnosis import Node, Since, causes
from collector.core.identities import ProblemKey
from collector.core.problems import ClosedNote, Evidence, Problem, ProblemChange, ProblemNews, ProblemRef
from collector.core.survey import told_ms

if TYPE_CHECKING:
    from collector.core.vehicle.draft import Draft, Effect

SILENT: Final = ("vehicle", "agent")
"""Nodes at which a problem is that nothing is heard."""
_NEW: Final[tuple[ProblemNews, ...]] = ("began", "again", "moved")


class _Silence(msgspec.Struct, frozen=True):
    """A silence, by whose first word afterwards it is known how long it was. Our clock's times."""

    key: ProblemKey
    began_ms: int
    ended_ms: int


class _Found(msgspec.Struct, frozen=True):
    """Something that a step has found: where it stands among the effects, and the problem."""

    at: int
    problem: Problem

    @property
    def since(self) -> Since:
        return Since(self.problem.key, self.problem.event_ms)


def explain(draft: Draft) -> None:
    """Tell the desk of each silence that something among the effects explains, before it is told of that.

    A note of what is over is taken back where it becomes the silence's explanation: there is a ticket about it.
    """
    found = list(_found(draft))
    if not found:
        return
    told: list[tuple[int, ProblemChange]] = []
    notes: set[int] = set()
    for silence in _silences(draft):
        by = _best(draft, silence, found)
        if by is None:
            continue
        ref = ProblemRef(draft.before.vehicle, silence.key)
        text = f"late data: it was {by.problem.key.text()}"
        told.append(
            (_place(draft, silence.key, by), ProblemChange(by.problem, "explains", text, ref, silence.began_ms))
        )
        if isinstance(draft.effects[by.at], ClosedNote):
            notes.add(by.at)
    if told:
        draft.effects = list(_woven(draft.effects, told, notes))


def _woven(effects: list[Effect], told: list[tuple[int, ProblemChange]], without: set[int]) -> Iterator[Effect]:
    for number, effect in enumerate(effects):
        yield from (change for at, change in told if at == number)
        if number not in without:
            yield effect


def _place(draft: Draft, silence: ProblemKey, by: _Found) -> int:
    """Return before which of the effects the desk is to hear of it: the cause's begin, the silence's end."""
    ends = [
        number
        for number, effect in enumerate(draft.effects)
        if isinstance(effect, ProblemChange) and effect.problem.key == silence and effect.news == "over"
    ]
    return min([by.at, *ends])


def _found(draft: Draft) -> Iterator[_Found]:
    for number, effect in enumerate(draft.effects):
        if isinstance(effect, ClosedNote):
            yield _Found(number, _problem_of(draft, effect))
        elif isinstance(effect, ProblemChange) and effect.news in _NEW and effect.problem.state == "active":
            yield _Found(number, effect.problem)


def _problem_of(draft: Draft, note: ClosedNote) -> Problem:
    """Return the problem that a closed note tells of."""
    text = "late data: it began and ended before we heard of it"
    return Problem(
        site=note.site,
        vehicle=note.vehicle,
        key=ProblemKey.parse(note.key),
        rule=note.rule,
        rule_version=note.rule_version,
        state="over",
        event_ms=note.began_ms,
        detected_ms=note.noted_ms,
        over_event_ms=note.ended_ms,
        over_ms=note.noted_ms,
        duty=draft.duty(),
        evidence=(Evidence(note.rule, note.rule_version, text=text),),
    )


def _silences(draft: Draft) -> Iterator[_Silence]:
    """Yield the silences of the vehicle and its agents after which something was heard."""
    faults = draft.rules.topology.faults
    silent = [key for key in (*draft.problems, *draft.ended) if key.fault in faults and faults[key.fault].at in SILENT]
    for key in dict.fromkeys(silent):
        problem = draft.problems.get(key)
        first_ms = None if problem is None or problem.cause is not None else first_word(draft, problem)
        if problem is not None and first_ms is not None:
            yield _Silence(key, problem.event_ms, first_ms)
        ended = draft.ended.get(key)
        for began_ms, ended_ms in ended.spans if ended is not None else ():
            yield _Silence(key, began_ms, ended_ms)


def first_word(draft: Draft, silence: Problem) -> int | None:
    """Return when the first word after a silence came, ``None`` before it."""
    names = draft.agents if silence.key.device == draft.before.vehicle else (silence.key.device,)
    heard = [draft.agents[name] for name in names if name in draft.agents]
    words = [
        agent.from_ms
        for agent in heard
        if agent.heard_ms is not None
        and agent.from_ms is not None
        and agent.heard_ms > told_ms(silence, draft.listening, draft.now_ms)
    ]
    return min(words, default=None)


def _best(draft: Draft, silence: _Silence, found: list[_Found]) -> _Found | None:
    """Return the root of what lasted for most of a silence and can make the vehicle silent; ``None``: nothing did."""
    graph = draft.graph
    may = {
        one.problem.key: one
        for one in found
        if (
            graph.verb(one.problem.key, silence.key, _nothing_lives, 0) == "blocks"
            or _goes_on(draft, one.problem, silence)
        )
        and _covers(one.problem, silence)
    }
    by = causes(graph, [one.since for one in may.values()], _nothing_lives)
    roots = [one for one in may.values() if by[one.problem.key] is None]
    return min(roots, key=lambda one: (one.problem.event_ms, one.problem.key), default=None)


def _goes_on(draft: Draft, problem: Problem, silence: _Silence) -> bool:
    """Say whether an agent is silent that fell silent with the vehicle, of which others have come back: one silence."""
    at = draft.rules.topology.faults[problem.key.fault].at
    is_the_vehicles = silence.key.device == draft.before.vehicle
    return at == "agent" and is_the_vehicles and problem.cause is None and problem.event_ms <= silence.began_ms


def _covers(problem: Problem, silence: _Silence) -> bool:
    """Say whether a problem was there for half of a silence at least."""
    end_ms = silence.ended_ms if problem.over_event_ms is None else min(problem.over_event_ms, silence.ended_ms)
    both_ms = end_ms - max(problem.event_ms, silence.began_ms)
    return both_ms > 0 and 2 * both_ms >= silence.ended_ms - silence.began_ms


def _nothing_lives(node: Node, since_ms: int) -> bool:
    return False
