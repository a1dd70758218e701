"""What drills cost: vehicle-days of the standard kit that are lived and judged in a second of CPU, at both depths.

A day of 64,800 records that a healthy vehicle drives through the town. Stage by stage: what the life alone costs (read,
encoded), and what is judged, looked at and committed on top; at full depth an hour, put on a day.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from bench.row import Row, row
from collector.garbage import collect_seldom
from kitwatch.drill.full import FullPlay
from kitwatch.drill.play import Play
from kitwatch.drill.scenario import Combination, Drill, Scenario, drill_of

RUNS = 3
RECORDS_A_DAY = 64_800


def rows() -> list[Row]:
    """Return vehicle-days a second of CPU."""
    core, lived, full = [], [], []
    collect_seldom()  # as the command does
    for seed in range(1, RUNS + 1):
        day = _drill("24h", seed)
        begun = time.process_time()
        records = sum(heard.records for heard in day.lives.heard())
        lived.append(1 / (time.process_time() - begun))
        assert records >= RECORDS_A_DAY, records
        begun = time.process_time()
        came = Play(day).run()
        core.append(1 / (time.process_time() - begun))
        assert came.records >= RECORDS_A_DAY, came.records
        assert not came.tickets
        with tempfile.TemporaryDirectory() as folder:
            play = FullPlay(_drill("1h", seed), Path(folder))
            begun = time.process_time()
            assert play.run().quarantined == 0
            full.append(1 / 24 / (time.process_time() - begun))
            play.close()
    return [
        row("drill, core: vehicle-days a CPU-second", core, "the life alone", lived, target="ours >= 1"),
        row("drill, full: vehicle-days a CPU-second", full, "core", core, target="ours >= 0.1"),
    ]


def _drill(lasts: str, seed: int) -> Drill:
    scenario = Scenario(about="a quiet day", because="the bench", lasts=lasts)
    return drill_of("bench", scenario, Combination(poll_s=10, vehicles=1, seed=seed))
