"""Judging across the vehicles of a site: is it the site that is silent, or a vehicle (docs/architecture.md)?

And the centre's own parts (``collector.core.health``), whose problems are the site's too.

``survey`` is the twin of ``step`` and comes before time is looked at for the vehicles. What it guarantees:

- it judges only while we listen;
- ``site_unreachable`` needs three vehicles or more that ought to speak (heard before; not parked, known or inferred,
  not in the workshop, no goodbye, not silent by themselves) and that fell silent at one moment, and not one word of any
  vehicle of the site since, parked or not; while it is active no vehicle's silence is a problem, and after it each
  vehicle is given the time to come back that it has after our own outage;
- any vehicle's word refutes it;
- its argument is never changed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from collector.core import site_problems
from collector.core.clock_faults import ClockRule, Whose, clocks_of
from collector.core.health import PartReport, PartRule, Standing, judge_parts, note, take
from collector.core.identities import ProblemKey
from collector.core.journeys import LONGEST_MS
from collector.core.places import Cell, around
from collector.core.problems import Evidence, Problem, ProblemChange
from collector.core.rules.reader import Kind, RuleReader
from collector.core.rules.types import LEAST_SILENCE_MS, Rule, Rules, scaled_silence
from collector.core.vehicle.duty import duty_of, kit_agents
from collector.core.vehicle.events import Listening
from collector.core.vehicle.parking import MOST_PLACES, inferred, is_named
from collector.core.vehicle.state import Agent, Keys, Silence, Vehicle, encode_state, load_state
from collector.core.vehicle.upgrade import problem_key, problem_of_ticket
from telemetry.durations import Span
from telemetry.files import convert
from telemetry.fleet import VehiclePlan

LEAST_VEHICLES: Final = 3
"""Of fewer that ought to speak nobody can tell the site from its vehicles."""


class SilentVehiclesShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many vehicles of a site fell silent at one moment, and nobody of the site has spoken for the rule's `for`."""

    within: Span = "60s"
    """So far their last words may lie apart, beside the longest of their sending intervals."""
    min_count: Annotated[int, msgspec.Meta(ge=3)] = 3
    """So many at least, of those that ought to speak: of one or two nobody can say that it is the site."""


class SiteShape(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Silence of a whole site."""

    silent_vehicles: SilentVehiclesShape
    """How many."""


class SiteRule(Rule, frozen=True, kw_only=True):
    """Judges the vehicles of a site together: ``min_count`` that ought to speak fell silent ``within_ms``."""

    within_ms: int = 60_000
    min_count: int = LEAST_VEHICLES

    def scaled(self, speed: float) -> SiteRule:
        """Return the rule for judging ``speed`` times faster; no silence of seconds proves anything."""
        for_ms = scaled_silence(self.for_ms, speed, LEAST_SILENCE_MS)
        within_ms = scaled_silence(self.within_ms, speed, LEAST_SILENCE_MS)
        return replace(self, for_ms=for_ms, within_ms=within_ms, clear_for_ms=round(self.clear_for_ms / speed))


def _make(reader: RuleReader, condition: Mapping[str, Any]) -> SiteRule:
    reader.without("indicators", "max_gap", "only_if")
    shape = convert(condition, SiteShape, reader.path, f"{reader.key}.condition").silent_vehicles
    within_ms = reader.ms("condition.silent_vehicles.within", shape.within)
    return SiteRule(**reader.common(), within_ms=within_ms, min_count=shape.min_count)


KIND: Final = Kind("silent_vehicles", SiteShape, _make)
FORMAT: Final = 2
_KEPT: Final = ("site", "back_ms", "cleared_ms")


def _from_format_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return format 2: its open tickets are problems now."""
    kept: dict[str, Any] = {name: plain[name] for name in _KEPT if name in plain}
    tickets = plain.get("tickets", {})
    return {**kept, "problems": {problem_key(text).text(): problem_of_ticket(one) for text, one in tickets.items()}}


UPGRADES: Final[dict[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {1: _from_format_1}


class Parked(msgspec.Struct, frozen=True, array_like=True):
    """Silences that ended with a boot, in one cell."""

    times: int
    last_ms: int
    """The last one (our clock)."""


class Pause(msgspec.Struct, frozen=True, array_like=True):
    """A time in which we did not listen. Times are our clock's."""

    spoke_ms: int | None
    """The site's last word before it, ``None``: it had not said any."""
    over_ms: int | None
    """Since when we listened again, ``None`` while we do not."""

    def hides_parking(self, reconnect_ms: int) -> bool:
        """Say whether it was longer than agents are given to come back."""
        return self.spoke_ms is None or self.over_ms is None or self.over_ms - self.spoke_ms > reconnect_ms

    def until(self, now_ms: int) -> Pause:
        """Return it as it was where our clock may have been set back since."""
        spoke_ms = None if self.spoke_ms is None else min(self.spoke_ms, now_ms)
        return Pause(spoke_ms, None if self.over_ms is None else min(self.over_ms, now_ms))


class SiteState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What judging remembers of a site."""

    format: int
    site: str
    problems: Mapping[ProblemKey, Problem] = {}
    """Those that are not over."""
    times: Mapping[ProblemKey, int] = {}
    """How often each has begun."""
    back_ms: int | None = None
    """Since when vehicles have been back (our clock)."""
    cleared_ms: int | None = None
    """When the last ``site_unreachable`` ended (our clock)."""
    parts: tuple[PartReport, ...] = ()
    """What was last reported of the centre's own parts."""
    standings: tuple[Standing, ...] = ()
    """How rules stand with those that are bad, or that a forecast is about."""
    places: Mapping[Cell, Parked] = {}
    """Where silences of its vehicles ended with a boot."""
    learnt_ms: Mapping[str, int] = {}
    """By vehicle: when the last parking was that stands in ``places`` (our clock)."""
    pauses: tuple[Pause, ...] = ()
    """In order. Who fell silent in one is unheard until his next word, whatever pauses come after it."""

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


class Verdict(msgspec.Struct, frozen=True):
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
    pauses: tuple[Pause, ...] = ()
    """Those of the site's state."""
    clocks: Whose = ""
    """Whose clock is wrong."""
    places: Mapping[Cell, int] = msgspec.field(default_factory=dict)
    """Where silences of this site's vehicles ended with a boot, and how many."""
    silences: Mapping[Cell, tuple[Silence, ...]] = msgspec.field(default_factory=dict)
    """Where its vehicles are silent, or were in the last day, and nothing of the kit explains it."""

    def pause_after(self, heard_ms: int) -> Pause | None:
        """Return the first pause that was not over at somebody's last word: he fell silent in it, or before it."""
        return _pause_after(self.pauses, heard_ms)

    def hides(self, listening: Listening, heard_ms: int) -> bool:
        """Say whether a pause of ours hides what became of whoever was heard last then."""
        return _hides(self.pauses, listening, heard_ms)

    def lately_ms(self, cell: Cell, now_ms: int) -> int:
        """Return how long the longest silence there, or in a cell beside it, was or is by now; 0: there was none."""
        found = (one for near in around(cell) for one in self.silences.get(near, ()))
        return max(((one.to_ms or now_ms) - one.from_ms for one in found), default=0)


NOTHING: Final = Verdict()
"""The verdict where there is no survey."""


def _pause_after(pauses: Iterable[Pause], heard_ms: int) -> Pause | None:
    return next((one for one in pauses if one.over_ms is None or one.over_ms > heard_ms), None)


def _hides(pauses: Iterable[Pause], listening: Listening, heard_ms: int) -> bool:
    """Say whether a pause of ours hides what became of whoever was heard last then (our clock).

    One so short that it hides no parking does not, be he the last one before it or silent already.
    """
    if listening.since_ms is None:
        return True
    if heard_ms >= listening.since_ms - listening.reconnect_ms:
        return False
    pause = _pause_after(pauses, heard_ms)
    if pause is None or pause.spoke_ms is None or heard_ms >= pause.spoke_ms:
        return True
    return pause.hides_parking(listening.reconnect_ms)


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


def told_ms(problem: Problem, listening: Listening, now_ms: int) -> int:
    """Return since when a silence has been told (our clock): what lies ahead was told before our clock was set back."""
    return problem.detected_ms if problem.detected_ms <= now_ms else listening.since_ms or now_ms


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


def away_ms(rules: Rules, vehicle: str, agents: Mapping[str, Agent], plan: VehiclePlan, name: str) -> int:
    """Return for how long an agent may say nothing without having been away: it says no more than it polls."""
    interval_ms = agent.interval_ms if (agent := agents.get(name)) is not None else 0
    return rules.settings.gap_ms + interval_ms + poll_pace(rules, vehicle, plan, name)


def reported(state: SiteState, report: PartReport, rules: Rules, now_ms: int) -> SiteState:
    """Return the site's state with a report of one of the centre's parts, which the next survey judges."""
    standings = note(state.standings, report, rules.of_site(state.site, PartRule), now_ms)
    return replace(state, parts=take(state.parts, report), standings=standings)


def listened(state: SiteState, vehicles: Iterable[Vehicle], listening: Listening, now_ms: int) -> SiteState:
    """Return the site's state where we listen, or not; the same object if that is no news.

    To be asked before anything is taken: words that have waited are none of before the pause.
    """
    pauses = state.pauses
    if pauses and pauses[-1].over_ms == listening.since_ms:
        return state
    if not pauses or pauses[-1].over_ms is not None:
        spoke_ms = max((heard_ms for heard_ms in map(last_heard, vehicles) if heard_ms is not None), default=None)
        pauses = (*(one for one in pauses if one.hides_parking(listening.reconnect_ms)), Pause(spoke_ms, None))
    if len(pauses) > _MOST_PAUSES:
        pauses = (Pause(pauses[0].spoke_ms, pauses[1].over_ms), *pauses[2:])
    *earlier, last = (one.until(now_ms) for one in pauses)
    return replace(state, pauses=(*earlier, replace(last, over_ms=listening.since_ms)))


def survey(
    state: SiteState,
    vehicles: Iterable[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    now_ms: int,
    rules: Rules,
) -> tuple[SiteState, Verdict, list[ProblemChange]]:
    """Return the site's state afterwards, the verdict for its vehicles, and what is to be kept."""
    known = list(vehicles)
    state, verdict, effects = _survey_vehicles(state, known, listening, now_ms, rules)
    state, verdict = _survey_clocks(state, verdict, known, listening, now_ms, rules, effects)
    if not state.parts and not state.standings:
        return state, verdict, effects
    judged = judge_parts(state.site, state.parts, state.standings, state.problems, state.times, rules, now_ms)
    if judged.standings != state.standings or judged.changes:
        state = replace(state, standings=judged.standings, problems=judged.problems, times=judged.times)
    wakes = [time_ms for time_ms in (verdict.wake_ms, judged.wake_ms) if time_ms is not None]
    return state, replace(verdict, wake_ms=min(wakes, default=None)), [*effects, *judged.changes]


def _survey_vehicles(
    state: SiteState,
    vehicles: Sequence[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    now_ms: int,
    rules: Rules,
) -> tuple[SiteState, Verdict, list[ProblemChange]]:
    state = _learn_places(state, vehicles)
    rule = next(iter(rules.of_site(state.site, SiteRule)), None)
    count = _count(vehicles, listening, state, now_ms, rules)
    verdict = replace(
        verdict_of(state),
        spoke_ms=count.spoke_ms,
        expected=len(count.expected),
        margin_ms=0 if rule is None else count.apart_ms(rule),
        silences=_silences(vehicles, now_ms),
    )
    if rule is None or listening.since_ms is None:
        return state, verdict, []
    effects: list[ProblemChange] = []
    key = ProblemKey(rule.fault.id, state.site)
    due_ms = count.due_ms(rule, listening, state.cleared_ms)
    if key in state.problems:
        state = _watch_return(state, key, rule, count.spoke_ms, listening, now_ms, effects)
    elif due_ms is not None and due_ms <= now_ms:
        state = _open(state, key, rule, count, now_ms, effects)
    # while it is silent, any word may be the one that ends it
    wake_ms = now_ms + _AGAIN_MS if key in state.problems else due_ms
    verdict = replace(verdict, problems=tuple(state.problems), cleared_ms=state.cleared_ms, wake_ms=wake_ms)
    return state, verdict, effects


def _survey_clocks(
    state: SiteState,
    verdict: Verdict,
    vehicles: Sequence[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    now_ms: int,
    rules: Rules,
    effects: list[ProblemChange],
) -> tuple[SiteState, Verdict]:
    rule = next((rule for rule in rules.of_site(state.site, ClockRule) if rule.of == "centre"), None)
    if rule is None or listening.since_ms is None:
        return state, verdict
    unkept = any(one.part == "clock" and one.state == "unsynchronised" for one in state.parts)
    key = ProblemKey(rule.fault.id, state.site)
    clocks = clocks_of(
        (one for one, _ in vehicles), rule, unkept, listening.since_ms, now_ms, found_wrong=key in state.problems
    )
    if clocks.whose == "centre" and key not in state.problems:
        state = _begin(state, key, rule, clocks.since_ms, clocks.words, now_ms, effects)
    elif clocks.right and key in state.problems:
        state = _end(state, key, rule, now_ms, "a trusted clock agrees with ours again", now_ms, effects)
    wakes = [time_ms for time_ms in (verdict.wake_ms, clocks.wake_ms) if time_ms is not None]
    verdict = replace(verdict, problems=tuple(state.problems), clocks=clocks.whose, wake_ms=min(wakes, default=None))
    return state, verdict


_AGAIN_MS: Final = 1_000
_LATELY_MS: Final = 86_400_000
"""Older silences teach by the record of places alone, which learns them an hour late,"""
_UNRECORDED_MS: Final = 90 * 86_400_000
"""but for those that it does not learn. It goes back as far."""
_MOST_PAUSES: Final = 64
"""That are remembered of a site; the oldest become one."""
_LONG_DEAF_MS: Final = 1_800_000
"""Words from longer before we began to listen say nothing of who ought to speak now."""


def verdict_of(state: SiteState, wake_ms: int | None = None) -> Verdict:
    """Return what a site's state says to its vehicles."""
    places = {cell: one.times for cell, one in state.places.items()}
    return Verdict(
        problems=tuple(state.problems),
        cleared_ms=state.cleared_ms,
        wake_ms=wake_ms,
        pauses=state.pauses,
        places=places,
    )


def _parkings_after(learnt_ms: int, parkings: Sequence[tuple[Cell, int]]) -> Sequence[tuple[Cell, int]]:
    """Return the parkings after the one that was learnt last: by their order, for our clock may have been set back."""
    if not parkings or parkings[-1][1] == learnt_ms:
        return ()
    times = [time_ms for _, time_ms in parkings]
    if learnt_ms in times:
        return parkings[len(times) - times[::-1].index(learnt_ms) :]
    return [one for one in parkings if one[1] > learnt_ms]


def _learn_places(state: SiteState, vehicles: Iterable[tuple[Vehicle, VehiclePlan]]) -> SiteState:
    """Return the site's state with the places where silences of its vehicles have ended with a boot since."""
    places: dict[Cell, Parked] | None = None
    learnt = dict(state.learnt_ms)
    for vehicle, _ in vehicles:
        since = _parkings_after(learnt.get(vehicle.vehicle, -1), vehicle.expectation.parkings)
        if not since:
            continue
        places = dict(state.places) if places is None else places
        for cell, time_ms in since:
            places[cell] = Parked(places[cell].times + 1 if cell in places else 1, time_ms)
        learnt[vehicle.vehicle] = since[-1][1]
    if places is None:
        return state
    newest = sorted(places.items(), key=lambda one: (-one[1].last_ms, one[0]))[:MOST_PLACES]
    return replace(state, places=dict(sorted(newest)), learnt_ms=learnt)


def _silences(vehicles: Iterable[tuple[Vehicle, VehiclePlan]], now_ms: int) -> Mapping[Cell, tuple[Silence, ...]]:
    """Return where contact is lost, or was lately: the record of places (``gap_record``) tells it an hour late."""
    found: dict[Cell, tuple[Silence, ...]] = {}
    for vehicle, _ in vehicles:
        for one in vehicle.expectation.silences:
            to_ms, kept_ms = one.to_ms or now_ms, _UNRECORDED_MS if one.unrecorded else _LATELY_MS
            if one.cell and 0 < to_ms - one.from_ms <= LONGEST_MS and now_ms - to_ms <= kept_ms:
                found[one.cell] = (*found.get(one.cell, ()), one)
    return found


class _Count(msgspec.Struct):
    """What the vehicles' words come to. All times are our clock's."""

    expected: list[tuple[int, int]]
    """(last word, how far apart its words are) of those that ought to speak."""
    spoke_ms: int | None = None
    """The last word of any vehicle."""

    def apart_ms(self, rule: SiteRule) -> int:
        """Return how far apart last words may lie that ended at one moment."""
        return rule.within_ms + max((pace_ms for _, pace_ms in self.expected), default=0)

    def together(self, rule: SiteRule) -> list[tuple[int, int]]:
        """Return those that ought to speak and fell silent with the last word of all."""
        if self.spoke_ms is None:
            return []
        from_ms = self.spoke_ms - self.apart_ms(rule)  # asks all of them: once, not for each
        return [one for one in self.expected if one[0] >= from_ms]

    def due_ms(self, rule: SiteRule, listening: Listening, cleared_ms: int | None) -> int | None:
        """Return when they are silent for so long that it is the site, ``None`` where they are too few."""
        together = self.together(rule)
        if len(together) < rule.min_count or self.spoke_ms is None or listening.since_ms is None:
            return None
        since_ms = max(listening.since_ms, cleared_ms or 0)
        start_ms = self.spoke_ms
        if start_ms < since_ms:
            start_ms = since_ms + listening.reconnect_ms
        return start_ms + rule.for_ms + max(pace_ms for _, pace_ms in together)


def _count(
    vehicles: Iterable[tuple[Vehicle, VehiclePlan]],
    listening: Listening,
    state: SiteState,
    now_ms: int,
    rules: Rules,
) -> _Count:
    count = _Count([])
    is_hidden = functools.partial(_hides, state.pauses, listening)
    is_place = functools.partial(is_named, {cell: one.times for cell, one in state.places.items()})
    since_ms = listening.since_ms
    for vehicle, plan in vehicles:
        heard_ms = last_heard(vehicle)
        if heard_ms is None:
            continue
        count.spoke_ms = heard_ms if count.spoke_ms is None else max(count.spoke_ms, heard_ms)
        if since_ms is not None and since_ms - heard_ms > _LONG_DEAF_MS:
            continue
        if _ought_to_speak(vehicle, plan, listening, now_ms, rules, is_hidden, is_place):
            count.expected.append((heard_ms, pace(rules, vehicle, plan)))
    return count


def _ought_to_speak(
    vehicle: Vehicle,
    plan: VehiclePlan,
    listening: Listening,
    now_ms: int,
    rules: Rules,
    is_hidden: Callable[[int], bool],
    is_place: Callable[[Cell], bool],
) -> bool:
    settings = rules.settings
    if not plan.agents or duty_of(vehicle, plan, settings.fact_ms) in ("parked", "workshop"):
        return False
    if all(agent.left for agent in vehicle.agents.values() if agent.heard_ms is not None):
        return False
    if any(key.fault == "vehicle_silent" for key in vehicle.problems):
        return False
    left = vehicle.expectation.left.get("parked")
    if left is not None and left[0] > (last_heard(vehicle) or 0):
        return False  # it was parked and has not said anything since: it did not fall silent with anybody
    if vehicle.given == "on_mission":
        return True
    kit = kit_agents(plan, vehicle.agents)
    longest_ms = max((away_ms(rules, vehicle.vehicle, vehicle.agents, plan, name) for name in kit), default=0)
    return inferred(vehicle, plan, listening, longest_ms, now_ms, is_hidden, is_place) is None


def _open(
    state: SiteState,
    key: ProblemKey,
    rule: SiteRule,
    count: _Count,
    now_ms: int,
    effects: list[ProblemChange],
) -> SiteState:
    silent = count.together(rule)
    text = f"{len(silent)} of {len(count.expected)} vehicles silent at one moment, and no word of any other"
    state = _begin(state, key, rule, max(last_ms for last_ms, _ in silent), text, now_ms, effects)
    return replace(state, back_ms=None)


def _begin(
    state: SiteState,
    key: ProblemKey,
    rule: Rule,
    event_ms: int,
    text: str,
    now_ms: int,
    effects: list[ProblemChange],
) -> SiteState:
    """Let a problem of the site begin."""
    times = state.times.get(key, 0) + 1
    change = site_problems.begun(
        state.site, key, rule, event_ms=min(event_ms, now_ms), now_ms=now_ms, times=times, text=text
    )
    effects.append(change)
    problems = {**state.problems, key: change.problem}
    return replace(state, problems=problems, times={**state.times, key: times})


def _watch_return(
    state: SiteState,
    key: ProblemKey,
    rule: SiteRule,
    spoke_ms: int | None,
    listening: Listening,
    now_ms: int,
    effects: list[ProblemChange],
) -> SiteState:
    """Let it be over once vehicles have been speaking for the clear-duration: each word is proof of life."""
    since_ms = told_ms(state.problems[key], listening, now_ms)
    back = spoke_ms is not None and spoke_ms > since_ms and now_ms - spoke_ms < rule.for_ms
    if not back:
        return state if state.back_ms is None else replace(state, back_ms=None)
    back_ms = now_ms if state.back_ms is None else state.back_ms
    if now_ms - back_ms < rule.clear_for_ms:
        return state if state.back_ms is not None else replace(state, back_ms=back_ms)
    state = _end(state, key, rule, back_ms, "vehicles speak again", now_ms, effects)
    return replace(state, back_ms=None, cleared_ms=now_ms)


def _end(
    state: SiteState,
    key: ProblemKey,
    rule: Rule,
    event_ms: int,
    text: str,
    now_ms: int,
    effects: list[ProblemChange],
) -> SiteState:
    """Let a problem of the site be over."""
    said = Evidence(rule.id, rule.version, text=text)
    effects.append(site_problems.over(state.problems[key], said, event_ms=event_ms, now_ms=now_ms))
    rest = {other: kept for other, kept in state.problems.items() if other != key}
    return replace(state, problems=rest)
