"""What a stranger may say: messages of every kind, right and wrong, from a seed. Made from the published format alone.

He knows docs/architecture.md and the types of the wire (``telemetry.message``, ``records``, ``topics``), and writes the
bytes himself, because the wire's own encoder would refuse most of this. He holds one vehicle's certificate: the broker
lets him write below that vehicle only.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from telemetry.message import DEFLATED, FORMATS, NUMBERED, PLAIN, dictionary
from telemetry.metrics import METRICS, Metric
from telemetry.records import Column, Schema
from telemetry.topics import AgentName

Pairs = Sequence[tuple[int, int]]

NAMES: Final[tuple[Any, ...]] = (
    "", " ", ".", "..", "../../etc/passwd", "x/y", "/", "a|b", "a=b,c=d", "%2F", "%", "#", "+", "$SYS", "a b",
    "\t", "\n", "\r\n", "\0", "a\0b", "\x1b[2J", "\x7f", "\x85", "\u200b", "\u202e", "\ufeff", "\ufffe",
    "\ud800", "\udfff\ud800", "病", "é", "e\u0301", "😀", "A" * 32, "A" * 33, "A" * 128, "A" * 129,
    "A" * 5_000, "病" * 2_000, "agent", "collector", "router", "modem-1", "<script>alert(1)</script>",
    "'; DROP TABLE ticket; --", "{{7*7}}", "${jndi:ldap://x}", "None", "null", "true", "nan", "-1", "0",
    "__proto__", "constructor", "modem", "x,y=1 z=2", '"', "\\", "stop", "parked",
)  # fmt: skip
NUMBERS: Final[tuple[Any, ...]] = (
    0, -0.0, 1, -1, 2, 127, 128, 255, 256, 10_000, 10_001, 65_535, 65_536, 86_400, 86_401, 2**31 - 1, 2**31,
    -(2**31), 2**32, 2**53, 2**53 + 1, 2**60, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64,
    10**30, 10**400, -(10**400), 0.1, 1e-320, 1e308, -1e308, 1.7976931348623157e308, float("nan"),
    float("inf"), float("-inf"), 1_790_000_000_000, 4_102_444_799_999, 4_102_444_800_000,
    9_007_199_254_740_993, 1e18, 1.5, -40.0, -80.0,
)  # fmt: skip
OTHERS: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], {"": {}}, [None], "1", {"input": "x/y"}, [1, 2, 3])
LEB: Final = (0, 1, 2, 3, 126, 127, 128, 254, 255, 9_999, 10_000, 2**31, 2**32, 2**53, 2**62, 2**63 - 2, 2**63 - 1)
"""Numbers for a header; more than 63 bits are made of raw bytes."""
DEEP: Final = (50, 400, 1_000, 5_000, 20_000, 100_000)
"""How deep a body may go."""
DEVICES: Final = ("modem-1", "cam-1", "router", "ups-1", "agent", "never-heard-of", "a", "A" * 32)
INPUTS: Final = ("modem", "snmp", "http", "probe", "stream", "system", "agent", "x")
LABELS: Final = {
    "modem": ("", "1", "2"), "leg": ("lte", "nr"), "sensor": ("cpu", "case"), "interface": ("wan", "eth0"),
    "target": ("centre", "gateway"), "stream": ("main", "sub"),
}  # fmt: skip


def leb(number: int) -> bytes:
    """Return a number as LEB128, of any size."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def header(format: int, run: bytes, pairs: Pairs) -> bytes:
    """Return a header with these intervals, which may be in any order: a gap below 0 is written as 0."""
    out = bytes((format,)) + run + leb(len(pairs))
    after = 0
    for first, last in pairs:
        out += leb(max(0, first - after)) + leb(max(0, last - first))
        after = last + 1
    return out


def deflated(content: bytes, format: int = DEFLATED) -> bytes:
    """Return a body in format 1 or 2."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, dictionary(format))
    return packer.compress(content) + packer.flush()


@dataclass
class Run_:  # noqa: N801 - a run of an agent, as the stranger plays it
    """One life of one of his agents."""

    name: bytes
    boot: str
    next: int = 0
    session: int = 1
    schemas: dict[str, Schema] = field(default_factory=dict)
    clocks: int = 0


@dataclass
class Agent_:  # noqa: N801
    """One of the agents that he plays."""

    name: AgentName
    runs: list[Run_]


class Stranger:
    """Makes one message after the other. ``now_ms`` is the centre's time, which he knows as everybody does."""

    def __init__(self, seed: int, site: str, vehicle: str, start_ms: int) -> None:
        self._random = random.Random(seed)
        self._start_ms = start_ms
        self._agents = [
            Agent_(AgentName(site, vehicle, name), [self._new_run()])
            for name in ("router", "second", "collector2", "_")
        ]
        self._metrics = list(METRICS.values())
        self._constant = _constants()
        self._costly_ones = itertools.cycle(self._random.sample(list(self._constant), len(self._constant)))
        self._kinds: dict[str, Callable[[Agent_, Run_, int], tuple[Any, Pairs]]] = {
            "live": self._records,
            "backlog": self._records,
            "schema": self._schema,
            "state": self._state,
            "ask": lambda agent, run, now_ms: ({"mono_ms": now_ms - self._start_ms}, ()),
        }

    def message(self, now_ms: int) -> tuple[str, bytes]:
        """Return topic and payload."""
        chance = self._random
        agent = chance.choice(self._agents)
        if chance.random() < 0.003:
            agent.runs = [*agent.runs[-7:], self._new_run()]
        run = agent.runs[-1] if chance.random() < 0.8 else chance.choice(agent.runs)
        kind = chance.choices(list(self._kinds), (50, 15, 14, 16, 5))[0]
        if chance.random() < 0.003:
            return agent.name.up(kind), self._costly(run, kind)
        body, pairs = self._kinds[kind](agent, run, now_ms)
        if chance.random() < 0.15:
            body = self._bent(body)
        if chance.random() < 0.04:
            pairs = self._odd_pairs(pairs)
        payload = self._bytes(run, pairs, json.dumps(body, separators=(",", ":")).encode())
        topic = agent.name.up(kind) if chance.random() < 0.99 else self._odd_topic(agent.name, kind)
        return topic, payload

    # --- what an honest agent might say too ---------------------------------------------------------------------------

    def _new_run(self) -> Run_:
        return Run_(self._random.randbytes(8), self._random.choice(("boot-1", "boot-2", "")))

    def _name(self, usual: Sequence[Any]) -> Any:
        return self._random.choice(usual) if self._random.random() < 0.985 else self._random.choice(NAMES)

    def _number(self, usual: float) -> Any:
        return usual if self._random.random() < 0.98 else self._random.choice(NUMBERS)

    def _records(self, agent: Agent_, run: Run_, now_ms: int) -> tuple[Any, Pairs]:
        chance = self._random
        count = min(30, int(chance.expovariate(0.4)) + 1)
        moments: list[list[Any]] = []
        for _ in range(count):
            if not moments or chance.random() < 0.3:
                late_s = (
                    0 if chance.random() < 0.7 else chance.choice((-86_400 * 400, -3_600, 60, 3_600, 86_400, 10**7))
                )
                mono = self._number(now_ms - self._start_ms - 1000 * late_s)
                clock = chance.choice((0, 0, 0, 0, run.clocks, None, 999))
                moments.append([mono, clock, []])
            moments[-1][2].append(self._event(run) if chance.random() < 0.25 else self._sample(run))
        first = run.next
        if chance.random() < 0.06:  # said again, or a hole
            first = max(0, first + chance.randint(-2 * count, 3))
        run.next = max(run.next, first + count)
        return moments, [(first, first + count - 1)]

    def _sample(self, run: Run_) -> list[Any]:
        chance = self._random
        if not run.schemas or chance.random() < 0.03:
            return [chance.choice(("AAAAAA", "", "x/y", "\0", "A" * 300)), [1.0, None]]
        name, schema = chance.choice(list(run.schemas.items()))
        values = [self._value(METRICS.get(column.metric)) for column in schema.columns]
        if chance.random() < 0.02:
            values = values[:-1] if chance.random() < 0.5 else [*values, 1]
        if chance.random() < 0.4:
            return [self._number(list(run.schemas).index(name)), values]
        return [name, values]

    def _value(self, metric: Metric | None) -> Any:
        chance = self._random
        if metric is None or chance.random() < 0.015:
            return copy.deepcopy(chance.choice((*NUMBERS, *OTHERS, *NAMES[:12])))
        if chance.random() < 0.1:
            return None
        match metric.kind:
            case "bool":
                return chance.random() < 0.5
            case "state":
                return chance.choice(metric.states)
            case "text":
                return chance.choice(("46000", "B3", "1.2.3", *NAMES[:20]))
            case _:
                low, high = max(metric.low, -1000.0), min(metric.high, 2.0**40)
                found = chance.choice((low, high, chance.uniform(low, high)))
                return int(found) if metric.kind == "int" else found

    def _event(self, run: Run_) -> list[Any]:
        chance = self._random
        kind = chance.choice(("started", "inventory", "problem", "lost"))
        device = self._name(DEVICES) if kind in ("inventory", "problem") or chance.random() < 0.1 else ""
        body: dict[str, Any] = {}
        if kind == "problem":
            body = {"input": self._name(INPUTS), "problem": self._name(("timeout", "", "refused"))}
            if chance.random() < 0.05:
                device = ""
        elif kind == "inventory":
            body = {"input": self._name(INPUTS), "model": self._name(("R1", "R2")), "firmware": self._name(("1", "2"))}
            body |= {"serial": self._name(("1",))} if chance.random() < 0.3 else {}
        elif kind == "lost":
            pair = [self._number(run.next + 1), self._number(run.next + 5)]
            body = {"run": run.name.hex(), "intervals": [pair], "reason": self._name(("full", "damage"))}
        else:
            body = {"version": "1", "ended": self._name(("stopped", "killed", "power")), "boots": self._number(3)}
        return [kind, device, body]

    def _schema(self, agent: Agent_, run: Run_, now_ms: int) -> tuple[Any, Pairs]:
        chance = self._random
        told = {}
        for _ in range(chance.choice((0, 1, 1, 2))):
            columns = tuple(self._column() for _ in range(chance.randint(1, 6)))
            schema = Schema(self._name(INPUTS), self._name(DEVICES), columns)
            if chance.random() < 0.02:
                schema = Schema("x/y", "modem-1", columns)
            try:
                name = schema.id()
            except (UnicodeEncodeError, ValueError):  # it has no canonical form: any name will do
                name = "AAAAAA"
            if len(run.schemas) < 12:
                if _is_usual(schema) or chance.random() < 0.1:
                    run.schemas[name] = schema
            elif chance.random() < 0.9:
                name, schema = chance.choice(list(run.schemas.items()))
            told[name] = [schema.input, schema.device, [[c.metric, dict(c.labels)] for c in schema.columns]]
        clocks = []
        if run.clocks == 0 or chance.random() < 0.1:
            source = chance.choice(("gnss", "ntp", "centre", "rtc"))
            wall_ms = self._number(self._start_ms)
            clocks = [[run.clocks, 0, wall_ms, source, self._number(20)]]
            run.clocks = min(run.clocks + 1, 20)
        body: dict[str, Any] = {
            "boot": run.boot,
            "schemas": {
                name: {"input": input, "device": device, "columns": columns}
                for name, (input, device, columns) in told.items()
            },
            "clocks": clocks,
        }
        if chance.random() < 0.7:
            known = list(run.schemas)
            numbers = {name: known.index(name) if name in known else 12 for name in told}
            body["numbers"] = {name: self._number(number) for name, number in numbers.items()}
        if chance.random() < 0.05:
            body["gone_schemas"] = ["AAAAAA", self._name(("x",))]
        if chance.random() < 0.01:
            body["gone_clock"] = True
        return body, ()

    def _column(self) -> Column:
        chance = self._random
        metric = chance.choice(self._metrics)
        labels = {name: chance.choice(LABELS.get(name, ("a", "b"))) for name in metric.labels if chance.random() < 0.8}
        if chance.random() < 0.02:
            labels[self._name(("odd",))] = self._name(("value",))
        name = metric.name if chance.random() < 0.97 else chance.choice(("modem.invented_later", *NAMES))
        return Column(name, labels)

    def _state(self, agent: Agent_, run: Run_, now_ms: int) -> tuple[Any, Pairs]:
        chance = self._random
        what = chance.random()
        if what < 0.2:
            return {"state": "goodbye", "session": run.session, "reason": self._name(("stop", "parked", "update"))}, ()
        if what < 0.4:
            return {"state": "will", "session": run.session}, ()
        run.session = self._number(run.session) if chance.random() < 0.9 else 1
        held = {one.name.hex(): {"boot": one.boot, "first": 0, "last": one.next} for one in agent.runs}
        if chance.random() < 0.05:
            held[self._name(("0" * 16,))] = {"boot": self._name(("b",)), "first": self._number(0), "last": 1}
        body = {
            "state": "birth", "session": run.session, "boot": run.boot, "machine": self._name(("m1", "m1", "m2")),
            "version": self._name(("0.1.0", "9")), "interval_s": self._number(chance.choice((0.0, 10.0, 60.0))),
            "runs": held, "devices": {self._name(DEVICES): self._name(("modem", "camera"))},
        }  # fmt: skip
        return body, ()

    # --- what no agent says -------------------------------------------------------------------------------------------

    def _bent(self, body: Any) -> Any:
        """Change one to three places of a body, whatever stands there."""
        chance = self._random
        for _ in range(chance.randint(1, 3)):
            places = list(_places(body))
            if not places or chance.random() < 0.02:
                return copy.deepcopy(chance.choice((*OTHERS, *NUMBERS, *NAMES)))
            inside, key = chance.choice(places)
            what = chance.random()
            if what < 0.1:
                del inside[key]
            elif what < 0.2 and isinstance(inside, dict):
                inside[chance.choice(NAMES)] = inside.pop(key)
            elif what < 0.25 and isinstance(inside, list):
                inside.insert(key, copy.deepcopy(inside[key]))
            else:
                inside[key] = copy.deepcopy(chance.choice(chance.choice((NAMES, NUMBERS, OTHERS))))
        return body

    def _odd_pairs(self, pairs: Pairs) -> Pairs:
        chance = self._random
        if chance.random() < 0.3:
            return ()
        if chance.random() < 0.1:
            return [(2 * n, 2 * n) for n in range(chance.choice((2, 255, 256, 257, 1_000)))]
        first = chance.choice(LEB)
        return [*pairs, (first, first + chance.choice(LEB))] if chance.random() < 0.5 else [(first, first)]

    def _bytes(self, run: Run_, pairs: Pairs, content: bytes) -> bytes:
        chance = self._random
        format = chance.choice(FORMATS)
        if chance.random() < 0.02:  # before it is packed
            content = chance.choice(
                (
                    b"\xff\xfe" + content,
                    content.replace(b'"', b'"\xff', 3),
                    b"\xef\xbb\xbf" + content,
                    content + content,
                    content.replace(b"e", b"\xc0\xaf"),
                    b"",
                    content.replace(b":", b":" + b"9" * 5_000, 1),
                )
            )
        if format in (DEFLATED, NUMBERED):
            content = deflated(content, format)
        payload = header(format if chance.random() < 0.99 else chance.randrange(256), run.name, pairs) + content
        if chance.random() < 0.05:
            payload = self._damaged(payload)
        return payload

    def _damaged(self, payload: bytes) -> bytes:
        chance = self._random
        what = chance.randrange(5)
        if what == 0:
            return payload[: chance.randrange(len(payload) + 1)]
        if what == 1:
            return chance.randbytes(chance.randrange(64))
        at = chance.randrange(len(payload))
        if what == 2:
            return payload[:at] + chance.randbytes(1) + payload[at + 1 :]
        if what == 3:
            return payload[:9] + b"\xff" * chance.randint(1, 12) + payload[9:]
        return payload[:at] + payload[chance.randrange(len(payload)) :]

    def _odd_topic(self, name: AgentName, kind: str) -> str:
        chance = self._random
        agent = chance.choice(("a", "A" * 32, "A" * 33, "x.y", "病", "", "collector", f"r{chance.randrange(20)}"))
        kind = (
            kind if chance.random() < 0.7 else chance.choice(("", "beat", "receipt", "live2", "state/state", "病" * 40))
        )
        return f"kitwatch/v1/up/{name.site}/{name.vehicle}/{agent}/{kind}"

    def _costly(self, run: Run_, kind: str) -> bytes:
        """Return one of the messages that cost the reader more than the sender."""
        chance = self._random
        content, packed, count = self._constant[next(self._costly_ones)]
        first = chance.choice((run.next, 2**62))
        if count:
            run.next = max(run.next, min(first, run.next) + count)
        pairs = [(first, first + count - 1)] if count else ()
        return header(DEFLATED if packed else PLAIN, run.name, pairs) + content


def _is_usual(schema: Schema) -> bool:
    return (
        schema.input in INPUTS
        and schema.device in DEVICES
        and all(column.metric in METRICS and "odd" not in column.labels for column in schema.columns)
    )


def _places(body: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a body."""
    found = []
    stack = [body]
    while stack:
        inside = stack.pop()
        keys = list(inside) if isinstance(inside, dict) else range(len(inside)) if isinstance(inside, list) else ()
        for key in keys:
            found.append((inside, key))
            if isinstance(inside[key], dict | list):
                stack.append(inside[key])
    return found


def _constants() -> dict[str, tuple[bytes, bool, int]]:
    """Return (content, whether deflated, number of records that it holds) of what is dear to make or to read."""
    found: dict[str, tuple[bytes, bool, int]] = {}
    for depth in DEEP:
        found[f"lists, {depth} deep"] = (b"[" * depth + b"]" * depth, depth > 20_000, 0)
        found[f"objects, {depth} deep"] = (deflated(b'{"a":' * depth + b"1" + b"}" * depth), True, 0)
        within = b'{"x":' * depth + b"0" + b"}" * depth
        found[f"an event, {depth} deep"] = (deflated(b'[[0,0,[["started","",' + within + b"]]]]"), True, 1)
        unknown = b'{"boot":"b","new":' + b"[" * depth + b"]" * depth + b"}"
        found[f"an unknown field, {depth} deep"] = (deflated(unknown), True, 0)
    for count in (5_000, 10_000):
        many = b",".join([b'["AAAAAA",[]]'] * count)
        found[f"{count} samples without a schema"] = (deflated(b"[[0,0,[" + many + b"]]]"), True, count)
        many = b",".join([b'["started","",{}]'] * count)
        found[f"{count} events"] = (deflated(b"[[0,0,[" + many + b"]]]"), True, count)
    many = b",".join(b'["problem","d%d",{"input":"x","problem":"p"}]' % n for n in range(200))
    found["200 devices that cannot be read"] = (deflated(b"[[0,0,[" + many + b"]]]"), True, 200)
    found["10,000 records, header only"] = (b"[]", False, 10_000)
    found["10,001 records"] = (deflated(b"[[0,0,[" + b",".join([b'["a",[]]'] * 10_001) + b"]]]"), True, 10_001)
    found["bomb of zeros"] = (deflated(b"0" * 4_000_000), True, 1)
    found["bomb of spaces"] = (deflated(b" " * 2_000_000 + b"{}"), True, 0)
    found["a bomb's edge"] = (deflated(b'{"boot":"' + b"x" * 2_000_000 + b'"}'), True, 0)
    found["a long key"] = (deflated(b'{"' + b"k" * 1_000_000 + b'":1}'), True, 0)
    found["a long number"] = (b"[[" + b"9" * 200_000 + b",0,[]]]", False, 0)
    found["a wide object"] = (deflated(b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}"), True, 0)
    wide = b'{"input":"x","device":"d","columns":[' + b",".join([b'["modem.sim",{}]'] * 50_000) + b"]}"
    found["a wide schema"] = (deflated(b'{"boot":"b","schemas":{"AAAAAA":' + wide + b"}}"), True, 0)
    runs = b",".join(b'"%016x":{"boot":"b","first":0,"last":0}' % n for n in range(10_000))
    birth = b'{"state":"birth","session":1,"boot":"b","machine":"m","version":"1","interval_s":0,"runs":{'
    found["10,001 runs held"] = (
        deflated(birth + runs + b',"00000000000f0000":{"boot":"b","first":0,"last":0}}}'),
        True,
        0,
    )
    found["too large"] = (b"\0" * (256 * 1024), False, 0)
    return found
