"""``python -m tests.strangers --messages 2000000``: a stranger speaks; ``make strangers`` calls it.

Exit status: 0 every promise was kept; 1 one was not, and the visit ended there; 2 the call is wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.long_run import Record, arguments
from tests.strangers.visit import Visit


def main(argv: Sequence[str] | None = None) -> int:
    """Let him in; return the exit status."""
    parser = arguments("tests.strangers", (__doc__ or "").partition("\n")[0], default=24 * 3600.0)
    parser.add_argument("--messages", type=int, default=20_000, help="how many he says, if he is not stopped before")
    parser.add_argument("--most-cpu-ms", type=float, default=100.0, help="CPU time that one message may take")
    args = parser.parse_args(argv)
    seed = random.randrange(2**32) if args.seed is None else args.seed
    began, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    held, found = True, ""
    with tempfile.TemporaryDirectory(prefix="kitwatch-strangers-", ignore_cleanup_errors=True) as folder:
        visit = Visit(seed, Path(folder), args.most_cpu_ms / 1000)
        try:
            asyncio.run(visit.run(args.messages, args.seconds))
        except Exception:
            held, found = False, traceback.format_exc()
    took = time.monotonic() - clock
    counts = dataclasses.asdict(visit.told)
    print(found, end="", file=sys.stderr)
    told = {"seed": seed, **counts, "seconds": round(took, 1), "held": held}
    print(json.dumps(told) if args.json else "\n".join(f"{name:18} {value}" for name, value in told.items()))
    if args.record:
        words = sys.argv[1:] if argv is None else argv
        print(Record("strangers", "tests.strangers", words, [seed], began, took, counts, held).write(), file=sys.stderr)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
