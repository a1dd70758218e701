"""``python -m tests.desk --runs 2000``: the desk under people, time, crashes, two collectors; ``make desk`` calls it.

Over SQLite, then a fifth as many runs over PostgreSQL, in series of 50 with a seed each; then every mistake of
``faults`` is made, and must be noticed. Exit status: 0 every promise was kept and every mistake noticed; 1 not so, and
the steps that led there are told; 2 the call is wrong.
"""

from __future__ import annotations

import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from collector.core.tickets import fold
from collector.core.tickets.events import TicketEvent
from collector.core.tickets.transitions import TABLE
from tests.desk.by_hand import KNOWN
from tests.desk.centre import Told
from tests.desk.faults import FAULTS, unnoticed_cases
from tests.desk.run import Kind, databases, run
from tests.long_run import LongRun, arguments

SERIES: Final = 50
"""Runs with one seed."""
FAULT_RUNS: Final = 400
"""In so many a mistake must be noticed; a hundredth of that is the rule."""
NAMES: Final = tuple(name for name in Told.__dataclass_fields__ if name not in ("events", "histories"))


@dataclass
class Long:
    """What was done and found so far."""

    seeds: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    unneeded: set[str] = field(default_factory=set)
    """Cases of the fold that happened and whose lack nobody has noticed yet."""
    noticed_cases: set[str] = field(default_factory=set)
    unnoticed: list[str] = field(default_factory=list)
    """Mistakes that were made and not noticed."""
    found: str = ""
    """What ended it."""

    def series(self, kind: Kind, runs: int, steps: int, first_seed: int, until_s: float) -> None:
        """Run the machine in series over one kind of database, none begun after ``until_s`` (monotonic)."""
        with databases(kind) as source:
            for number in range(0, runs, SERIES):
                if time.monotonic() > until_s:
                    return
                seed = first_seed + number // SERIES
                self.seeds.append(seed)
                told = run(source, runs=min(SERIES, runs - number), steps=steps, seed=seed, shrink=True)
                self.counts.update({f"{kind}_{name}": getattr(told, name) for name in NAMES})
                self.events.update(told.events)
                self._cases(told.histories)
                print(f"{kind} {min(number + SERIES, runs)} of {runs} runs", file=sys.stderr)

    def _cases(self, histories: Sequence[tuple[TicketEvent, ...]]) -> None:
        happened, unnoticed = unnoticed_cases(histories)
        self.noticed_cases |= happened - unnoticed
        self.unneeded = (self.unneeded | unnoticed) - self.noticed_cases

    def faults(self, kinds: Sequence[Kind], steps: int, seed: int) -> None:
        """Make every mistake."""
        for name, fault in FAULTS.items():
            for kind in fault.kinds:
                if kind not in kinds:
                    continue
                with databases(kind, fault.database) as source, fault.code():
                    try:
                        run(source, runs=FAULT_RUNS, steps=steps, seed=seed)
                    except Exception:
                        self.counts["faults_noticed"] += 1
                    else:
                        self.unnoticed.append(f"{name} ({kind})")

    def told(self) -> dict[str, Any]:
        """Return it for the record."""
        return {
            **dict(sorted(self.counts.items())),
            "faults_unnoticed": self.unnoticed,
            "fold_cases_noticed": f"{len(self.noticed_cases)} of {len(fold._MORE)}",
            "fold_cases_unnoticed": sorted(fold._MORE.keys() - self.noticed_cases),
            "events_never_seen": sorted(TABLE.keys() - self.events.keys()),
            "events_checked_by_the_table_alone": sorted(TABLE.keys() - KNOWN),
            "events": dict(sorted(self.events.items())),
        }


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = arguments("tests.desk", (__doc__ or "").partition("\n")[0], default=24 * 3600.0)
    parser.add_argument("--runs", type=int, default=200, help="over SQLite; a fifth as many over PostgreSQL")
    parser.add_argument("--steps", type=int, default=50, help="of each run")
    parser.add_argument("--only", choices=("sqlite", "postgresql"), help="over one of the two, so many runs")
    args = parser.parse_args(argv)
    seed = random.randrange(2**32) if args.seed is None else args.seed
    whole = LongRun("desk", "tests.desk", args, argv)
    long = Long()
    kinds: tuple[Kind, ...] = ("sqlite", "postgresql") if args.only is None else (args.only,)
    try:
        for kind in kinds:
            runs = args.runs if kind == "sqlite" or args.only else max(1, args.runs // 5)
            long.series(kind, runs, args.steps, seed, whole.until)
        long.faults(kinds, args.steps, seed)
    except Exception:
        long.found = traceback.format_exc()
    held = not long.found and not long.unnoticed and not long.unneeded
    print(long.found, end="", file=sys.stderr)
    return whole.end(long.told(), held=held, seeds=long.seeds)


if __name__ == "__main__":
    sys.exit(main())
