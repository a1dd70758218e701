"""``python -m tests.drills --for 1h``: the runs of ``kitwatch drill``, seed by seed, the quick ones first.

Exit status: 0 all that was run held; 1 something did not, and is told; 2 the call is wrong.
"""

from __future__ import annotations

from collections import Counter

from tests.drills.run import live_all, wanted_of
from tests.long_run import LongRun, arguments


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = arguments("tests.drills", "drills in many wirings and seeds", 3600.0)
    parser.add_argument("scenarios", nargs="*", metavar="NAME", help="shipped scenarios (default: all)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--poll", help="only this poll interval: 10s or 60s")
    parser.add_argument("--vehicles", type=int, help="only with so many vehicles")
    parser.add_argument("--tablet", choices=["no", "yes", "shared"], help="only so")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args(argv)
    runs = wanted_of(args)
    long = LongRun("drills", "tests.drills", args, argv)
    long.end_on_sigterm()
    held, of, failed = Counter[str](), Counter[str](), list[str]()
    seeds, names = set[int](), set[str]()
    for run, holds, lines in live_all(runs, args.workers, lambda: long.over):
        of[run.combination.words] += 1
        held[run.combination.words] += holds
        seeds.add(run.combination.seed)
        names.add(run.name)
        if not holds:
            failed.append(f"{run.name}: {run.combination.words}, seed {run.combination.seed}")
            if not args.json:
                print("\n".join(lines), flush=True)
    counts = {
        "runs": of.total(), "held": held.total(), "of_all": len(runs), "scenarios": len(names), "not_held": failed,
        "by_wiring": {wiring: f"{held[wiring]} of {of[wiring]}" for wiring in sorted(of)},
    }  # fmt: skip
    return long.end(counts, held=not failed, seeds=sorted(seeds))


if __name__ == "__main__":
    raise SystemExit(main())
