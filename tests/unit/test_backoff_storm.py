"""5,000 agents lose their broker at once: a simulation of their back-off, no I/O (field notes 54, 55; T10)."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from agent.config import Waits
from agent.uplink.reconnect import Reconnect

AGENTS = 5_000
WINDOW_S = 180.0


@dataclass
class Storm:
    """``tried`` and ``back``: how many agents tried, and how many got in, in each second after the broker went."""

    tried: Counter[int] = field(default_factory=Counter)
    back: Counter[int] = field(default_factory=Counter)
    last_s: float = 0.0


def storm(*, away_s: float, takes: int = AGENTS, spread: float | None = None) -> Storm:
    """Let the broker be away for so long and then take so many connects a second; the others it refuses."""
    waits = Waits()
    chance = random.Random(54)
    fleet = [
        Reconnect(
            base=waits.backoff_base,
            cap=waits.backoff_cap,
            spread=waits.spread if spread is None else spread,
            stable=waits.stable,
            chance=chance,
        )
        for _ in range(AGENTS)
    ]
    due = [(reconnect.after(3600.0), number) for number, reconnect in enumerate(fleet)]
    heapq.heapify(due)
    result = Storm()
    while due:
        now_s, number = heapq.heappop(due)
        result.tried[int(now_s)] += 1
        if now_s >= away_s and result.back[int(now_s)] < takes:
            result.back[int(now_s)] += 1
            result.last_s = now_s
        else:
            heapq.heappush(due, (now_s + fleet[number].after(None), number))
    assert result.back.total() == AGENTS
    return result


@pytest.mark.parametrize(("spread", "most"), [(5.0, 1_150), (30.0, 220)])
def test_after_a_restart_the_spread_bounds_the_rate(spread: float, most: int) -> None:
    """The mean is 5,000 / spread a second: 1,000 as we ship it, 167 with the spread that suits a region (+ 4 sigma)."""
    found = storm(away_s=0.0, spread=spread)
    assert max(found.tried.values()) < most
    assert spread - 1 < found.last_s <= spread


@pytest.mark.parametrize("away_s", [10.0, 60.0, 600.0])
def test_after_an_outage_they_come_as_spread_out_as_their_cap(away_s: float) -> None:
    """Waits uniform up to 30 s renew 1 / 15 of the fleet a second: 333. After a short outage waits are shorter."""
    found = storm(away_s=away_s)
    after = {second: count for second, count in found.back.items() if second >= away_s}
    assert max(after.values()) < (1_150 if away_s < 30 else 400)
    assert found.last_s - away_s <= 30.0
    before = [count for second, count in found.tried.items() if 60 <= second < away_s - 1]
    assert not before or max(before) < 450, "while it is away they do not hammer"


@pytest.mark.parametrize("takes", [50, 100, 300])
def test_a_broker_that_takes_few_a_second_gets_everybody_back_in_the_window(takes: int) -> None:
    """At least 5,000 / ``takes`` seconds are needed; those whom it refuses do not come back all at once."""
    found = storm(away_s=60.0, takes=takes)
    assert found.last_s - 60 < WINDOW_S
    assert found.last_s - 60 < AGENTS / takes + 60
    assert max(count for second, count in found.tried.items() if second >= 60) < 450
