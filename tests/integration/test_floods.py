"""Every flood of one vehicle beside a neighbour: the short form of ``make floods``, which pours for 15 s each.

The table of them all is printed at the end.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.site.intake import AskMessage, Incoming, RecordsMessage, Refused, SchemaMessage, StateMessage, read
from tests.floods.__main__ import MOST_WAIT_S, attacks_table, beyond, broken, row, table
from tests.floods.attacked import Suffered, suffer
from tests.floods.attacks import ATTACKS
from tests.floods.floods import FLOODS
from tests.floods.stage import Told, stage

SECONDS = 2.0
ATTACK_S = 0.5
BY_THE_DATABASE = ("births", "clocks", "inventory", "runs", "schemas", "unreadable")
"""Floods that end in its tables: over PostgreSQL too."""
UNREADABLE = ("garbage", "garbage, QoS 0", "topics", "topics, retained", "large", "unreadable", "inflated")
WHAT: dict[str, set[type]] = {
    "runs": {RecordsMessage},
    "births": {StateMessage},
    "agents": {StateMessage},
    "schemas": {StateMessage, SchemaMessage},
    "clocks": {StateMessage, SchemaMessage},
    "gone": {StateMessage, SchemaMessage},
    "births and wills": {StateMessage},
    "asks, QoS 0": {AskMessage},
    "too many": {StateMessage, SchemaMessage, Refused},
    **{flood: {Refused} for flood in UNREADABLE},
}
"""Kinds of messages that a flood begins with, where these are not an honest agent's."""


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> Iterator[list[Told]]:
    """What came of each flood; printed when all are over."""
    found: list[Told] = []
    yield found
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\n{table(found)}")


@pytest.mark.alone
@pytest.mark.timeout(240)
@pytest.mark.parametrize("flood", ["none", *FLOODS])
def test_a_flood_costs_its_neighbour_no_two_seconds(tmp_path: Path, flood: str, told: list[Told]) -> None:
    url = f"sqlite:///{tmp_path}/kitwatch.sqlite"
    told.append(asyncio.run(stage(tmp_path, "" if flood == "none" else flood, SECONDS, url)))
    assert beyond(told[-1]) == [], row(told[-1])


@pytest.mark.alone
@pytest.mark.timeout(240)
@pytest.mark.parametrize("flood", BY_THE_DATABASE)
def test_the_same_over_postgresql(tmp_path: Path, flood: str, postgres_url: str, told: list[Told]) -> None:
    told.append(asyncio.run(stage(tmp_path, flood, SECONDS, postgres_url)))
    assert beyond(told[-1]) == [], row(told[-1])


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_an_attack_costs_its_neighbour_no_two_seconds(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Over the broker as it is shipped, one after the other over one collector; the table is printed."""
    suffered = asyncio.run(suffer(tmp_path, list(ATTACKS), ATTACK_S, f"sqlite:///{tmp_path}/kitwatch.sqlite"))
    capture = request.config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        print(f"\n{attacks_table(suffered)}")
    assert [words for one in suffered for words in broken(one)] == []


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_is_what_it_is_called(flood: str) -> None:
    """Else its bounds would be kept by messages that are thrown away at the door."""
    kinds: set[type] = set()
    for topic, payload in itertools.islice(FLOODS[flood].says(), 4):
        try:
            kinds.add(type(read(Incoming(topic, payload, 0))))
        except Refused:
            kinds.add(Refused)
    assert kinds == WHAT.get(flood, {StateMessage, SchemaMessage, RecordsMessage})


def test_a_bound_that_is_broken_is_told() -> None:
    one = Told("runs", "sqlite", refused={"runs": 3}, tickets=1, over_quota=["runs"])
    assert beyond(one) == []
    one.worst_wait_s = MOST_WAIT_S + 1
    one.tickets = 0
    assert beyond(one) == [
        "runs (sqlite): a neighbour waited 3.0 s",
        "runs (sqlite): refused {'runs': 3}, tickets about it: 0",
    ]


def test_a_promise_that_an_attack_breaks_is_told() -> None:
    one = Suffered("38 bytes", "sqlite", 18, 9, 0.2, 5, {"quarantine_full": 9}, health="ok")
    assert broken(one) == []
    one.counted, one.epochs, one.reconnects, one.health = {"duplicates": 9}, 1, 2, "ill"
    assert [words.partition(": ")[2].split()[0] for words in broken(one)] == ["counted", "1", "the", "/healthz"]
