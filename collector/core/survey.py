"""Judging across the vehicles of a site: is it the site that is silent, or a vehicle (docs/architecture.md, Listening)?

And the centre's own parts (``collector.core.health``), whose problems are the site's too.

``survey`` is the twin of ``step`` and comes before time is looked at for the vehicles. What it guarantees:

- it judges only while we listen, and only vehicles that were heard before and ought to speak now (not parked, not in
  the workshop, no goodbye, not silent by themselves yet);
- most of them silent at once is one ``site_unreachable``; while it is active no vehicle's silence is a problem, and
  after it each vehicle is given the time to come back that it has after our own outage;
- its argument is never changed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec

from collector.core.health import PartReport, Standing, judge_parts, note, take
from collector.core.identities import ProblemKey
from collector.core.problems import Evidence, Problem, ProblemChange
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import LEAST_SILENCE_MS, Rule, Rules, scaled_silence
from collector.core.vehicle.events import Listening
from collector.core.vehicle.state import Keys, Vehicle, duty_of, encode_state, load_state
from collector.core.vehicle.upgrade import problem_key, problem_of_ticket
from telemetry.files import convert
from telemetry.fleet import VehiclePlan


class SilentVehiclesShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many vehicles of a site, silent at once for the rule's `for`."""

    share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    """More than this part of those that ought to speak."""
    min_count: Annotated[int, msgspec.Meta(ge=1)] = 2
    """So many at least."""


class SiteShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence of a whole site."""

    silent_vehicles: SilentVehiclesShape
    """How many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRule(Rule):
    """Judges the vehicles of a site together: more than ``share`` of them and at least ``min_count`` silent at once."""

    share: float = 0.5
    min_count: int = 2

    def scaled(self, speed: float) -> SiteRule:
        """Return the rule for judging ``speed`` times faster; no silence of seconds proves anything."""
        for_ms = scaled_silence(self.for_ms, speed, LEAST_SILENCE_MS)
        return dataclasses.replace(self, for_ms=for_ms, clear_for_ms=round(self.clear_for_ms / speed))


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> SiteRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, SiteShape, reader.path, f"{reader.key}.condition").silent_vehicles
    return SiteRule(**reader.common(), share=shape.share, min_count=shape.min_count)


KIND: Final = Kind("silent_vehicles", SiteShape, _make)
FORMAT: Final = 2
_KEPT: Final = ("site", "back_ms", "cleared_ms")


def _from_format_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return format 2: its open tickets are problems now."""
    kept: dict[str, Any] = {name: plain[name] for name in _KEPT if name in plain}
    tickets = plain.get("tickets", {})
    return {**kept, "problems": {problem_key(text).text(): problem_of_ticket(one) for text, one in tickets.items()}}


UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _from_format_1}


class SiteState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What judging remembers of a site."""

    format: int
    site: str
    problems: Mapping[ProblemKey, Problem] = {}
    """Those that are not over."""
    times: Mapping[ProblemKey, int] = {}
    """How often each has begun."""
    back_ms: int | None = None
    """Since when most vehicles have been back (our clock)."""
    cleared_ms: int | None = None
    """When the last ``site_unreachable`` ended (our clock)."""
    parts: tuple[PartReport, ...] = ()
    """What was last reported of the centre's own parts."""
    standings: tuple[Standing, ...] = ()
    """How rules stand with those that are bad, or that a forecast is about."""

    @classmethod
    def new(cls, site: str) -> SiteState:
        """Return the state of a site of which nothing was heard yet."""
        return cls(format=FORMAT, site=site)

    def to_json(self) -> bytes:
        """Return it for the database; keys in their text form."""
        return encode_state(self)

    @classmethod
    def from_json(cls, content: bytes) -> SiteState:
        """Return a stored state, brought to this format. Raises StateError."""
        return load_state(content, cls, FORMAT, UPGRADES, _KEYS)


_KEYS: Final[Keys] = {"problems": ProblemKey.parse, "times": ProblemKey.parse}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the survey tells every vehicle. Times are our clock's."""

    problems: tuple[ProblemKey, ...] = ()
    """The site's own, which may explain a vehicle's: while the site is silent, no single silence counts."""
    cleared_ms: int | None = None
    """Since when it is not any more."""
    spoke_ms: int | None = None
    """The last word of any vehicle."""
    expected: int = 0
    """How many vehicles ought to speak."""
    wake_ms: int | None = None
    """When the survey may come out otherwise if nothing more is heard (our clock); ``None``: never."""
    margin_ms: int = 0
    """How long after a silence began another vehicle's word proves that the site is there."""


NOTHING: Final = Verdict()
"""The verdict where there is no survey."""


def silence_start(heard_ms: int | None, listening: Listening, verdict: Verdict) -> int | None:
    """Return since when a silence counts (our clock), ``None`` while we do not listen.

    From the last word; where nothing was heard since we began to listen, or since the site came back, from the end of
    the time that agents are given to come back.
    """
    if listening.since_ms is None:
        return None
    start = listening.since_ms if verdict.cleared_ms is None else max(listening.since_ms, verdict.cleared_ms)
    if heard_ms is not None and heard_ms >= start:
        return heard_ms
    return start + listening.reconnect_ms


def last_heard(vehicle: Vehicle) -> int | None:
    """Return when any agent of a vehicle was heard last (our clock), ``None`` for never."""
    return max((agent.heard_ms for agent in vehicle.agents.values() if agent.heard_ms is not None), default=None)


def pace(rules: Rules, vehicle: Vehicle, plan: VehiclePlan) -> int:
    """Return how far apart a vehicle's words are at most, in milliseconds.

    Its agents' longest sending interval, and the shortest interval at which any of its devices is polled.
    """
    interval_ms = max((agent.interval_ms for agent in vehicle.agents.values() if not agent.left), default=0)
    return interval_ms + poll_pace(rules, vehicle.vehicle, plan, None)


def poll_pace(rules: Rules, vehicle: str, plan: VehiclePlan, agent: str | None) -> int:
    """Return the shortest poll interval of an agent (``None``: of the whole vehicle) in milliseconds, 0 for none."""
    key = ("poll pace", vehicle, agent)
    found = rules.memory.get(key)
    if not isinstance(found, tuple) or found[0] is not plan:
        intervals = [
            config.interval
            for name, _, device in plan.devices()
            for _, config in device.configured()
            if agent in (None, name)
        ]
        found = plan, round(1000 * min(intervals, default=0))
        rules.memory[key] = found
    pace_ms: int = found[1]
    return pace_ms


def reported(state: SiteState, report: PartReport, rules: Rules, now_ms: int) -> SiteState:
    """Return the site's state with a report of one of the centre's parts, which the next survey judges."""
    standings = note(state.standings, report, rules.effective(state.site, ""), now_ms)
    return msgspec.structs.replace(state, parts=take(state.parts, report), standings=standings)


def survey(
    state: SiteState,
    vehicles: Iterable[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    now_ms: int,
    rules: Rules,
) -> tuple[SiteState, Verdict, list[ProblemChange]]:
    """Return the site's state afterwards, the verdict for its vehicles, and what is to be kept."""
    state, verdict, effects = _survey_vehicles(state, vehicles, listening, now_ms, rules)
    if not state.parts and not state.standings:
        return state, verdict, effects
    judged = judge_parts(state.site, state.parts, state.standings, state.problems, state.times, rules, now_ms)
    if judged.standings != state.standings or judged.changes:
        state = msgspec.structs.replace(state, standings=judged.standings, problems=judged.problems, times=judged.times)
    wakes = [time_ms for time_ms in (verdict.wake_ms, judged.wake_ms) if time_ms is not None]
    return state, dataclasses.replace(verdict, wake_ms=min(wakes, default=None)), [*effects, *judged.changes]


def _survey_vehicles(
    state: SiteState,
    vehicles: Iterable[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    now_ms: int,
    rules: Rules,
) -> tuple[SiteState, Verdict, list[ProblemChange]]:
    rule = next(
        (rule for rule in rules.effective(state.site, "") if isinstance(rule, SiteRule)),
        None,
    )
    if rule is None:
        return state, verdict_of(state), []
    count = _count(vehicles, listening, state, now_ms, rule, rules)
    spoke_ms, expected, silent = count.spoke_ms, count.expected, count.silent
    if listening.since_ms is None:
        return state, verdict_of(state, rule, spoke_ms, expected), []
    effects: list[ProblemChange] = []
    key = ProblemKey(rule.fault.id, state.site)
    most = len(silent) >= rule.min_count and len(silent) > rule.share * expected
    if key in state.problems:
        # silence is counted anew when we begin to listen again: only words prove that the site is back
        back = count.speaking > 0 and count.speaking >= (1 - rule.share) * expected
        state = _watch_return(state, key, rule, back, now_ms, effects)
    elif most:
        state = _open(state, key, rule, silent, expected, now_ms, effects)
    wake_ms = now_ms + _AGAIN_MS if key in state.problems else count.due_ms(rule, now_ms)
    return state, verdict_of(state, rule, spoke_ms, expected, wake_ms), effects


_AGAIN_MS: Final = 1_000
"""While the site is silent, any word may be the one that ends it."""


def verdict_of(
    state: SiteState,
    rule: SiteRule | None = None,
    spoke_ms: int | None = None,
    expected: int = 0,
    wake_ms: int | None = None,
) -> Verdict:
    """Return what a site's state says to its vehicles, and what a survey has found beside it."""
    return Verdict(
        problems=tuple(state.problems),
        cleared_ms=state.cleared_ms,
        spoke_ms=spoke_ms,
        expected=expected,
        wake_ms=wake_ms,
        margin_ms=0 if rule is None else rule.for_ms,
    )


@dataclass(slots=True)
class _Count:
    """When those that are silent were heard last; the last word of all; how many ought to speak, how many do."""

    silent: list[int]
    spoke_ms: int | None = None
    expected: int = 0
    speaking: int = 0
    dues: list[int] = field(default_factory=list)
    """When each that ought to speak will count as silent, if it says no more."""

    def due_ms(self, rule: SiteRule, now_ms: int) -> int | None:
        """Return when most of them will be silent."""
        most = max(rule.min_count, math.floor(rule.share * self.expected) + 1)
        if len(self.dues) < most:
            return None
        return max(sorted(self.dues)[most - 1], now_ms + _AGAIN_MS)


def _count(
    vehicles: Iterable[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    state: SiteState,
    now_ms: int,
    rule: SiteRule,
    rules: Rules,
) -> _Count:
    count = _Count([])
    before = Verdict(cleared_ms=state.cleared_ms)
    for vehicle, plan in vehicles:
        heard_ms = last_heard(vehicle)
        if heard_ms is None:
            continue
        count.spoke_ms = heard_ms if count.spoke_ms is None else max(count.spoke_ms, heard_ms)
        if not _ought_to_speak(vehicle, plan, rules.settings.fact_ms):
            continue
        count.expected += 1
        start = silence_start(heard_ms, listening, before)
        limit = rule.for_ms + pace(rules, vehicle, plan)
        if start is not None:
            count.dues.append(start + limit)
        if start is not None and now_ms - start >= limit:
            count.silent.append(heard_ms)
        elif listening.since_ms is not None and heard_ms >= listening.since_ms and now_ms - heard_ms < limit:
            count.speaking += 1
    return count


def _ought_to_speak(vehicle: Vehicle, plan: VehiclePlan, fact_ms: int) -> bool:
    if not plan.agents or duty_of(vehicle, plan, fact_ms) in ("parked", "workshop"):
        return False
    if all(agent.left for agent in vehicle.agents.values() if agent.heard_ms is not None):
        return False
    return not any(key.fault == "vehicle_silent" for key in vehicle.problems)


def _open(
    state: SiteState,
    key: ProblemKey,
    rule: SiteRule,
    silent: list[int],
    expected: int,
    now_ms: int,
    effects: list[ProblemChange],
) -> SiteState:
    text = f"{len(silent)} of {expected} vehicles silent"
    times = state.times.get(key, 0) + 1
    problem = Problem(
        site=state.site,
        vehicle="",
        key=key,
        rule=rule.id,
        rule_version=rule.version,
        state="active",
        event_ms=min(max(silent), now_ms),
        detected_ms=now_ms,
        times=times,
        sla_class=rule.sla_class,
        severity=rule.severity,
        evidence=(Evidence(rule.id, rule.version, text=text),),
    )
    effects.append(ProblemChange(problem, "began" if times == 1 else "again", text))
    return msgspec.structs.replace(
        state, problems={**state.problems, key: problem}, times={**state.times, key: times}, back_ms=None
    )


def _watch_return(
    state: SiteState, key: ProblemKey, rule: SiteRule, back: bool, now_ms: int, effects: list[ProblemChange]
) -> SiteState:
    """Let it be over once most have been speaking again for the clear-duration; silence alone proves nothing."""
    if not back:
        return state if state.back_ms is None else msgspec.structs.replace(state, back_ms=None)
    back_ms = now_ms if state.back_ms is None else state.back_ms
    if now_ms - back_ms < rule.clear_for_ms:
        return state if state.back_ms is not None else msgspec.structs.replace(state, back_ms=back_ms)
    text = "most vehicles speak again"
    problem = state.problems[key]
    over = msgspec.structs.replace(
        problem,
        state="over",
        over_event_ms=back_ms,
        over_ms=now_ms,
        evidence=(*problem.evidence, Evidence(rule.id, rule.version, text=text)),
    )
    effects.append(ProblemChange(over, "over", text))
    rest = {other: kept for other, kept in state.problems.items() if other != key}
    return msgspec.structs.replace(state, problems=rest, back_ms=None, cleared_ms=now_ms)
