"""``python -m tests.floods --for 15s``: floods and attacks, one after the other, beside a neighbour (``make floods``).

Prints two tables: the neighbour's worst wait and what was counted, of floods also memory, database and the next start.
Exit status: 0 every bound was kept; 1 one was not; 2 the call is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tests.floods.attacked import Suffered, suffer
from tests.floods.attacks import ATTACKS
from tests.floods.floods import FLOODS
from tests.floods.stage import Told, stage
from tests.long_run import LongRun, arguments
from tests.services import postgres

MOST_WAIT_S: Final = 2.0
MOST_MEMORY_MB: Final = 300.0
MOST_DATABASE_MB: Final = 100.0
MOST_RESTART_S: Final = 10.0
DATABASES: Final = ("sqlite", "postgresql")


def main(argv: Sequence[str] | None = None) -> int:
    """Do them all, or those that are named; return the exit status."""
    parser = arguments("tests.floods", (__doc__ or "").partition("\n")[0], default=15.0)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join([*FLOODS, *ATTACKS])}")
    parser.add_argument("--database", choices=(*DATABASES, "both"), default="both")
    args = parser.parse_args(argv)
    names = args.names or ["none", *FLOODS, *ATTACKS]
    if unknown := set(names) - {*FLOODS, *ATTACKS, "none"}:
        parser.error(f"expected some of {', '.join([*FLOODS, *ATTACKS])}, found {', '.join(sorted(unknown))}")
    databases = DATABASES if args.database == "both" else (args.database,)
    long = LongRun("floods", "tests.floods", args, argv)
    told = run([name for name in names if name not in ATTACKS], args.seconds, databases, quiet=args.json)
    suffered = attack([name for name in names if name in ATTACKS], args.seconds, databases)
    missed = [words for one in told for words in beyond(one)] + [words for one in suffered for words in broken(one)]
    found = {
        "floods": [dataclasses.asdict(one) for one in told],
        "attacks": [dataclasses.asdict(one) for one in suffered],
        "missed": missed,
    }
    tables = [table(told) if told else "", attacks_table(suffered) if suffered else ""]
    return long.end(found, held=not missed, shown="\n\n".join(["", *filter(None, tables), *missed]))


def run(floods: Sequence[str], seconds: float, databases: Sequence[str], *, quiet: bool = False) -> list[Told]:
    """Return what came of each flood over each database."""
    told = []
    for kind in databases:
        with _server(kind) as server:
            for flood in floods:
                with (
                    tempfile.TemporaryDirectory(prefix="kitwatch-floods-", ignore_cleanup_errors=True) as folder,
                    _database(kind, server, Path(folder)) as url,
                ):
                    told.append(asyncio.run(stage(Path(folder), "" if flood == "none" else flood, seconds, url)))
                if not quiet:
                    print(row(told[-1]), file=sys.stderr, flush=True)
    return told


def attack(names: Sequence[str], seconds: float, databases: Sequence[str]) -> list[Suffered]:
    """Return what came of each attack over each database."""
    suffered = []
    for kind in databases if names else ():
        with (
            _server(kind) as server,
            tempfile.TemporaryDirectory(prefix="kitwatch-attacks-", ignore_cleanup_errors=True) as folder,
            _database(kind, server, Path(folder)) as url,
            contextlib.redirect_stdout(io.StringIO()),  # what `kitwatch setup` says of each certificate
        ):
            suffered += asyncio.run(suffer(Path(folder), names, seconds, url))
    return suffered


@contextlib.contextmanager
def _server(kind: str) -> Iterator[postgres.Postgres | None]:
    if kind == "sqlite":
        yield None
        return
    with postgres.start() as server:
        yield server


@contextlib.contextmanager
def _database(kind: str, server: postgres.Postgres | None, folder: Path) -> Iterator[str]:
    if server is None:
        yield f"sqlite:///{folder}/kitwatch.sqlite"
        return
    with server.database() as url:
        yield url


def beyond(told: Told) -> list[str]:
    """Return which bounds a flood has broken."""
    found = [
        (told.worst_wait_s > MOST_WAIT_S, f"a neighbour waited {told.worst_wait_s:.1f} s"),
        (told.memory_mb > MOST_MEMORY_MB, f"memory grew by {told.memory_mb:.0f} MB"),
        (told.database_mb > MOST_DATABASE_MB, f"the database grew by {told.database_mb:.0f} MB"),
        (told.restart_s > MOST_RESTART_S, f"the next start took {told.restart_s:.1f} s"),
        (told.tickets > 1, f"{told.tickets} tickets about quotas"),
        (bool(told.refused) != (told.tickets == 1), f"refused {told.refused}, tickets about it: {told.tickets}"),
        (bool(told.refused) and not told.over_quota, "the site's status does not say so"),
    ]
    return [f"{told.flood} ({told.database}): {words}" for wrong, words in found if wrong]


def broken(told: Suffered) -> list[str]:
    """Return which promises did not hold under an attack."""
    expected = ATTACKS[told.attack].counted
    found = [
        (told.worst_wait_s > MOST_WAIT_S, f"a neighbour waited {told.worst_wait_s:.1f} s"),
        (not told.waits, "no neighbour sent anything"),
        (not told.counted.keys() & set(expected), f"counted {told.counted}, none of {', '.join(expected)}"),
        (told.epochs > 0, f"{told.epochs} ownerships ended"),
        (told.reconnects > 0, f"the collector connected {told.reconnects} times again"),
        (told.health != "ok", f"/healthz says {told.health}"),
    ]
    return [f"{told.attack} ({told.database}): {words}" for wrong, words in found if wrong]


ATTACKS_HEAD: Final = (
    "| attack | what it is | items | database | times | neighbour's worst wait | what was counted, or answered |\n"
    "|---|---|---|---|--:|--:|---|"
)


def attack_row(told: Suffered) -> str:
    """Return a line of the attacks' table."""
    counted = ", ".join(f"{name} {number}" for name, number in sorted(told.counted.items()))
    about = ATTACKS[told.attack].about
    return (
        f"| {told.attack} | {about} | {told.item} | {told.database} | {told.said} "
        f"| {told.worst_wait_s:.2f} s | {counted or '-'} |"
    )


def attacks_table(suffered: Sequence[Suffered]) -> str:
    """Return the whole table, Markdown."""
    return "\n".join([ATTACKS_HEAD, *map(attack_row, suffered)])


HEAD: Final = (
    "| flood | database | messages | MB | neighbour's worst wait | refused, by quota | counted otherwise "
    "| memory | database grew | next start | tickets |\n|---|---|--:|--:|--:|---|---|--:|--:|--:|--:|"
)


def row(told: Told) -> str:
    """Return a line of the table."""
    refused = ", ".join(f"{name} {number}" for name, number in sorted(told.refused.items()))
    counted = ", ".join(
        f"{name} {number}"
        for name, number in sorted(told.counted.items(), key=lambda one: -one[1])[:4]
        if not name.startswith("over_quota")
    )
    return (
        f"| {told.flood} | {told.database} | {told.said} | {told.said_bytes / 2**20:.1f} | {told.worst_wait_s:.2f} s "
        f"| {refused or '-'} | {counted or '-'} | {told.memory_mb:.0f} MB | {told.database_mb:.1f} MB "
        f"| {told.restart_s:.1f} s | {told.open_tickets} |"
    )


def table(told: Sequence[Told]) -> str:
    """Return the whole table, Markdown."""
    return "\n".join([HEAD, *map(row, told)])


if __name__ == "__main__":
    sys.exit(main())
