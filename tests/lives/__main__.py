"""``python -m tests.lives --vehicle-days 1000``: vehicles without a fault, in every trouble; ``make quiet`` calls it.

Exit status: 0 nothing came that may not come; 1 something did, or a trouble never occurred, and is told; 2 the call is
wrong.
"""

from __future__ import annotations

import datetime
import json
import sys
import time

from tests.lives.draw import troubles, wirings
from tests.lives.run import Lived, Which, live_all, told
from tests.long_run import Record, arguments

SEEDS = 20


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = arguments("tests.lives", "quiet lives of ambulances")
    parser.add_argument("--vehicle-days", type=float, default=100.0, help="of all lives together, at least")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="lives of each wiring")
    parser.add_argument("--workers", type=int, help="processes (default: one a processor)")
    parser.set_defaults(seconds=None)  # --for: as long as it takes, or what has been lived by then
    args = parser.parse_args(argv)
    first = 1 if args.seed is None else args.seed
    seeds = range(first, first + args.seeds)
    began = datetime.datetime.now(datetime.UTC)
    clock = time.monotonic()
    each = args.vehicle_days / (len(seeds) * len(wirings()))
    whole = Lived()
    for one in live_all([Which(wiring, seed, each) for seed in seeds for wiring in wirings()], args.workers):
        whole.add(one)
        if not args.json:
            for line in one.wrong:
                print(line, flush=True)
        if args.seconds is not None and time.monotonic() - clock >= args.seconds:
            break
    never = sorted(name for name in troubles() if not whole.troubles[name])
    result = {**told(whole), "never": never, "seeds": list(seeds), "seconds": round(time.monotonic() - clock, 1)}
    print(json.dumps(result, ensure_ascii=False, indent=None if args.json else 1))
    if args.record:
        counts = {key: value for key, value in result.items() if key not in ("seeds", "seconds", "wrong", "never")}
        Record(
            "quiet", "tests.lives", sys.argv[1:], list(seeds), began, result["seconds"],
            {**counts, "wrong": len(whole.wrong), "never": len(never)}, not whole.wrong and not never,
        ).write()  # fmt: skip
    return 1 if whole.wrong or never else 0


if __name__ == "__main__":
    raise SystemExit(main())
