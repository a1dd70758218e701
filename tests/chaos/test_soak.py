"""A short soak, as ``make soak`` runs it (field note T1). Longer ones: ``make soak ARGS="--for 1h"``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20


@pytest.mark.alone
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("database", "seed"), [("sqlite", 7), ("postgres", 8)])
def test_nothing_is_lost_and_nothing_doubled_whatever_breaks(database: str, seed: int) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--for", f"{SECONDS}s", "--json"]
    command += ["--seed", str(seed), "--database", database]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as soak:
        try:
            out, err = soak.communicate(timeout=270)
        except BaseException:
            soak.terminate()  # it then clears away what it started
            soak.wait(30)
            raise
    if soak.returncode == 2:
        pytest.skip(err)
    assert soak.returncode == 0, err + out
    found = json.loads(out)  # one object and nothing else
    losses = ("lost", "doubled", "unknown", "different", "twin_tickets", "judged_otherwise", "unrecovered")
    assert {name: found[name] for name in losses} == dict.fromkeys(losses, 0)
    assert sum(found["faults"].values()) >= SECONDS / 3
    assert found["obligations"] >= SECONDS * 1000 / 60
    assert found["tickets"] > 0, "the kits' faults were seen"
    assert found["fresh_record_s"] <= 10
    assert (found["database"], found["seed"]) == (database, seed)
