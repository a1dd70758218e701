"""One drill, played: the lives of its vehicles and what happens to the centre, in one order of time."""

from __future__ import annotations

import copy
import functools
import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from collector.calendars import load_calendar
from collector.core.contract import DEFAULT, Contract
from collector.core.health import Part, PartReport
from collector.core.roster import Person, Way
from collector.core.rules.files import load_rules, parse_rules
from collector.core.rules.types import Rules
from collector.site.acts import MISSION_ACTION, STATE_ACTION, TICKET_ACTION
from collector.site.health import PEOPLE, unattended
from collector.site.in_force import COVERAGE, FLEET, GAPS, RULES, InForce, Receiver
from collector.store.rows import Action, Changes
from kitwatch.drill.came import Came, where
from kitwatch.drill.centre import Centre
from kitwatch.drill.places import Places
from kitwatch.drill.scenario import Drill, Happening, WorldShape
from simulator.life.agent import Heard
from simulator.life.kit import BOX
from telemetry.fleet import Site

ENGINEER: Final = "engineer"
"""The one person of a drill's roster."""
_AHEAD: Final = 256
"""So many messages are lived before they are judged: nothing that is judged changes a life, and by turns is slower."""
_SEEN_MS: Final = 10_000
"""How soon the owner sees how a part of the centre gets on."""
_BEAT_MS: Final = 3_000
"""So soon after the clock was set the heartbeat has come back by the new one."""
_REFUSED_EVERY_MS: Final = 60_000
"""So often judging is told of a vehicle that stays beyond a quota."""
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
_FREE_PERCENT: Final = 60.0
"""Of the centre's disk while nothing is said of it."""
RECEIVER: Final = "drill"
"""The one receiver, by which the engineer is told."""


def contract() -> Contract:
    """Return the contract of a drill: the shipped one, with one engineer who is always there, by one channel."""
    person = Person(name="Engineer", role="engineer", channels=(Way(RECEIVER),))
    return msgspec.structs.replace(DEFAULT, roster={ENGINEER: person}, calendar=load_calendar(None))


def in_force_of(drill: Drill, rules: Rules | None = None) -> InForce:
    """Return what a drill's site is judged by."""
    site = msgspec.convert(_site_plan(drill), Site)
    return InForce(
        drill.lives.site, site, rules or _shipped(), receivers=(Receiver(RECEIVER, "webhook"),), contract=contract()
    )


@functools.cache
def _shipped() -> Rules:
    """Return the shipped rules, read once: a process plays hundreds of drills."""
    return load_rules()


def _site_plan(drill: Drill) -> dict[str, Any]:
    plan = drill.lives.site_plan()
    world = drill.scenario.world
    for vehicle in drill.lives.vehicles:
        keys = plan["vehicles"][vehicle.name]
        told = _told(drill, vehicle.name, world)
        if told and not vehicle.modules:
            keys.setdefault("kit_power", vehicle.wiring.kit_power)
        for device, kind in world.further.get(vehicle.name, {}).items():
            keys["agents"][BOX]["devices"][device] = {"kind": kind}
        for device, circuit in world.circuit.items():
            for agent in keys["agents"].values():
                if device in agent["devices"]:
                    agent["devices"][device]["circuit"] = circuit
    return plan


def _or(strength: float | None, usual: float) -> float:
    return usual if strength is None else strength


def _told(drill: Drill, name: str, world: WorldShape) -> bool:
    shape = world.vehicles.get(name)
    return ((shape.told if shape else None) or world.told) == "yes"


class Play:
    """See the module. ``rules`` take the place of the shipped ones."""

    def __init__(self, drill: Drill, rules: Rules | None = None) -> None:
        self.drill = drill
        self.came = Came()
        self.centre = self._make_centre(in_force_of(drill, rules))
        self._site = msgspec.to_builtins(self.centre.in_force.site)
        self._number = 0
        self._places = Places(drill, self._spans)
        self._tell_places(drill.begins_ms)
        coverage = self._places.coverage()
        if coverage is not None:
            self.centre.put_in_force(drill.begins_ms, COVERAGE, coverage)

    def _make_centre(self, in_force: InForce) -> Centre:
        return Centre(in_force, self.drill.begins_ms, self.drill.lives.centre.offset_ms)

    def _heard(self) -> Iterator[Heard]:
        return self.drill.lives.heard()

    def run(self) -> Came:
        """Play it to its end. Raises JudgingError where judging raised."""
        drill, centre = self.drill, self.centre
        planned = deque(sorted(self._planned(), key=lambda one: one[0]))
        for heard in self._messages():
            while planned and planned[0][0] < min(heard.at_ms, drill.until_ms):
                self._happen(*planned.popleft())
            if heard.at_ms >= drill.until_ms:
                break
            self._begin(heard.at_ms)
            self._note(heard)
            centre.arrive(heard.at_ms, heard)
            self._look_up()
        while planned and planned[0][0] < drill.until_ms:
            self._happen(*planned.popleft())
        centre.pass_time(drill.until_ms)
        centre.end(drill.until_ms)
        self._look_up()
        self.came.records, self.came.looks = centre.records, centre.looks
        return self.came

    def _happen(self, at_ms: int, what: Callable[[int], None]) -> None:
        self._begin(at_ms)
        what(at_ms)
        self._look_up()

    def _begin(self, at_ms: int) -> None:
        if self._places.due(at_ms):
            self._learn(at_ms)

    def _learn(self, at_ms: int) -> None:
        """Let the drain over the log look at it, and tell judging what is new."""
        self._places.learn()
        self._tell_places(at_ms)

    def _tell_places(self, at_ms: int) -> None:
        content = self._places.edition(at_ms)
        if content is not None:
            self.centre.put_in_force(at_ms, GAPS, content)

    def _spans(self, vehicle: str) -> Iterator[tuple[str, int, int | None]]:
        for (ref, _), problem in self.came.problems.items():
            if ref.vehicle == vehicle:
                yield ref.key.fault, problem.event_ms, problem.over_event_ms

    def _messages(self) -> Iterator[Heard]:
        life = self._heard()
        while ahead := list(itertools.islice(life, _AHEAD)):
            yield from ahead

    def _note(self, heard: Heard) -> None:
        if heard.kind == "backlog":
            self.came.backlog[heard.agent.vehicle, heard.agent.agent].append(heard.at_ms)

    # --- what happens to the centre, and what people do ---------------------------------------------------------------

    def _planned(self) -> Iterator[tuple[int, Callable[[int], None]]]:
        kept = "ok" if self.drill.scenario.world.centre_synchronised == "yes" else "unsynchronised"
        yield self.drill.begins_ms, self._report("clock", "", kept, self.drill.begins_ms)
        for one in self.drill.happenings:
            if one.line.centre:
                yield from self._of_centre(one)
            else:
                yield one.begins_ms, self._person(one)
        for vehicle in self.drill.lives.vehicles:
            drive = self.drill.lives.body(vehicle).drive
            before = ("", False)
            for at_ms in drive.breaks(self.drill.until_ms):
                leg = drive.leg(at_ms)
                now = ("workshop" if leg.what == "workshop" else "on_duty", leg.on_mission)
                if now[0] != before[0] and (before[0] or now[0] == "workshop"):
                    yield at_ms, self._duty(vehicle.name, now[0])
                if now[1] != before[1]:
                    yield at_ms, self._mission(vehicle.name, begins=now[1])
                before = now

    def _of_centre(self, one: Happening) -> Iterator[tuple[int, Callable[[int], None]]]:
        centre, line = self.centre, one.line
        begins, ends = one.begins_ms, one.ends_ms
        match line.centre:
            case "clock_off":
                for at_ms in (begins, ends):
                    if at_ms is not None:
                        yield at_ms, centre.set_clock
                        yield at_ms + _BEAT_MS, centre.hear_again
            case "collector_away":
                yield begins, centre.go_away
                if ends is not None:
                    yield ends, self._come_back(begins)
            case "broker_away":
                yield begins, centre.be_deaf
                yield begins + _SEEN_MS, self._report("broker", "", "unreachable", begins)
                if ends is not None:
                    yield ends + 1_500, centre.listen
                    yield ends + 5_000, self._report("broker", "", "ok", ends + 1_500)
            case "influxdb_away" | "influxdb_refuses":
                state = "unreachable" if line.centre == "influxdb_away" else "refusing"
                yield begins + _SEEN_MS, self._report("influxdb", "", state, begins)
                if ends is not None:
                    yield ends + _SEEN_MS, self._report("influxdb", "", "ok", ends)
            case "disk_full":
                yield from self._disk(one)
            case "sink_behind":
                yield from self._measured("sink", "influxdb", begins, ends, _or(line.strength, 60), 0.0)
            case "certificate_expiring":
                yield from self._measured("certificate", "broker", begins, ends, _or(line.strength, 20), 365.0)
            case "quarantine" | "broker_drops":
                last_ms = (begins if ends is None else ends) + _HOUR_MS  # both are counted over an hour
                yield from self._measured(line.centre, "", begins, last_ms, _or(line.strength, 200), 0.0)
            case "channel_fails":
                yield begins, self._report("receiver", PEOPLE, "undelivered", begins)
                if ends is not None:
                    yield ends, self._report("receiver", PEOPLE, "ok", ends)
            case "receiver_fails":
                yield begins, self._report("receiver", RECEIVER, "failing", begins)
                if ends is not None:
                    yield ends, self._report("receiver", RECEIVER, "ok", ends)
            case "over_quota":
                of = line.vehicle if isinstance(line.vehicle, str) else line.vehicle[0]
                for at_ms in range(begins, self.drill.until_ms if ends is None else ends, _REFUSED_EVERY_MS):
                    yield at_ms, functools.partial(centre.refuse, vehicle=of, quota="records")
            case "calendar_missing":
                yield begins, self._report("calendar", "", "missing", begins)
                if ends is not None:
                    yield ends, self._report("calendar", "", "ok", ends)
            case "remove" if line.rule:
                yield begins, self._without_rule(line.rule)
            case "remove":
                yield begins, self._without(line.vehicle if isinstance(line.vehicle, str) else "", line.device)
            case "reload":
                yield begins, self._reload

    def _measured(
        self, part: Part, name: str, begins_ms: int, ends_ms: int | None, ill: float, well: float
    ) -> Iterator[tuple[int, Callable[[int], None]]]:
        yield begins_ms, self._report(part, name, "ok", begins_ms, ill)
        if ends_ms is not None:
            yield ends_ms, self._report(part, name, "ok", ends_ms, well)

    def _disk(self, one: Happening) -> Iterator[tuple[int, Callable[[int], None]]]:
        """Report what is free, once an hour while it changes, as the owner does."""
        line, begins, ends = one.line, one.begins_ms, one.ends_ms
        free = 100.0 - _or(line.strength, 95)
        if line.slope:
            until_ms = self.drill.until_ms if ends is None else ends
            for at_ms in range(begins, until_ms, _HOUR_MS):
                left = max(free, _FREE_PERCENT - line.slope * (at_ms - begins) / _DAY_MS)
                yield at_ms, self._report("disk", "", "ok", at_ms, round(left, 1))
        else:
            yield begins, self._report("disk", "", "ok", begins, free)
        if ends is not None:
            yield ends, self._report("disk", "", "ok", ends, _FREE_PERCENT)

    def _report(
        self, part: Any, name: str, state: Any, since_ms: int, value: float | None = None
    ) -> Callable[[int], None]:
        def report(at_ms: int) -> None:
            offset = self.drill.lives.centre.offset_ms(at_ms)
            self.centre.report(at_ms, PartReport(part, name, state, since_ms + offset, "drill", value))

        return report

    def _come_back(self, since_ms: int) -> Callable[[int], None]:
        def come_back(at_ms: int) -> None:
            self.centre.come_back(at_ms)
            offset = self.drill.lives.centre.offset_ms(at_ms)
            for report in unattended(since_ms + offset, at_ms + offset, "nobody served the site"):
                self.centre.report(at_ms + 1_000, report)

        return come_back

    def _without(self, vehicle: str, device: str) -> Callable[[int], None]:
        def remove(at_ms: int) -> None:
            site = copy.deepcopy(self._site)
            if device:
                of, _, name = device.rpartition("/")
                for agent in site["vehicles"][of or vehicle]["agents"].values():
                    agent["devices"].pop(name, None)
                    for other in agent["devices"].values():
                        other["depends_on"] = [one for one in other.get("depends_on", ()) if one != name]
            else:
                site["vehicles"].pop(vehicle, None)
            self._site = site
            self.centre.put_in_force(at_ms, FLEET, msgspec.json.encode(msgspec.convert(site, Site)))

        return remove

    def _without_rule(self, fault: str) -> Callable[[int], None]:
        def remove(at_ms: int) -> None:
            rules = self.centre.in_force.rules
            files = []
            for name, content in rules.files:
                kept = {id: rule for id, rule in content.get("rules", {}).items() if rule.get("fault") != fault}
                files.append((name, {**content, "rules": kept}))
            fewer = parse_rules(files)
            content = msgspec.json.encode({"files": fewer.files, "speed": rules.speed, "topology": rules.topology})
            self.centre.put_in_force(at_ms, RULES, content)

        return remove

    def _reload(self, at_ms: int) -> None:
        for kind, content in self.centre.in_force.contents().items():
            self.centre.put_in_force(at_ms, kind, content)

    def _person(self, one: Happening) -> Callable[[int], None]:
        line = one.line
        if line.person in ("workshop", "on_duty"):
            return self._duty(line.vehicle if isinstance(line.vehicle, str) else line.vehicle[0], line.person)

        def act(at_ms: int) -> None:
            live = [came.ticket for came in self.came.tickets.values() if came.ticket.is_live]
            mine = [ticket for ticket in live if where(ticket.vehicle, ticket.device, self.drill.lives.site) == line.of]
            if not mine:
                return
            body: dict[str, Any] = {
                "respond": {"how": "remote"},
                "resolve": {"done": "drill", "why_unrecovered": "drill"},
                "cancel": {"why": "drill"},
            }.get(line.person, {})
            what = {"acknowledge": "acknowledged", "respond": "responded", "plan": "planned", "resolve": "resolved",
                    "cancel": "cancelled"}[line.person]  # fmt: skip
            wish = {"what": what, "ticket": mine[-1].id, "body": body}
            self._act(at_ms, TICKET_ACTION, "", wish)

        return act

    def _duty(self, vehicle: str, state: str) -> Callable[[int], None]:
        return lambda at_ms: self._act(at_ms, STATE_ACTION, vehicle, {"state": state})

    def _mission(self, vehicle: str, *, begins: bool) -> Callable[[int], None]:
        def tell(at_ms: int) -> None:
            wish = {"mission": f"{vehicle}-m", "what": "begins" if begins else "ends", "at_ms": at_ms}
            if begins:
                self._missions[vehicle] += 1
            wish["mission"] = f"{vehicle}-{self._missions[vehicle]}"
            self._act(at_ms, MISSION_ACTION, vehicle, wish)

        return tell

    @property
    def _missions(self) -> dict[str, int]:
        found: dict[str, int] = self.__dict__.setdefault("_mission_numbers", defaultdict(int))
        return found

    def _act(self, at_ms: int, kind: str, vehicle: str, wish: dict[str, Any]) -> None:
        self._number += 1
        action = Action(
            id=self._number, site=self.drill.lives.site, vehicle=vehicle, kind=kind,
            body=msgspec.json.encode(wish).decode(), who=ENGINEER, created_ms=at_ms, taken_ms=None, error="",
        )  # fmt: skip
        self.centre.act(at_ms, action)

    # --- what came ----------------------------------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Take what has been committed since this was asked last."""
        for at_ms, changes in self.centre.take_commits():
            self._take(at_ms, changes)

    def _take(self, at_ms: int, changes: Changes) -> None:
        self.came.take(changes, at_ms)
        self._places.take(changes)
