"""``python -m tests.oracle --cases 100000``: the contract's clocks beside the oracle's; ``make clocks`` calls it.

Exit status: 0 no difference; 1 there were some, or a difficulty was met too seldom; 2 the call is wrong.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from random import randrange

from tests.long_run import LongRun, arguments
from tests.oracle.compare import differences
from tests.oracle.made import case, told
from tests.oracle.oracle import answer

DIFFICULTIES = (
    "year's end", "make-up day", "pause over midnight", "class raised", "class lowered", "response late",
    "missing year", "two zones",
)  # fmt: skip
SHARE = 20
"""Each difficulty is in one of so many cases at least."""


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; return the exit status."""
    parser = arguments("tests.oracle", (__doc__ or "").partition("\n")[0], default=3600.0)
    parser.add_argument("--cases", type=int, default=10_000, help="how many, if time allows")
    parser.add_argument("--show", type=int, default=5, help="how many that differ are told in full")
    args = parser.parse_args(argv)
    seed = randrange(2**32) if args.seed is None else args.seed
    long = LongRun("clocks", "tests.oracle", args, argv)
    met: Counter[str] = Counter(dict.fromkeys(DIFFICULTIES, 0))
    clocks: Counter[str] = Counter()
    done = different = 0
    while done < args.cases and not long.over:
        made = case(seed, done)
        answers = {zone: answer(made, zone) for zone in made.zones}
        met.update(frozenset[str]().union(*(one.met for one in answers.values())))
        clocks.update(f"{shown.name} {shown.state}" for one in answers.values() for shown in one.clocks)
        lines = differences(made, answers)
        if lines:
            different += 1
            if different <= args.show:
                print(told(made), *lines, sep="\n", file=sys.stderr)
        done += 1
    seldom = [name for name in DIFFICULTIES if met[name] * SHARE < done]
    held = not different and not seldom and done == args.cases
    counts = {"cases": done, "differences": different, "met": dict(met), "clocks": dict(sorted(clocks.items()))}
    return long.end({**counts, "met_too_seldom": seldom}, held=held, seeds=[seed])


if __name__ == "__main__":
    sys.exit(main())
