"""Holds what the channels took against what people are to be told. Imports nothing of the product.

``compare`` goes through the attempts of all channels in the order of time with what waits for each person and ticket in
its hands, by docs/notifications.md ("When", "What fails"), and says each difference in a sentence.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from tests.week.plan import Notification
from tests.week.roster import ROSTER, next_person, quiet_until
from tests.week.scenario import CONTRACT, END, GROUP, SITE, ZONE, Scenario

GROUP_WAIT: Final = timedelta(seconds=30)
GROUP_INTERVAL: Final = timedelta(minutes=5)
TRIES: Final = int(CONTRACT["notifications"]["fail_over_after"])
PROMPT: Final = timedelta(seconds=3)  # what is due goes within this while its channels take messages
DISTURBED: Final = timedelta(minutes=4)  # three tries of a channel that is down, a minute apart


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request that a channel got."""

    at: datetime
    channel: str
    receiver: str  # person, or the group
    ticket: str  # number
    kind: str  # of the words that stand in it
    count: int  # notifications in this message
    key: str  # idempotency key
    answer: str  # taken, failed, refused
    zh: str = ""
    en: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What the product says of one notification, receiver and channel."""

    ticket: str
    kind: str
    at: datetime  # the moment of the notification
    receiver: str
    channel: str
    state: str  # waiting, folded, sent, passed, failed


@dataclass(slots=True)
class Waiting:
    """A notification that waits for a person."""

    told: Notification
    since: datetime
    may_go: datetime
    moved_from: str = ""


@dataclass(slots=True)
class Message:
    """What is being tried for one person and ticket."""

    key: str
    holds: list[Waiting]
    channels: tuple[str, ...]
    at: int = 0  # index of the channel
    failures: int = 0  # of that channel with this message
    refusals: int = 0  # channels that refused it


@dataclass(slots=True)
class Queue:
    """One person and one ticket."""

    waiting: list[Waiting] = field(default_factory=list)
    message: Message | None = None
    taken: datetime | None = None  # the last message
    free: datetime | None = None  # when the last message ended, taken or not


def may_go(told: Notification, person: str) -> datetime:
    """When a notification may go by itself."""
    return told.at if told.disaster else quiet_until(person, told.at + GROUP_WAIT)


def compare(
    scenario: Scenario, notifications: Sequence[Notification], attempts: Sequence[Attempt], rows: Sequence[Row]
) -> list[str]:
    """Every difference, as sentences; none if everybody was told what they should be."""
    differences = different_events(notifications, rows)
    walk = Walk(scenario, rows)
    walk.go(notifications, sorted(attempts, key=lambda attempt: attempt.at))
    differences += walk.differences
    differences += different_receivers(notifications, rows, walk.moves)
    return differences


def different_events(notifications: Sequence[Notification], rows: Sequence[Row]) -> list[str]:
    """Notifications that are not there, or that nobody asked for."""
    wanted = Counter((told.ticket, told.kind, near(told.at)) for told in notifications)
    found = Counter({(row.ticket, row.kind, near(row.at)): 0 for row in rows})
    for kind in found:
        found[kind] = max(
            Counter(
                (row.receiver, row.channel) for row in rows if (row.ticket, row.kind, near(row.at)) == kind
            ).values()
        )
    return [f"{ticket} {kind} at {at}: not told" for ticket, kind, at in (wanted - found).elements()] + [
        f"{ticket} {kind} at {at}: told, but nobody should be" for ticket, kind, at in (found - wanted).elements()
    ]


def near(at: datetime) -> str:
    """A moment to the second, at the site."""
    return (at + timedelta(milliseconds=500)).astimezone(ZONE).strftime("%m-%d %H:%M:%S")


def different_receivers(notifications: Sequence[Notification], rows: Sequence[Row], moves: "Moves") -> list[str]:
    """Rows for people who should not be told, people without a row, and rows that are not done."""
    out = []
    states: dict[tuple[str, str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        states[row.ticket, row.kind, near(row.at)][row.receiver].append(row.state)
    for told in notifications:
        found = states[told.ticket, told.kind, near(told.at)]
        wanted = {GROUP, *told.people, *(to for _, to in moves[told.ticket, told.kind, near(told.at)])}
        name = f"{told.ticket} {told.kind} at {near(told.at)}"
        out += [f"{name}: {person} has no delivery" for person in sorted(wanted - found.keys())]
        out += [f"{name}: {person} has a delivery and should not" for person in sorted(found.keys() - wanted)]
        out += [
            f"{name}: {person} still waits"
            for person, all_of in found.items()
            if "waiting" in all_of and told.at < END - timedelta(hours=13)
        ]
    return out


Moves = dict[tuple[str, str, str], list[tuple[str, str]]]  # ticket, kind, moment: from whom to whom


class Walk:
    """Goes through the week with what waits for whom."""

    def __init__(self, scenario: Scenario, rows: Sequence[Row]) -> None:
        self.differences: list[str] = []
        self.moves: Moves = defaultdict(list)
        self._down, self._up = scenario.stopped
        self._queues: dict[tuple[str, str], Queue] = defaultdict(Queue)
        self._failed: Counter[str] = Counter()  # in a row, by channel
        self._trouble: dict[str, datetime] = {}  # when a channel last took nothing
        self._done: dict[str, datetime] = {}  # keys that were taken, and when
        self._twice: Counter[str] = Counter()
        self._handed: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        for row in rows:
            self._handed[row.ticket, row.kind, near(row.at)].add(row.receiver)

    def go(self, notifications: Iterable[Notification], attempts: Iterable[Attempt]) -> None:
        """Take notifications and attempts as they come."""
        steps: list[tuple[datetime, int, Notification | Attempt]] = [
            (told.at - PROMPT / 2, 0, told) for told in notifications
        ]
        steps += [(attempt.at, 1, attempt) for attempt in attempts]
        for _, _, step in sorted(steps, key=lambda item: item[:2]):
            if isinstance(step, Notification):
                for person in (*step.people, GROUP):
                    at = step.at if person == GROUP else may_go(step, person)
                    self._queues[person, step.ticket].waiting.append(Waiting(step, step.at, at))
            else:
                self._attempt(step)
        for (person, ticket), queue in self._queues.items():
            for left in queue.waiting:
                self._left(person, ticket, left)

    def _left(self, person: str, ticket: str, left: Waiting) -> None:
        """What nobody was told at the end of the week."""
        if self._handed_on(person, left) is None and left.may_go < END - DISTURBED:
            self._say(left.may_go, person, ticket, f"was never told that it is {left.told.kind} ({near(left.told.at)})")

    def _handed_on(self, person: str, waiting: Waiting) -> str | None:
        """To whom a notification went instead; None if it went to nobody else."""
        told = waiting.told
        if person == GROUP:
            return None
        gone = {to for source, to in self.moves[told.ticket, told.kind, near(told.at)] if source == person}
        return min(gone) if gone else None

    def _say(self, at: datetime, person: str, ticket: str, words: str) -> None:
        self.differences.append(f"{near(at)} {person} {ticket}: {words}")

    def _attempt(self, attempt: Attempt) -> None:
        if self._down <= attempt.at < self._up:
            self._say(attempt.at, attempt.receiver, attempt.ticket, "told while the process was dead")
        if attempt.key in self._done:
            self._again(attempt)
        else:
            queue = self._queues[attempt.receiver, attempt.ticket]
            if queue.message is None or queue.message.key != attempt.key:
                self._compose(queue, attempt)
            self._try(queue, attempt)
        if attempt.answer == "taken":
            self._failed[attempt.channel] = 0
        else:
            self._failed[attempt.channel] += attempt.answer == "failed"
            self._trouble[attempt.channel] = attempt.at

    def _again(self, attempt: Attempt) -> None:
        """A message that was taken comes again: only one a channel, and only after the crash."""
        self._twice[attempt.channel] += 1
        struck = self._done[attempt.key] <= self._down and self._up <= attempt.at <= self._up + 2 * GROUP_WAIT
        if not struck or self._twice[attempt.channel] > 1:
            self._say(attempt.at, attempt.receiver, attempt.ticket, f"told twice ({attempt.key})")

    def _disturbed(self, person: str, at: datetime) -> bool:
        """Whether one of a person's channels took nothing of late, or the process was dead."""
        channels = (GROUP,) if person == GROUP else channels_of(person)
        late = [self._trouble[channel] for channel in channels if channel in self._trouble]
        return any(at - trouble < DISTURBED for trouble in late) or any(
            self._failed[channel] >= TRIES for channel in channels
        )

    def _compose(self, queue: Queue, attempt: Attempt) -> None:
        """A new message: it is due, and holds all that waits, in order."""
        person, ticket, at = attempt.receiver, attempt.ticket, attempt.at
        if queue.message is not None:
            self._say(at, person, ticket, f"{attempt.key} sent while {queue.message.key} was being tried")
        self._move_here(queue, attempt)
        due = [
            waiting
            for waiting in queue.waiting
            if waiting.since <= at + PROMPT and self._handed_on(person, waiting) is None
        ]
        slack = DISTURBED if self._disturbed(person, at) else PROMPT
        must = [waiting for waiting in due if waiting.since <= at - slack]
        first = attempt.key.split("/")[3:4]
        if not due or first != [due[0].told.kind]:
            waits = ", ".join(waiting.told.kind for waiting in due) or "nothing"
            self._say(at, person, ticket, f"{attempt.kind} ({attempt.key}) was told, but {waits} waited")
        if person == GROUP:
            due, must = due[:1], due[:1]
        if not len(must) <= attempt.count <= len(due):
            waits = ", ".join(waiting.told.kind for waiting in due)
            self._say(at, person, ticket, f"{attempt.count} in the message, but there waited {waits}")
        holds = due[: max(attempt.count, 1)]
        if holds and holds[-1].told.kind != attempt.kind:
            self._say(at, person, ticket, f"words of {attempt.kind}, but the latest is {holds[-1].told.kind}")
        if holds and attempt.zh and ("无人值班" in attempt.zh) != holds[-1].told.unattended and holds[-1].told.people:
            self._say(
                at,
                person,
                ticket,
                f"{attempt.kind}: that nobody is on duty is {'not said' if holds[-1].told.unattended else 'said'}",
            )
        if holds:
            self._in_time(queue, attempt, due, slack)
        expected = f"{SITE}/{ticket}/"
        if not attempt.key.startswith(expected) or not attempt.key.endswith(f"/{person}"):
            self._say(at, person, ticket, f"the key is {attempt.key}")
        queue.waiting = [waiting for waiting in queue.waiting if waiting not in holds]
        queue.message = Message(attempt.key, holds, (GROUP,) if person == GROUP else channels_of(person))

    def _in_time(self, queue: Queue, attempt: Attempt, due: list[Waiting], slack: timedelta) -> None:
        """Not before it may go and the interval is over, and soon after that."""
        earliest = min(waiting.may_go for waiting in due)
        if attempt.receiver != GROUP and queue.taken is not None:
            earliest = max(earliest, queue.taken + GROUP_INTERVAL)
        if attempt.at < earliest - PROMPT / 3:
            self._say(
                attempt.at, attempt.receiver, attempt.ticket, f"{attempt.kind} told too early: may go {near(earliest)}"
            )
        if queue.free is not None:
            earliest = max(earliest, queue.free)
        if self._down - GROUP_WAIT <= earliest < self._up:
            earliest = self._up
        if attempt.at > earliest + slack:
            self._say(
                attempt.at, attempt.receiver, attempt.ticket, f"{attempt.kind} told too late: may go {near(earliest)}"
            )

    def _move_here(self, queue: Queue, attempt: Attempt) -> None:
        """Find what others could not be told and this person is told instead."""
        person = attempt.receiver
        if person == GROUP:
            return
        for (other, ticket), theirs in self._queues.items():
            if other in (person, GROUP) or ticket != attempt.ticket:
                continue
            held = theirs.message.holds if theirs.message is not None else []
            for waiting in [*held, *theirs.waiting]:
                if self._passes(other, person, waiting, attempt.at, theirs):
                    told = waiting.told
                    self.moves[told.ticket, told.kind, near(told.at)].append((other, person))
                    queue.waiting.append(
                        Waiting(told, attempt.at - DISTURBED / 2, self._at_once(told, person, waiting), other)
                    )
                    if theirs.message is not None and waiting in held:
                        theirs.message.holds.remove(waiting)
            theirs.waiting = [waiting for waiting in theirs.waiting if self._handed_on(other, waiting) is None]
            if theirs.message is not None and not theirs.message.holds:
                theirs.message, theirs.free = None, attempt.at

    @staticmethod
    def _at_once(told: Notification, person: str, waiting: Waiting) -> datetime:
        return waiting.may_go if told.disaster else quiet_until(person, waiting.may_go)

    def _passes(self, source: str, person: str, waiting: Waiting, at: datetime, theirs: Queue) -> bool:
        """Whether a notification has gone from one person to this one: the rows say so, and the channels allow it."""
        told = waiting.told
        key = (told.ticket, told.kind, near(told.at))
        if person not in self._handed[key] or person in told.people or any(to == person for _, to in self.moves[key]):
            return False
        already = {*told.people, *(to for _, to in self.moves[key])}
        if next_person(source, already - {person}, at) != person:
            return False
        message = theirs.message
        exhausted = message is not None and waiting in message.holds and message.at >= len(message.channels)
        return exhausted or all(
            self._failed[channel] >= TRIES or (message is not None and number < message.at)
            for number, channel in enumerate(channels_of(source))
        )

    def _try(self, queue: Queue, attempt: Attempt) -> None:
        """One request: the right channel, and what its answer makes of the message."""
        message = queue.message
        assert message is not None
        while message.at < len(message.channels) and message.channels[message.at] != attempt.channel:
            before = message.channels[message.at]
            if self._failed[before] < TRIES:
                words = f"{attempt.kind} by {attempt.channel}, but {before} comes first and is not down"
                self._say(attempt.at, attempt.receiver, attempt.ticket, words)
            message.at, message.failures = message.at + 1, 0
        if message.at >= len(message.channels):
            message.at, message.failures, message.refusals = message.channels.index(attempt.channel), 0, 0  # all again
        if attempt.answer == "taken":
            self._done[attempt.key] = attempt.at
            queue.message, queue.taken, queue.free = None, attempt.at, attempt.at
            return
        message.failures += 1
        message.refusals += attempt.answer == "refused"
        if attempt.receiver == GROUP:
            if attempt.answer == "refused":
                queue.message, queue.free = None, attempt.at
            return
        if attempt.answer == "refused" or message.failures >= TRIES:
            message.at, message.failures = message.at + 1, 0
        if message.at >= len(message.channels):
            self._exhausted(queue, message, attempt)

    def _exhausted(self, queue: Queue, message: Message, attempt: Attempt) -> None:
        """After the last channel it goes to somebody else; if there is nobody it is tried again or given up."""
        for waiting in message.holds:
            told = waiting.told
            already = {*told.people, *(to for _, to in self.moves[told.ticket, told.kind, near(told.at)])}
            if next_person(attempt.receiver, already, attempt.at) is not None:
                return
        if message.refusals >= len(message.channels):
            queue.message, queue.free = None, attempt.at


def channels_of(person: str) -> tuple[str, ...]:
    """A person's channels, first to last."""
    return tuple(channel["by"] for channel in ROSTER[person]["channels"])
