"""What no commit takes costs itself only, whoever wanted it: an act of a person, a message to be taken again."""

from __future__ import annotations

import asyncio

import pytest

import collector.site.ownership
from collector.site.caution import BLAMED_AFTER
from collector.site.unit_of_work import UnitOfWork
from collector.store import queries
from collector.store.rows import Changes
from collector.store.store import Store
from tests.integration.test_site import (  # noqa: F401 - broker: a fixture
    SCHEMA,
    SITE,
    Agent,
    broker,
    now_ms,
    owner,
    taken,
    until,
)
from tests.services.process import Server

AN_ACT = "an act"


@pytest.mark.parametrize("what", [AN_ACT, "a message taken again"])
def test_what_a_person_wants_and_no_commit_takes_costs_itself_only(
    store: Store,
    broker: Server,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """The records around it are taken; an act is refused with the reason, a message stays in quarantine."""
    changes = UnitOfWork.changes

    def commit(work: UnitOfWork) -> Changes | None:
        found = changes(work)
        if found is not None and (found.released or any(not act.error for act in found.actions_taken)):
            raise OverflowError("int too large to convert")
        return found

    monkeypatch.setattr(UnitOfWork, "changes", commit)
    monkeypatch.setattr(collector.site.ownership, "RETRY_CHECKS", 1)

    def want() -> int:
        with store.transaction() as connection:
            if what != AN_ACT:
                return queries.retry_letters(connection, "quarantine", None)
            return queries.add_action(
                connection, site=SITE, vehicle="amb-3", kind="state", body='{"state":"workshop"}', who="x", created_ms=1
            )

    async def scene() -> None:
        async with owner(store, broker.port) as site, Agent(broker.port) as agent:
            await agent.birth()
            await agent.schema(now_ms(), SCHEMA)
            await agent.live(0, [-80.0, "no such state"])
            await until(lambda: agent.done() == [(0, 0)])
            id, number = want(), 0
            async with asyncio.timeout(120):
                while max(site._caution.blamed.values(), default=0) < BLAMED_AFTER:  # meanwhile something comes in
                    number += 1
                    await agent.live(number, [-80.0, "ready"])
                    await asyncio.sleep(0.05)
            await until(lambda: len(taken(store)) == number, 120, lambda: (site.status, number))
            if what == AN_ACT:
                await until(lambda: (one := queries.action(store.engine, id)) is not None and one.taken_ms is not None)
                refused = queries.action(store.engine, id)
                assert refused is not None
                assert "the commit of this act alone failed again and again: int too large" in refused.error
            else:
                assert [row.pairs for row in queries.list_quarantine(store.engine)] == [[(0, 0)]]
            assert site._ownership is not None
            epoch, looked = site.status.epoch, site._ownership._checks
            await agent.live(number + 1, [-79.0, "ready"])
            await until(lambda: site._ownership is not None and site._ownership._checks >= looked + 3)
            await until(lambda: len(taken(store)) == number + 1)
            assert site.status.epoch == epoch, "no ownership ends for it any more"

    asyncio.run(scene())
