"""``python -m tests.replayed --days 3``: days with outages, recorded and judged again; ``make replay`` calls it.

Over SQLite and PostgreSQL. Exit status: 0 the same rules gave the same bytes, and another rule exactly the difference
that was written down; 1 not so; 2 the call is wrong.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.long_run import LongRun, arguments
from tests.replayed.days import go_through
from tests.services import postgres


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """Yield the URL of an empty database."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="kitwatch-replayed-") as folder:
            yield f"sqlite:///{Path(folder) / 'collector.db'}"
    else:
        with postgres.start() as server, server.database() as url:
            yield url


def main(argv: list[str] | None = None) -> int:
    """Run it."""
    parser = arguments("tests.replayed", "days that are recorded and judged again")
    parser.add_argument("--days", type=int, default=3, help="so many (default: 3)")
    args = parser.parse_args(argv)
    seed = 1 if args.seed is None else args.seed
    long = LongRun("replay", "tests.replayed", args, argv)
    counts: dict[str, int] = {"days": args.days}
    wrong: list[str] = []
    for kind in ("sqlite", "postgresql"):
        with database(kind) as url:
            again = go_through(args.days, url, seed)
        for name in ("records", "batches", "tickets"):
            counts[f"{kind}_{name}"] = getattr(again, name)
        wrong += [f"{kind}: {one}" for one in again.wrong(args.days)]
    counts["wrong"] = len(wrong)
    print(*wrong, sep="\n", file=sys.stderr)
    return long.end(counts, held=not wrong, seeds=[seed])


if __name__ == "__main__":
    raise SystemExit(main())
