"""What to publish next and what again (docs/architecture.md). Pure: no I/O, time is an argument.

There are two lanes: live carries the newest samples and events as they happen, backlog the rest, oldest first. After
each connect and each new epoch, everything that is held waits for the *fresh* receipt: the collector's end-to-end
acknowledgement that answers our last birth. From then on a record is published again, on the backlog lane, when one
published later on the same lane was acknowledged, when the collector asks for its schema or clock, or after five
minutes of being connected. Acknowledgements of the broker (PUBACK) play no part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from telemetry.intervals import Intervals
from telemetry.message import Lane

PER_MESSAGE: Final = 200
"""Most records in a backlog message."""
IN_FLIGHT: Final = 16
"""Most backlog messages published and not acknowledged end to end: the backlog's share of the link."""

Pairs = Iterable[tuple[int, int]]
NO_PAIRS: Final[Mapping[str, Pairs]] = {}


class Need(NamedTuple):
    """Records of one publication that need this schema (``None``: events) and this clock (``None``: have none)."""

    schema: str | None
    clock: int | None
    numbers: Intervals


class Publication(msgspec.Struct):
    """One message that was published."""

    lane: Lane
    run: str
    open: Intervals
    """Its records that no receipt has named yet."""
    at_ms: int
    """When it was published, monotonic."""
    needs: Sequence[Need] = ()


class Counts(msgspec.Struct):
    """What was sent again, in records, by reason."""

    overtaken: int = 0
    overdue: int = 0
    needed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.overtaken + self.overdue + self.needed


class _Run(msgspec.Struct):
    held: Intervals = msgspec.field(default_factory=Intervals)
    waiting: Intervals = msgspec.field(default_factory=Intervals)
    """Held, and to be sent on the backlog lane."""
    unsent: Intervals = msgspec.field(default_factory=Intervals)
    """Held, made in this process and never published: no collector can have them, whatever a receipt says."""
    delivered: Intervals = msgspec.field(default_factory=Intervals)
    """Held, and over this connection the broker has acknowledged them."""
    uncommitted: Intervals = msgspec.field(default_factory=Intervals)
    """Named as such by the last receipt: let go as soon as they are delivered."""

    def let_go(self, gone: Intervals) -> None:
        """Hold these no more."""
        for numbers in (self.held, self.waiting, self.unsent, self.delivered):
            for first, last in gone.pairs():
                numbers.remove_range(first, last)


class Resend:
    """The state of one agent's sending. Runs are taken in the order in which they were first named.

    >>> sending = Resend()
    >>> sending.hold("aa", Intervals([(0, 999)]))
    >>> sending.fresh
    False
    >>> released = sending.receipt({"aa": [(0, 899)]}, now_ms=0, fresh=True)
    >>> sending.next_backlog()
    ('aa', Intervals([(900, 999)]))
    """

    def __init__(
        self, *, resend_after_ms: int = 300_000, per_message: int = PER_MESSAGE, in_flight: int = IN_FLIGHT
    ) -> None:
        self.fresh = False
        """Whether the fresh receipt has come: the backlog may go."""
        self.resent = Counts()
        self.named_unsent = 0
        """Records that receipts have named before they were published: somebody else speaks as this agent."""
        self._resend_after_ms = resend_after_ms
        self._per_message = per_message
        self._in_flight = in_flight
        self._runs: dict[str, _Run] = {}
        self._published: dict[Lane, list[Publication]] = {"live": [], "backlog": []}
        self._paused_ms: int | None = None

    # --- what is held -------------------------------------------------------------------------------------------------

    def keep(self, run: str, numbers: Intervals) -> None:
        """Take new records, about to be published: the backlog lane leaves them alone until it must."""
        known = self._runs.setdefault(run, _Run())
        known.held.update(numbers)
        known.unsent.update(numbers)

    def hold(self, run: str, numbers: Intervals) -> None:
        """Take records that are held and to be sent on the backlog lane."""
        known = self._runs.setdefault(run, _Run())
        known.held.update(numbers)
        known.waiting.update(numbers)

    def forget(self, run: str, numbers: Pairs) -> None:
        """Take note that records are held no more: evicted, damaged or already released."""
        gone = Intervals(numbers)
        known = self._runs.get(run)
        if known is None:
            return
        known.let_go(gone)
        self._strike_out(run, gone)

    def leave(self, run: str, numbers: Intervals) -> None:
        """Take note that held records cannot be sent over this connection; the next one tries again."""
        for first, last in numbers.pairs():
            self._runs[run].waiting.remove_range(first, last)

    def held(self) -> Mapping[str, Intervals]:
        """Return what is held, by run."""
        return {run: known.held for run, known in self._runs.items() if known.held}

    def waiting(self) -> int:
        """Return how many records wait for the backlog lane."""
        return sum(len(known.waiting) for known in self._runs.values())

    def in_flight(self, lane: Lane) -> int:
        """Return how many messages of a lane are published and not acknowledged end to end."""
        return len(self._published[lane])

    # --- the connection -----------------------------------------------------------------------------------------------

    def start_over(self) -> None:
        """Connected anew, or the centre has a new epoch: nothing published is known to have arrived."""
        self.fresh = False
        self._paused_ms = None
        for known in self._runs.values():
            known.waiting = known.held.copy()
            known.delivered, known.uncommitted = Intervals(), Intervals()
        for publications in self._published.values():
            publications.clear()

    def pause(self, now_ms: int) -> None:
        """The centre is away: the five minutes stand still."""
        if self._paused_ms is None:
            self._paused_ms = now_ms

    def resume(self, now_ms: int) -> None:
        """The same centre is there again."""
        if self._paused_ms is None:
            return
        for publications in self._published.values():
            for publication in publications:
                publication.at_ms += now_ms - max(self._paused_ms, publication.at_ms)
        self._paused_ms = None

    # --- sending ------------------------------------------------------------------------------------------------------

    def published(self, lane: Lane, run: str, numbers: Intervals, now_ms: int, needs: Sequence[Need] = ()) -> None:
        """Take note that held records were published."""
        known = self._runs.setdefault(run, _Run())
        numbers = numbers.intersection(known.held)
        for first, last in numbers.pairs():
            known.waiting.remove_range(first, last)
            known.unsent.remove_range(first, last)
        self._published[lane].append(Publication(lane, run, numbers, now_ms, needs))

    def next_backlog(self, sendable: Callable[[str], bool] = lambda run: True) -> tuple[str, Intervals] | None:
        """Return the records of the next backlog message, ``None`` when there is none to send now.

        ``sendable`` says whether a run's records can be placed in time; the others wait.
        """
        if not self.fresh or len(self._published["backlog"]) >= self._in_flight:
            return None
        for run, known in self._runs.items():
            if known.waiting and sendable(run):
                return run, known.waiting.head(self._per_message)
        return None

    def delivered(self, run: str, numbers: Intervals) -> Intervals:
        """Take note that the broker has acknowledged records; return those that may be let go now."""
        known = self._runs.get(run)
        if known is None:
            return Intervals()
        known.delivered.update(numbers.intersection(known.held))
        gone = known.delivered.intersection(known.uncommitted)
        if gone:
            known.let_go(gone)
            self._strike_out(run, gone)
        return gone

    def receipt(
        self,
        runs: Mapping[str, Pairs],
        now_ms: int,
        *,
        fresh: bool = False,
        uncommitted: Mapping[str, Pairs] = NO_PAIRS,
    ) -> dict[str, Intervals]:
        """Take a receipt and return what the outbox may let go, by run. ``fresh``: it answers our last birth.

        What is ``uncommitted`` is let go when it is delivered over this connection, what was never published not at
        all: it may have been somebody else who named it. Raises ValueError for what is no interval, before anything is
        done.
        """
        released: dict[str, Intervals] = {}
        done = {run: Intervals(pairs) for run, pairs in runs.items()}
        apart = {run: Intervals(pairs) for run, pairs in uncommitted.items()}
        for run, numbers in done.items():
            known = self._runs.get(run)
            if known is None:
                continue
            named = known.held.intersection(numbers)
            known.uncommitted = apart.get(run, Intervals())
            gone = named.minus(known.unsent).minus(known.uncommitted.minus(known.delivered))
            self.named_unsent = max(self.named_unsent, len(named.intersection(known.unsent)))
            if gone:
                released[run] = gone
                known.let_go(gone)
        if fresh and not self.fresh:
            self.fresh = True
            self._restart_timers(now_ms)
        for publications in self._published.values():
            self._overtaken(publications, released)
        self._tidy()
        return released

    def tick(self, now_ms: int) -> None:
        """Time passes: what has not been acknowledged for too long is to be sent again."""
        if not self.fresh or self._paused_ms is not None:
            return
        for publications in self._published.values():
            for publication in publications:
                if now_ms - publication.at_ms >= self._resend_after_ms:
                    self.resent.overdue += self._again(publication, publication.open)
        self._tidy()

    def send_needing(self, run: str, schemas: Iterable[str], clocks: Iterable[int]) -> int:
        """Send again what the centre could not take for want of these; return how many records. Clock -1: of none."""
        missing_schemas = set(schemas)
        missing_clocks = {None if number < 0 else number for number in clocks}
        count = 0
        for publication in self._of_run(run):
            for need in publication.needs:
                if need.schema in missing_schemas or need.clock in missing_clocks:
                    count += self._again(publication, publication.open.intersection(need.numbers))
        self.resent.needed += count
        self._tidy()
        return count

    # --- inside -------------------------------------------------------------------------------------------------------

    def _strike_out(self, run: str, gone: Intervals) -> None:
        for publication in self._of_run(run):
            publication.open = publication.open.minus(gone)
        self._tidy()

    def _of_run(self, run: str) -> list[Publication]:
        return [
            publication
            for publications in self._published.values()
            for publication in publications
            if publication.run == run
        ]

    def _overtaken(self, publications: list[Publication], released: Mapping[str, Intervals]) -> None:
        """Strike out what is acknowledged; what was published before the last one acknowledged was lost."""
        newest = -1
        for at, publication in enumerate(publications):
            gone = released.get(publication.run)
            if gone is None:
                continue
            rest = publication.open.minus(gone)
            if len(rest) < len(publication.open):
                newest = at
                publication.open = rest
        for publication in publications[: max(newest, 0)]:
            self.resent.overtaken += self._again(publication, publication.open)

    def _again(self, publication: Publication, numbers: Intervals) -> int:
        known = self._runs[publication.run]
        known.waiting.update(numbers)
        publication.open = publication.open.minus(numbers)
        return len(numbers)

    def _restart_timers(self, now_ms: int) -> None:
        for publications in self._published.values():
            for publication in publications:
                publication.at_ms = now_ms

    def _tidy(self) -> None:
        for lane, publications in self._published.items():
            self._published[lane] = [publication for publication in publications if publication.open]
        for run in list(self._runs)[:-1]:  # the last one is the run that goes on
            if not self._runs[run].held:
                del self._runs[run]
