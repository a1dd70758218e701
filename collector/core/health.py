"""Judging the centre itself: what a site's owner sees of broker, InfluxDB, receivers, disk and itself. Pure.

The owner reports a part when something about it has changed (``PartReport``, in the log like every event); rules of
this kind judge the last reports, at once and as time passes. A part of which nothing is reported is unknown: neither
good nor bad, so that a new owner that has not asked InfluxDB yet ends no problem of the owner before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from collector.core import site_problems
from collector.core.identities import ProblemKey
from collector.core.problems import Evidence, Forecast, Problem, ProblemChange
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.reducers import Until, Window
from collector.core.rules.types import LEAST_SILENCE_MS, Rule, Rules, scaled_silence
from telemetry.files import convert

Part = Literal[
    "broker",
    "broker_drops",
    "influxdb",
    "sink",
    "receiver",
    "disk",
    "quarantine",
    "certificate",
    "collector",
    "calendar",
    "clock",
]
PartState = Literal[
    "ok",
    "unreachable",
    "not_listening",
    "refusing",
    "limited",
    "failing",
    "undelivered",
    "unattended",
    "missing",
    "unsynchronised",
    "gone",
]
UNITS: Final[Mapping[str, str]] = {
    "disk": "% free",
    "sink": "minutes behind",
    "quarantine": "set aside within the hour",
    "broker_drops": "messages dropped within the hour",
    "certificate": "days until it ends",
}
"""What is measured of a part."""
_DAY_MS: Final = 86_400_000
COLLECTOR: Final = "collector"
"""What a problem of ours that has no other device is about."""


class PartReport(msgspec.Struct, frozen=True, array_like=True):
    """How one part of the centre gets on, as the site's owner sees it. Times are UTC milliseconds of our clock."""

    part: Part
    name: str = ""
    """Which one, where there are several: the receiver, the sink, whose certificate."""
    state: PartState = "ok"
    """``unreachable``: no connection. ``not_listening``: connected, but our own heartbeat does not come back.
    ``refusing``: it takes nothing, or refuses very much. ``limited``: it takes no new series. ``failing``: a receiver
    does not answer. ``undelivered``: a receiver refused the last notification. ``unattended``: nobody owned the site,
    or nothing could be committed. ``missing``: years of the working calendar that are needed. ``unsynchronised``:
    nobody keeps the clock. ``gone``: it is no longer configured."""
    since_ms: int = 0
    """Since when."""
    words: str = ""
    """What it said, or what we saw, in one line."""
    value: float | None = None
    """Of a part that is measured: see ``UNITS``."""

    @property
    def which(self) -> tuple[Part, str]:
        """What tells it from other parts."""
        return self.part, self.name

    def differs(self, other: PartReport | None) -> bool:
        """Say whether it is news after another one; the same state in other words is none, the same value later is."""
        if other is None or (self.state, self.value) != (other.state, other.value):
            return True
        return self.value is not None and self.since_ms != other.since_ms


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one rule stands with one part that was bad and has not been good for long enough since."""

    rule: str
    part: Part
    name: str = ""
    bad_ms: int | None = None
    """Since when it has been bad; ``None``: it is not, and only its window is kept."""
    good_ms: int | None = None
    """Since when it has been good again."""
    open: bool = False
    """It has been bad for long enough to be a problem."""
    window: Window | None = None
    """Of a forecast: what was reported."""


class PartShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"is_": "is"}):
    """How a part of the centre gets on, as the site's owner sees it."""

    part: Part
    """`broker`, `broker_drops` (messages that it let go), `influxdb`, `sink` (each: how far it is behind the log),
    `receiver` (each of those who are told, and the dead man's switch), `disk` (of the database, where that is SQLite),
    `quarantine`, `certificate` (the broker's and the collector's), `collector` (that somebody owns the site and
    commits), `calendar` (the working calendar), `clock` (the centre's)."""
    is_: tuple[PartState, ...] = ()
    """States that are bad: `unreachable`, `not_listening` (our heartbeat does not come back), `refusing`, `limited` (no
    new series), `failing`, `undelivered`, `unattended`, `missing` (years that are needed),
    `unsynchronised` (nobody keeps it)."""
    above: float | None = None
    """Bad above this: `disk` in percent that are free, `sink` in minutes, `certificate` in days, `quarantine` and
    `broker_drops` in messages within an hour."""
    below: float | str | None = None
    """Bad below this: as `above`, and with `until` a duration."""
    clear: float | str | None = None
    """Good from here on; between the limits it stays what it was."""
    until: Until | None = None
    """How long until the value reaches a limit at its present slope, as in other rules."""


class PartRule(Rule, frozen=True, kw_only=True):
    """Judges one kind of part by its state, or by its value or the forecast of that."""

    part: Part
    states: frozenset[str] = frozenset()
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    until: Until | None = None

    def scaled(self, speed: float) -> PartRule:
        """Return the rule for judging ``speed`` times faster; an outage of seconds proves nothing at any speed."""
        for_ms = scaled_silence(self.for_ms, speed, LEAST_SILENCE_MS)
        return msgspec.structs.replace(self, for_ms=for_ms, clear_for_ms=round(self.clear_for_ms / speed))

    def verdict(self, report: PartReport, window: Window | None, now_ms: int) -> bool | None:
        """Say whether a report is bad, ``None`` where it says neither."""
        if self.states:
            return report.state in self.states
        value = report.value
        if self.until is not None:
            value = None if window is None else self.until.value(window, now_ms)
        if value is None:
            return None
        if (self.above is not None and value > self.above) or (self.below is not None and value < self.below):
            return True
        if self.above is not None and self.clear is not None and value > self.clear:
            return None
        if self.below is not None and self.clear is not None and value < self.clear:
            return None
        return False


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> PartRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, PartShape, reader.path, f"{reader.key}.condition")
    limits = [shape.is_ or None, shape.above, shape.below]
    if sum(limit is not None for limit in limits) != 1 or (shape.until is not None and shape.below is None):
        raise reader.wrong("condition", "expected one of is, above and below, and below with until")
    return PartRule(
        **reader.common(),
        part=shape.part,
        states=frozenset(shape.is_),
        above=shape.above,
        below=_number(reader, "condition.below", shape.below),
        clear=_number(reader, "condition.clear", shape.clear),
        until=shape.until,
    )


def _number(reader: RuleReader, key: str, limit: float | str | None) -> float | None:
    return reader.ms(key, limit) / 1000 if isinstance(limit, str) else limit


KIND: Final = Kind("part", PartShape, _make)


class Judged(msgspec.Struct):
    """What judging the parts has come to."""

    standings: tuple[Standing, ...]
    problems: dict[ProblemKey, Problem]
    times: dict[ProblemKey, int]
    changes: list[ProblemChange] = msgspec.field(default_factory=list)
    wake_ms: int | None = None
    """When it may come out otherwise though nothing is reported (our clock); ``None``: never."""


def take(parts: Sequence[PartReport], report: PartReport) -> tuple[PartReport, ...]:
    """Return the last reports with a new one in its place."""
    return (*(one for one in parts if one.which != report.which), report)


def note(
    standings: Sequence[Standing], report: PartReport, rules: Iterable[PartRule], now_ms: int
) -> tuple[Standing, ...]:
    """Return how rules stand with a report's value taken into the windows of forecasts."""
    if report.value is None:
        return tuple(standings)
    found = {(one.rule, one.part, one.name): one for one in standings}
    for rule in rules:
        if rule.part == report.part and rule.until is not None:
            key = (rule.id, *report.which)
            one = found.get(key) or Standing(rule=rule.id, part=report.part, name=report.name)
            window = one.window if one.window is not None and one.window.version == rule.version else None
            taken = rule.until.taken(window or Window(rule.version), now_ms, report.value)
            found[key] = msgspec.structs.replace(one, window=taken)
    return tuple(found.values())


def judge_parts(
    site: str,
    parts: Sequence[PartReport],
    standings: Sequence[Standing],
    problems: Mapping[ProblemKey, Problem],
    times: Mapping[ProblemKey, int],
    rules: Rules,
    now_ms: int,
) -> Judged:
    """Judge the last reports of a site's parts by all rules of this kind. Its arguments are never changed."""
    judged = Judged((), dict(problems), dict(times))
    before = {(one.rule, one.part, one.name): one for one in standings}
    after: list[tuple[PartRule, PartReport, Standing]] = []
    for rule in rules.of_site(site, PartRule):
        for report in parts:
            if report.part == rule.part and report.state != "gone":
                was = before.get((rule.id, *report.which)) or Standing(rule=rule.id, part=report.part, name=report.name)
                now = _step(rule, report, was, now_ms, judged)
                if now.bad_ms is not None or now.window is not None:
                    after.append((rule, report, now))
    judged.standings = tuple(one for _, _, one in after)
    held: dict[ProblemKey, tuple[PartRule, PartReport, Standing]] = {}
    for rule, report, one in after:
        if one.open:
            held.setdefault(_key(rule, site, report), (rule, report, one))
    for key, (rule, report, one) in held.items():
        if key not in judged.problems:
            _open(judged, site, key, rule, report, one, now_ms)
    effective = {rule.id: rule for rule in rules.of_site(site, Rule)} if problems else {}
    for key, problem in problems.items():
        judge = effective.get(problem.rule)
        if key not in held and (judge is None or isinstance(judge, PartRule)):
            _close(judged, key, problem, None if judge is None else _reported(judge, key, parts), now_ms)
    return judged


def _step(rule: PartRule, report: PartReport, was: Standing, now_ms: int, judged: Judged) -> Standing:
    """Return how a rule stands with a report now."""
    bad = rule.verdict(report, was.window, now_ms)
    # what a report dates is the state; a value crosses a limit when it is reported
    since_ms = min(report.since_ms, now_ms) if rule.states and report.since_ms else now_ms
    if bad:
        bad_ms = since_ms if was.bad_ms is None else was.bad_ms
        due_ms = bad_ms + rule.for_ms
        if not was.open and due_ms > now_ms:
            _wake(judged, due_ms)
        return msgspec.structs.replace(was, bad_ms=bad_ms, good_ms=None, open=was.open or due_ms <= now_ms)
    if bad is None or was.bad_ms is None:
        return was
    good_ms = since_ms if was.good_ms is None else was.good_ms
    due_ms = good_ms + rule.clear_for_ms
    if due_ms <= now_ms:
        return msgspec.structs.replace(was, bad_ms=None, good_ms=None, open=False)
    _wake(judged, due_ms)
    return msgspec.structs.replace(was, good_ms=good_ms)


def _wake(judged: Judged, due_ms: int) -> None:
    judged.wake_ms = due_ms if judged.wake_ms is None else min(judged.wake_ms, due_ms)


def _key(rule: PartRule, site: str, report: PartReport) -> ProblemKey:
    device = site if "site" in rule.fault.roots else COLLECTOR
    return ProblemKey.of(rule.fault.id, device, {report.part: report.name} if report.name else None)


def _open(
    judged: Judged, site: str, key: ProblemKey, rule: PartRule, report: PartReport, one: Standing, now_ms: int
) -> None:
    times = judged.times.get(key, 0) + 1
    event_ms = one.bad_ms if one.bad_ms is not None else now_ms
    change = site_problems.begun(
        site,
        key,
        rule,
        event_ms=event_ms,
        now_ms=now_ms,
        times=times,
        text=text_of(report),
        forecast=_forecast(rule, report, one, now_ms),
    )
    judged.problems[key], judged.times[key] = change.problem, times
    judged.changes.append(change)


def _forecast(rule: PartRule, report: PartReport, one: Standing, now_ms: int) -> Forecast | None:
    """Return what will come of a part and when, where the rule goes by that; a certificate tells it itself."""
    if rule.part == "certificate" and report.value is not None:
        return Forecast("certificate", 0, "d", round(report.since_ms + report.value * _DAY_MS), report.name)
    found = None if rule.until is None or one.window is None else rule.until.foreseen(one.window, now_ms)
    return None if found is None else Forecast(rule.part, found[0], UNITS[rule.part], found[1], report.name)


def _reported(rule: PartRule, key: ProblemKey, parts: Sequence[PartReport]) -> PartReport | None:
    """Return the last report of what a problem is about."""
    which = (rule.part, dict(key.labels).get(rule.part, ""))
    return next((one for one in parts if one.which == which and one.state != "gone"), None)


def _close(judged: Judged, key: ProblemKey, problem: Problem, report: PartReport | None, now_ms: int) -> None:
    """End a problem; one whose part or rule is gone is orphaned, since nobody has seen it end."""
    del judged.problems[key]
    if report is None:
        text = "its rule, or what it is about, is no longer configured"
        judged.changes.append(ProblemChange(msgspec.structs.replace(problem, state="orphaned"), "orphaned", text))
        return
    said = Evidence(problem.rule, problem.rule_version, text=text_of(report))
    event_ms = min(report.since_ms or now_ms, now_ms)
    judged.changes.append(site_problems.over(problem, said, event_ms=event_ms, now_ms=now_ms))


def text_of(report: PartReport) -> str:
    """Return a report in plain words, for the ticket's history."""
    name = f"{report.part} {report.name}" if report.name else report.part
    found: str = report.state if report.value is None else f"{report.value:g} {UNITS[report.part]}"
    return f"{name}: {found}: {report.words}" if report.words else f"{name}: {found}"
