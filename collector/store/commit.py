"""The connection that owns a site and commits for it: one object (docs/architecture.md, A site is the shard).

Everything here blocks; the site's owner calls it from one worker thread. An object that has raised ``LostOwnership``
is dead and says so ever after.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterable
from typing import Any

import msgspec

from collector.core.tickets.events import TicketEvent
from collector.store import journal
from collector.store.errors import CommitFailed, LostOwnership
from collector.store.journal import Behind
from collector.store.rows import Changes, RunKey, RunRow, SchemaKey, SiteData, SiteReport
from collector.store.store import Store
from collector.store.ticket_rows import read_event, read_tracked
from telemetry.intervals import Intervals
from telemetry.records import Clock, Schema


class SiteConnection(abc.ABC):
    """A site in one epoch. Made by ``acquire``, which alone decides between the two databases."""

    def __init__(self, site: str, owner: str, epoch: int, last_batch: int, revision: int) -> None:
        self.site = site
        self.owner = owner
        self.epoch = epoch
        self.last_batch = last_batch
        self.revision = revision
        """The number of the site's last commit."""
        self._lost: str | None = None
        self._behind = Behind()
        """What the journal says."""
        self._runs: set[RunKey] = set()
        """Those that have a row: a new one gets it at once, for others may ask for it."""

    @staticmethod
    def acquire(store: Store, site: str, owner: str) -> SiteConnection | None:
        """Return the site's ownership in a new epoch, or ``None`` while another has it.

        Ask again every second or so. Raises StoreError where the database cannot be reached, or is not migrated.
        """
        if store.path is not None:
            from collector.store.on_sqlite import SqliteSite

            return SqliteSite.take(store, site, owner)
        from collector.store.on_postgres import PostgresSite

        return PostgresSite.take(store, site, owner)

    def load(self) -> SiteData:
        """Return what is committed. Raises LostOwnership."""
        self._alive()
        data = self._load()
        self._behind = Behind()
        self._runs = set(data.seen)
        for content in data.journal:
            vehicles, runs = journal.decode(content)
            data.vehicles.update(vehicles)
            data.seen.update(runs)
            self._behind.add(vehicles, runs, len(content))
        data.journal.clear()
        self.last_batch = data.last_batch
        return data

    def commit(self, changes: Changes) -> None:
        """Write everything in one transaction, which first checks the epoch.

        Raises LostOwnership: the epoch has ended, or the connection broke and the outcome is unknown. Raises
        CommitFailed (LiveTicketExists): nothing was kept, memory must be loaded anew. Raises ValueError for a batch
        whose number does not follow the last.
        """
        self._alive()
        number = changes.batch.number if changes.batch else None
        if number is not None and number != self.last_batch + 1:
            raise ValueError(f"expected batch {self.last_batch + 1}, found {number}")
        vehicles, runs = changes.vehicles, {(one.vehicle, one.agent, one.run): one for one in changes.runs}
        behind = self._behind
        if behind.is_full or not self._runs.issuperset(runs):
            changes = dataclasses.replace(
                changes,
                vehicles={**behind.vehicles, **vehicles},
                runs=list({**behind.runs, **runs}.values()),
                checkpoint=behind.entries > 0,
            )
            self._commit(changes, number)
            self._behind = Behind()
            self._runs.update(runs)
        elif vehicles or runs:
            content = self._journal(vehicles, runs)
            self._commit(dataclasses.replace(changes, vehicles={}, runs=[], journal=content), number)
            behind.add(vehicles, runs, len(content))
        else:
            self._commit(changes, number)
        self.revision += 1
        if number is not None:
            self.last_batch = number

    def checkpoint(self) -> None:
        """Put what the journal says into its rows, for whoever reads those. Raises what ``commit`` does."""
        behind = self._behind
        if behind.entries:
            everything = Changes(vehicles=behind.vehicles, runs=list(behind.runs.values()), checkpoint=True)
            self._commit(everything, None)
            self._behind = Behind()
            self.revision += 1

    def _journal(self, vehicles: dict[str, bytes], runs: dict[RunKey, RunRow]) -> bytes:
        try:
            return journal.encode(vehicles, runs)
        except (ValueError, OverflowError) as error:
            raise CommitFailed(self.site, str(error)) from error

    def check(self, report: SiteReport | None = None) -> bool:
        """Prove that the site is still ours, tell the others that we live, and how; say whether actions wait.

        Once a second, and before every reconnect of the site's MQTT session; ``None`` leaves the report as it is.
        Raises LostOwnership.
        """
        self._alive()
        return self._check(report)

    @abc.abstractmethod
    def close(self) -> None:
        """Give the site up; again is no error."""

    @abc.abstractmethod
    def _load(self) -> SiteData: ...

    @abc.abstractmethod
    def _commit(self, changes: Changes, number: int | None) -> None: ...

    @abc.abstractmethod
    def _check(self, report: SiteReport | None) -> bool: ...

    def _alive(self) -> None:
        if self._lost is not None:
            raise LostOwnership(self.site, self.epoch, self._lost)

    def _lose(self, reason: str) -> LostOwnership:
        """Return the exception to raise; from now on nothing else happens here, and others may have the site."""
        self._lost = reason
        self.close()
        return LostOwnership(self.site, self.epoch, reason)

    def __enter__(self) -> SiteConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


SELECTS = (
    "SELECT last_batch, state FROM site WHERE site = {}",
    "SELECT vehicle, state FROM vehicle WHERE site = {}",
    "SELECT vehicle, agent, run, boot, seen, lost, gone_clock, first_ms, last_ms, heard_ms FROM run WHERE site = {}",
    "SELECT vehicle, agent, id, content FROM schema WHERE site = {}",
    "SELECT vehicle, agent, run, number, mono_ms, wall_ms, source, uncertainty_ms FROM clock WHERE site = {}"
    " ORDER BY vehicle, agent, run, number",
    "SELECT vehicle, agent, run, names FROM run_schema WHERE site = {}",
    "WITH RECURSIVE kept(id) AS ("
    "SELECT id FROM ticket WHERE site = {0} AND live"
    " UNION SELECT merged.id FROM ticket merged JOIN kept ON merged.merged_into = kept.id"
    " WHERE merged.site = {0} AND merged.merged_into <> '')"
    " SELECT ticket, number, what, at_ms, recorded_ms, who, body FROM ticket_event JOIN kept ON kept.id = ticket"
    " WHERE site = {0} ORDER BY ticket, number",
    "SELECT ticket, content FROM problem WHERE site = {0} AND (state NOT IN ('over', 'orphaned') OR EXISTS ("
    "SELECT 1 FROM ticket_problem held WHERE held.site = {0} AND held.vehicle = problem.vehicle"
    " AND held.key = problem.key AND held.holds)) ORDER BY vehicle, key",
    "SELECT year, max(number) FROM ticket WHERE site = {0} AND year IS NOT NULL GROUP BY year",
    "SELECT max(at_ms) FROM snapshot WHERE site = {}",
    "SELECT vehicle, sum(length(payload)) FROM quarantine WHERE site = {} GROUP BY vehicle",
    "SELECT content FROM journal WHERE site = {} ORDER BY revision",
)
"""What an owner loads, in the order in which ``assemble`` takes the answers; ``{}`` is the site's parameter."""

ACTIONS_WAIT = "EXISTS (SELECT 1 FROM action WHERE action.site = site.site AND action.taken_ms IS NULL)"

HOLDERS = "SELECT ticket, vehicle, key FROM ticket_problem WHERE site = {} AND holds"

_pairs = msgspec.json.Decoder(list[tuple[int, int]])
_schema = msgspec.json.Decoder(Schema)
_names = msgspec.json.Decoder(dict[int, str])


def assemble(
    site: Iterable[Any],
    vehicles: Any,
    runs: Any,
    schemas: Any,
    clocks: Any,
    run_schemas: Any,
    events: Any,
    problems: Any,
    numbers: Any,
    snapshots: Any,
    quarantined: Any,
    entries: Any,
) -> SiteData:
    """Return the rows of ``SELECTS`` as an owner's memory."""
    ((last_batch, state),) = site
    ((snapshot_ms,),) = snapshots
    seen: dict[RunKey, RunRow] = {}
    for vehicle, agent, run, boot, had, lost, no_clock, first_ms, last_ms, heard_ms in runs:
        seen[(vehicle, agent, run)] = RunRow(
            vehicle=vehicle,
            agent=agent,
            run=run,
            boot=boot,
            seen=Intervals(_pairs.decode(had)),
            lost=Intervals(_pairs.decode(lost)),
            no_clock=bool(no_clock),
            first_ms=first_ms,
            last_ms=last_ms,
            heard_ms=heard_ms,
        )
    known: dict[SchemaKey, Schema] = {(v, a, id): _schema.decode(content) for v, a, id, content in schemas}
    noted: dict[RunKey, dict[int, Clock]] = {}
    for vehicle, agent, run, number, mono_ms, wall_ms, source, uncertainty_ms in clocks:
        clock = Clock(number, mono_ms, wall_ms, source, uncertainty_ms)
        noted.setdefault((vehicle, agent, run), {})[number] = clock
    told: dict[str, list[TicketEvent]] = {}
    for ticket, *event in events:
        told.setdefault(ticket, []).append(read_event(*event))
    return SiteData(
        vehicles={vehicle: bytes(content) for vehicle, content in vehicles},
        site_state=None if state is None else bytes(state),
        seen=seen,
        schemas=known,
        clocks=noted,
        schema_names={(v, a, run): _names.decode(names) for v, a, run, names in run_schemas},
        last_batch=last_batch,
        ticket_events=told,
        problems=[read_tracked(ticket, content) for ticket, content in problems],
        last_numbers=dict(numbers),
        snapshot_ms=snapshot_ms,
        quarantine_bytes={vehicle: int(size) for vehicle, size in quarantined},
        journal=[bytes(content) for (content,) in entries],
    )
