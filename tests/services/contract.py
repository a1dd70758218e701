"""Waiting until the contract of a site is in force: until then nobody is of any roster, and people are answered 503."""

from __future__ import annotations

from collector.store.store import Store
from collector.web.tickets import contract_of
from tests.services.fake_collector import until


async def in_force(store: Store, *sites: str) -> None:
    """Wait for a collector that has just started. Raises TimeoutError."""
    await until(lambda: all(contract_of(store, site) is not None for site in sites))
