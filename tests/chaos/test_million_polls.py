"""Half the kit dead, and polled for ever: memory and file descriptors stay flat (``tests/chaos/polls.py``).

Here a short run of both halves; with ``KITWATCH_MILLION_POLLS=1`` the million in virtual time and 3,000 in real time,
as ``python -m tests.chaos.polls`` runs them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.inputs.base import Poll
from agent.sampling.sampler import Poller
from telemetry.readings import Reading
from tests.chaos.polls import Counted, Growth, Hangs, run_marked
from tests.unit import virtual_time

FULL = os.environ.get("KITWATCH_MILLION_POLLS") == "1"
VIRTUAL, REAL = (1_000_000, 3_000) if FULL else (40_000, 240)


def polls(*words: str) -> dict[str, Any]:
    """Run the polls in a process of their own, in which nothing else grows."""
    command = [sys.executable, "-m", "tests.chaos.polls", "--json", *words]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=1700)
    assert result.returncode == 0, result.stderr[-2000:]
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


@pytest.mark.timeout(1800)
def test_virtual_polls_leave_nothing_behind() -> None:
    told = polls("--virtual", str(VIRTUAL), "--real", "0")["virtual"]
    assert told["polls"] >= VIRTUAL
    assert told["found"] == pytest.approx(told["polls"] * 7.5 / 16, rel=0.02)  # one of eight flaps
    assert told["deadline"] == pytest.approx(told["polls"] / 4, rel=0.02)
    assert told["fault"] == pytest.approx(told["polls"] / 16, rel=0.02)
    assert told["descriptors_more"] <= 0


@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_real_polls_leave_nothing_behind() -> None:
    told = polls("--virtual", "0", "--real", str(REAL))["real"]
    assert told["polls"] >= REAL
    assert told["found"] == pytest.approx(told["polls"] / 2, rel=0.1)
    assert told["fault"] == 0
    assert told["descriptors_more"] <= 0


class Hoards:
    """Keeps something of each poll: what the judge must see."""

    def __init__(self) -> None:
        self.kept: list[object] = []

    async def poll(self, now: float) -> Poll:
        self.kept.append(f"{now}")
        return Poll([Reading("device.reachable", True)])

    async def close(self) -> None:
        pass


class Opens(Hoards):
    """Leaves a file open after each poll."""

    async def poll(self, now: float) -> Poll:
        self.kept.append(Path("/dev/null").open())  # noqa: ASYNC230, SIM115 - left open on purpose
        return Poll([Reading("device.reachable", True)])


@pytest.mark.parametrize(("source", "problem"), [(Hoards, "blocks of memory more"), (Opens, "descriptors more")])
def test_what_grows_is_seen(source: type[Hoards], problem: str) -> None:
    hoarder = source()
    growth = Growth("test")
    pollers = [Poller("a", "x", Counted(hoarder), 1.0, 0.8), Poller("b", "x", Counted(Hangs()), 1.0, 0.8)]
    virtual_time.run(run_marked(pollers, 900 if source is Opens else 4000, growth, virtual_time.monotonic))
    for kept in hoarder.kept:
        if not isinstance(kept, str):
            kept.close()  # type: ignore[attr-defined]
    assert any(problem in told for told in growth.problems())
