"""The people in the contract file: `roster` (docs/notifications.md)."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from collector.core.roster import DAY_MINUTES, Away, Hours, Person, Role, Way
from telemetry.files import FileError
from telemetry.inputs import Id
from telemetry.metrics import nearest

Clock = Annotated[str, msgspec.Meta(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)\Z")]
"""A time of day on the site's clock; `24:00` is the end of a day."""
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class WayKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel by which somebody is told."""

    by: Id
    """Name of the entry of `notifications` in `collector.yaml`: its `receiver`, or its `channel` where it has none."""
    address: Annotated[str, msgspec.Meta(max_length=256)] = ""
    """Where the person is reached there: a telephone number, a mail address."""


class QuietKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours of each day, over midnight if `to` is not later than `from`."""

    from_: Clock = msgspec.field(name="from")
    """`"22:00"`, included."""
    to: Clock
    """`"07:00"`, not included."""


class DutyKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours on duty, over midnight if `to` is not later than `from`; they belong to the day on which they begin."""

    days: tuple[Weekday, ...] = ()
    """Days of the week; without these and `dates`: every day."""
    dates: tuple[datetime.date, ...] = ()
    """Single days."""
    from_: Clock = msgspec.field(name="from", default="00:00")
    """`"08:00"`, included."""
    to: Clock = "24:00"
    """`"20:00"`, not included."""


class AwayKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days on which somebody is absent."""

    from_: datetime.date = msgspec.field(name="from")
    """The first one."""
    to: datetime.date
    """The last one."""
    stand_in: str = ""
    """Who is told instead; else the person's own `stand_in`."""


class PersonKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody of the roster."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    """As people call them."""
    role: Role
    """What they are: crew, dispatcher, engineer, manager, or `information` for the information department (信息科)."""
    phone: Annotated[str, msgspec.Meta(max_length=32)] = ""
    """Their telephone."""
    login: Annotated[str, msgspec.Meta(pattern=r"^([a-z_][a-z0-9_-]{0,31})?\Z")] = ""
    """The user of the centre's machine who acts as this person (`kitwatch tickets`)."""
    channels: tuple[WayKeys, ...] = ()
    """By which channels they are told, the preferred one first; without any they are not
    (docs/notifications.md)."""
    quiet_hours: QuietKeys | None = None
    """In which they are told of disasters only; the rest waits for their end."""
    on_duty: tuple[DutyKeys, ...] | None = None
    """When they are on duty; if not set always."""
    stand_in: str = ""
    """Who is told when they are absent or cannot be reached."""
    away: tuple[AwayKeys, ...] = ()
    """When they are absent."""


def people(path: Path, given: Mapping[str, PersonKeys]) -> dict[str, Person]:
    """Return the people of a contract file. Raises FileError for the first thing that is wrong."""
    logins: dict[str, str] = {}
    for id, keys in given.items():
        if keys.login and (other := logins.setdefault(keys.login, id)) != id:
            raise FileError(path, f"roster.{id}.login", f"expected each user once, found {keys.login!r} at {other} too")
    return {id: _person(path, f"roster.{id}", id, keys, given) for id, keys in given.items()}


def _person(path: Path, key: str, id: str, keys: PersonKeys, roster: Mapping[str, PersonKeys]) -> Person:
    stand_ins = {"stand_in": keys.stand_in} | {f"away.{n}.stand_in": one.stand_in for n, one in enumerate(keys.away)}
    for where, other in stand_ins.items():
        if other and (other not in roster or other == id):
            raise FileError(path, f"{key}.{where}", f"expected another one of the roster, found {other!r}")
        if other and keys.channels and not roster[other].channels:
            raise FileError(path, f"{key}.{where}", f"expected somebody with channels, found {other!r}, who has none")
    for number, one in enumerate(keys.away):
        if one.to < one.from_:
            raise FileError(path, f"{key}.away.{number}.to", f"expected {one.from_} or later, found {one.to}")
    ways = [way.by for way in keys.channels]
    for number, by in enumerate(ways):
        if by in ways[:number]:
            raise FileError(path, f"{key}.channels.{number}.by", f"expected each channel once, found {by!r} again")
    quiet = keys.quiet_hours
    duty = keys.on_duty
    return Person(
        name=keys.name,
        role=keys.role,
        phone=keys.phone,
        login=keys.login,
        channels=tuple(Way(way.by, way.address) for way in keys.channels),
        quiet_hours=None if quiet is None else _hours(path, f"{key}.quiet_hours", quiet.from_, quiet.to),
        on_duty=None
        if duty is None
        else tuple(
            msgspec.structs.replace(
                _hours(path, f"{key}.on_duty.{number}", one.from_, one.to),
                weekdays=tuple(sorted(get_args(Weekday).index(day) for day in set(one.days))),
                dates=tuple(sorted(set(one.dates))),
            )
            for number, one in enumerate(duty)
        ),
        stand_in=keys.stand_in,
        away=tuple(Away(one.from_, one.to, one.stand_in) for one in keys.away),
    )


def _hours(path: Path, key: str, begin: str, end: str) -> Hours:
    from_min, to_min = (int(time[:2]) * 60 + int(time[3:]) for time in (begin, end))
    if from_min == DAY_MINUTES:
        raise FileError(path, f"{key}.from", "expected a time before 24:00, found '24:00'")
    if from_min == to_min:
        raise FileError(path, f"{key}.to", f"expected another time than from, found {end!r}")
    return Hours(from_min, to_min)


def check_channels(path: Path, roster: Mapping[str, Person], channels: Collection[str], collector: Path) -> None:
    """Raise FileError for a person of a contract file whom no channel of ``collector`` reaches as it says.

    ``channels``: the names of the entries of ``notifications`` there.
    """
    for id, person in roster.items():
        if person.channels and id in channels:
            raise FileError(path, f"roster.{id}", f"expected another id than a receiver's of {collector}, found {id!r}")
        for number, way in enumerate(person.channels):
            if way.by not in channels:
                known = ", ".join(sorted(channels)) or "none"
                hint = nearest(way.by, channels)
                raise FileError(
                    path,
                    f"roster.{id}.channels.{number}.by",
                    f"expected a channel of {collector} ({known}), found {way.by!r}{hint}",
                )
