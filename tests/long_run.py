"""What the long forms share (``make soak``, ``make fuzz``, ...): how one says how long, and the record of a run.

A long form is a module that is run with ``python -m tests.NAME`` and has a target in the Makefile. Its short form is a
test. A record stands in ``bench/results/`` and is committed with the work that it speaks for.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "bench" / "results"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Return the seconds of ``60s``, ``5m`` or ``1h``. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None or float(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"expected a time such as 60s, 5m or 1h, found {text!r}")
    return float(found[1]) * _UNITS[found[2]]


def arguments(name: str, description: str, default: float = 60.0) -> argparse.ArgumentParser:
    """Return a parser of what every long form takes: ``seconds``, ``seed``, ``json``, ``record``."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument(
        "--for", dest="seconds", type=seconds, default=default, metavar="TIME", help="such as 60s, 5m, 1h"
    )
    parser.add_argument("--seed", type=int, help="of all that is random; made up, and told, if not given")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, nothing else")
    parser.add_argument("--record", action="store_true", help="write what came of it to bench/results/")
    return parser


@dataclass(frozen=True)
class Record:
    """What stays of a run. ``counts`` are of what was done and found, by name; ``held`` whether all promises did."""

    run: str
    """Name of the long form: fuzz, soak, bench, ..."""
    module: str
    """Its Python module, which the command names."""
    arguments: Sequence[str]
    seeds: Sequence[int]
    began: datetime.datetime
    """With its time zone."""
    seconds: float
    counts: Mapping[str, Any]
    held: bool

    def write(self, folder: Path = RESULTS) -> Path:
        """Write it into a file of its own, named after the run, its time and the commit; return the file."""
        commit = commit_here()
        began = self.began.astimezone(datetime.UTC)
        told = {
            "run": self.run,
            "command": shlex.join(["python", "-m", self.module, *self.arguments]),
            "commit": commit,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
            f"Python {platform.python_version()}",
            "began": f"{began:%Y-%m-%dT%H:%M:%SZ}",
            "seconds": round(self.seconds, 1),
            "seeds": list(self.seeds),
            "counts": dict(self.counts),
            "held": self.held,
        }
        folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):  # runs side by side may begin in the same second
            path = folder / f"{self.run}-{began:%Y%m%dT%H%M%SZ}-{commit}{'' if number == 1 else f'-{number}'}.json"
            with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
                return path
        raise AssertionError


class LongRun:
    """A long form from its begin to its exit status: how long it may go on, what it prints, its record."""

    def __init__(self, run: str, module: str, args: argparse.Namespace, argv: Sequence[str] | None = None) -> None:
        """Begin. ``args`` are of ``arguments``, ``argv`` those of ``main``."""
        self._run = run
        self._module = module
        self._args = args
        self._argv = sys.argv[1:] if argv is None else argv
        self._began = datetime.datetime.now(datetime.UTC)
        self._clock = time.monotonic()
        self._told_to_stop = False

    def end_on_sigterm(self) -> None:
        """Let SIGTERM end it as its time would: for one that asks ``over`` between its pieces."""
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, _number: int, _frame: object) -> None:
        self._told_to_stop = True

    @property
    def until(self) -> float:
        """The end of its time, ``time.monotonic()``."""
        return self._clock + float(self._args.seconds)

    @property
    def over(self) -> bool:
        """Whether its time is over, or somebody told it to stop: what was done until now counts."""
        return self._told_to_stop or time.monotonic() >= self.until

    def end(self, counts: Mapping[str, Any], *, held: bool, seeds: Sequence[int] = (), shown: str | None = None) -> int:
        """Print what came of it, write its record if one was asked for, and return the exit status.

        With ``--json`` it prints all of it; without, ``shown``, or a line for each of the counts.
        """
        took = round(time.monotonic() - self._clock, 1)
        told = {"seeds": list(seeds), **counts, "seconds": took, "held": held}
        if self._args.json:
            print(json.dumps(told, ensure_ascii=False))
        elif shown is None:
            print(*(f"{name:20} {value}" for name, value in told.items()), sep="\n")
        else:
            print(shown)
        if self._args.record:
            record = Record(self._run, self._module, self._argv, seeds, self._began, took, counts, held)
            print(record.write(), file=sys.stderr)
        return 0 if held else 1


def commit_here() -> str:
    """Return the short name of the commit that is checked out; ``-changed`` follows if files differ from it.

    What stands in ``bench/results/`` does not count. ``unknown`` where there is no repository.
    """
    try:
        commit = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", ".", ":!bench/results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-changed" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
