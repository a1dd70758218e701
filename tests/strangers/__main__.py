"""``python -m tests.strangers --messages 2000000``: a stranger speaks; ``make strangers`` calls it.

Exit status: 0 every promise was kept; 1 one was not, and the visit ended there; 2 the call is wrong.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.long_run import LongRun, arguments
from tests.strangers.visit import Visit


def main(argv: Sequence[str] | None = None) -> int:
    """Let him in; return the exit status."""
    parser = arguments("tests.strangers", (__doc__ or "").partition("\n")[0], default=24 * 3600.0)
    parser.add_argument("--messages", type=int, default=20_000, help="how many he says, if he is not stopped before")
    parser.add_argument("--most-cpu-ms", type=float, default=100.0, help="CPU time that one message may take")
    args = parser.parse_args(argv)
    seed = random.randrange(2**32) if args.seed is None else args.seed
    long = LongRun("strangers", "tests.strangers", args, argv)
    held, found = True, ""
    with tempfile.TemporaryDirectory(prefix="kitwatch-strangers-", ignore_cleanup_errors=True) as folder:
        visit = Visit(seed, Path(folder), args.most_cpu_ms / 1000)
        try:
            asyncio.run(visit.run(args.messages, args.seconds))
        except Exception:
            held, found = False, traceback.format_exc()
    print(found, end="", file=sys.stderr)
    return long.end(dataclasses.asdict(visit.told), held=held, seeds=[seed])


if __name__ == "__main__":
    sys.exit(main())
