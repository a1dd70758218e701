"""``kitwatch drill``: play scenarios in virtual time through what judges, and compare what came (docs/drills.md)."""

from __future__ import annotations

import argparse
import json
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument("scenarios", nargs="*", metavar="NAME|FILE", help="shipped scenarios or files (default: all)")
    parser.add_argument("--depth", choices=["core", "full"], default="core", help="what the records go through")
    parser.add_argument("--seeds", type=int, metavar="N", help="so many instead of what each scenario says")
    parser.add_argument("--poll", help="only this poll interval: 10s or 60s")
    parser.add_argument("--vehicles", type=int, help="only with so many vehicles")
    parser.add_argument("--tablet", choices=["no", "yes", "shared"], help="only so")
    parser.add_argument("--first", action="store_true", help="each scenario once: its first combination, seed 1")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(args: argparse.Namespace) -> int:
    """Run it. Raises FileError for a scenario that is wrong."""
    from collector.garbage import collect_seldom
    from kitwatch.drill.matrix import Wanted, drill_all
    from kitwatch.drill.scenario import load_scenario, milliseconds, shipped
    from kitwatch.drill.words import lines_of

    names = args.scenarios or shipped()
    scenarios = {name: load_scenario(name) for name in names}
    wanted = Wanted(
        args.seeds,
        None if args.poll is None else milliseconds(args.poll) // 1000,
        args.vehicles,
        args.tablet,
        args.first,
        args.depth,
    )
    results = []
    collect_seldom()
    for result in drill_all(scenarios, wanted):
        results.append(result)
        if not args.json:
            for line in lines_of(result, in_full=len(names) == 1 and args.first):
                print(line)
            sys.stdout.flush()
    held = sum(result["holds"] for result in results)
    if args.json:
        print(json.dumps({"runs": results, "held": held, "of": len(results)}, ensure_ascii=False))
    else:
        print(f"{held} of {len(results)} runs held")
    return 0 if held == len(results) else 1
