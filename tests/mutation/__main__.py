"""``python -m tests.mutation``: each shipped rule, edge, verb and window deleted or halved in turn; ``make mutation``.

Each is given to scenarios until one of them notices. Prints a table as it goes; told to end (SIGTERM, ``--for``) it
keeps what it has. Exit status: 0 each mutant was noticed, or stands with its reason in ``equivalent.py``; 1 not so.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.pool import IMapIterator
from pathlib import Path

from kitwatch.drill.scenario import Combination
from tests.long_run import RESULTS, LongRun, arguments
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import mutants
from tests.mutation.notice import Asking, Noticed, Run, ask


def last_time(folder: Path = RESULTS) -> dict[str, Run]:
    """Return who noticed which mutant by the last record: they are asked first."""
    found: dict[str, Run] = {}
    for record in sorted(folder.glob("mutation-*.json")):
        by = json.loads(record.read_text("utf-8"))["counts"]["scenarios"]
        found |= {mutant: Run(name, Combination(*how)) for mutant, (name, *how) in by.items()}
    return found


def _until(rows: IMapIterator[Noticed], over: Callable[[], bool]) -> Iterator[Noticed]:
    """Yield what comes until it is over, which is asked each second: a mutant that nobody notices takes a minute."""
    while not over():
        try:
            yield rows.next(1.0)
        except StopIteration:
            return
        except multiprocessing.TimeoutError:
            continue


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = arguments("tests.mutation", "mutate the shipped rules", 6 * 3600.0)
    parser.add_argument("words", nargs="*", help="only mutants whose names hold one of these")
    parser.add_argument("--by", nargs="*", default=[], metavar="NAME", help="ask only these scenarios")
    parser.add_argument("--most", type=int, help="ask at most so many")
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count(), help="so many at once")
    args = parser.parse_args(argv)
    long = LongRun("mutation", "tests.mutation", args, argv)
    long.end_on_sigterm()
    wanted = [one for one in mutants() if not args.words or any(word in one.name for word in args.words)]
    asked = [one for one in wanted if one.name not in EQUIVALENT]
    told = [one.name for one in wanted if one.name in EQUIVALENT]
    before = last_time()
    asking = [Asking(one, tuple(args.by), None if args.by else before.get(one.name), args.most) for one in asked]
    rows = []
    with multiprocessing.get_context("spawn").Pool(args.workers) as pool:
        for row in _until(pool.imap_unordered(ask, asking), lambda: long.over):
            rows.append(row)
            if not args.json:
                print(f"{row.mutant:<70} {row.by or f'NOT NOTICED by {row.asked}'}: {row.said}", flush=True)
    if not args.json:
        print(*(f"{name:<70} equivalent: {EQUIVALENT[name]}" for name in told), sep="\n", end="\n" if told else "")
    missed = [row.mutant for row in rows if not row.by]
    counts = {
        "mutants": len(wanted), "asked": len(rows), "noticed": len(rows) - len(missed), "equivalent": len(told),
        "not_noticed": missed, "runs": sum(row.asked for row in rows),
        "by_rule_tests": sum(row.by != "" and row.run is None for row in rows),
        "table": {row.mutant: [row.by, row.said] for row in rows if row.by} | {one: EQUIVALENT[one] for one in told},
        "scenarios": {row.mutant: [row.run.name, *row.run.combination] for row in rows if row.run},
    }  # fmt: skip
    shown = f"{counts['noticed']} of {len(rows)} noticed, {len(told)} equivalent"
    return long.end(counts, held=not missed, seeds=[1], shown=shown)


if __name__ == "__main__":
    raise SystemExit(main())
