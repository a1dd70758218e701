"""Who stands for a role, is on duty, away, told instead: docs/notifications.md, "Whom a notification is for"."""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

from tests.week.scenario import CONTRACT, ZONE

ROSTER: Final[Mapping[str, Mapping[str, Any]]] = CONTRACT["roster"]
ROLES: Final = frozenset({"engineer", "manager", "information", "dispatcher", "crew"})
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def of_role(role: str) -> list[str]:
    """The people of a role that can be told at all."""
    return sorted(person for person, keys in ROSTER.items() if keys["role"] == role and keys.get("channels"))


def moment_of(day: date, text: str) -> datetime:
    """A time of day as a moment; ``24:00`` is the next day's midnight."""
    if text == "24:00":
        return datetime.combine(day + timedelta(days=1), time(), ZONE)
    return datetime.combine(day, time.fromisoformat(text), ZONE)


def within(hours: Mapping[str, Any], day: date, at: datetime) -> bool:
    """Whether a moment is in the hours that begin on a day: from (inclusive) to (exclusive), over midnight."""
    begin, end = moment_of(day, hours.get("from", "00:00")), moment_of(day, hours.get("to", "24:00"))
    return begin <= at < (end if end > begin else end + timedelta(days=1))


def on_duty(person: str, at: datetime) -> bool:
    """Rule 2."""
    keys = ROSTER[person]
    if "on_duty" not in keys:
        return True
    for hours in keys["on_duty"]:
        for day in (at.astimezone(ZONE).date(), at.astimezone(ZONE).date() - timedelta(days=1)):
            named = "days" in hours or "dates" in hours
            belongs = DAYS[day.weekday()] in hours.get("days", ()) or day.isoformat() in hours.get("dates", ())
            if (belongs or not named) and within(hours, day, at):
                return True
    return False


def absence(person: str, at: datetime) -> Mapping[str, Any] | None:
    """The entry of ``away`` that holds, first and last day included."""
    day = at.astimezone(ZONE).date().isoformat()
    return next((entry for entry in ROSTER[person].get("away", ()) if entry["from"] <= day <= entry["to"]), None)


def instead(person: str, at: datetime) -> str | None:
    """Rule 3: the person, or who is told instead; None if that is nobody."""
    seen: set[str] = set()
    current: str | None = person
    while current is not None and current not in seen:
        away = absence(current, at)
        if away is None:
            return current if ROSTER[current].get("channels") else None
        seen.add(current)
        current = away.get("stand_in") or ROSTER[current].get("stand_in")
    return None


def stands_for(name: str, at: datetime) -> tuple[list[str], bool]:
    """Rules 1 and 3: the people of a role or the person named, and whether nobody is on duty."""
    if name not in ROLES:
        person = instead(name, at)
        return ([] if person is None else [person]), False
    everybody = of_role(name)
    for people, nobody in (([person for person in everybody if on_duty(person, at)], False), (everybody, True)):
        told = [present for person in people if (present := instead(person, at))]
        if told:
            return told, nobody
    return [], True


def recipients(names: Iterable[str], at: datetime, actor: str = "") -> tuple[tuple[str, ...], bool]:
    """Rules 1 to 6: who is told, each once, and whether the text says that nobody is on duty."""
    people: list[str] = []
    unattended = False
    for name in names:
        stands, nobody = stands_for(name, at)
        people += stands
        unattended |= nobody
    for everybody in (of_role("engineer"), of_role("manager"), sorted(ROSTER)):
        if people:
            break
        unattended = True
        people = [told for person in everybody if (told := instead(person, at))]
    return tuple(person for person in dict.fromkeys(people) if person != actor), unattended


def quiet_until(person: str, at: datetime) -> datetime:
    """The moment itself, or the end of the quiet hours in which it lies."""
    hours = ROSTER[person].get("quiet_hours")
    if hours is not None:
        for day in (at.astimezone(ZONE).date() - timedelta(days=1), at.astimezone(ZONE).date()):
            if within(hours, day, at):
                begin, end = moment_of(day, hours["from"]), moment_of(day, hours["to"])
                return end if end > begin else end + timedelta(days=1)
    return at


def next_person(person: str, told: Iterable[str], at: datetime) -> str | None:
    """Who has a notification after all channels of a person failed: the stand-in, else the managers by their ids."""
    candidates = [ROSTER[person].get("stand_in"), *of_role("manager")]
    taken = set(told) | {person}
    return next(
        (c for c in candidates if c and ROSTER[c].get("channels") and absence(c, at) is None and c not in taken), None
    )
