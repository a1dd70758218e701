"""The rosters in force, as signing in asks for them: read again after a few seconds, so that who leaves one is out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from sqlalchemy import select

from collector.core.contract import Contract
from collector.core.roster import Person
from collector.site.in_force import CONTRACT
from collector.store import schema
from collector.store.editions import latest_of
from collector.store.store import Store

AGE_S: Final = 5.0
_contract: Final = msgspec.json.Decoder(Contract)
Roster = Mapping[str, Person]


def rosters_in_force(store: Store) -> dict[str, Roster]:
    """Return the roster of the contract in force at each site that has one. Blocks."""
    with store.engine.connect() as connection:
        sites = list(connection.execute(select(schema.site.c.site)).scalars())
    found = {}
    for site in sites:
        content = latest_of(store, site, CONTRACT)
        if content is not None:
            found[site] = _contract.decode(content).roster
    return found


class Rosters:
    """The rosters in force, at most ``AGE_S`` old. For any thread."""

    def __init__(self, store: Store, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._read_s: float | None = None
        self._found: Mapping[str, Roster] = {}

    def forget(self) -> None:
        """Read them anew when they are asked for next."""
        with self._lock:
            self._read_s = None

    def now(self) -> Mapping[str, Roster]:
        """Return them by site. Blocks."""
        with self._lock:
            now_s = self._clock_s()
            if self._read_s is None or now_s - self._read_s >= AGE_S:
                self._found, self._read_s = rosters_in_force(self._store), now_s
            return self._found
