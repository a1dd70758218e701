"""One visit of the stranger: a site with him and honest neighbours, beside the same site without him.

Both go through the same times. Raises ``Found`` with the first promise that is not kept:

- nothing that he says raises, costs the reader more than ``most_cpu_s``, or makes the API answer 5xx;
- each record that a message names is taken, set aside or waited for, once;
- what is committed of his neighbours is the same as without him, commit by commit;
- memory and database grow by no more than what he sent, times a factor.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from collector.core.vehicle.events import Listening
from collector.garbage import PAUSES, collect_seldom
from collector.web.app import make_app
from tests.services.api import let_in
from tests.strangers.centre import SITE, Centre, Found, told_of
from tests.strangers.messages import NAMES, Stranger
from tests.strangers.neighbours import Neighbour, plan

START_MS: Final = 1_790_000_000_000
STRANGER: Final = "amb-9"
NEIGHBOURS: Final = ("amb-1", "amb-2", "amb-3")
UNIT: Final = 200
"""Most messages of his in one unit of work."""
ASK_EVERY: Final = 50
"""Units of work between two looks through the API."""
OWN_EVERY: Final = 173
"""Units of work between two changes of the owner."""
MOST_CPU_S: Final = 0.1
DATABASE_FACTOR: Final = 4
"""Most bytes that the database may grow for each byte that came in; and ``SPARE_BYTES``."""
MEMORY_FACTOR: Final = 4
SPARE_BYTES: Final = 128 * 2**20
ODD_BODIES: Final = (
    *(b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"state":' * 400 + b"1", b'{"state": 5}', b"null", b"[]", b"9" * 4_000),
    b'{"state":"on_duty","by":"\xff"}',
    b'{"state":"on_duty","by":"\\ud800"}',
)


@dataclasses.dataclass
class Told:
    """What came of a visit."""

    messages: int = 0
    bytes: int = 0
    units: int = 0
    owners: int = 1
    answers: int = 0
    """Of the API."""
    problems: int = 0
    """Of the neighbours, as committed, changes counted."""
    database_bytes: int = 0
    memory_bytes: int = 0
    """By which the process has grown."""
    slowest_message_ms: float = 0.0
    slowest_message: str = ""
    slowest_unit_ms: float = 0.0
    longest_collection_ms: float = 0.0
    """Of Python's garbage, which is in neither of these."""
    counts: dict[str, int] = dataclasses.field(default_factory=dict)


class Visit:
    """A visit of so many messages."""

    def __init__(self, seed: int, folder: Path, most_cpu_s: float = MOST_CPU_S) -> None:
        self.told = Told()
        self._most_cpu_s = most_cpu_s
        self._times = random.Random(seed ^ 0x5EED)
        vehicles = {name: plan() for name in (*NEIGHBOURS, STRANGER)}
        for name in ("with", "without"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._centre = Centre(folder / "with", vehicles, START_MS)
        self._alone = Centre(folder / "without", vehicles, START_MS)
        self._stranger = Stranger(seed, SITE, STRANGER, START_MS)
        self._neighbours = [Neighbour(SITE, name, n, START_MS) for n, name in enumerate(NEIGHBOURS)]

    async def run(self, messages: int, seconds: float) -> Told:
        """Let him say so many messages, or speak for so long. Raises Found."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        collect_seldom()  # as the collector does
        began_with = psutil.Process().memory_info().rss
        headers = let_in(self._centre.store)
        async with TestServer(make_app(self._centre.sources())) as server, ClientSession(headers=headers) as session:
            for number in itertools.count(1):
                if self.told.messages >= messages or loop.time() >= end:
                    break
                self._unit(min(UNIT, messages - self.told.messages))
                if number % ASK_EVERY == 0:
                    await self._look_through(session, str(server.make_url("/")))
                    self._weigh(began_with)
                if number % OWN_EVERY == 0:
                    self._centre.own()
                    self._alone.own()
                    self.told.owners += 1
            await self._look_through(session, str(server.make_url("/")))
        self._weigh(began_with)
        self._centre.close()
        self._alone.close()
        return self.told

    def _unit(self, most: int) -> None:
        """One unit of work, here and there, at the next moment."""
        now_ms = self._centre.now_ms + self._times.choice((500, 2_000, 5_000, 10_000, 20_000))
        listening = self._centre.listening
        if self._times.random() < 0.002:
            listening = Listening(None if listening.since_ms is not None else now_ms)
        for centre in (self._centre, self._alone):
            centre.now_ms, centre.listening = now_ms, listening
        honest = [said for neighbour in self._neighbours for said in neighbour.says(now_ms)]
        said = [self._stranger.message(now_ms) for _ in range(self._times.randint(1, most))]
        self.told.messages += len(said)
        self.told.bytes += sum(len(payload) for _, payload in said)
        self.told.units += 1
        places = sorted(self._times.randint(0, len(said)) for _ in honest)
        for place, one in reversed(list(zip(places, honest, strict=True))):  # anywhere among his, in their order
            said.insert(place, one)
        here = told_of(self._centre.do(said), frozenset((*NEIGHBOURS,)))
        there = told_of(self._alone.do(honest), frozenset((*NEIGHBOURS,)))
        self.told.problems += sum(isinstance(one, bytes) for one in there)
        if here != there:
            raise Found(f"a neighbour is judged otherwise at {now_ms}: {_difference(here, there)}")

    async def _look_through(self, session: ClientSession, url: str) -> None:
        """Ask everything that a page asks, and some that none does."""
        self._centre.trim()
        self._alone.trim()
        tickets = await self._ask(session, "GET", f"{url}api/tickets?limit=50")
        for path in self._paths(tickets):
            await self._ask(session, "GET", f"{url}{path}")
        for body in ODD_BODIES:
            await self._ask(session, "POST", f"{url}api/vehicles/{STRANGER}/state", body)

    def _paths(self, tickets: Any) -> Iterator[str]:
        yield from (
            "",
            "healthz",
            "metrics",
            "api/vehicles",
            "api/sites",
            "api/notifications",
            "api/tickets?state=open",
        )
        for vehicle in (*NEIGHBOURS, STRANGER):
            yield f"api/vehicles/{vehicle}"
            yield f"api/tickets?vehicle={vehicle}"
        for ticket in tickets["tickets"][:5]:
            yield f"api/tickets/{ticket['id']}"
        odd = [name for name in NAMES if name.isprintable() and 0 < len(name) < 200]
        for name in self._times.sample(odd, 4):
            quoted = "".join(f"%{byte:02X}" for byte in name.encode(errors="replace"))
            yield f"api/vehicles/{quoted}"
            yield f"api/tickets/{quoted}?site={quoted}"
            yield f"api/tickets?{quoted}={quoted}&limit={quoted}"

    async def _ask(self, session: ClientSession, method: str, url: str, body: bytes | None = None) -> Any:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        async with session.request(method, url, data=body, headers=headers) as answer:
            content = await answer.read()
            self.told.answers += 1
            if answer.status >= 500:
                raise Found(f"{method} {url} {(body or b'')[:60]!r} answers {answer.status}: {content[:500]!r}")
            return json.loads(content) if answer.content_type == "application/json" else None

    def _weigh(self, began_with: int) -> None:
        told, centre = self.told, self._centre
        told.database_bytes = centre.bytes()
        told.memory_bytes = psutil.Process().memory_info().rss - began_with
        told.slowest_message_ms = round(1000 * centre.slowest_message.seconds, 1)
        told.slowest_message = centre.slowest_message.what
        told.longest_collection_ms = round(1000 * PAUSES.longest, 1)
        told.slowest_unit_ms = round(1000 * centre.slowest_unit.seconds, 1)
        told.counts = dict(sorted(centre.counts.items()))
        for what, found, factor in (
            ("the database", told.database_bytes, DATABASE_FACTOR),
            ("memory", told.memory_bytes, MEMORY_FACTOR),
        ):
            if found > SPARE_BYTES + factor * told.bytes:
                raise Found(f"{what} has grown by {found} bytes for {told.bytes} that came in")
        if centre.slowest_message.seconds > self._most_cpu_s:
            raise Found(f"a message took {told.slowest_message_ms} ms of CPU: {told.slowest_message}")


def _difference(here: list[Any], there: list[Any]) -> str:
    pairs = itertools.zip_longest(here, there)
    return next((f"{one!r}\ninstead of\n{other!r}" for one, other in pairs if one != other), "")
