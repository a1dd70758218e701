"""``python -m tests.odd_answers --answers 100000 --record``: each protocol gets so many odd answers.

``make oddanswers`` calls it; the short form is ``tests/integration/test_odd_answers.py``.

Exit status: 0 every promise was kept; 1 one was not, and the run ended there; 2 the call is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.long_run import LongRun, arguments
from tests.odd_answers.devices import At, Http, Nmea, Rtsp, Snmp
from tests.odd_answers.run import Kind, PromiseBrokenError, Told, run
from tests.odd_answers.servers import Influxdb, MqttBroker, Receiver

KINDS: Final[Mapping[str, type[Kind]]] = MappingProxyType(
    {
        "snmp": Snmp, "http": Http, "rtsp": Rtsp, "at": At, "nmea": Nmea,
        "influxdb": Influxdb, "webhook": Receiver, "broker": MqttBroker,
    }
)  # fmt: skip


def ask(name: str, seed: int, answers: int) -> Told:
    """Give one protocol's reader so many odd answers. Raises PromiseBrokenError."""
    with tempfile.TemporaryDirectory(prefix="kitwatch-odd-answers-") as folder:
        return asyncio.run(run(KINDS[name](random.Random(f"{seed} {name}"), Path(folder)), answers))


def main(argv: Sequence[str] | None = None) -> int:
    """Ask all of them; return the exit status."""
    parser = arguments("tests.odd_answers", (__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", type=int, default=5_000, help="odd answers for each protocol")
    parser.add_argument("protocols", nargs="*", default=[], help=f"some of {', '.join(KINDS)}; default all")
    args = parser.parse_args(argv)
    if unknown := set(args.protocols) - set(KINDS):
        parser.error(f"expected some of {', '.join(KINDS)}, found {', '.join(sorted(unknown))}")
    logging.disable(logging.CRITICAL)
    seed = random.randrange(2**32) if args.seed is None else args.seed
    long = LongRun("odd-answers", "tests.odd_answers", args, argv)
    counts: dict[str, Any] = {}
    held = True
    for name in args.protocols or KINDS:
        begun = time.monotonic()
        try:
            told = ask(name, seed, args.answers)
        except PromiseBrokenError as error:
            held, counts[name] = False, str(error).splitlines()[0]
            print(f"{name}: {error}", file=sys.stderr)
            break
        counts[name] = {
            "answers": told.answers, "calls": told.calls, "longest_s": round(told.longest_s, 2),
            "seconds": round(time.monotonic() - begun, 1), "outcomes": dict(told.outcomes),
        }  # fmt: skip
        if not args.json:
            print(f"{name:9} {counts[name]}", flush=True)
    counts["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return long.end(counts, held=held, seeds=[seed], shown=f"seed {seed}, {'held' if held else 'NOT HELD'}")


if __name__ == "__main__":
    sys.exit(main())
