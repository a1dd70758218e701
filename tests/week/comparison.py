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
from tests.week.scenario import CONTRACT, GROUP, SITE, ZONE, Scenario, Step

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
    latest: Notification | None = None  # of all with which this person was tried


def may_go(told: Notification, person: str) -> datetime:
    """When a notification may go by itself."""
    return told.at if told.disaster else quiet_until(person, told.at + GROUP_WAIT)


def compare(
    scenario: Scenario,
    notifications: Sequence[Notification],
    attempts: Sequence[Attempt],
    rows: Sequence[Row],
    centre: Sequence[Step] = (),
) -> list[str]:
    """Every difference, as sentences; none if everybody was told what they should be."""
    differences = different_events(notifications, rows)
    walk = Walk(scenario, rows)
    walk.go(notifications, sorted(attempts, key=lambda attempt: attempt.at))
    differences += walk.differences
    differences += different_receivers(scenario, notifications, rows, walk.moves)
    return differences + different_problems(scenario, attempts, centre)


def different_problems(scenario: Scenario, attempts: Sequence[Attempt], centre: Sequence[Step]) -> list[str]:
    """A channel that takes nothing for five minutes is a problem, until it takes something."""
    mine = [one for one in attempts if one.channel == scenario.outage.channel]
    first = next((one.at for one in mine if one.answer != "taken"), None)
    if first is None or first + timedelta(minutes=6) > scenario.until:
        return []
    again = next((one.at for one in mine if one.at > first and one.answer == "taken"), scenario.until)
    told = [one for one in centre if f"'{scenario.outage.channel}'" in one.ticket]
    begun = [one.at for one in told if one.do == "begins"]
    ended = [one.at for one in told if one.do == "ends"]
    if again - first > timedelta(minutes=6) and not (begun and begun[0] < first + timedelta(minutes=7)):
        return [f"{scenario.outage.channel} took nothing from {near(first)} on, and that is no problem"]
    if ended and ended[0] < again:
        return [f"{scenario.outage.channel} took nothing before {near(again)}, but is no problem from {near(ended[0])}"]
    return []


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


def different_receivers(
    scenario: Scenario, notifications: Sequence[Notification], rows: Sequence[Row], moves: "Moves"
) -> list[str]:
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
            if "waiting" in all_of and told.at < scenario.until - timedelta(hours=13)
        ]
    return out


def key_of(told: Notification) -> tuple[str, str, str]:
    """What names a notification here and in the rows."""
    return told.ticket, told.kind, near(told.at)


Moves = dict[tuple[str, str, str], list[tuple[str, str]]]  # ticket, kind, moment: from whom to whom


class Walk:
    """Goes through the week with what waits for whom."""

    def __init__(self, scenario: Scenario, rows: Sequence[Row]) -> None:
        self.differences: list[str] = []
        self.moves: Moves = defaultdict(list)
        self._down, self._up = scenario.stopped
        self._until = scenario.until
        self._queues: dict[tuple[str, str], Queue] = defaultdict(Queue)
        self._failed: Counter[str] = Counter()  # in a row, by channel
        self._trouble: dict[str, datetime] = {}  # when a channel last took nothing
        self._done: dict[str, datetime] = {}  # keys that were taken, and when
        self._twice: Counter[str] = Counter()
        self._begun_anew = False
        self._handed: dict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._order: dict[int, int] = {}  # of notifications
        for row in rows:
            self._handed[row.ticket, row.kind, near(row.at)].add(row.receiver)

    def go(self, notifications: Iterable[Notification], attempts: Iterable[Attempt]) -> None:
        """Take notifications and attempts as they come."""
        notifications = list(notifications)
        self._order = {id(told): number for number, told in enumerate(notifications)}
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
        for (person, ticket), queue in list(self._queues.items()):
            for left in list(queue.waiting):
                self._left(person, ticket, left)
            held = queue.message.holds if queue.message is not None else []
            if queue.message is not None and held and held[0].may_go < self._until - DISTURBED:
                self._say(self._until, person, ticket, f"was never told: {queue.message.key}")

    def _left(self, person: str, ticket: str, left: Waiting) -> None:
        """What nobody was told at the end of the week."""
        if person != GROUP:
            self._hand_on(person, self._queues[person, ticket], left, left.may_go, prompt=True)
        if left in self._queues[person, ticket].waiting and left.may_go < self._until - DISTURBED:
            self._say(left.may_go, person, ticket, f"was never told that it is {left.told.kind} ({near(left.told.at)})")

    def _say(self, at: datetime, person: str, ticket: str, words: str) -> None:
        self.differences.append(f"{near(at)} {person} {ticket}: {words}")

    def _attempt(self, attempt: Attempt) -> None:
        if attempt.at >= self._up and not self._begun_anew:
            self._begun_anew = True
            self._failed.clear()  # a process that begins does not know yet which channels are down
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
        due = self._due(queue, attempt)
        slack = DISTURBED if self._disturbed(person, at) else PROMPT
        must = [waiting for waiting in due if waiting.since <= at - PROMPT]
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
        if holds:
            self._words(queue, attempt, holds[-1].told)
            moved = any(waiting.moved_from for waiting in holds)
            if attempt.zh and ("转自" in attempt.zh) != moved:
                words = "not said" if moved else "said"
                self._say(at, person, ticket, f"{attempt.kind}: that it was handed on is {words}")
            self._in_time(queue, attempt, due, slack)
        expected = f"{SITE}/{ticket}/"
        if not attempt.key.startswith(expected) or attempt.key.split("/")[4:] != ([] if person == GROUP else [person]):
            self._say(at, person, ticket, f"the key is {attempt.key}")
        queue.waiting = [waiting for waiting in queue.waiting if waiting not in holds]
        queue.message = Message(attempt.key, holds, (GROUP,) if person == GROUP else channels_of(person))

    def _words(self, queue: Queue, attempt: Attempt, latest: Notification) -> None:
        """A message has the words of the latest that it holds, or of a later one that this person was told before."""
        late = queue.latest is not None and self._order[id(queue.latest)] > self._order[id(latest)]
        if late and queue.latest is not None:
            latest = queue.latest
        queue.latest = latest
        person, ticket, at = attempt.receiver, attempt.ticket, attempt.at
        if latest.kind != attempt.kind:
            self._say(at, person, ticket, f"words of {attempt.kind}, but the latest is {latest.kind}")
        if attempt.zh and ("补发" in attempt.zh) != late:
            self._say(at, person, ticket, f"{attempt.kind}: that it is late is {'not said' if late else 'said'}")
        if attempt.zh and ("无人值班" in attempt.zh) != latest.unattended and latest.people:
            words = "not said" if latest.unattended else "said"
            self._say(at, person, ticket, f"{attempt.kind}: that nobody is on duty is {words}")

    def _due(self, queue: Queue, attempt: Attempt) -> list[Waiting]:
        """What waits for this person and ticket, in the order in which it happened."""

        def waits() -> list[Waiting]:
            found = [waiting for waiting in queue.waiting if waiting.since <= attempt.at + PROMPT]
            return sorted(found, key=lambda waiting: self._order[id(waiting.told)])

        first = attempt.key.split("/")[3:4]

        def begins_right() -> bool:
            return [one.told.kind for one in waits()[:1]] == first

        if attempt.receiver != GROUP and (len(waits()) < attempt.count or not begins_right()):
            self._moved_here(queue, attempt)
            if not begins_right():
                self._moved_away(queue, attempt.receiver, attempt.at)
        return waits()

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
        if attempt.receiver == GROUP and GROUP in self._trouble:
            earliest = max(
                earliest, self._trouble[GROUP]
            )  # nobody else to go to: one at a time is tried while it is down
        if self._down - GROUP_WAIT <= earliest < self._up:
            earliest = self._up
        if attempt.at > earliest + slack:
            self._say(
                attempt.at, attempt.receiver, attempt.ticket, f"{attempt.kind} told too late: may go {near(earliest)}"
            )

    def _moved_here(self, queue: Queue, attempt: Attempt) -> None:
        """Find what others could not be told, their channels being down, where this message holds more."""
        for (other, ticket), theirs in self._queues.items():
            if ticket == attempt.ticket and other not in (attempt.receiver, GROUP):
                for waiting in list(theirs.waiting):
                    if waiting.may_go <= attempt.at and self._next(other, waiting, attempt.at) == attempt.receiver:
                        self._hand_on(other, theirs, waiting, attempt.at, prompt=False)

    def _moved_away(self, queue: Queue, person: str, at: datetime) -> None:
        """Let go of what this person could not be told, their channels being down, before a message that lacks it."""
        for waiting in list(queue.waiting):
            if waiting.since < at - PROMPT:
                self._hand_on(person, queue, waiting, at, prompt=False)

    def _next(self, person: str, waiting: Waiting, at: datetime) -> str | None:
        """Who has it next, by the page; None too where the rows do not say that this person got it."""
        key = key_of(waiting.told)
        already = {*waiting.told.people, *(to for _, to in self.moves[key])}
        to = next_person(person, already, at)
        return to if to in self._handed[key] else None

    def _hand_on(self, person: str, queue: Queue, waiting: Waiting, at: datetime, *, prompt: bool) -> None:
        """Give it to the next person: at once, or (not ``prompt``) at some time while channels were down."""
        to = self._next(person, waiting, at)
        if to is None or not (prompt or self._unreachable(person)):
            return
        told = waiting.told
        self.moves[key_of(told)].append((person, to))
        when = at if prompt else waiting.may_go
        going = when if told.disaster else quiet_until(to, when)
        self._queues[to, told.ticket].waiting.append(Waiting(told, when, going, person))
        queue.waiting = [other for other in queue.waiting if other is not waiting]

    def _unreachable(self, person: str) -> bool:
        return all(self._failed[channel] >= TRIES for channel in channels_of(person))

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
        if attempt.answer == "refused" or max(message.failures, self._failed[attempt.channel] + 1) >= TRIES:
            message.at, message.failures = message.at + 1, 0
        if message.at >= len(message.channels):
            self._exhausted(queue, message, attempt)

    def _exhausted(self, queue: Queue, message: Message, attempt: Attempt) -> None:
        """After the last channel it goes to somebody else; if there is nobody it is tried again or given up."""
        left = []
        for waiting in message.holds:
            already = {*waiting.told.people, *(to for _, to in self.moves[key_of(waiting.told)])}
            other = next_person(attempt.receiver, already, attempt.at)
            if other is not None and self._next(attempt.receiver, waiting, attempt.at) is None:
                self._say(attempt.at, attempt.receiver, attempt.ticket, f"{attempt.kind} should have gone to {other}")
            before = len(self.moves[key_of(waiting.told)])
            self._hand_on(attempt.receiver, queue, waiting, attempt.at, prompt=True)
            if len(self.moves[key_of(waiting.told)]) == before:
                left.append(waiting)
        if not left or message.refusals >= len(message.channels):
            queue.message, queue.free = None, attempt.at
        message.holds = left  # each goes its own way; what has nobody left is tried again with the message that held it


def channels_of(person: str) -> tuple[str, ...]:
    """A person's channels, first to last."""
    return tuple(channel["by"] for channel in ROSTER[person]["channels"])
