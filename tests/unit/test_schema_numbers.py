"""An agent that numbers its schemas and a collector, with messages lost between them: every sample keeps its schema.

The real conversation of the agent and the collector's real unit of work, without a connection. Whatever is lost, and
whoever is restarted, each record ends in the log once, under the name of the schema that it was recorded with.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock import ClockKeeper
from agent.uplink.actions import Publish, SendRecords, SendSchemas
from agent.uplink.conversation import Centre as Heard
from agent.uplink.conversation import Conversation, Speaker
from agent.uplink.packing import numbers_of
from agent.uplink.resend import Resend
from collector.core.vehicle.events import Listening
from collector.site.intake import Incoming
from collector.site.memory import Memory
from collector.site.receipts import Receipts
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch as log
from collector.store.rows import Changes, SiteData
from telemetry.intervals import Intervals
from telemetry.message import DEFLATED, FORMATS, Header, Moment, SchemaBody, Up, decode, decode_header, records
from telemetry.records import Clock, Column, Record, Run, Sample, Schema
from tests.unit.test_conversation import TIMING
from tests.unit.test_intake import AGENT, JUDGE, NOW

SCHEMAS = tuple(Schema("modem", "modem-1", (Column(f"modem.invented_{number}"),)) for number in range(6))
BOOT = "b" * 32


class Box:
    """An agent over all its runs: what it recorded, what is held, and the conversation that goes on."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.outbox: dict[tuple[str, int], Sample] = {}
        self.schemas: dict[str, dict[str, Schema]] = {}
        self.sending = Resend()
        self.runs: list[str] = []
        self.session = 0
        self.start()

    @property
    def run(self) -> str:
        return self.runs[-1]

    def start(self) -> None:
        """Begin a new run; what the earlier ones left is held, and the order of their schemas is forgotten."""
        self.runs.append(f"{len(self.runs) + 1:016x}")
        self.session = 0
        self.sequence = 0
        self.clocks = [Clock(0, 0, NOW, "ntp", 5)]
        held = self.sending.held()
        self.sending = Resend()
        for run, numbers in held.items():
            self.sending.hold(run, numbers)
        self.schemas = {run: dict(sorted(schemas.items())) for run, schemas in self.schemas.items()}
        self.schemas[self.run] = {}
        self.connect()

    def connect(self) -> None:
        self.session += 1
        speaker = Speaker(
            run=self.run, session=self.session, boot=BOOT, machine="m", version="1", interval_s=10.0,
            devices={"modem-1": "modem"}, boots=dict.fromkeys(self.runs[:-1], BOOT), clocks=self.clocks,
        )  # fmt: skip
        keeper = ClockKeeper(self.clocks)
        self.said = Conversation(speaker, TIMING, sending=self.sending, keeper=keeper, centre=Heard())
        self.said.begin(self.now_ms)

    def record(self, schema: Schema) -> None:
        sample = Sample(self.sequence, self.now_ms, schema.id(), [1])
        self.sequence += 1
        self.schemas[self.run].setdefault(schema.id(), schema)
        self.outbox[self.run, sample.sequence] = sample
        self.sending.keep(self.run, numbers_of([sample]))
        self.said.recorded([sample], self.now_ms)

    def speak(self) -> list[Publish]:
        sent: list[Publish] = []
        while (action := self.said.next(self.now_ms)) is not None:
            match action:
                case Publish():
                    sent.append(action)
                case SendSchemas(run):
                    sent += self.said.schema_messages(action, self.schemas[run], self.clocks)
                case SendRecords(run=run):
                    there: list[Record] = [self.outbox[run, number] for number in action.numbers]
                    sent += self.said.record_messages(action, there, self.schemas[run], self.clocks, self.now_ms)
        return sent


class Site:
    """A collector over all its ownerships: what it committed, and its memory of that."""

    def __init__(self, formats: Sequence[int]) -> None:
        self.formats = tuple(formats)
        self.epoch = 0
        self.data = SiteData({}, None, {}, {}, {}, 0)
        self.taken: list[tuple[str, int, str]] = []
        self.begin()

    def begin(self) -> None:
        """Begin a new ownership with what is committed, and nothing else."""
        self.epoch += 1
        self.memory = Memory.of(JUDGE, self.data)
        self.receipts = Receipts(self.epoch, interval_ms=0)

    def take(self, messages: Sequence[Publish]) -> None:
        work = UnitOfWork(self.memory, JUDGE, Listening(None), NOW)
        for message in messages:
            work.take(Incoming(AGENT.up(message.kind), message.payload, NOW))
        changes = work.changes()
        if changes is not None:
            self._keep(changes)
        work.keep()
        work.tell(self.receipts)
        assert not work.faults
        assert not [name for name in work.counts if name.startswith(("quarantined", "schema_number_changed"))]

    def _keep(self, changes: Changes) -> None:
        data = self.data
        data.vehicles.update(changes.vehicles)
        data.schemas.update(changes.schemas)
        data.schema_names.update(changes.schema_names)
        for key, clocks in changes.clocks.items():
            data.clocks.setdefault(key, {}).update(clocks)
        data.seen.update({(row.vehicle, row.agent, row.run): row.copy() for row in changes.runs})
        if changes.batch is not None:
            data.last_batch = changes.batch.number
            for group in log.decode_groups(changes.batch.content):
                header = Header(0, Run(group.run), Intervals(group.pairs))
                placed = records(header, group.moments)
                self.taken += [
                    (group.run, one.record.sequence, one.record.schema)
                    for one in placed
                    if isinstance(one.record, Sample)
                ]

    def committed(self, run: str) -> tuple[Intervals, Intervals]:
        known = self.memory.runs.get((AGENT.vehicle, AGENT.agent, run))
        return (known.row.seen, known.row.lost) if known else (Intervals(), Intervals())


RECORDS: Final = frozenset({"live", "backlog"})
SCHEMA: Final = frozenset({"schema"})


def exchange(box: Box, site: Site, lost: Collection[str] = ()) -> list[Publish]:
    """Let the agent say what it has to say, of which these kinds are lost, and hear the answer; return all of it."""
    box.now_ms += 20_000
    box.said.on_presence(Up(site.epoch, site.formats), box.now_ms)
    said = box.speak()
    for message in said:
        if message.lane is not None:
            box.said.acknowledged(message, 0)
    site.take([message for message in said if message.kind not in lost])
    for agent in site.receipts.due(NOW):
        _, receipt = site.receipts.make(agent, site.committed, NOW)
        box.said.on_receipt(receipt, box.now_ms)
    return said


steps = st.tuples(
    st.lists(st.sampled_from(SCHEMAS), max_size=3),
    st.sampled_from([frozenset[str](), SCHEMA, RECORDS, SCHEMA | RECORDS]),
    st.sampled_from(["", "", "the agent restarts", "the collector restarts", "the connection breaks"]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=12), st.sampled_from([FORMATS, FORMATS[:2]]))
def test_every_sample_ends_under_its_own_schema_once(
    script: list[tuple[list[Schema], frozenset[str], str]], formats: tuple[int, ...]
) -> None:
    box, site = Box(), Site(formats)
    exchange(box, site)
    for schemas, lost, then in script:
        for schema in schemas:
            box.record(schema)
        exchange(box, site, lost)
        match then:
            case "the agent restarts":
                box.start()
            case "the collector restarts":
                site.begin()
            case "the connection breaks":
                box.said.end()
                box.connect()
    for _ in range(60):
        if not box.sending.held():
            break
        exchange(box, site)
    assert sorted(site.taken) == sorted((run, number, one.schema) for (run, number), one in box.outbox.items())


def test_a_new_agent_speaks_the_first_versions_format_to_the_first_versions_collector() -> None:
    """By name, in format 1, and not a key in a schema message that the first version did not have."""
    box, site = Box(), Site(FORMATS[:2])
    for schema in SCHEMAS:
        box.record(schema)
    said = exchange(box, site) + exchange(box, site)
    assert {message.payload[0] for message in said if message.kind != "state"} == {DEFLATED}
    (told,) = [decode(message.payload, SchemaBody)[1] for message in said if message.kind == "schema"]
    assert b"numbers" not in told_json(said)
    assert set(told.schemas) == {schema.id() for schema in SCHEMAS}
    entries = [entry for message in said if message.kind in ("live", "backlog") for entry in entries_of(message)]
    assert {entry[0] for entry in entries} == set(told.schemas)


def test_schemas_go_by_number_in_the_run_that_goes_on_and_by_name_in_those_before() -> None:
    box, site = Box(), Site(FORMATS)
    exchange(box, site)
    for schema in SCHEMAS[:3]:
        box.record(schema)
    said = exchange(box, site, SCHEMA | RECORDS)
    assert [entry[0] for message in said[1:] for entry in entries_of(message)] == [0, 1, 2]
    box.start()
    box.record(SCHEMAS[2])
    box.record(SCHEMAS[0])
    said = [message for _ in range(3) for message in exchange(box, site)]
    found: dict[str, list[object]] = {}
    for message in said:
        if message.kind in ("live", "backlog"):
            run = decode_header(message.payload)[0].run
            found.setdefault(run, []).extend(entry[0] for entry in entries_of(message))
    assert found == {box.runs[0]: [schema.id() for schema in SCHEMAS[:3]], box.runs[1]: [0, 1]}


def test_a_lost_schema_message_is_asked_for_by_number() -> None:
    box, site = Box(), Site(FORMATS)
    exchange(box, site)
    box.record(SCHEMAS[4])
    said = exchange(box, site, SCHEMA)
    assert [message.kind for message in said] == ["schema", "live"]
    assert site.taken == []
    again = exchange(box, site)
    assert [message.kind for message in again] == ["schema", "backlog"]
    assert site.taken == [(box.run, 0, SCHEMAS[4].id())]


def test_numbers_outlive_the_collector() -> None:
    """What waited in the broker while nobody was there is taken at once by the next owner, though it goes by number."""
    box, site = Box(), Site(FORMATS)
    exchange(box, site)
    box.record(SCHEMAS[1])
    exchange(box, site)
    box.record(SCHEMAS[1])
    box.now_ms += 1_000
    waiting = box.speak()
    assert [message.kind for message in waiting] == ["live"]
    site.begin()
    site.take(waiting)
    assert site.taken == [(box.run, 0, SCHEMAS[1].id()), (box.run, 1, SCHEMAS[1].id())]


def entries_of(message: Publish) -> list[list[object]]:
    if message.kind not in ("live", "backlog"):
        return []
    moments: list[Moment] = decode(message.payload, list[Moment])[1]
    return [entry for moment in moments for entry in moment.entries]


def told_json(said: Sequence[Publish]) -> bytes:
    (payload,) = [message.payload for message in said if message.kind == "schema"]
    return repr(decode(payload, dict)[1]).encode()
