"""Running the machine so many times, each time over a database of its own: SQLite files, or PostgreSQL's."""

from __future__ import annotations

import contextlib
import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import hypothesis
import psycopg
from hypothesis import HealthCheck, Phase
from hypothesis.stateful import run_state_machine_as_test

from collector.store.store import Store
from tests.desk.centre import Told
from tests.desk.machine import DeskMachine
from tests.services import postgres

Kind = Literal["sqlite", "postgresql"]
Databases = Callable[[], str]
"""Each call gives the URL of a new, migrated database, and lets go of the one before."""
MEMORY = Path("/dev/shm")
"""Where a database is as fast as it can be: a process that is killed here loses nothing there either."""


@contextlib.contextmanager
def databases(
    kind: Kind, change: Callable[[Store], None] = lambda store: None, server: postgres.Postgres | None = None
) -> Iterator[Databases]:
    """Yield the source of databases. ``change`` makes the first one otherwise: all others are copies of it.

    ``server`` is PostgreSQL, one of its own if none is given.
    """
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            yield stack.enter_context(_sqlite_files(change))
        else:
            yield stack.enter_context(_postgres_databases(server or stack.enter_context(postgres.start()), change))


@contextlib.contextmanager
def _sqlite_files(change: Callable[[Store], None]) -> Iterator[Databases]:
    numbers = itertools.count()
    with tempfile.TemporaryDirectory(prefix="kitwatch-desk-", dir=MEMORY if MEMORY.is_dir() else None) as name:
        folder = Path(name)
        first = folder / "first.db"
        _make(f"sqlite:///{first}", change)

        def another() -> str:
            for file in folder.glob("run-*"):
                file.unlink()
            path = folder / f"run-{next(numbers)}.db"
            shutil.copy2(first, path)
            return f"sqlite:///{path}"

        yield another


@contextlib.contextmanager
def _postgres_databases(server: postgres.Postgres, change: Callable[[Store], None]) -> Iterator[Databases]:
    numbers = itertools.count()
    with server.database() as first:
        _make(first, change)
        base, _, name = first.rpartition("/")
        before: list[str] = []

        def another() -> str:
            with psycopg.connect(server.url, autocommit=True) as connection:
                while before:
                    connection.execute(f'DROP DATABASE "{before.pop()}" WITH (FORCE)')
                before.append(f"{name}_{next(numbers)}")
                connection.execute(f'CREATE DATABASE "{before[0]}" TEMPLATE "{name}"')
            return f"{base}/{before[0]}"

        yield another


def _make(url: str, change: Callable[[Store], None]) -> None:
    store = Store.open(url)
    store.migrate()
    change(store)
    store.close()


def run(source: Databases, *, runs: int, steps: int, seed: int, shrink: bool = False) -> Told:
    """Run the machine; return what was done. Raises Found, or whatever else ended a run, with the steps that led there.

    The same seed does the same, on whatever machine. ``shrink``: look for a shorter way to what was found.
    """

    class Run(DeskMachine):
        database = staticmethod(source)
        told = Told()

    asked = hypothesis.settings(
        max_examples=runs, stateful_step_count=steps, deadline=None, database=None, print_blob=False,
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )  # fmt: skip
    quiet = logging.getLogger("collector")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        run_state_machine_as_test(hypothesis.seed(seed)(Run), settings=asked)
    finally:
        quiet.setLevel(level)
    return Run.told
