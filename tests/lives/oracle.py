"""What may come of a quiet life, from what happened in it alone. Imports nothing of the product.

No ticket and no note about any vehicle or device. About the centre and for planned changes exactly what happened, each
once, in its time. What is excepted is stated in docs/drills.md, bound to a moment, used up once, and counted apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lives.course import Course, Leg, seconds

LONG_HOLE_S: Final = 600
"""Where nothing is known of a place so much silence is allowed."""
LEARNT_S: Final = 4_200
"""So long after a vehicle has come out of a hole the site may not know of it: what is learnt is told once an hour."""
NAMED_AFTER: Final = 2
"""Silences of a site in a place that ended with a boot, after which it is known as one where one parks."""
OFF_S: Final = 30
"""A clock that is off by less is right."""
COMPARED_S: Final = 900
"""So long kits must be heard together for our clock to be told as wrong; and so long their word about it counts."""
UNREACHABLE_S: Final = 150
"""A site is unreachable after so much silence of all its vehicles."""
_TOGETHER: Final = 3
"""So many vehicles must agree that it is our clock that is wrong, where there are so many."""
_SLACK_S: Final = 120
_MINUTES_S: Final = 1_800
"""After so much silence at the latest it is a ticket, and so our clock is read until then."""
ABOUT_THE_CENTRE: Final = {
    "broker_away": ("broker_down", "site", 90),
    "collector_away": ("platform_module_down", "collector", 60),
    "influxdb_away": ("influx_unreachable", "collector", 330),
    "clock_off": ("centre_clock_wrong", "site", COMPARED_S),
}
"""What happens -> fault, its root, and the seconds after which it must have been found."""
OPENS: Final = ("opened", "reopened")
"""Words of a notification that a ticket is about something new."""


@dataclass
class Verdict:
    """What was wrong, and what was right for a reason."""

    wrong: list[str] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)
    """Problems of the centre and planned changes that came as they should, by fault."""
    excepted: Counter[str] = field(default_factory=Counter)
    """Tickets that a stated exception allows, by the exception."""


@dataclass(frozen=True)
class Happened:
    """Something that must, or may, be told. UTC milliseconds."""

    fault: str
    at: str
    from_ms: float
    to_ms: float
    """When its problem may have begun, by event time."""
    told_ms: float
    """Until when it must have been found."""
    must: bool = True


@dataclass(frozen=True)
class Excuse:
    """A ticket that is allowed."""

    name: str
    budgets: Mapping[str, int]
    """Of what -> so many tickets at most are allowed by all excuses that name it."""
    allows: Callable[[Mapping[str, Any]], bool]


def judge(scenario: Mapping[str, Any], came: Mapping[str, Any]) -> Verdict:
    """Compare what came (``kitwatch drill --json``: one run) with what the scenario let happen."""
    verdict = Verdict()
    life = _Life(scenario, came["begins_ms"], came["until_ms"])
    left = list(life.happened())
    excuses = [*life.holes(), *life.parkings(), *life.alone(), *life.out_of_contact()]
    spent: Counter[str] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for one, is_ticket in _times(came):
        line = next((line for line in left if _is_told(line, one)), None)
        ours = one["at"] in ("site", "collector")
        if line is None and not is_ticket and not ours:
            continue  # a problem in which nobody's work stands
        times[one["fault"], one["at"]] += 1
        if line is not None:
            left.remove(line)
            verdict.expected[line.fault] += 1
            if one.get("detected_ms", line.told_ms) > line.told_ms:
                verdict.wrong.append(life.said("told late", one))
            if not is_ticket:
                verdict.wrong.append(life.said("no ticket for", one))
            continue
        excuse = next((e for e in excuses if all(spent[of] < n for of, n in e.budgets.items()) and e.allows(one)), None)
        if excuse is not None:
            spent.update(excuse.budgets.keys())
            verdict.excepted[excuse.name] += 1
        else:
            verdict.wrong.append(life.said("ticket" if is_ticket else "problem", one))
    verdict.wrong += [life.said("missing", {**vars(line), "event_ms": line.from_ms}) for line in left if line.must]
    verdict.wrong += [life.said("note", {**note, "event_ms": note["began_ms"]}) for note in came["notes"]]
    verdict.wrong += _more_than_once(came, times)
    return verdict


def _is_told(line: Happened, one: Mapping[str, Any]) -> bool:
    return (line.fault, line.at) == (one["fault"], one["at"]) and line.from_ms <= one["event_ms"] <= line.to_ms


def _times(came: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Yield each time that something began, and whether a ticket is about it: opened again is as wrong as new."""
    kept = {(ticket["fault"], ticket["at"]): ticket for ticket in came["tickets"]}
    for problem in came["problems"]:
        if not problem.get("cause"):
            yield problem, (problem["fault"], problem["at"]) in kept
    begun = {(problem["fault"], problem["at"]) for problem in came["problems"] if not problem.get("cause")}
    yield from ((ticket, True) for key, ticket in kept.items() if key not in begun)


def _more_than_once(came: Mapping[str, Any], times: Mapping[tuple[str, str], int]) -> Iterator[str]:
    """Yield what was told more often, or less, than it began."""
    opening = Counter(one["ticket"] for one in came["notifications"] if set(one["what"].split("+")) & set(OPENS))
    keys: dict[tuple[str, str], list[str]] = defaultdict(list)
    for ticket in came["tickets"]:
        keys[ticket["fault"], ticket["at"]].append(ticket["id"])
    for (fault, at), ids in keys.items():
        began, told = times.get((fault, at), 0), sum(opening[one] for one in ids)
        if len(ids) > began:
            yield f"{len(ids)} tickets {fault} {at}, which began {began} times"
        if not len(ids) <= told <= max(began, len(ids)):
            yield f"{told} notifications that {fault} {at} is there, which began {began} times, on {len(ids)} tickets"


class _Life:
    """What happened, on the clock of what came."""

    def __init__(self, scenario: Mapping[str, Any], begins_ms: int, until_ms: int) -> None:
        self.course = Course(scenario)
        self.happens = scenario["happens"]
        self.kept = scenario["world"].get("centre_synchronised", "yes") == "yes"
        self.begins_ms = begins_ms
        self.until_s = (until_ms - begins_ms) / 1000

    def said(self, what: str, one: Mapping[str, Any]) -> str:
        """Return it for people, with day and hour."""
        at_s = int(one["event_ms"] - self.begins_ms) // 1000
        when = f"{at_s // 86_400}d {at_s // 3600 % 24:02d}:{at_s // 60 % 60:02d}:{at_s % 60:02d}"
        return f"{what} {one['fault']} {one['at']}, begun {when}"

    def _ms(self, at_s: float) -> float:
        return self.begins_ms + 1000 * at_s

    def _since_s(self, one: Mapping[str, Any], key: str = "event_ms") -> float:
        return float(one[key] - self.begins_ms) / 1000

    def _span(self, line: Mapping[str, Any]) -> tuple[float, float]:
        from_s = seconds(line["at"])
        return from_s, min(self.until_s, from_s + seconds(line["for"])) if "for" in line else self.until_s

    def _off(self, from_s: float, to_s: float) -> tuple[int, int]:
        """Return between which bounds our clock was off at some time between these, in seconds; it may be 0."""
        found = [0]
        for line in self.happens:
            if line.get("centre") == "clock_off":
                a, b = self._span(line)
                found += [seconds(line["by"])] * (a - _SLACK_S < to_s and from_s < b + _SLACK_S)
        return min(found), max(found)

    def _near(self, one: Mapping[str, Any], from_s: float) -> bool:
        """Say whether something began then, by the kit's clock or by ours, which dates silence."""
        least_s, most_s = self._off(from_s, from_s + _MINUTES_S)
        return from_s + least_s - _SLACK_S <= self._since_s(one) <= from_s + most_s + _SLACK_S

    # --- what must be told --------------------------------------------------------------------------------------------

    def happened(self) -> Iterator[Happened]:
        """Yield what happened to the centre, and planned changes."""
        for line in self.happens:
            if line.get("fault") == "firmware_changed":
                yield self._upgrade(line)
            elif line.get("centre") == "clock_off":
                if abs(seconds(line["by"])) >= OFF_S:
                    yield self._clock_off(line)
            elif line.get("centre") in ABOUT_THE_CENTRE:
                fault, at, within_s = ABOUT_THE_CENTRE[line["centre"]]
                from_s, to_s = self._span(line)
                # who was away tells it when it is back
                told_s = (to_s if line["centre"] == "collector_away" else from_s) + within_s + _SLACK_S
                long = to_s - from_s > within_s + _SLACK_S and told_s < self.until_s
                yield self._line(fault, at, from_s, from_s + within_s, told_s, long)

    def _line(self, fault: str, at: str, from_s: float, to_s: float, told_s: float, must: bool) -> Happened:
        begun = self._ms(from_s - _SLACK_S), self._ms(to_s + _SLACK_S)
        return Happened(fault, at, *begun, self._ms(told_s), must)

    def _upgrade(self, line: Mapping[str, Any]) -> Happened:
        """A kit that is off tells its new version at its next start.

        Nothing begins after it was told, so that with our clock slow it is dated by that; `docs/drills.md` says so.
        """
        vehicle = line["vehicle"]
        at_s = seconds(line["at"])
        runs = [
            (max(a, at_s), b)
            for a, b in self.course.driven(vehicle)
            if b - max(a, at_s) > COMPARED_S and b <= self.course.removed_s.get(vehicle, self.until_s)
        ]
        run = runs[0] if runs else (self.until_s, self.until_s)
        until_s = run[0] + COMPARED_S
        # what happened in a hole, or while nobody listened, is told of after it, by kit that has power then
        told_s = max(self.course.heard_s(vehicle, read_s) for read_s in (until_s, until_s + _MINUTES_S)) + _MINUTES_S
        must = bool(runs) and told_s < self.until_s
        least_s, most_s = self._off(at_s, until_s)
        at = f"{vehicle}/{line['device']}"
        return self._line("firmware_changed", at, at_s + least_s, until_s, told_s + most_s, must)

    def _clock_off(self, line: Mapping[str, Any]) -> Happened:
        """Our clock is compared with those of three vehicles, of two where there are two; one alone cannot tell.

        If no clock has said since the time before that ours is right again, it is that problem still.
        """
        from_s, to_s = self._span(line)
        since_s = self._compared(from_s, to_s)
        before = [
            self._span(one)
            for one in self.happens
            if one.get("centre") == "clock_off" and abs(seconds(one["by"])) >= OFF_S and self._span(one)[1] <= from_s
        ]
        begun_s, right_s = max(before, default=(0.0, 0.0))
        is_new = not before or self._compared(begun_s, right_s) is None or self._compared(right_s, from_s) is not None
        until_s = to_s if since_s is None else since_s + COMPARED_S
        # what is wrong is the very clock that says when
        by_s = seconds(line["by"])
        told_s = until_s + _SLACK_S + max(0, by_s)
        begun = from_s + min(0, by_s), until_s + max(0, by_s)
        return self._line("centre_clock_wrong", "site", *begun, told_s, since_s is not None and is_new)

    def _compared(self, from_s: float, to_s: float) -> float | None:
        """Return since when enough kits are heard together between these to be held against our clock, if they are."""
        there = [name for name in self.course.legs if self.course.removed_s.get(name, to_s) >= to_s]
        number = min(_TOGETHER, len(there))
        if number == 1 and self.kept:
            return None
        return self.course.together(number, from_s, to_s, COMPARED_S + _SLACK_S)

    # --- what is excepted ---------------------------------------------------------------------------------------------

    def holes(self) -> Iterator[Excuse]:
        """Yield the site's first pass through each long hole: all that began before the site could know of one.

        Kit that lives on where it is parked without contact is in one, too. A silence lasts until the poll after it.
        """
        passes: dict[str, list[Leg]] = defaultdict(list)
        for leg in self.course.there():
            where = leg.place or leg.what
            in_hole = not self.course.contact(where) and not (leg.place and self.course.dark(leg))
            if in_hole and leg.lasts_s >= LONG_HOLE_S:
                passes[where].append(leg)
        for road, legs in passes.items():
            heard = [leg for leg in legs if self.course.listened(leg)]
            known_s = min((leg.to_s for leg in heard), default=self.until_s) + LEARNT_S
            for leg in legs:
                if leg.from_s < known_s and not self.course.is_deaf(leg.from_s):
                    yield Excuse("first pass through a long hole", {f"hole {road}": 1}, self._silence(leg))

    def parkings(self) -> Iterator[Excuse]:
        """Yield the parkings that nobody could know: not seen still, in a place that two boots have not named yet."""
        if self.course.power == "always":
            return
        parked = [leg for leg in self.course.there() if leg.what == "parked" and leg.from_s > 0]
        dark = sorted((leg for leg in parked if self.course.dark(leg)), key=lambda leg: leg.from_s)
        for leg in dark:
            reached = self.course.contact(leg.place)
            # a goodbye says so, and the ignition of a kit that lives on is read as off, where that is heard
            if reached and (self.course.says_goodbye or self.course.power == "delayed"):
                continue
            if self.course.is_deaf(leg.from_s):  # who falls silent then is unheard, not silent
                continue
            before = [one for one in dark if one.to_s <= leg.from_s and self.course.listened(one)]
            parking = {f"parking {leg.vehicle} {leg.from_s}": 1}
            if not leg.seen_still and sum(one.place == leg.place for one in before) < NAMED_AFTER:
                name = "parking that was not seen, in a place without a name"
                if self.course.power == "delayed":
                    name = "delayed kit whose ignition nobody heard go off, in a place without a name"
                yield Excuse(name, {**parking, f"place {leg.place}": NAMED_AFTER}, self._parking(leg, reached))
                yield Excuse(f"one more {name}", parking, self._parking(leg, reached))
            if not self.course.told and sum(one.vehicle == leg.vehicle for one in before) < NAMED_AFTER:
                name = "kit of which nothing says how it is fed, before two starts"
                yield Excuse(name, {**parking, f"wiring {leg.vehicle}": NAMED_AFTER}, self._parking(leg, reached))

    def _parking(self, leg: Leg, reached: bool) -> Callable[[Mapping[str, Any]], bool]:
        speaks_on = self.course.tablet and reached
        faults = ("power_lost", "agent_down" if speaks_on else "vehicle_silent")
        return lambda one: (
            one["at"].split("/")[0] == leg.vehicle and one["fault"] in faults and self._near(one, leg.from_s)
        )

    def _silence(self, leg: Leg) -> Callable[[Mapping[str, Any]], bool]:
        return lambda one: (one["fault"], one["at"]) == ("vehicle_silent", leg.vehicle) and self._near(one, leg.from_s)

    def alone(self) -> Iterator[Excuse]:
        """Yield the word of the only kit awake against our clock's, where our machine says that its own is right."""
        if not self.kept or len(self.course.legs) < 2:
            return
        for line in self.happens:
            if line.get("centre") == "clock_off" and abs(seconds(line["by"])) >= OFF_S:
                for vehicle in self.course.legs:
                    budgets = {f"alone {line['at']} {vehicle}": 2 if self.course.tablet else 1}
                    yield Excuse("only kit awake, against our clock", budgets, self._disagrees(line, vehicle))

    def _disagrees(self, line: Mapping[str, Any], vehicle: str) -> Callable[[Mapping[str, Any]], bool]:
        from_s, to_s = self._span(line)

        def allows(one: Mapping[str, Any]) -> bool:
            if one["fault"] != "clock_unset" or "detected_ms" not in one or one["at"].split("/")[0] != vehicle:
                return False
            found_s = self._since_s(one, "detected_ms") - seconds(line["by"])
            if not from_s <= found_s <= to_s + _SLACK_S:
                return False
            return self.course.who_is_heard(max(from_s, found_s - COMPARED_S), found_s) <= {vehicle}

        return allows

    def out_of_contact(self) -> Iterator[Excuse]:
        """Yield the moments at which three vehicles or more fell silent together and nobody of the site speaks."""
        gone = [
            leg
            for leg in self.course.there()
            if not leg.place and not self.course.contact(leg.what) and leg.lasts_s >= UNREACHABLE_S
        ]
        for leg in gone:
            from_s = leg.from_s
            together = sum(abs(one.from_s - from_s) <= _SLACK_S for one in gone)
            if together >= _TOGETHER and not self.course.who_is_heard(from_s + 20, from_s + UNREACHABLE_S):
                yield Excuse("whole site in one tunnel", {f"site {from_s}": 1}, self._unreachable(from_s))

    def _unreachable(self, from_s: float) -> Callable[[Mapping[str, Any]], bool]:
        return lambda one: (one["fault"], one["at"]) == ("site_unreachable", "site") and self._near(one, from_s)
