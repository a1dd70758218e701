"""An agent of the first version goes on with this collector, and this agent with a collector of the first version.

``first_version/conversation.json`` is what the two of then said to each other over a real broker (``record.py``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector.core.rules.files import load_rules
from collector.core.vehicle.events import Listening
from collector.site.in_force import InForce
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.receipts import Receipts
from collector.site.unit_of_work import UnitOfWork
from collector.store.rows import Changes, SiteData
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import SystemInput
from telemetry.intervals import Intervals
from telemetry.message import (
    Ask,
    Beat,
    Birth,
    Moment,
    Presence,
    Receipt,
    SchemaBody,
    State,
    Time,
    decode,
    decode_header,
    encode,
)
from telemetry.topics import AgentName
from tests.unit import test_conversation
from tests.unit.test_conversation import Agent

SAID = json.loads((Path(__file__).parents[1] / "first_version" / "conversation.json").read_text())
NAME = AgentName("north", "amb-1", "box")
KINDS: dict[str, Any] = {
    "up/north/amb-1/box/state": State,
    "up/north/amb-1/box/ask": Ask,
    "up/north/amb-1/box/schema": SchemaBody,
    "up/north/amb-1/box/live": list[Moment],
    "up/north/amb-1/box/backlog": list[Moment],
    "up/north/collector/beat": Beat,
    "down/north/collector/state": Presence,
    "down/north/amb-1/box/receipt": Receipt,
    "down/north/amb-1/box/time": Time,
}


def said(*kinds: str) -> Iterator[tuple[str, bytes, int]]:
    """Yield (kind, payload, when) of the messages of these kinds, in order."""
    for one in SAID:
        kind = one["topic"].removeprefix("kitwatch/v1/")
        if not kinds or kind.rpartition("/")[2] in kinds:
            yield kind, bytes.fromhex(one["payload"]), one["at_ms"]


def plain(payload: bytes) -> tuple[Any, Any]:
    """Return header and body as plain JSON, whatever the body's type."""
    header, body = decode(payload, Any)
    return header, body


def test_every_kind_of_message_was_said() -> None:
    assert {kind for kind, _, _ in said()} == set(KINDS)
    states = {plain(payload)[1]["state"] for _, payload, _ in said("state")}
    assert states == {"birth", "goodbye", "will", "up", "down"}


def test_the_wire_is_unchanged() -> None:
    """What was said is read by the types of today, and written by them it says the same, key for key."""
    for kind, payload, _ in said():
        header, body = decode(payload, KINDS[kind])
        again = encode(header.format, header.run, body, header.sequences)
        assert plain(again) == plain(payload), kind
        assert again[: decode_header(payload)[1]] == payload[: decode_header(payload)[1]]


class Centre:
    """A collector of today, without I/O, to which an agent of then speaks."""

    def __init__(self) -> None:
        devices = {"box": Device(kind="host", system=SystemInput(interval=1, deadline=1))}
        site = Site(vehicles={"amb-1": VehiclePlan(agents={"box": AgentPlan(devices=devices)})})
        self.judge = InForce("north", site, load_rules())
        self.memory = Memory.of(self.judge, SiteData({}, None, {}, {}, {}, 0))
        self.receipts = Receipts(epoch=1, interval_ms=0)
        self.commits: list[Changes] = []

    def take(self, kind: str, payload: bytes, now_ms: int) -> None:
        work = UnitOfWork(self.memory, self.judge, Listening(now_ms - 3_600_000), now_ms)
        work.take(Incoming(f"kitwatch/v1/{kind}", payload, now_ms))
        work.look()
        changes = work.changes()
        if changes is not None:
            self.commits.append(changes)
        work.keep()
        work.tell(self.receipts)
        assert not work.faults
        assert not [name for name in work.counts if name.startswith(("quarantined", "unknown_metric"))]

    def receipt(self, now_ms: int) -> tuple[str, Receipt]:
        def committed(run: str) -> tuple[Intervals, Intervals]:
            known = self.memory.runs.get((NAME.vehicle, NAME.agent, run))
            return (known.row.seen, known.row.lost) if known else (Intervals(), Intervals())

        return self.receipts.make(NAME, committed, now_ms)


def test_an_agent_of_then_is_taken_in_and_receipted_as_it_was() -> None:
    """Message for message: whenever the collector of then receipted, that of today would have said the same."""
    centre = Centre()
    compared = 0
    for kind, payload, at_ms in said():
        if kind.startswith("up/north/amb-1/"):
            centre.take(kind, payload, at_ms)
        elif kind.endswith("/receipt"):
            header, was = decode(payload, Receipt)
            run, now = centre.receipt(at_ms)
            assert run == header.run
            # one batches what the other took at once: it never says less at the end, and nothing that was not sent
            for name, pairs in was.runs.items():
                assert not Intervals(pairs).minus(Intervals(now.runs[name]))
            compared += 1
    assert compared > 5
    assert now == was, "the last word is the same"
    assert plain(encode(header.format, run, now)) == plain(payload_of_last_receipt())
    sent = Intervals()
    for _, payload, _ in said("live", "backlog"):
        sent.update(decode_header(payload)[0].sequences)
    (known,) = centre.memory.runs.values()
    assert known.row.seen.pairs() == sent.pairs()
    assert sum(changes.batch.records for changes in centre.commits if changes.batch) == len(sent)
    assert centre.memory.vehicles["amb-1"].agents["box"].left == "stop"


def payload_of_last_receipt() -> bytes:
    return [payload for _, payload, _ in said("receipt")][-1]


def test_an_agent_of_today_goes_on_with_a_collector_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its presence brings the birth, its receipt lets go of the records that it names, its goodbye ends the talk."""
    _, receipt = decode(payload_of_last_receipt(), Receipt)
    ((run, pairs),) = receipt.runs.items()
    monkeypatch.setattr(test_conversation, "RUN", run)
    up, down = [decode(payload, Presence)[1] for kind, payload, _ in said("state") if "collector" in kind]
    agent = Agent()
    agent.said.begin(0)
    agent.said.on_presence(up, 0)
    (birth,) = agent.do(0)
    assert isinstance(decode(birth.payload, State)[1], Birth)
    agent.said.on_receipt(msgspec.structs.replace(receipt, birth=(run, agent.session), runs={}), 1)
    for number in range(pairs[-1][1] + 3):
        agent.record(number * 1000)
    assert {message.kind for message in agent.do(1_000)} >= {"schema", "live"}
    agent.said.on_receipt(msgspec.structs.replace(receipt, birth=(run, agent.session)), 2_000)
    agent.do(2_000)
    assert agent.released == [(run, [tuple(pair) for pair in pairs])]
    agent.said.on_presence(down, 3_000)
    agent.record(100_000)
    assert agent.do(100_000) == [], "nobody is there"
