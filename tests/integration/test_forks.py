"""Vehicles that come back after an outage (docs/decisions/0065): at once, as in ``make forks``, and over databases."""

from __future__ import annotations

import msgspec
import pytest

from bench.forks import run
from collector.site.memory import Memory
from collector.store import log
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from tests.chaos.judged_again import differences
from tests.unit.judging import SHIPPED
from tests.unit.test_forks import SITE, Centre, live_a_life


class Stored(Centre):
    """A site whose commits go to a database; another owner has nothing but that."""

    def __init__(self, store: Store) -> None:
        self.store = store
        site = SiteConnection.acquire(store, SITE, "test")
        assert site is not None
        self.site = site
        self.site.load()
        super().__init__()

    def commit(self, changes: Changes) -> None:
        self.site.commit(changes)
        super().commit(changes)

    def restart(self) -> None:
        data = self.site.load(self.now)
        assert data.damaged == []
        self.memory = Memory.of(self.in_force, data)
        for batch in log.read(self.store, SITE, 0, 1_000_000):
            self.memory.remember(batch)
        self.memory.have_remembered()


def test_each_vehicle_ends_as_if_its_records_had_come_one_at_a_time() -> None:
    """A real broker, a real collector; ten vehicles, twenty minutes without contact, judged six times faster."""
    found = run(vehicles=10, minutes=20, speed=6.0)
    assert found["forks_given_up"] == 0
    assert found["compared"] == 10
    assert found["not_the_same"] == []


@pytest.mark.parametrize("seed", range(2))
def test_forks_are_judged_again_from_the_database_the_same_byte_for_byte(
    store: Store, database_url: str, seed: int
) -> None:
    """Owners come and go in the middle of holes; a log of one page after the other is judged from its beginning."""
    centre = Stored(store)
    with centre.site:
        live_a_life(seed, restarts=True, centre=centre)
    assert any(b'"fork"' in content for changes in centre.commits for content in changes.vehicles.values())
    assert differences(database_url, SITE, centre.in_force) == []
    assert differences(database_url, SITE, msgspec.structs.replace(centre.in_force, rules=SHIPPED)) != []
