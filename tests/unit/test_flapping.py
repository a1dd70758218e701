"""A week of flapping is at most ten messages a person, one live ticket, a hundred events (JUDGING's budget)."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec
import pytest

from collector.core.calendar import Calendar, Year
from collector.core.contract import DEFAULT, Contract
from collector.core.notifications import notifications_of
from collector.core.problems import ProblemChange
from collector.core.recipients import wait_ms
from collector.core.roster import Person, Way
from collector.core.tickets.draft import DeskEffect, Recorded
from collector.core.vehicle.draft import Effect
from collector.core.vehicle.events import Event, Listening
from collector.core.vehicle.step import Context, step
from telemetry.fleet import Site
from tests.unit.desks import DAY, HOUR, T0, Desk
from tests.unit.judging import SHIPPED, Story, vehicle_plan
from tests.unit.judging import T0 as STORY_T0

WAYS = (Way("sms"),)
CONTRACT: Contract = msgspec.structs.replace(
    DEFAULT,
    calendar=Calendar.of([Year(year, (), ()) for year in (2026, 2027)]),
    roster={
        "zhao": Person(name="赵", role="engineer", channels=WAYS),
        "sun": Person(name="孙", role="manager", channels=WAYS),
        "wei": Person(name="魏", role="information", channels=WAYS),
    },
)
KNOWN = frozenset({"sms"})
MOST = 10


def messages(told: list[tuple[str, int, int]]) -> Counter[str]:
    """Count messages by person, folded as docs/notifications.md says. ``told``: for whom, made when, may go when."""
    found: Counter[str] = Counter()
    by_person = defaultdict(list)
    for person, made_ms, may_ms in told:
        by_person[person].append((made_ms, may_ms))
    for person, waiting in by_person.items():
        last_ms = -(10**15)
        while waiting:
            at_ms = max(waiting[0][1], last_ms + CONTRACT.telling.group_interval_ms)
            waiting[:] = [one for one in waiting if one[0] > at_ms]
            found[person] += 1
            last_ms = at_ms
    return found


@pytest.mark.parametrize("sla_class", ["general", "disaster"])
@pytest.mark.parametrize("minutes", [1, 5, 30, 90, 180, 6 * 60])
def test_a_week_of_flapping(minutes: int, sla_class: str) -> None:
    count = a_week(sla_class, itertools.repeat(minutes / 60))
    assert count["zhao"] > 2
    assert max(count.values()) <= MOST, count


@pytest.mark.parametrize("sla_class", ["general", "disaster"])
@pytest.mark.parametrize("bad_h", [1, 5, 8, 13, 24, 47, 63, 80])
@pytest.mark.parametrize("good_h", [1, 8, 24, 47, 71])
def test_a_week_of_slow_flapping_that_nobody_looks_after(bad_h: int, good_h: int, sla_class: str) -> None:
    """Hours or days of it: a round of clocks each time, and no more than three of them."""
    for weekday in (0, 3, 5):
        count = a_week(sla_class, itertools.cycle((bad_h, good_h)), weekday * 24)
        assert max(count.values()) <= MOST, (count, weekday)


@pytest.mark.parametrize("minutes", [0, 6, 300])
@pytest.mark.parametrize("stream", [False, True], ids=["", "its stream plays"])
def test_a_week_of_contradiction(minutes: int, *, stream: bool) -> None:
    """One agent reads a camera and the other does not, by turns of so many minutes (0: the same one for all the week).

    From the readings on: what two agents say against each other is no fault, whoever says which, and however often.
    """
    week = _Week()
    begins = (T0 - STORY_T0) / 1000
    agents = {name: {"devices": {"camera-1": _CAMERA}} for name in ("box", "tablet")}
    story = _Quick(SHIPPED, plan=vehicle_plan("{}", agents=agents), listening=Listening(T0 - 3_600_000))
    for at in range(0, round(7 * DAY), 120):
        turn = at // (60 * minutes) % 2 if minutes else 0
        for number, agent in enumerate(agents):
            story.sample("camera-1", {"device.reachable": number == turn}, begins + at, agent=agent)
        if stream:
            story.sample("camera-1", {"stream.up": True, "stream.frozen": False}, begins + at, input="stream")
        story.tick(begins + at + 5)
        week.take(at + 5, story.effects)
        story.effects.clear()
    assert [ticket.fault for ticket in week.world.projection.values()] == []
    assert week.count() == {}


@pytest.mark.parametrize("seconds", [60, 240, 5400])
def test_a_week_of_a_sim_that_comes_and_goes(seconds: int) -> None:
    """From the readings on: a SIM that flaps for a week opened 3,360 tickets."""
    week = _Week()
    begins = (T0 - STORY_T0) / 1000
    story = _Quick(SHIPPED, plan=vehicle_plan(_MODEM), listening=Listening(T0 - 3_600_000))
    for at in range(0, round(7 * DAY), 30):
        sim = "absent" if at // seconds % 2 else "ready"
        story.sample("modem", {"modem.sim": sim}, begins + at, input="modem")
        if at % 60 == 0:
            story.tick(begins + at + 5)
        week.take(at + 5, story.effects)
        story.effects.clear()
    (ticket,) = week.world.projection.values()
    assert ticket.fault == "sim_absent"
    assert len(week.world.rows[ticket.id]) <= 100
    assert max(week.count().values()) <= MOST, week.count()


def a_week(sla_class: str, hours: Iterable[float], from_h: int = 0) -> Counter[str]:
    """Return how many messages each person gets; ``hours``: how long it is there, how long it is not, and so on."""
    week = _Week()
    at = from_h * HOUR
    end = at + 7 * DAY
    for news, lasts_h in zip(itertools.chain(["began"], itertools.cycle(["over", "again"])), hours, strict=False):
        week.wait_until(at)
        week.world.problem(news, at=at, sla_class=sla_class)  # type: ignore[arg-type]
        at += lasts_h * HOUR
        if at >= end:
            break
    week.wait_until(end)
    assert len(week.world.projection) == 1
    assert len(week.world.rows[week.world.last]) <= 100
    return week.count()


_CAMERA = {"kind": "camera", "snmp": {"address": "10.0.0.2", "community_file": "/c", "interval": 120}}
_MODEM = "agents: {box: {devices: {modem: {kind: modem, modem: {port: /dev/m, interval: 30}}}}}"


class _Quick(Story):
    """A story so long that nothing is checked at each step of it."""

    def do(self, event: Event, now: float) -> list[Effect]:
        context = Context(self.plan, self.listening, self.verdict, learnt=self.learnt)
        self.vehicle, effects = step(self.vehicle, event, context, self.rules, STORY_T0 + round(now * 1000))
        self.effects += effects
        return effects


class _Week:
    """A desk, and what people are told by it."""

    def __init__(self) -> None:
        self._told: list[tuple[str, int, int]] = []
        self.world = Desk(CONTRACT, written=self._commit)

    def take(self, at: float, effects: Iterable[Effect]) -> None:
        """Give the desk what judging has told at a time, after what time alone brings."""
        for effect in effects:
            if isinstance(effect, ProblemChange):
                self.wait_until(at)
                self.world.now = at
                self.world.do(effect)

    def wait_until(self, at: float) -> None:
        world = self.world
        while world.state.wake_ms is not None and world.state.wake_ms < world.now_ms + (at - world.now) * 1000:
            world.wait(max(world.now, (world.state.wake_ms - world.now_ms) / 1000 + world.now))

    def count(self) -> Counter[str]:
        """Return how many messages each person got."""
        return messages(self._told)

    def _commit(self, effects: list[DeskEffect]) -> None:
        recorded = [one for one in effects if isinstance(one, Recorded)]
        for one in notifications_of(recorded, Site(vehicles={}), CONTRACT, KNOWN, lambda id: self.world.rows[id]):
            for person in one.to.people:
                wait = wait_ms(CONTRACT, person, one.sla_class, one.created_ms)
                self._told.append((person, one.created_ms, one.created_ms + wait))
