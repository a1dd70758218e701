"""From topic and payload to records that can be taken, or the reason why not (docs/architecture.md). Pure.

What holds afterwards, whatever an agent sends:

- nothing here raises but ``Refused``, and that names every record that the header named;
- a record is taken, set aside under its own name, or waited for (its schema or clock is lacking), never dropped;
- a record that was seen, in this batch too, is not taken again;
- only what was taken is seen: numbers of what is set aside may have been named by somebody else, so that a record of
  such a number that can be taken is taken (docs/decisions/0041).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec

from collector.core.vehicle.events import Happened, Observed, RecordName, Told
from collector.site.widths import check_event, check_schema, check_texts, check_value
from collector.store.rows import RunRow
from telemetry.earliest import EARLIEST_MS
from telemetry.intervals import Intervals
from telemetry.message import (
    Ask,
    Beat,
    Birth,
    Goodbye,
    Header,
    HeldRun,
    Lane,
    MessageError,
    Moment,
    Placed,
    SchemaBody,
    State,
    decode,
    records,
)
from telemetry.metrics import MAX_TEXT, Value
from telemetry.records import Clock, Count, Event, Record, Run, Sample, SchemaRef
from telemetry.topics import AgentName, parse_up

if TYPE_CHECKING:
    from collector.core.rules.schemas import CompiledSchema

MAX_RECORDS: Final = 5_000
"""Most records in one message, an hour of a busy agent: a header that names more is damage or malice, and must neither
mark them as seen nor hold up the others. What an agent says at once beyond it comes again in its backlog, by 200."""
MAX_LOST: Final = 10_000
"""Most intervals that one ``lost`` event names."""
MAX_KEPT: Final = 100
"""So many messages in quarantine are known again, for each run; beyond it the same may be kept twice."""
MAX_RUNS: Final = 10_000
MAX_DEVICES: Final = 1_000
MAX_INTERVAL_S: Final = 86_400
"""Longest sending interval of an agent that can be: the fleet file allows an hour."""
_SCHEMA: Final = re.compile(r"[A-Za-z0-9_-]{6}")
_RUN: Final = re.compile(r"[0-9a-f]{16}")
MAX_TIME_MS: Final = 4_102_444_800_000
"""2100-01-01 UTC: a time behind it is nonsense, and would not fit everywhere."""

Reason = Literal["undecodable", "invalid", "poison", "schema_gone"]
"""Why something is in quarantine: cannot be read; a value is none of its metric; our own judging raised; the agent has
no schema for it any more."""


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """A message as it came in, at ``received_ms`` of our clock (UTC)."""

    topic: str
    payload: bytes
    received_ms: int


class Refused(ValueError):  # noqa: N818 - it is an answer, not a mistake
    """A message that cannot be used. ``agent`` and ``header`` are there as far as they could be read."""

    def __init__(self, reason: str, agent: AgentName | None = None, header: Header | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.agent = agent
        self.header = header


class StateMessage(msgspec.Struct, frozen=True):
    """A birth, goodbye or will."""

    agent: AgentName
    run: str
    body: State


class SchemaMessage(msgspec.Struct, frozen=True):
    """Schemas and clocks of a run, checked."""

    agent: AgentName
    run: str
    body: SchemaBody


Checked = tuple["CompiledSchema", Sequence[Value | None]]
"""A sample's schema and its values, checked."""


class RecordsMessage(msgspec.Struct, frozen=True):
    """Records of a run."""

    agent: AgentName
    run: str
    lane: Lane
    header: Header
    body: Sequence[Moment]
    samples: Sequence[tuple[Moment, Sequence[Checked]]] | None
    """By moment, where all are samples of known schemas that hold nothing wrong; ``None``: it takes a closer look."""

    def placed(self) -> Sequence[Placed]:
        """Return the records as they came over the wire, each of them."""
        return records(self.header, self.body)


class AskMessage(msgspec.Struct, frozen=True):
    """The time, please."""

    agent: AgentName
    run: str
    body: Ask


Message = StateMessage | SchemaMessage | RecordsMessage | AskMessage


class Schemas(NamedTuple):
    """What is known of a run's schemas."""

    names: Mapping[int, str]
    """By number."""
    compiled: Callable[[str], CompiledSchema | None]
    """Gives one by its name."""
    are_kept: bool = False
    """The run's samples hold what their schemas say, to the type: they never were bytes."""
    asked: Mapping[str, CompiledSchema] = {}
    """Those that ``compiled`` gave before, and of which all is known."""


SchemasOf = Callable[[AgentName, Run], Schemas]


def _no_schemas(agent: AgentName, run: Run) -> Schemas:
    return Schemas({}, lambda name: None)


def read(incoming: Incoming, schemas_of: SchemasOf = _no_schemas) -> Message:
    """Return what an agent said. Raises Refused."""
    try:
        agent, kind = parse_up(incoming.topic)
    except ValueError as error:
        raise Refused(str(error)) from None
    try:
        header, body = decode(incoming.payload, _BODIES[kind])
        return message_of(agent, kind, header, body, schemas_of)
    except MessageError as error:
        raise Refused(error.reason, agent, error.header) from None
    except Exception as error:  # whatever a check does with what it was given, it costs this message only
        raise Refused(f"{type(error).__name__}: {error}", agent) from error


def message_of(agent: AgentName, kind: str, header: Header, body: Any, schemas_of: SchemasOf = _no_schemas) -> Message:
    """Return what an agent said, of a body that is one of its kind, checked. Raises MessageError."""
    if kind in ("live", "backlog"):
        lane: Lane = "live" if kind == "live" else "backlog"
        return records_message(agent, lane, header, body, schemas_of(agent, header.run))
    return _MESSAGES[kind](agent, header, body)


def read_beat(payload: bytes) -> Beat | None:
    """Return the owner's own marker, or ``None`` if the payload is none."""
    try:
        return decode(payload, Beat)[1]
    except MessageError:
        return None


def _state_message(agent: AgentName, header: Header, body: State) -> StateMessage:
    if isinstance(body, Birth):
        _check_words(header, body.boot, body.machine, body.version)
        if not 0 <= body.interval_s <= MAX_INTERVAL_S:
            raise MessageError(f"expected a sending interval of at most a day, found {body.interval_s} s", header)
        if len(body.runs) > MAX_RUNS:
            raise MessageError(f"expected at most {MAX_RUNS} runs, found {len(body.runs)}", header)
        if len(body.devices) > MAX_DEVICES:
            raise MessageError(f"expected at most {MAX_DEVICES} devices, found {len(body.devices)}", header)
        _check_words(header, *body.devices, *body.devices.values())
        for run, held in body.runs.items():
            if not _RUN.fullmatch(run):
                raise MessageError(f"expected runs of 16 hex digits, found {run[:MAX_TEXT]!r}", header)
            _check_words(header, held.boot)
    elif isinstance(body, Goodbye):
        _check_words(header, body.reason)
    return StateMessage(agent, header.run, body)


def _schema_message(agent: AgentName, header: Header, body: SchemaBody) -> SchemaMessage:
    _check_words(header, body.boot)
    _check_words(header, *body.unknown_schemas)
    if len(body.unknown_schemas) + len(body.schemas) + len(body.clocks) > MAX_RUNS:
        raise MessageError(f"expected at most {MAX_RUNS} schemas and clocks", header)
    for name, schema in body.schemas.items():
        try:
            check_schema(name, schema)
        except ValueError as error:
            raise MessageError(f"schema {name[:MAX_TEXT]!r}: {error}", header) from None
    numbers = {} if body.numbers is msgspec.UNSET else body.numbers
    if not numbers.keys() <= body.schemas.keys() or len(set(numbers.values())) < len(numbers):
        raise MessageError(f"expected a number of its own for schemas that stand here, found {numbers}"[:300], header)
    for clock in body.clocks:
        _check_clock(clock, header)
    return SchemaMessage(agent, header.run, body)


def _check_words(header: Header, *words: str) -> None:
    """Raise MessageError unless these can be kept everywhere."""
    try:
        check_texts(words)
    except ValueError as error:
        raise MessageError(str(error), header) from None


def _check_clock(clock: Clock, header: Header) -> None:
    if not EARLIEST_MS <= clock.wall_ms < MAX_TIME_MS:
        raise MessageError(f"clock {clock.number}: expected a time in 2026 to 2099, found {clock.wall_ms} ms", header)
    if clock.number < 0 or not 0 <= clock.mono_ms < MAX_TIME_MS or clock.uncertainty_ms < 0:
        raise MessageError(f"clock {clock.number}: expected no negative number, found {clock}", header)


def records_message(
    agent: AgentName, lane: Lane, header: Header, body: Sequence[Moment], schemas: Schemas
) -> RecordsMessage:
    """Return a message with records, whose shape is right. Raises MessageError."""
    count = len(header.sequences)
    if count > MAX_RECORDS:
        raise MessageError(f"expected at most {MAX_RECORDS} records, found {count}", header)
    samples = _samples(body, schemas) if count == sum([len(moment.entries) for moment in body]) else None
    if samples is None:
        records(header, body, schemas.names)
    return RecordsMessage(agent, header.run, lane, header, body, samples)


def _samples(body: Sequence[Moment], schemas: Schemas) -> list[tuple[Moment, list[Checked]]] | None:
    """Return all samples, checked, ``None`` unless all are samples of known schemas that hold nothing wrong."""
    names, compiled_of, are_kept, asked = schemas
    if are_kept:
        try:
            return [(moment, [(asked[name], values) for name, values in moment.entries]) for moment in body]
        except (KeyError, ValueError):  # a schema that is new here, or an event
            pass
    found = []
    for moment in body:
        checked = []
        for entry in moment.entries:
            if len(entry) != 2:
                return None
            name, values = entry
            if type(name) is int:
                name = entry[0] = names.get(name, name)
            compiled = (asked.get(name) or compiled_of(name)) if type(name) is str else None
            if compiled is None:
                return None
            right = values if are_kept and not compiled.unknown else compiled.read(values)
            if right is None:
                return None
            checked.append((compiled, right))
        found.append((moment, checked))
    return found


def _ask_message(agent: AgentName, header: Header, body: Ask) -> AskMessage:
    return AskMessage(agent, header.run, body)


_MESSAGES: Final[Mapping[str, Callable[[AgentName, Header, Any], Message]]] = {
    "state": _state_message,
    "schema": _schema_message,
    "ask": _ask_message,
}
_BODIES: Final[Mapping[str, Any]] = {
    "state": State, "schema": SchemaBody, "live": list[Moment], "backlog": list[Moment], "ask": Ask
}  # fmt: skip
"""What the body of a message of each kind is."""


# --- records against what is known ------------------------------------------------------------------------------------


class KnownRun(msgspec.Struct):
    """What is known of one run of an agent."""

    row: RunRow
    clocks: dict[int, Clock] = msgspec.field(default_factory=dict)
    """By number."""
    unknown_schemas: set[str] = msgspec.field(default_factory=set)
    """Schemas that the agent no longer has."""
    schema_names: Mapping[int, str] = msgspec.field(default_factory=dict)
    """By the number that they have in the run's samples. Never changed in place: copies share it."""
    aside: Intervals = msgspec.field(default_factory=Intervals)
    """Numbers that stand in quarantine since this ownership began."""
    kept: frozenset[bytes] = frozenset()
    """Digests of what stands there: said again, it is not kept again."""
    next: int | None = None
    """The sequence number that comes next if none is missing; ``None`` where the next one that comes is right."""

    def expect(self, held: HeldRun | None, session: int) -> None:
        """Note what a birth says: of numbers that it does not name none will come."""
        nothing = 0 if session == 1 else None
        self.next = nothing if held is None else held.last + 1

    def missing(self, message: Intervals, lacking: Intervals) -> Intervals:
        """Return the numbers that a message shows to be missing, and note what comes next.

        ``lacking`` are those of its own that cannot be taken yet.
        """
        if not message:
            return lacking
        first, last = message.first, message.highest
        begin = first if self.next is None else self.next
        if last >= begin:
            self.next = last + 1
        if first <= begin and message.pieces == 1:
            return lacking
        known = Intervals([(begin, last)]) if begin <= last else Intervals()
        gap = known.minus(message).minus(self.row.seen).minus(self.not_waited_for())
        gap.update(lacking)
        return gap

    @property
    def pieces(self) -> int:
        """In how many intervals its numbers are."""
        return self.row.seen.pieces + self.row.lost.pieces + self.aside.pieces

    def copy(self) -> KnownRun:
        """Return one of its own."""
        return KnownRun(
            self.row.copy(),
            dict(self.clocks),
            set(self.unknown_schemas),
            self.schema_names,
            self.aside.copy(),
            self.kept,
            self.next,
        )

    def not_waited_for(self) -> Intervals:
        """Return the numbers that are not committed and not waited for: told as lost, or in quarantine."""
        numbers = self.row.lost.copy()
        numbers.update(self.aside)
        return numbers

    def holds(self, payload: bytes) -> bool:
        """Say whether this content is known to stand in quarantine."""
        return _digest(payload) in self.kept

    def keep(self, payload: bytes, numbers: Intervals) -> None:
        """Note that these numbers go into quarantine, with this content."""
        self.aside.update(numbers)
        self.kept = (self.kept if len(self.kept) < MAX_KEPT else frozenset()) | {_digest(payload)}

    def forget(self, payload: bytes) -> None:
        """Note that this content leaves quarantine."""
        self.kept -= {_digest(payload)}


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


class Lost(msgspec.Struct, frozen=True):
    """Body of a ``lost`` event."""

    run: Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
    intervals: Annotated[list[tuple[Count, Count]], msgspec.Meta(max_length=MAX_LOST)]
    reason: str = ""


class Untimed(msgspec.Struct, frozen=True):
    """A sample whose run never knew the time: history, and nothing to judge."""

    name: RecordName


Ready = Told | Untimed
"""A record that can be taken."""


class SetAside(msgspec.Struct, frozen=True):
    """A record for the quarantine."""

    sequence: int
    reason: Reason
    words: str


class Judged(msgspec.Struct):
    """What is to be done with the records of one message."""

    ready: list[Ready] = []
    aside: list[SetAside] = []
    schemas_lacking: set[SchemaRef] = set()
    clocks_lacking: set[int] = set()
    duplicates: int = 0
    unknown: dict[str, int] = {}
    """Values of metrics that our catalogue does not know, by metric."""
    plain: bool = False
    """All are ready, and samples whose time is known."""


def judge(
    message: RecordsMessage, run: KnownRun, compiled_of: Callable[[str], CompiledSchema | None], now_ms: int
) -> Judged:
    """Return what can be taken of a message and what cannot. Changes nothing: whoever takes a record notes it as seen.

    ``compiled_of`` gives a schema of this agent, compiled, ``None`` for one that is not known. ``now_ms`` (UTC) stands
    in for the time of an event whose run never knew it.
    """
    ready = _ready_at_once(message, run)
    if ready is not None:
        return Judged(ready, plain=True)
    judged = Judged()
    seen = run.row.seen
    highest = seen.highest
    for placed in message.placed():
        record = placed.record
        if record.sequence <= highest and record.sequence in seen:
            judged.duplicates += 1
            continue
        compiled = compiled_of(record.schema) if isinstance(record, Sample) else None
        if compiled is None and isinstance(record, Sample):
            if record.schema in run.unknown_schemas:
                words = f"schema {record.schema} is unknown and the agent no longer has it"
                judged.aside.append(SetAside(record.sequence, "schema_gone", words))
                continue
            if placed.number is None and not _SCHEMA.fullmatch(record.schema):
                words = f"expected the name of a schema, found {record.schema[:MAX_TEXT]!r}"
                judged.aside.append(SetAside(record.sequence, "invalid", words))
                continue
            judged.schemas_lacking.add(record.schema if placed.number is None else placed.number)
        clock = None if placed.clock is None else run.clocks.get(placed.clock)
        if clock is None and not run.row.no_clock:
            judged.clocks_lacking.add(-1 if placed.clock is None else placed.clock)
            continue
        if compiled is None and isinstance(record, Sample):
            continue
        try:
            judged.ready.append(_check(message, record, clock, compiled, judged.unknown, now_ms))
        except Exception as error:  # whatever a validation does, it costs this record only
            judged.aside.append(SetAside(record.sequence, "invalid", str(error) or type(error).__name__))
    return judged


def _ready_at_once(message: RecordsMessage, run: KnownRun) -> list[Ready] | None:
    """Return all records of a message whose samples are checked, if all of them are new and their times known."""
    sequences, samples = message.header.sequences, message.samples
    if samples is None or sequences.first <= run.row.seen.highest:
        return None
    agent, run_id, lane, numbers = message.agent.agent, message.run, message.lane, iter(sequences)
    ready: list[Ready] = []
    for moment, checked in samples:
        clock = None if moment.clock is None else run.clocks.get(moment.clock)
        if clock is None:
            return None
        time_ms = clock.place(moment.mono_ms)
        if not 0 <= time_ms < MAX_TIME_MS:
            return None
        ready += [
            Observed(RecordName(agent, run_id, next(numbers)), lane, time_ms, compiled, values)
            for compiled, values in checked
        ]
    return ready


def _check(
    message: RecordsMessage,
    record: Record,
    clock: Clock | None,
    compiled: CompiledSchema | None,
    unknown: dict[str, int],
    now_ms: int,
) -> Ready:
    """Return the record, checked. Raises ValueError."""
    time_ms = None if clock is None else clock.place(record.mono_ms)
    if time_ms is not None and not 0 <= time_ms < MAX_TIME_MS:
        raise ValueError(f"expected a time before 2100, found {time_ms} ms")
    name = RecordName(message.agent.agent, message.run, record.sequence)
    if isinstance(record, Event):
        check_event(record)
        if record.kind == "lost":
            lost_of(record.body)
        at_ms = now_ms if time_ms is None else time_ms
        return Happened(name, message.lane, at_ms, record.kind, record.device, record.body)
    assert compiled is not None
    values = compiled.check(record.values)
    for metric, index in compiled.unknown:
        check_value(record.values[index])
        if record.values[index] is not None:
            unknown[metric] = unknown.get(metric, 0) + 1
    return Untimed(name) if time_ms is None else Observed(name, message.lane, time_ms, compiled, values)


def lost_of(body: Mapping[str, Any]) -> tuple[str, Intervals]:
    """Return of which run a ``lost`` event tells, and which numbers. Raises ValueError."""
    lost = msgspec.convert(body, Lost)
    return lost.run, Intervals(lost.intervals)


def body_of(wanted: Intervals, message: RecordsMessage) -> list[Moment]:
    """Return the moments of some of a message's records, by their numbers."""
    numbers = iter(message.header.sequences)
    body = []
    for moment in message.body:
        entries = [entry for entry in moment.entries if next(numbers) in wanted]
        if entries:
            body.append(Moment(moment.mono_ms, moment.clock, entries))
    return body
