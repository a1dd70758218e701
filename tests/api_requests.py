"""``python -m tests.api_requests --for 10m``: many requests by the API's own document; ``make api`` calls it.

Schemathesis (https://schemathesis.readthedocs.io) makes them of the document, right ones and wrong ones, one after the
other and by what answers lead to, and sends them to a real collector over SQLite with a broker and two vehicles that
speak, with tokens of several roles. What must hold: no 5xx, no status or media type that the document does not name,
answers as their schema says, wrong values refused, nothing without a token. The stream of changes never ends, so it is
left to tests of its own. Exit status: 0 it held, 1 it did not, 2 the call is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import randrange
from typing import Any, Final

import yaml
from aiohttp import web

from collector.accounts.roles import Role
from collector.config import load_config
from collector.main import run
from collector.store.store import Store
from collector.web.app import add_api
from collector.web.openapi import document
from tests.integration.test_collector import write
from tests.integration.test_status import speaking
from tests.long_run import LongRun, arguments
from tests.services.api import let_in
from tests.services.contract import in_force
from tests.services.mosquitto import mosquitto

ROLES: Final[tuple[Role, ...]] = ("engineer", "viewer", "clinic", "wall", "metrics")
SHARES: Final = (5, 2, 1, 1, 1)
"""How much of the time each role has."""
CHECKS: Final = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance",
    "ignored_auth",
)  # fmt: skip
ROSTER: Final = {"zhao": {"name": "赵", "role": "engineer", "phone": "1"}}


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[tuple[str, Store]]:
    """Run a collector, its broker and two vehicles; yield its address and its store."""
    up, stopped = threading.Event(), threading.Event()
    found: list[tuple[str, Store]] = []

    async def live(path: Path, port: int) -> None:
        stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
        task = asyncio.create_task(run(load_config(path), stop=stop, on_ready=ready.set_result))
        running = await asyncio.wait_for(ready, 60)
        await in_force(running.store, "north")
        async with speaking(port, "amb-3", 1), speaking(port, "amb-4", 2):
            found.append((running.address, running.store))
            up.set()
            await asyncio.to_thread(stopped.wait)
        stop.set()
        await asyncio.wait_for(task, 60)

    with mosquitto(folder) as broker:
        (folder / "contract.yaml").write_text(yaml.safe_dump({"start": "2026-01-01", "roster": ROSTER}))
        (folder / "key").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
        (folder / "key").chmod(0o600)
        missions = {"signing_key_file": "key"}
        path = write(folder, broker.port, contract="contract.yaml", missions=missions, quotas={"actions": 10_000})
        thread = threading.Thread(target=lambda: asyncio.run(live(path, broker.port)))
        thread.start()
        try:
            while not up.wait(0.2):
                assert thread.is_alive(), "the collector has not begun"
            yield found[0]
        finally:
            stopped.set()
            thread.join()


def token(store: Store, role: Role) -> dict[str, str]:
    """Return the headers of a token of a role; an engineer's acts as a person of the roster."""
    return let_in(store, role, person="zhao" if role == "engineer" else "", secret=f"kwt_{role}")


def described() -> dict[str, Any]:
    """Return the document, where parts of paths are often those of something that is there."""
    app = web.Application()
    add_api(app)
    found: dict[str, Any] = json.loads(json.dumps(document(app)))
    there = {"vehicle": ["amb-3", "amb-4"], "ticket": [f"2026-{number:04}" for number in range(1, 9)], "id": [1, 2, 3]}
    for methods in found["paths"].values():
        for one in methods.values():
            for part in one.get("parameters", ()):
                if part["in"] == "path":
                    part["schema"] = {"anyOf": [{"enum": there[part["name"]]}, part["schema"]]}
    return found


def ask(folder: Path, address: str, headers: dict[str, str], seconds: float, seed: int) -> tuple[dict[str, Any], str]:
    """Let Schemathesis ask for so long; return its report and what it says of what does not hold."""
    (folder / "openapi.json").write_text(json.dumps(described()))
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"), "run", str(folder / "openapi.json"), "--url", address,
            *(word for name, value in headers.items() for word in ("--header", f"{name}: {value}")),
            "--checks", ",".join(CHECKS), "--exclude-path", "/api/changes", "--max-time", str(round(seconds)),
            "--seed", str(seed), "--generation-database", "none", "--suppress-health-check", "all", "--no-color",
            "--continue-on-failure", "--request-timeout", "60", "--report-json-path", str(report), "--warnings", "off",
        ],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if not report.exists():
        raise RuntimeError(f"schemathesis: {done.stdout[-2_000:]} {done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found, done.stdout if done.returncode else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; return the exit status."""
    args = arguments("tests.api_requests", (__doc__ or "").partition("\n")[0], default=600.0).parse_args(argv)
    seed = randrange(2**31) if args.seed is None else args.seed
    long = LongRun("api", "tests.api_requests", args, argv)
    counts: dict[str, dict[str, int]] = {}
    held = True
    with tempfile.TemporaryDirectory(prefix="kitwatch-api-") as name, collector(Path(name)) as (address, store):
        for role, share in zip(ROLES, SHARES, strict=True):
            found, wrong = ask(Path(name), address, token(store, role), args.seconds * share / sum(SHARES), seed)
            cases = found["test_cases"]
            counts[role] = {
                "operations": found["operations"]["tested"], "cases": cases["generated"],
                "failures": cases["unique_failures"], "errors": len(found["errors"]),
            }  # fmt: skip
            held = held and not wrong and cases["generated"] > 0
            if wrong:
                print(f"as {role}:\n{wrong}", file=sys.stderr)
    return long.end(counts, held=held, seeds=[seed])


if __name__ == "__main__":
    sys.exit(main())
