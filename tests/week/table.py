"""The week as a dispatcher would read it: who was told what, when, by which channel, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from tests.week.comparison import Attempt, Row
from tests.week.roster import ROSTER
from tests.week.scenario import GROUP, Scenario

DAYS: Final = ("周一 Mon", "周二 Tue", "周三 Wed", "周四 Thu", "周五 Fri", "周六 Sat", "周日 Sun")
KINDS: Final[Mapping[str, str]] = {
    "opened": "新建 opened",
    "reopened": "重开 reopened",
    "escalated": "升级 escalated",
    "asked": "询问 asked",
    "cancelled": "取消 cancelled",
    "merged": "合并 merged",
    "assigned": "指派 assigned",
    "call_back": "回访 call-back",
    "resolved": "解决 resolved",
}
RESULTS: Final[Mapping[str, str]] = {"taken": "已送达 sent", "failed": "失败 failed", "refused": "被拒 refused"}


def messages(attempts: Sequence[Attempt]) -> Iterator[str]:
    """A line for each message: the tries of one channel are one line, and a day has its heading."""
    day = None
    for first, last, tries in _tries(attempts):
        if first.at.date() != day:
            day = first.at.date()
            yield ""
            yield f"== {day} {DAYS[day.weekday()]}"
        who = str(ROSTER[first.receiver]["name"]) if first.receiver in ROSTER else "群 group"
        folded = f" x{first.count}" if first.count > 1 else ""
        result = RESULTS[last.answer] + (f" x{tries}" if tries > 1 else "")
        kind = KINDS[first.kind] + folded
        line = f"{last.at:%H:%M:%S}  {_pad(who, 9)} {first.channel:6} {first.ticket}  {_pad(kind, 20)}"
        yield f"{line} {_pad(result, 15)} {last.zh}"


def _tries(attempts: Sequence[Attempt]) -> list[tuple[Attempt, Attempt, int]]:
    """Each message on each channel: its first and its last try, and how many there were; by the time of the last."""
    found: dict[tuple[str, str], tuple[Attempt, Attempt, int]] = {}
    for one in attempts:
        first, _, tries = found.get((one.key, one.channel), (one, one, 0))
        found[one.key, one.channel] = (first, one, tries + 1)
    return sorted(found.values(), key=lambda item: item[1].at)


def both_languages(attempts: Sequence[Attempt]) -> Iterator[str]:
    """One message of each kind, as it is read in either language."""
    seen: set[str] = set()
    for one in attempts:
        if one.answer == "taken" and one.receiver != GROUP and one.kind not in seen:
            seen.add(one.kind)
            yield f"{KINDS[one.kind]}"
            yield f"  zh: {one.zh}"
            yield f"  en: {one.en}"


def sums(scenario: Scenario, attempts: Sequence[Attempt], rows: Sequence[Row]) -> Iterator[str]:
    """How many messages each person took, by day; how many about one ticket at most; what became of the rows."""
    taken = [one for one in attempts if one.answer == "taken"]
    outage = scenario.outage
    yield (
        f"{outage.channel} failed from {outage.errors:%m-%d %H:%M}, refused all from {outage.refuses:%m-%d %H:%M}, "
        f"worked again from {outage.over:%m-%d %H:%M}"
    )
    for receiver in (*ROSTER, GROUP):
        mine = [one for one in taken if one.receiver == receiver]
        by_day = Counter(one.at.date() for one in mine)
        by_ticket = Counter(one.ticket for one in mine).most_common(1)
        most = f"{by_ticket[0][1]} about {by_ticket[0][0]}" if by_ticket else "none"
        nights = sum(one.at.hour < 7 or one.at.hour >= 22 for one in mine)
        days = " ".join(f"{day:%a} {count}" for day, count in sorted(by_day.items()))
        yield f"{receiver:6} {len(mine):3} messages, {nights:2} of them 22:00-07:00, at most {most}; {days}"
    states = Counter(row.state for row in rows)
    yield "deliveries: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items()))


def most_told(attempts: Iterable[Attempt]) -> int:
    """The most messages that one person took about one ticket."""
    told = Counter((one.receiver, one.ticket) for one in attempts if one.answer == "taken" and one.receiver != GROUP)
    return max(told.values(), default=0)


def _pad(text: str, width: int) -> str:
    """Fill up to a width in which a Chinese character takes two."""
    return text + " " * max(0, width - sum(2 if ord(letter) > 0x2E80 else 1 for letter in text))
