"""What the holder of one vehicle's certificate may pour out: each flood is an endless row of messages, no two the same.

Made from the published format alone (docs/architecture.md); the bytes are well formed unless the flood is of others.
"""

from __future__ import annotations

import itertools
import os
import random
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, PLAIN, dictionary, encode
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName

SITE: Final = "north"
VEHICLE: Final = "amb-9"
AGENT: Final = AgentName(SITE, VEHICLE, "router")
MODEM: Final = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
Said = tuple[str, bytes]
_chance = random.Random(20)


def _run() -> str:
    return _chance.randbytes(8).hex()


def _words(length: int) -> str:
    return _chance.randbytes(length // 2).hex()


def _birth(run: str, session: int, held: Sequence[str] = (), agent: AgentName = AGENT) -> Said:
    runs = {name: {"boot": "b", "first": 0, "last": 9} for name in (run, *held)}
    birth = {"state": "birth", "session": session, "boot": "b", "machine": "m", "version": "1", "interval_s": 10}
    return agent.up("state"), encode(DEFLATED, run, {**birth, "runs": runs})


def _clock(number: int = 0, mono_ms: int = 0) -> Clock:
    return Clock(number, mono_ms, time.time_ns() // 1_000_000, "ntp", 5)


def _schema(run: str, *schemas: Schema, clocks: Sequence[Clock] | None = None, **more: Any) -> Said:
    body = {"boot": "b", "schemas": {one.id(): one for one in schemas}, **more}
    return AGENT.up("schema"), encode(DEFLATED, run, {**body, "clocks": [_clock()] if clocks is None else clocks})


def _live(run: str, body: Any, pairs: Sequence[tuple[int, int]], kind: str = "live", format: int = DEFLATED) -> Said:
    return AGENT.up(kind), encode(format, run, body, Intervals(pairs))


def _begun(*schemas: Schema) -> tuple[str, list[Said]]:
    run = _run()
    return run, [_birth(run, 1), _schema(run, *(schemas or (MODEM,)))]


def garbage() -> Iterator[Said]:
    """38 bytes that are nothing."""
    while True:
        yield AGENT.up("live"), os.urandom(38)


def topics() -> Iterator[Said]:
    """Topics of its own that nobody reads."""
    while True:
        yield f"kitwatch/v1/up/{SITE}/{VEHICLE}/{_words(16)}/{_words(16)}/{_words(16)}", b"x"


def topics_again() -> Iterator[Said]:
    """50,000 topics of its own, again and again: a million would end Mosquitto, which has no access list here."""
    return itertools.cycle(itertools.islice(topics(), 50_000))


def large() -> Iterator[Said]:
    """As many bytes as a packet may have, of nothing."""
    while True:
        yield AGENT.up("backlog"), os.urandom(290_000)


def samples() -> Iterator[Said]:
    """5,000 samples in some hundred bytes, good ones."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        body = [[number, 0, [[MODEM.id(), [-80.0, "ready"]]] * 5_000]]
        yield _live(run, body, [(number * 5_000, number * 5_000 + 4_999)], "backlog")


def one_sample_each() -> Iterator[Said]:
    """As many messages as it can, one good sample in each."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        yield _live(run, [[number, 0, [[MODEM.id(), [-80.0, "ready"]]]]], [(number, number)], format=PLAIN)


def too_many() -> Iterator[Said]:
    """760 bytes that make 10,000 records: more than a message may have."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        body = [[number, 0, [[MODEM.id(), [-80.0, "ready"]]] * 10_000]]
        yield _live(run, body, [(number * 10_000, number * 10_000 + 9_999)])


def inflated() -> Iterator[Said]:
    """2 MiB of lists in 2 kB, whose header names one record."""
    run = _run()
    content = b"[[0,0,[" + b"[]," * 690_000 + b"[]]]]"
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary(DEFLATED))
    packed = packer.compress(content) + packer.flush()
    for number in itertools.count():
        head = encode(DEFLATED, run, None, Intervals([(number, number)]))
        yield AGENT.up("live"), head[: -len(encode(DEFLATED, run, None)[10:])] + packed


def devices() -> Iterator[Said]:
    """Devices that cannot be read, another one in each of 5,000 events."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        events = [["problem", _words(20), {"input": "snmp", "problem": "no answer"}] for _ in range(5_000)]
        yield _live(run, [[number, 0, events]], [(number * 5_000, number * 5_000 + 4_999)])


def inventory() -> Iterator[Said]:
    """One device that is another one in each of 1,000 events."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        events = [["inventory", "cam-1", {"input": "snmp", "firmware": _words(16)}] for _ in range(1_000)]
        yield _live(run, [[number, 0, events]], [(number * 1_000, number * 1_000 + 999)])


def lost() -> Iterator[Said]:
    """Records that were lost, of runs that never were, in 10,000 intervals each."""
    run, said = _begun()
    yield from said
    intervals = [[number * 2, number * 2] for number in range(10_000)]
    for number in itertools.count():
        event = ["lost", "", {"run": _run(), "reason": "evicted", "intervals": intervals}]
        yield _live(run, [[number, 0, [event]]], [(number, number)])


def intervals() -> Iterator[Said]:
    """Every other sequence number, so that what was seen is in pieces."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        numbers = [(number * 512 + 2 * one, number * 512 + 2 * one) for one in range(256)]
        yield _live(run, [[number, 0, [[MODEM.id(), [-80.0, "ready"]]] * 256]], numbers, "backlog")


def runs() -> Iterator[Said]:
    """Another run in each message."""
    while True:
        event = ["started", "", {"before": _run()}]
        yield _live(_run(), [[0, 0, [event]]], [(0, 0)], format=PLAIN)


def births() -> Iterator[Said]:
    """Births, each naming 10,000 runs that it holds."""
    for session in itertools.count(1):
        yield _birth(_run(), session, [_run() for _ in range(9_999)])


def agents() -> Iterator[Said]:
    """Another agent in each message."""
    while True:
        yield _birth(_run(), 1, agent=AgentName(SITE, VEHICLE, _words(24)))


def schemas() -> Iterator[Said]:
    """Schemas of 1,000 columns, each with labels of its own."""
    run, said = _begun()
    yield from said
    while True:
        labels = [{"target": _words(16)} for _ in range(1_000)]
        yield _schema(run, Schema("probe", "router", tuple(Column("link.rtt_ms", one) for one in labels)))


def metrics() -> Iterator[Said]:
    """Metrics that nobody knows, and values of them."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        columns = tuple(Column(f"modem.x{_words(16)}") for _ in range(100))
        schema = Schema("modem", "modem-1", columns)
        yield _schema(run, schema)
        yield _live(run, [[number, 0, [[schema.id(), [1.0] * 100]]]], [(number, number)])


def needs() -> Iterator[Said]:
    """Samples of schemas that it never sends."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        entries = [[_words(32), [1.0]] for _ in range(1_000)]
        yield _live(run, [[number, 0, entries]], [(number * 1_000, number * 1_000 + 999)])


def clocks() -> Iterator[Said]:
    """Clocks, 5,000 in a message."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        yield _schema(run, clocks=[_clock(number * 5_000 + at, at) for at in range(5_000)])


def gone() -> Iterator[Said]:
    """Schemas that it says it has no more."""
    run, said = _begun()
    yield from said
    while True:
        yield _schema(run, gone_schemas=[_words(32) for _ in range(5_000)])


def unreadable() -> Iterator[Said]:
    """Bodies that cannot be read, each under records of its own."""
    run = _run()
    for number in itertools.count():
        head = encode(PLAIN, run, None, Intervals([(number, number)]))[:-4]
        yield AGENT.up("backlog"), head + os.urandom(20_000)


def wrong() -> Iterator[Said]:
    """Records with values that are none, each for another reason."""
    run, said = _begun()
    yield from said
    for number in itertools.count():
        entries = [[MODEM.id(), [_words(64), _words(64)]] for _ in range(1_000)]
        yield _live(run, [[number, 0, entries]], [(number * 1_000, number * 1_000 + 999)])


def faults() -> Iterator[Said]:
    """Five hundred SIM cards that are absent, for the ten minutes that live samples may be late."""
    schema = Schema("modem", "modem-1", tuple(Column("modem.sim", {"modem": str(number)}) for number in range(500)))
    run, said = _begun(schema)
    yield from said
    for number in itertools.count():
        mono_ms = min(number * 10_000 - 580_000, 60_000)
        yield _live(run, [[mono_ms, 0, [[schema.id(), ["absent"] * 500]]]], [(number, number)])


def births_and_wills() -> Iterator[Said]:
    """Births of two runs by turns, and wills: two under one identity, over and over."""
    names = (_run(), _run())
    for session in itertools.count(1):
        name = names[session % 2]
        yield _birth(name, session)
        yield AGENT.up("state"), encode(PLAIN, name, {"state": "will", "session": session})


def asks() -> Iterator[Said]:
    """What time is it?"""
    for number in itertools.count():
        yield AGENT.up("ask"), encode(PLAIN, "00000000000000aa", {"mono_ms": number})


@dataclass(frozen=True)
class Flood:
    """A flood: what is said, and how."""

    says: Callable[[], Iterator[Said]]
    qos: int = 1
    retain: bool = False

    @property
    def about(self) -> str:
        """What it is, in a line."""
        return (self.says.__doc__ or "").strip().rstrip(".")


FLOODS: Final[dict[str, Flood]] = {
    "garbage": Flood(garbage),
    "garbage, QoS 0": Flood(garbage, qos=0),
    "topics": Flood(topics),
    "topics, retained": Flood(topics_again, retain=True),
    "large": Flood(large),
    "samples": Flood(samples),
    "one sample each": Flood(one_sample_each),
    "too many": Flood(too_many),
    "inflated": Flood(inflated),
    "devices": Flood(devices),
    "inventory": Flood(inventory),
    "lost": Flood(lost),
    "intervals": Flood(intervals),
    "runs": Flood(runs),
    "births": Flood(births),
    "agents": Flood(agents),
    "schemas": Flood(schemas),
    "metrics": Flood(metrics),
    "needs": Flood(needs),
    "clocks": Flood(clocks),
    "gone": Flood(gone),
    "unreadable": Flood(unreadable),
    "wrong": Flood(wrong),
    "faults": Flood(faults),
    "births and wills": Flood(births_and_wills),
    "asks, QoS 0": Flood(asks, qos=0),
}


def packet(said: Said, flood: Flood, number: int) -> bytes:
    """Return the PUBLISH packet (MQTT 3.1.1, 3.3)."""
    topic, payload = said[0].encode(), said[1]
    body = len(topic).to_bytes(2, "big") + topic
    if flood.qos:
        body += (number % 65_535 + 1).to_bytes(2, "big")
    body += payload
    length, size = bytearray(), len(body)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes([0x30 | flood.qos << 1 | flood.retain]) + bytes(length) + body
