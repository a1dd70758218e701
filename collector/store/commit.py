"""The connection that owns a site and commits for it: one object (docs/architecture.md, A site is the shard).

Everything here blocks; the site's owner calls it from one worker thread. An object that has raised ``LostOwnership``
is dead and says so ever after.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping

import msgspec

from collector.store import journal
from collector.store.errors import CommitFailed, LostOwnership
from collector.store.journal import Behind
from collector.store.loading import mended, read_journal
from collector.store.rows import Changes, RunKey, RunRow, SiteData, SiteReport
from collector.store.store import Store


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

    def load(self, now_ms: int = 0) -> SiteData:
        """Return what is committed. Raises LostOwnership.

        A row that cannot be read costs only itself: it goes to quarantine as it is, at ``now_ms``, and something that
        can be read stands in its place, or nothing (``loading``).
        """
        self._alive()
        data = self._load()
        self._behind = Behind()
        for vehicles, runs, size in read_journal(data):
            self._behind.add(vehicles, runs, size)
        self._runs = set(data.seen)
        self.last_batch = data.last_batch
        if data.damaged:
            self._commit(mended(data, self._behind, now_ms), None)
            self._behind = Behind()
            self.revision += 1
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
        vehicles, runs = {**changes.vehicles}, {(one.vehicle, one.agent, one.run): one for one in changes.runs}
        behind = self._behind
        if behind.is_full or not self._runs.issuperset(runs):
            changes = msgspec.structs.replace(
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
            self._commit(msgspec.structs.replace(changes, vehicles={}, runs=[], journal=content), number)
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

    def _journal(self, vehicles: Mapping[str, bytes], runs: dict[RunKey, RunRow]) -> bytes:
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


ACTIONS_WAIT = "EXISTS (SELECT 1 FROM action WHERE action.site = site.site AND action.taken_ms IS NULL)"

HOLDERS = "SELECT ticket, vehicle, key FROM ticket_problem WHERE site = {} AND holds"
