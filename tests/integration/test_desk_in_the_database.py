"""Whatever people and problems do: what a commit writes is what a new owner loads, on SQLite and on PostgreSQL."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis.stateful import invariant, run_state_machine_as_test
from sqlalchemy import select

from collector.core.contract import DEFAULT
from collector.core.tickets.draft import DeskEffect, DeskState, ProblemKept, Recorded
from collector.store import schema
from collector.store.commit import SiteConnection
from collector.store.rows import Changes
from collector.store.store import Store
from collector.store.ticket_rows import ticket_row
from tests.unit.test_desk_machine import People


def test_a_new_owner_goes_on_as_the_old_one_would_have(database_url: str) -> None:
    """The machine of ``test_desk_machine``, each event a commit of its own; after each the desk is loaded anew."""
    store = Store.open(database_url)
    store.migrate()
    numbers = itertools.count(1)

    class InTheDatabase(People):
        """Each run is a site of its own."""

        def __init__(self) -> None:
            super().__init__()
            self.desk.site = f"site-{next(numbers)}"
            self.desk.state = DeskState(site=self.desk.site)
            connection = SiteConnection.acquire(store, self.desk.site, "test")
            assert connection is not None
            self.connection = connection
            self.desk.written = self.write

        def write(self, effects: list[DeskEffect]) -> None:
            self.connection.commit(
                Changes(
                    recorded=[effect for effect in effects if isinstance(effect, Recorded)],
                    problems=[effect.tracked for effect in effects if isinstance(effect, ProblemKept)],
                )
            )

        @invariant()
        def what_is_loaded_is_what_is_known(self) -> None:
            data = self.connection.load()
            loaded = DeskState.of(self.desk.site, data.ticket_events, data.problems, data.last_numbers, DEFAULT)
            assert loaded == self.desk.state
            with store.engine.connect() as connection:
                columns = [
                    one for one in schema.ticket.columns if one.name not in ("site", "revision")
                ]  # not the desk's
                found = connection.execute(select(*columns).where(schema.ticket.c.site == self.desk.site)).all()
            assert {row.id: tuple(row) for row in found} == {
                id: ticket_row(ticket) for id, ticket in self.desk.projection.items()
            }

        def teardown(self) -> None:
            self.connection.close()

    run_state_machine_as_test(InTheDatabase, settings=settings(max_examples=25, stateful_step_count=30, deadline=None))
    store.close()
