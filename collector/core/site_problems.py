"""How a problem of the site itself begins and ends, whatever judges it: the survey, or a report of a part. Pure."""

from __future__ import annotations

import msgspec

from collector.core.identities import ProblemKey
from collector.core.problems import Evidence, Forecast, Problem, ProblemChange
from collector.core.rules.types import Rule


def begun(
    site: str,
    key: ProblemKey,
    rule: Rule,
    *,
    event_ms: int,
    now_ms: int,
    times: int,
    text: str,
    forecast: Forecast | None = None,
) -> ProblemChange:
    """Return what is told of one that begins, for the time ``times``. Times are UTC ms."""
    problem = Problem(
        site=site,
        vehicle="",
        key=key,
        rule=rule.id,
        rule_version=rule.version,
        state="active",
        event_ms=event_ms,
        detected_ms=now_ms,
        times=times,
        sla_class=rule.sla_class,
        severity=rule.severity,
        evidence=(Evidence(rule.id, rule.version, text=text, forecast=forecast),),
    )
    return ProblemChange(problem, "began" if times == 1 else "again", text)


def over(problem: Problem, said: Evidence, *, event_ms: int, now_ms: int) -> ProblemChange:
    """Return what is told of one that is over; it never ends before it began."""
    ended = msgspec.structs.replace(
        problem,
        state="over",
        over_event_ms=max(problem.event_ms, event_ms),
        over_ms=now_ms,
        evidence=(*problem.evidence, said),
    )
    return ProblemChange(ended, "over", said.text)
