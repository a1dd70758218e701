"""``python -m tests.chaos --for 60s``: break everything at random for so long, then judge. ``make soak`` calls it.

Exit status: 0 nothing lost, nothing doubled; 1 something was; 2 the call is wrong, or a server is missing here.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.oracle import Report, soak
from tests.long_run import LongRun, arguments
from tests.services.process import SBIN

_CLONE_NEWNET = 0x40000000


def own_network() -> str | None:
    """Move this process into a network of its own, in which packets may be lost; return why it cannot be, if not.

    It has no name and goes with its last process, so nothing can be left behind.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return f"no network of our own: {os.strerror(ctypes.get_errno())}"
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":" + SBIN}
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, capture_output=True, env=environment)
        subprocess.run(["nft", "list", "ruleset"], check=True, capture_output=True, env=environment)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"chaos: {error}: iproute2 and nftables are needed where a network of our own can be made")
    return None


def table(report: Report) -> str:
    """Return the report for people."""
    lines = [f"{'fault':28} injected"]
    lines += [f"{kind:28} {count:8}" for kind, count in sorted(report.faults.items())]
    lines += [f"{kind:28} left out: not possible here" for kind in report.left_out]
    lines.append("")
    told = {**report.as_json(), "faults": sum(report.faults.values())}
    lines += [f"{name:28} {value:>8}" for name, value in told.items() if name != "left_out"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; return the exit status."""
    parser = arguments("tests.chaos", __doc__.partition("\n")[0])
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="work here and leave all files and logs")
    args = parser.parse_args(argv)
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job begins with it ignored
        signal.signal(number, _interrupt)
    seed = random.randrange(10**6) if args.seed is None else args.seed
    reason = own_network()
    if reason is not None:
        print(f"chaos: {reason}: no packets are lost in this run", file=sys.stderr)
    long = LongRun("soak", "tests.chaos", args, argv)
    try:
        with tempfile.TemporaryDirectory(prefix="kitwatch-chaos-") as scratch:
            directory = Path(scratch) / "world"
            if args.keep is not None:
                args.keep.mkdir(parents=True, exist_ok=True)
                directory = Path(tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=args.keep))
            report, verdict = soak(directory, args.seconds, seed, args.database, lossy=reason is None, tell=_tell)
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        print(f"chaos: {missing}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if not report.holds:
        print(f"chaos: seed {report.seed}: {verdict}", *report.crashed, sep="\n", file=sys.stderr)
    return long.end(report.as_json(), held=report.holds, seeds=[seed], shown=table(report))


def _tell(words: str) -> None:
    if sys.stderr.isatty():
        print(words, file=sys.stderr)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
