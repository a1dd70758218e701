"""What the holder of one vehicle's certificate may do beside pouring: one message, one word, one request at a time.

Each attack goes on for as long as its scene lasts, at most ``EVERY_S`` apart. It says which items of the second list of
the field notes it belongs to, and what must have been counted: an attack that nobody notices was none.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, Birth, HeldRun, SchemaBody, encode
from telemetry.records import Clock
from tests.floods.floods import MODEM
from tests.services.api import HEADERS
from tests.strangers.messages import Stranger, deflated, header

if TYPE_CHECKING:
    from tests.floods.attacked import Scene

POISON: Final = header(PLAIN, b"\0" * 7 + b"\xee", ()) + b'{"state":"birth","b":"\xff\xfe"}'
DEEP: Final = b"[" * 20_000 + b"]" * 20_000
MOST_CLAIMED: Final = 30
"""Thousands of numbers that the clone claims; more are beyond the quota that it shares with the real agent."""
RUN: Final = "00000000000000ee"
_numbers: Final = itertools.count()
"""Sequence numbers of the attacker's run, each used once."""
_sessions: Final = itertools.count(1)
Does = Callable[["Scene"], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Attack:
    """What is done, and what must have been counted of it: names of ``/metrics``, one of them at least."""

    item: int
    does: Does
    counted: tuple[str, ...]

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.does.__doc__ or "").strip().rstrip(".")


def _named(number: int, content: bytes, run: str = RUN) -> bytes:
    """Return a message that names one record of a run and holds this."""
    return header(PLAIN, bytes.fromhex(run), ((number, number),)) + content


async def _say(scene: Scene, kind: str, payloads: Iterator[bytes]) -> None:
    async for _ in scene.turns():
        await scene.say(kind, next(payloads))


# --- bytes from outside -----------------------------------------------------------------------------------------------


async def poison(scene: Scene) -> None:
    """38 bytes: a birth whose names are no UTF-8."""
    await _say(scene, "state", (POISON for _ in _numbers))


async def no_utf8(scene: Scene) -> None:
    """Records whose body is no UTF-8."""
    await _say(scene, "live", (_named(number, b'[[0,0,[["problem","\xff\xfe",{}]]]]') for number in _numbers))


async def deep(scene: Scene) -> None:
    """JSON 20,000 deep, plain and packed, in every kind of message."""
    for kind in itertools.cycle(("live", "backlog", "schema", "state", "ask")):
        if scene.is_over():
            return
        body = DEEP if kind in ("schema", "state", "ask") else b"[[0,0,[" + DEEP + b"]]]"
        number = next(_numbers)
        await scene.say(kind, _named(number, body))
        await scene.say(kind, bytes((DEFLATED,)) + _named(number, deflated(body))[1:])
        await asyncio.sleep(EVERY_S)


async def endless(scene: Scene) -> None:
    """Records numbered 0 to 2^63-1."""
    head = header(PLAIN, bytes.fromhex(RUN), ((0, 2**63 - 1),))
    await _say(scene, "live", (head + b"[[0,0,[[]]]]" for _ in _numbers))


async def questions(scene: Scene) -> None:
    """Questions for the time that are none."""
    words = itertools.cycle((b"", b"\xff" * 38, encode(PLAIN, RUN, {"mono_ms": "x"}), encode(PLAIN, RUN, [2**70])))
    await _say(scene, "ask", words)


# --- odd values -------------------------------------------------------------------------------------------------------


async def odd_values(scene: Scene) -> None:
    """Every kind of message with an odd value in any place of it."""
    stranger = Stranger(18, scene.site, scene.vehicle, scene.now_ms())
    async for _ in scene.turns():
        topic, payload = stranger.message(scene.now_ms())
        if len(payload) < 250_000:
            await scene.say(topic.rpartition("/")[2], payload)


async def odd_entries(scene: Scene) -> None:
    """Samples with numbers, texts, labels and devices as wide as JSON lets them be."""
    odd: tuple[Any, ...] = (1e308, -(2**63), 2**64, "x" * 200_000, "\0\x1b[2J", {"a": 1}, [[]], True)
    await _begin(scene)
    for value in itertools.cycle(odd):
        if scene.is_over():
            return
        body = [[0, 0, [[MODEM.id(), [value, value]], ["problem", f"{value}"[:500], {"input": value}]]]]
        first = next(_numbers)
        numbers = Intervals([(first, first), (second := next(_numbers), second)])
        with contextlib.suppress(OverflowError):
            await scene.say("live", encode(DEFLATED, RUN, body, numbers))
        await asyncio.sleep(EVERY_S)


# --- names and numbers ------------------------------------------------------------------------------------------------


async def collectors_id(scene: Scene) -> None:
    """Connecting under the collector's client id, and at its listener."""
    async for _ in scene.turns():
        for broker in (scene.broker, scene.collectors_listener):
            await scene.connect(broker, f"collector-{scene.site}")


async def take_over(scene: Scene) -> None:
    """Two boxes with one certificate, that throw each other out and are born again."""
    async for turn in scene.turns():
        run = f"00000000000000e{turn % 2}"
        await scene.born_beside(run, _birth(run))


async def anothers_topics(scene: Scene) -> None:
    """Speaking as another vehicle, and as the collector."""
    other = str(scene.agent).replace(scene.vehicle, "amb-02")
    own = f"{scene.site}/collector"
    topics = (f"up/{other}/live", f"down/{other}/receipt", f"down/{own}/state", f"up/{own}/beat")
    async for _ in scene.turns():
        for topic in topics:
            await scene.publish(f"kitwatch/v1/{topic}", b"\xff" * 38)


async def clone(scene: Scene) -> None:
    """A clone that marks coming numbers of the real agent as seen, by headers of messages that cannot be read."""
    await _begin(scene, scene.real.run)
    async for turn in scene.turns():
        start = turn * 1_000 if turn < MOST_CLAIMED else MOST_CLAIMED * 1_000 + turn
        head = header(PLAIN, bytes.fromhex(scene.real.run), ((start, start + (999 if turn < MOST_CLAIMED else 0)),))
        await scene.say("live", head + os.urandom(38))
    await scene.leave()
    await scene.real_agent_speaks()


async def claims(scene: Scene) -> None:
    """Messages that cannot be read, claiming the numbers of every run there is."""
    chance = random.Random(22)
    async for _ in scene.turns():
        head = header(PLAIN, chance.randbytes(8), ((0, 9_999), (20_000, 2**40)))
        await scene.say("backlog", head + os.urandom(38))


# --- the pages --------------------------------------------------------------------------------------------------------


async def foreign_host(scene: Scene) -> None:
    """A page of somebody else's that puts vehicles into the workshop: foreign Host, matching Origin."""
    body = b'{"state": "workshop", "by": "x"}'
    async for _ in scene.turns():
        await scene.ask("evil.example", body, "Origin: http://evil.example\r\n")


async def nested(scene: Scene) -> None:
    """Bodies 4,096 deep."""
    body = b"[" * 2_048 + b"]" * 2_048
    heads = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    async for _ in scene.turns():
        await scene.ask("localhost", body, heads)


async def half_requests(scene: Scene) -> None:
    """1,000 requests that are never said to their end."""
    lines: list[socket.socket] = []
    try:
        for _ in range(40):
            lines += await asyncio.to_thread(_half, scene.web, 25)
            scene.said += 25
            await asyncio.sleep(EVERY_S)
        await scene.lasts()
        assert (await asyncio.to_thread(scene.collector.get, "healthz"))["status"] == "ok", "it answers beside them"
    finally:
        for line in lines:
            line.close()


def _half(port: int, number: int) -> list[socket.socket]:
    """Open connections that say half a request each."""
    lines = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(number)]
    for line in lines:
        with contextlib.suppress(OSError):  # closed already
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Half: ")
    return lines


async def _begin(scene: Scene, run: str = RUN) -> None:
    """Be born, with a schema and a clock."""
    await scene.say("state", _birth(run), retain=True)
    clock = Clock(0, 0, time.time_ns() // 1_000_000, "ntp", 5)
    await scene.say("schema", encode(DEFLATED, run, SchemaBody("b", {MODEM.id(): MODEM}, (clock,))))


def _birth(run: str) -> bytes:
    return encode(DEFLATED, run, Birth(next(_sessions), "b", "m", "1", 10.0, {run: HeldRun("b", 0, 0)}))


EVERY_S: Final = 0.02
ASIDE: Final = ("quarantined_undecodable", "quarantine_full", "quarantined_poison", "over_quota.records")
"""What becomes of it; an attacker who goes on for long is beyond his quota of records."""
ATTACKS: Final[dict[str, Attack]] = {
    "a clone's numbers": Attack(22, clone, ("real records committed",)),
    "38 bytes": Attack(18, poison, ASIDE),
    "no UTF-8": Attack(18, no_utf8, ASIDE),
    "20,000 deep": Attack(18, deep, ASIDE),
    "numbers to 2^63-1": Attack(18, endless, ASIDE),
    "no questions": Attack(18, questions, ASIDE),
    "odd values": Attack(19, odd_values, ASIDE),
    "odd entries": Attack(19, odd_entries, ("quarantined_value", *ASIDE)),
    "the collector's client id": Attack(21, collectors_id, ("refused",)),
    "take-over loop": Attack(21, take_over, ("ticket identity_clash",)),
    "others' topics": Attack(21, anothers_topics, ("not taken by the broker",)),
    "claimed numbers": Attack(22, claims, ("over_quota.records",)),
    "foreign Host": Attack(24, foreign_host, ("answered 421",)),
    "nested bodies": Attack(24, nested, ("answered 400",)),
    "1,000 half requests": Attack(24, half_requests, ("requests late", "requests displaced", "requests refused")),
}
