"""The people of the contract: by which channels they are reached, and when (docs/notifications.md). Pure.

Days and hours are of the site's time zone. Hours that end not later than they begin end on the next day and belong to
the day on which they begin.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Final, Literal, get_args

import msgspec

Role = Literal["crew", "dispatcher", "engineer", "manager", "information"]
"""What somebody may be in the roster; ``information`` is the information department (信息科)."""
ROLES: Final[tuple[Role, ...]] = get_args(Role)
DAY_MINUTES: Final = 1440


class Way(msgspec.Struct, frozen=True):
    """A channel by which a person is reached."""

    by: str
    """Name of the channel's entry in ``collector.yaml``."""
    address: str = ""
    """Where the person is reached there: a telephone number, a mail address."""


class Hours(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hours of some days, as minutes since midnight: from ``from_min`` to before ``to_min``."""

    from_min: int = 0
    to_min: int = DAY_MINUTES
    weekdays: tuple[int, ...] = ()
    """0 is Monday; with neither these nor ``dates``: every day."""
    dates: tuple[datetime.date, ...] = ()

    def begin_on(self, day: datetime.date) -> bool:
        """Say whether they begin on a day."""
        return (not self.weekdays and not self.dates) or day.weekday() in self.weekdays or day in self.dates

    def end_of(self, local: datetime.datetime) -> datetime.datetime | None:
        """Return the end of these hours in which a local time lies, ``None`` where it lies in none."""
        for day in (local.date() - datetime.timedelta(days=1), local.date()):
            begin = _at(day, self.from_min, local)
            end = _at(day, self.to_min + (DAY_MINUTES if self.to_min <= self.from_min else 0), local)
            if self.begin_on(day) and begin <= local < end:
                return end
        return None


class Away(msgspec.Struct, frozen=True, omit_defaults=True):
    """Days on which a person is absent, both included."""

    first: datetime.date
    last: datetime.date
    stand_in: str = ""
    """Who is told instead; empty: the person's own stand-in."""


class Person(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody of the roster; its id names who did what."""

    name: str
    role: Role
    phone: str = ""
    login: str = ""
    """The user of the machine on which the collector runs: whoever is that acts as this person."""
    channels: tuple[Way, ...] = ()
    """In order of preference; somebody without any is told nothing."""
    quiet_hours: Hours | None = None
    """In which only a disaster is told."""
    on_duty: tuple[Hours, ...] | None = None
    """``None``: always."""
    stand_in: str = ""
    """Who is told where this person is absent or cannot be reached."""
    away: tuple[Away, ...] = ()

    def is_on_duty(self, local: datetime.datetime) -> bool:
        """Say whether somebody is on duty, absent or not."""
        return self.on_duty is None or any(hours.end_of(local) is not None for hours in self.on_duty)

    def away_on(self, day: datetime.date) -> Away | None:
        """Return why somebody is absent on a day, ``None`` for who is there."""
        return next((one for one in self.away if one.first <= day <= one.last), None)


class Roster:
    """The people who can be told, at one moment. ``known``: the names of the channels that there are."""

    def __init__(self, people: Mapping[str, Person], known: frozenset[str], time_zone: str, at_ms: int) -> None:
        self._people = people
        self._known = known
        self._local = datetime.datetime.fromtimestamp(at_ms / 1000, zoneinfo.ZoneInfo(time_zone))
        self.ids = [id for id in sorted(people) if self.ways(id)]
        """Everybody who can be told, in the order of ids."""

    def ways(self, id: str) -> tuple[Way, ...]:
        """Return the channels by which somebody is reached; nobody of the roster has any."""
        person = self._people.get(id)
        return () if person is None else tuple(way for way in person.channels if way.by in self._known)

    def is_absent(self, id: str) -> bool:
        """Say whether somebody is absent."""
        return self._people[id].away_on(self._local.date()) is not None

    def present(self, id: str) -> str | None:
        """Return the person, or whoever stands in; ``None``: nobody does, or nobody who can be told."""
        seen: set[str] = set()
        while id in self._people and id not in seen:
            seen.add(id)
            person = self._people[id]
            away = person.away_on(self._local.date())
            if away is None:
                return id if self.ways(id) else None
            id = away.stand_in or person.stand_in
        return None

    def with_role(self, role: str) -> list[str]:
        """Return those of a role."""
        return [id for id in self.ids if self._people[id].role == role]

    def on_duty(self, role: str) -> list[str]:
        """Return those of a role who are on duty now, absent or not."""
        return [id for id in self.with_role(role) if self._people[id].is_on_duty(self._local)]

    def instead_of(self, id: str) -> Iterator[str]:
        """Return who is turned to where somebody cannot be reached: the stand-in, then the managers."""
        person = self._people.get(id)
        for other in (*([person.stand_in] if person else []), *self.with_role("manager")):
            if other != id and other in self.ids and not self.is_absent(other):
                yield other


def quiet_until_ms(person: Person | None, time_zone: str, at_ms: int) -> int:
    """Return when a person may be told what may go at ``at_ms``: then, or at the end of the quiet hours."""
    if person is None or person.quiet_hours is None:
        return at_ms
    local = datetime.datetime.fromtimestamp(at_ms / 1000, zoneinfo.ZoneInfo(time_zone))
    end = person.quiet_hours.end_of(local)
    return at_ms if end is None else round(end.timestamp() * 1000)


def _at(day: datetime.date, minutes: int, local: datetime.datetime) -> datetime.datetime:
    days, minutes = divmod(minutes, DAY_MINUTES)
    time = datetime.time(minutes // 60, minutes % 60)
    return datetime.datetime.combine(day + datetime.timedelta(days=days), time, local.tzinfo)
