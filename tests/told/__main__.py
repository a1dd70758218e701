"""``python -m tests.told --faults 200``: faults in ordinary lives, and how each is told; ``make told`` calls it.

Exit status: 0 each was told right and nothing beside it; 1 one was not, and is named; 2 the call is wrong. SIGTERM and
``--for`` end it with what was lived until then.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.long_run import LongRun, arguments
from tests.told.draw import cases
from tests.told.run import LEFT_OPEN, Told, keep, lines_of, live_all, printed, table


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = arguments("tests.told", "faults in ordinary lives", default=86_400.0)
    parser.add_argument("--faults", type=int, default=100, help="so many at least")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write each wrong life there, for kitwatch drill")
    parser.add_argument("--only", metavar="TEXT", help="lives whose faults' names have this in them")
    args = parser.parse_args(argv)
    seed = 1 if args.seed is None else args.seed
    run = LongRun("told", "tests.told", args, argv)
    run.end_on_sigterm()
    drawn = cases(args.faults, seed)
    if args.only:
        drawn = [
            case for case in drawn if any(args.only in f"{case.name} {one.fault} ({one.form})" for one in case.puts)
        ]
    lived: list[Told] = []
    for told in live_all(drawn, args.workers):
        lived.append(told)
        if not args.json:
            for line in lines_of(told):
                print(line, flush=True)
        if args.keep is not None and told.wrong:
            keep(told, args.keep)
        if run.over:
            break
    rows = table(lived)
    results = Counter(one.result for told in lived for one in told.verdicts)
    beside = sum(len(told.false) for told in lived)
    counts = {
        "faults": sum(results.values()),
        "lives": len(lived),
        "vehicle_days": round(sum(told.vehicle_days for told in lived), 1),
        **dict(results),
        LEFT_OPEN: sum(row.get(LEFT_OPEN, 0) for row in rows.values()),
        "beside": beside,
        "forms": rows,
        "wrong": [line for told in lived for line in lines_of(told)],
    }
    held = results["right"] == sum(results.values()) and not beside
    return run.end(counts, held=held, seeds=[seed], shown=printed(rows, beside))


if __name__ == "__main__":
    raise SystemExit(main())
