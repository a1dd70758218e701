"""What one vehicle may cost, and what it has cost so far (docs/decisions/0040). Pure.

A flood must end where it would begin to stay: in memory, in the database, in what people read. ``Account`` says before
a message is taken whether its vehicle may have what it brings that is new; what is known already is always taken.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Final

import msgspec

from collector.core.vehicle.draft import MOST_PROBLEMS
from telemetry.records import Clock, Event, Schema

Bound = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
DAY_MS: Final = 86_400_000
OVER_QUOTA_FAULT: Final = "quarantine_growing"
"""Of the one ticket that tells of quotas."""


class Quotas(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one vehicle may cost: whoever holds its certificate says what he likes.

    What is beyond is refused, counted and told by one ticket. What is refused is not receipted: an agent keeps it and
    sends it again.
    """

    records: Bound = 100_000
    """At once, a day of the standard kit: a bucket that `records_per_s` fills again. A message counts for the records
    that it names, or for one per 100 bytes or 100 µs of CPU where that is more."""
    records_per_s: Annotated[float, msgspec.Meta(gt=0)] = 500.0
    """For ever; an agent's backlog leaves it at a fifth of that."""
    cpu_s: Annotated[float, msgspec.Meta(gt=0)] = 0.5
    """CPU time at once, in seconds, beside 0.5 ms for each record and garbage collection, which is nobody's; a
    twentieth of a processor fills it again."""
    waiting_records: Bound = 5_000
    """Come in and not yet taken."""
    waiting_bytes: Bound = 4 * 2**20
    """Of messages that have come in and are not yet taken."""
    agents: Bound = 16
    """Beside those of the fleet file."""
    runs: Bound = 1_000
    """That are new within a day (UTC): an agent begins one whenever it starts."""
    run_intervals: Bound = 10_000
    """Pieces of what was seen of one run and what it lost."""
    intervals: Bound = 50_000
    """Pieces of all runs together; a run is remembered for 400 days."""
    clocks: Bound = 20_000
    """Of all runs together."""
    schemas: Bound = 1_000
    """Of all agents together, for ever; the standard kit has 20."""
    series: Bound = 5_000
    """Columns of all schemas together, which is at most how many series it makes; the standard kit has 120."""
    devices: Bound = 200
    """Of which anything was heard."""
    unknown_metrics: Bound = 50
    """That are counted by name; the others are counted together."""
    quarantine_bytes: Bound = 16 * 2**20
    """What is kept of what could not be taken."""
    problems: Bound = MOST_PROBLEMS
    """Of one fault at a time, and so open tickets of it."""
    closed_notes: Bound = 1_000
    """Faults that were over before we heard of them, within a day (UTC)."""
    inventory: Bound = 1_000
    """Changes of what devices say that they are, within a day (UTC); the last word is always known."""
    notifications: Bound = 200
    """Within a day (UTC), those about quotas aside: more are shown and sent to nobody."""
    actions: Bound = 100
    """Of people, that wait for the site's owner."""


def words_of(quota: str, quotas: Quotas) -> str:
    """Return a quota in the words of the ticket that tells of it."""
    bound = getattr(quotas, quota)
    if quota == "records":
        bound = f"{bound} at once, {quotas.records_per_s:g} a second"
    return f"over quota: {quota} ({bound})"


class Exceeded(Exception):  # noqa: N818 - it is an answer, not a mistake
    """A vehicle may not have what a message brings: ``quota`` says why."""

    def __init__(self, quota: str) -> None:
        super().__init__(quota)
        self.quota = quota


class Usage(msgspec.Struct):
    """What one vehicle has cost so far. Sets are shared between copies: whoever adds to one makes a new one."""

    agents: frozenset[str] = frozenset()
    devices: frozenset[str] = frozenset()
    unknown_metrics: frozenset[str] = frozenset()
    schemas: int = 0
    series: int = 0
    clocks: int = 0
    intervals: int = 0
    quarantine_bytes: int = 0
    day: int = 0
    """The day (UTC, since 1970) that the following are about."""
    runs: int = 0
    closed_notes: int = 0
    inventory: int = 0
    notifications: int = 0

    def copy(self) -> Usage:
        """Return one of its own."""
        return Usage(
            self.agents, self.devices, self.unknown_metrics, self.schemas, self.series, self.clocks, self.intervals,
            self.quarantine_bytes, self.day, self.runs, self.closed_notes, self.inventory, self.notifications,
        )  # fmt: skip

    def of_day(self, day: int) -> None:
        """Let it be that day."""
        if day > self.day:
            self.day, self.runs, self.closed_notes, self.inventory, self.notifications = day, 0, 0, 0, 0


class Account(msgspec.Struct):
    """One vehicle within a unit of work. What raises Exceeded has changed nothing."""

    quotas: Quotas
    usage: Usage
    planned: Collection[str]
    """Agents of the fleet file."""
    pieces: int = 0
    """Intervals that this unit of work has made at most; ``usage`` has what is committed."""

    def agent(self, name: str) -> None:
        """Let an agent speak. Raises Exceeded."""
        usage = self.usage
        if name in usage.agents or name in self.planned:
            return
        if len(usage.agents) >= self.quotas.agents:
            raise Exceeded("agents")
        usage.agents |= {name}

    def spend(self, what: str, number: int = 1) -> None:
        """Have so many more of ``what``, which names a quota and a count alike. Raises Exceeded."""
        found = getattr(self.usage, what) + number
        if number > 0 and found > getattr(self.quotas, what):
            raise Exceeded(what)
        setattr(self.usage, what, found)

    def records(
        self, events: Iterable[Event], new: int, of_run: int, is_known: Callable[[str], bool], *, begins: bool
    ) -> None:
        """Let records be taken, the ``events`` among them. Raises Exceeded.

        ``new`` pieces of the run's numbers come to the ``of_run`` that it has; ``is_known`` says whether there is a run
        of that name; ``begins``: there is none yet of the records' own.
        """
        devices: set[str] = set()
        runs: set[str] = set()
        lost = 0
        for record in events:
            devices.add(record.device)
            if record.kind == "lost":
                pairs, run = record.body.get("intervals"), record.body.get("run")
                lost += len(pairs) if isinstance(pairs, list) else 0
                if isinstance(run, str) and not is_known(run):
                    runs.add(run)
        devices -= self.usage.devices
        devices.discard("")
        if devices and len(self.usage.devices) + len(devices) > self.quotas.devices:
            raise Exceeded("devices")
        pieces = self.pieces
        self.intervals(max(of_run + new, lost), new + lost)
        if runs or begins:
            try:
                self.spend("runs", len(runs) + begins)
            except Exceeded:
                self.pieces = pieces
                raise
        if devices:
            self.usage.devices |= devices

    def intervals(self, of_run: int, new: int) -> None:
        """Let ``new`` pieces of sequence numbers be remembered; then a run has ``of_run``. Raises Exceeded."""
        if of_run > self.quotas.run_intervals:
            raise Exceeded("run_intervals")
        if self.usage.intervals + self.pieces + new > self.quotas.intervals:
            raise Exceeded("intervals")
        self.pieces += new

    def schema(self, schema: Schema) -> None:
        """Let a schema be kept. Raises Exceeded."""
        usage, quotas = self.usage, self.quotas
        if schema.device not in usage.devices and len(usage.devices) >= quotas.devices:
            raise Exceeded("devices")
        if usage.schemas >= quotas.schemas:
            raise Exceeded("schemas")
        self.spend("series", len(schema.columns))
        usage.schemas += 1
        usage.devices |= {schema.device}

    def clocks(self, clocks: Iterable[Clock], known: Collection[int]) -> None:
        """Let clocks of a run be kept. Raises Exceeded."""
        self.spend("clocks", len({clock.number for clock in clocks} - set(known)))

    def metric(self, name: str) -> str:
        """Return the name by which values of an unknown metric are counted."""
        usage = self.usage
        if name not in usage.unknown_metrics:
            if len(usage.unknown_metrics) >= self.quotas.unknown_metrics:
                return ""
            usage.unknown_metrics |= {name}
        return name
