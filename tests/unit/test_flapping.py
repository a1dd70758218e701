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
from collector.core.recipients import wait_ms
from collector.core.roster import Person, Way
from collector.core.tickets.draft import DeskEffect, Recorded
from telemetry.fleet import Site
from tests.unit.desks import DAY, HOUR, Desk

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


def a_week(sla_class: str, hours: Iterable[float], from_h: int = 0) -> Counter[str]:
    """Return how many messages each person gets; ``hours``: how long it is there, how long it is not, and so on."""
    told: list[tuple[str, int, int]] = []

    def commit(effects: list[DeskEffect]) -> None:
        recorded = [one for one in effects if isinstance(one, Recorded)]
        for one in notifications_of(recorded, Site(vehicles={}), CONTRACT, KNOWN, lambda id: world.rows[id]):
            for person in one.to.people:
                wait = wait_ms(CONTRACT, person, one.sla_class, one.created_ms)
                told.append((person, one.created_ms, one.created_ms + wait))

    def wait_until(at: float) -> None:
        while world.state.wake_ms is not None and world.state.wake_ms < world.now_ms + (at - world.now) * 1000:
            world.wait(max(world.now, (world.state.wake_ms - world.now_ms) / 1000 + world.now))

    world = Desk(CONTRACT, written=commit)
    at = from_h * HOUR
    end = at + 7 * DAY
    for news, lasts_h in zip(itertools.chain(["began"], itertools.cycle(["over", "again"])), hours, strict=False):
        wait_until(at)
        world.problem(news, at=at, sla_class=sla_class)  # type: ignore[arg-type]
        at += lasts_h * HOUR
        if at >= end:
            break
    wait_until(end)
    assert len(world.projection) == 1
    assert len(world.rows[world.last]) <= 100
    return messages(told)
