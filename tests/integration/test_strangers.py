"""The short form of ``make strangers``: the same 20,000 messages each time. The long one: 2 million."""

from __future__ import annotations

import json

import pytest

from tests.strangers import __main__ as strangers
from tests.strangers.centre import Centre, told_of
from tests.strangers.messages import Stranger
from tests.strangers.visit import START_MS


@pytest.mark.timeout(600)
def test_a_stranger_costs_nobody_anything(capsys: pytest.CaptureFixture[str]) -> None:
    held = strangers.main(["--messages", "20000", "--seed", "1", "--json", "--most-cpu-ms", "5000"]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert held, said.err
    assert told["messages"] == 20_000
    assert told["problems"] > 5, "the neighbours had some to tell"
    counts = told["counts"]
    assert (
        min(counts[name] for name in ("records", "duplicates", "quarantined_invalid", "quarantined_undecodable")) > 100
    )


def test_the_same_seed_says_the_same() -> None:
    one, same, other = (Stranger(seed, "north", "amb-9", START_MS) for seed in (1, 1, 2))
    said = [one.message(START_MS) for _ in range(200)]
    assert said == [same.message(START_MS) for _ in range(200)]
    assert said != [other.message(START_MS) for _ in range(200)]


def test_a_neighbour_that_is_judged_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail."""
    told = iter(range(10**9))
    monkeypatch.setattr(
        "tests.strangers.visit.told_of", lambda changes, vehicles: [*told_of(changes, vehicles), next(told)]
    )
    assert strangers.main(["--messages", "500", "--seed", "1", "--json"]) == 1


def test_a_record_that_nobody_waits_for_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Centre, "_waited_for", lambda *given: False)
    assert strangers.main(["--messages", "5000", "--seed", "1", "--json"]) == 1
