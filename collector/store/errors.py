"""What can go wrong with the collector's database."""

from __future__ import annotations


class StoreError(Exception):
    """The database cannot be used as asked: wrong address, wrong version, unreachable."""


class StoreAway(StoreError):  # noqa: N818 - it is a fact, not a mistake
    """The database server does not answer, or does not yet: whoever wants it waits and asks again."""


class LostOwnership(StoreError):  # noqa: N818 - it is a fact, not a mistake
    """This collector no longer owns the site, or can no longer know: the object that raised it is dead.

    Where a commit raised it, the outcome of that commit is unknown unless ``reason`` says that another epoch rules;
    the next owner, be it this very process, loads what was committed.
    """

    def __init__(self, site: str, epoch: int, reason: str) -> None:
        self.site = site
        self.epoch = epoch
        self.reason = reason
        super().__init__(f"site {site}: epoch {epoch} has ended: {reason}")


class CommitFailed(StoreError):  # noqa: N818
    """Nothing of a commit was kept; the site is still owned. Memory must be loaded anew before the next commit."""

    def __init__(self, site: str, reason: str) -> None:
        self.site = site
        self.reason = reason
        super().__init__(f"site {site}: nothing committed: {reason}")


class LiveTicketExists(CommitFailed):
    """A problem may have one live ticket: ``ticket`` would have been the second beside ``existing``."""

    def __init__(self, site: str, vehicle: str, key: str, ticket: str, existing: str) -> None:
        self.vehicle = vehicle
        self.key = key
        self.ticket = ticket
        self.existing = existing
        super().__init__(site, f"ticket {ticket}: {existing} is live already for vehicle {vehicle!r}, key {key!r}")


class SeveralTickets(LookupError):  # noqa: N818 - it is a fact, not a mistake
    """Tickets are numbered per site, and this number stands in several ``sites``."""

    def __init__(self, ticket: str, sites: list[str]) -> None:
        self.ticket = ticket
        self.sites = sites
        super().__init__(f"ticket {ticket}: expected a site, found one in each of {', '.join(sites)}")
