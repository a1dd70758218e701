"""``python -m tests.fuzz --for 10m``: the fuzz tests over and over, with new random inputs. ``make fuzz`` calls it.

A round is every fuzz test once. Its seed is told, and makes the same inputs again:
``pytest -m fuzz --hypothesis-profile=random --hypothesis-seed=SEED``. What a round finds becomes an ``@example`` of its
test. ``make test`` runs the same tests with inputs that are the same each time.

Exit status: 0 nothing was found; 1 something was, and the run ended with that round; 2 the call is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.long_run import ROOT, LongRun, arguments

_CASES: Final = re.compile(r"^ +- (\d+) passing, (\d+) failing", re.MULTILINE)
_TESTS: Final = re.compile(r"(\d+) (?:passed|failed)")
_FOUND: Final = 1
"""pytest's exit status for failed tests."""


@dataclass
class Rounds:
    """What was run so far."""

    seeds: list[int] = field(default_factory=list)
    tests: int = 0
    """In one round."""
    cases: int = 0
    """Inputs that were tried, the written examples not counted."""
    failures: list[str] = field(default_factory=list)
    """Output of the rounds that found something."""

    def run(self, seed: int, selected: Sequence[str]) -> bool:
        """Run one round; return whether it found nothing. Raises RuntimeError where no test ran."""
        options = [
            "-c",
            str(ROOT / "pyproject.toml"),
            "-m",
            "fuzz",
            "-n",
            str(os.cpu_count() or 1),
            "--hypothesis-profile=random",
        ]
        options += [f"--hypothesis-seed={seed}", "--hypothesis-show-statistics", "--timeout=0"]
        command = [sys.executable, "-m", "pytest", *options, *selected]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode not in (0, _FOUND):
            raise RuntimeError(done.stdout[-3000:] + done.stderr[-3000:])
        self.seeds.append(seed)
        self.cases += sum(int(passing) + int(failing) for passing, failing in _CASES.findall(done.stdout))
        self.tests = sum(map(int, _TESTS.findall(done.stdout.rstrip().rpartition("\n")[2])))
        if done.returncode == _FOUND:
            self.failures.append(f"seed {seed}\n{done.stdout.partition('= Hypothesis Statistics =')[0]}")
        return done.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run rounds until the time is over or one finds something; return the exit status."""
    parser = arguments("tests.fuzz", __doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=_positive, help="so many rounds instead of so long")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or tests, as pytest takes them; default all")
    args = parser.parse_args(argv)
    first = random.randrange(2**32) if args.seed is None else args.seed
    long = LongRun("fuzz", "tests.fuzz", args, argv)
    rounds = Rounds()
    held = True
    try:
        while held and not (long.over if args.rounds is None else len(rounds.seeds) >= args.rounds):
            held = rounds.run(first + len(rounds.seeds), args.tests)
    except RuntimeError as error:
        print(f"fuzz: {error}", file=sys.stderr)
        return 2
    counts = {"rounds": len(rounds.seeds), "tests": rounds.tests, "cases": rounds.cases}
    print(*rounds.failures, sep="\n", end="", file=sys.stderr)
    return long.end(counts, held=held, seeds=rounds.seeds)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number of rounds, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
