"""``python -m tests.lives --vehicle-days 1000``: vehicles without a fault, in every trouble; ``make quiet`` calls it.

Exit status: 0 nothing came that may not come; 1 something did, or a trouble was too rare in a whole run, and is told;
2 the call is wrong. Whoever stops it (its time is over, SIGTERM) has what was lived until then, and how to go on.
"""

from __future__ import annotations

import json
import sys

from tests.lives.draw import wirings
from tests.lives.run import Lived, Which, live_all, told
from tests.long_run import LongRun, arguments

SEEDS = 20
_AS_LONG_AS_IT_TAKES_S = 7 * 86_400.0


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = arguments("tests.lives", "quiet lives of ambulances", _AS_LONG_AS_IT_TAKES_S)
    parser.add_argument("--vehicle-days", type=float, default=100.0, help="of all lives together, at least")
    parser.add_argument("--seeds", type=int, help=f"lives of each wiring (default: {SEEDS}; with --seed this one)")
    parser.add_argument("--wiring", choices=wirings(), action="append", help="only this one; several times: only these")
    parser.add_argument("--skip", type=int, default=0, help="so many lives, which have been lived already")
    parser.add_argument("--workers", type=int, help="processes (default: one a processor)")
    args = parser.parse_args(argv)
    run = LongRun("quiet", "tests.lives", args, argv)
    run.end_on_sigterm()
    first = 1 if args.seed is None else args.seed
    seeds = range(first, first + (args.seeds or (SEEDS if args.seed is None else 1)))
    wired = args.wiring or wirings()
    each = args.vehicle_days / (len(seeds) * len(wired))
    lives = [Which(wiring, seed, each) for seed in seeds for wiring in wired]
    whole = Lived()
    for one in live_all(lives[args.skip :], args.workers, lambda: run.over):
        whole.add(one)
        for line in one.wrong:
            print(line, file=sys.stderr, flush=True)
    lived = args.skip + whole.lives
    too_few = whole.too_few()
    counts = {**told(whole), "too_few": too_few, "skipped": args.skip, "left": len(lives) - lived}
    is_whole = whole.lives == len(lives) and len(wired) == len(wirings()) and len(lives) > len(wired)
    if lived < len(lives):
        print(f"stopped: go on with --skip {lived}", file=sys.stderr)
    shown = json.dumps(counts, ensure_ascii=False, indent=1)
    return run.end(
        counts, held=bool(whole.lives) and not whole.wrong and not (is_whole and too_few), seeds=seeds, shown=shown
    )


if __name__ == "__main__":
    raise SystemExit(main())
