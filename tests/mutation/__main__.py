"""``python -m tests.mutation``: each shipped rule, edge, verb and window deleted or halved in turn; ``make mutation``.

A scenario that holds as shipped is asked whether it still does; those that name the fault come first, the cheap ones
before the dear ones. One that does not hold as shipped proves nothing and is left out. Prints a table; exit status 0:
each mutant was noticed by a scenario, 1: not so.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence

from kitwatch.drill.scenario import load_scenario, shipped
from tests.mutation.mutants import mutants
from tests.mutation.notice import ask, in_order


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="mutate the shipped rules")
    parser.add_argument("words", nargs="*", help="only mutants whose names hold one of these")
    parser.add_argument("--others", type=int, default=20, help="scenarios asked beside those that name the fault")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="so many at once")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    args = parser.parse_args(argv)
    scenarios = {name: load_scenario(name) for name in shipped()}
    wanted = [one for one in mutants() if not args.words or any(word in one.name for word in args.words)]
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        whom = [(one, list(in_order(one, scenarios, args.others))) for one in wanted]
        rows = []
        for row in pool.imap(ask, whom):
            rows.append(row)
            if not args.json:
                print(f"{row.name:<70} {row.by or f'NOT NOTICED by {row.asked}'}", flush=True)
    noticed = sum(bool(row.by) for row in rows)
    if args.json:
        print(json.dumps({"mutants": [row._asdict() for row in rows], "noticed": noticed, "of": len(rows)}))
    else:
        print(f"{noticed} of {len(rows)} noticed")
    return 0 if noticed == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
