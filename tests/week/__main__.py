"""``python -m tests.week``: the week of one seed, told as a table; ``make week`` calls it.

``--seeds 20`` goes through so many weeks, and prints the table of the first alone.

Exit status: 0 everybody was told what they should be; 1 not everybody; 2 the call is wrong.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.long_run import LongRun
from tests.week import table
from tests.week.comparison import compare
from tests.week.desk import Week
from tests.week.plan import Plan
from tests.week.scenario import week


def go_through(seed: int) -> tuple[Week, list[str]]:
    """Run one week; return it and every difference from what people should have been told."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-week-", ignore_cleanup_errors=True) as folder:
        found = Week(Path(folder), week(seed))
        found.run()
    plan = Plan(found.scenario, found.centre)
    return found, compare(found.scenario, plan.notifications, found.attempts, found.rows, found.centre)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the weeks; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.week", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first week (default: 0)")
    parser.add_argument("--seeds", type=int, default=1, help="how many weeks (default: 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.add_argument("--record", action="store_true", help="write what came of it to bench/results/")
    args = parser.parse_args(argv)
    logging.disable(logging.ERROR)  # a channel fails for two days: that is what it is about
    long = LongRun("week", "tests.week", args, argv)
    counts: Counter[str] = Counter()
    seeds = range(args.seed, args.seed + args.seeds)
    for seed in seeds:
        found, differences = go_through(seed)
        counts["weeks"] += 1
        counts["tickets"] += len(found.numbers)
        counts["deliveries"] += len(found.rows)
        counts["attempts"] += len(found.attempts)
        counts["differences"] += len(differences)
        counts["most_about_a_ticket"] = max(counts["most_about_a_ticket"], table.most_told(found.attempts))
        if not args.json:
            _print(found, differences, whole=seed == args.seed)
    return long.end(counts, held=not counts["differences"], seeds=seeds, shown="")


def _print(found: Week, differences: list[str], *, whole: bool) -> None:
    if whole:
        print(*table.messages(found.attempts), "", *table.both_languages(found.attempts), sep="\n")
    print("", f"seed {found.scenario.seed}", *table.sums(found.scenario, found.attempts, found.rows), sep="\n")
    print(*(differences or ["no difference: everybody was told what they should be"]), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
