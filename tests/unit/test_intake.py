"""What comes in is taken once, waited for, or set aside under its name; nothing an agent sends raises."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.core.rules.files import load_rules
from collector.core.rules.schemas import CompiledSchema
from collector.core.tickets.draft import Recorded
from collector.core.tickets.events import Opening
from collector.core.vehicle import agents
from collector.core.vehicle import step as judging
from collector.core.vehicle.duty import state_of
from collector.core.vehicle.events import Happened, Listening, Observed
from collector.core.vehicle.state import Vehicle, trouble_of
from collector.site import unit_of_work, working_copy
from collector.site.in_force import InForce
from collector.site.intake import (
    MAX_RECORDS,
    Incoming,
    Judged,
    KnownRun,
    Refused,
    Schemas,
    judge,
    read,
    records_message,
)
from collector.site.memory import Memory
from collector.site.receipts import Receipts
from collector.site.setting_aside import MAX_UNNAMED, MOST_REASONS
from collector.site.unit_of_work import UnitOfWork
from collector.store import batch as log
from collector.store.rows import Changes, Quarantined, RunRow, SchemaKey, SiteData
from telemetry.fleet import AgentPlan, Device, Site, VehiclePlan
from telemetry.inputs import ModemInput
from telemetry.intervals import Intervals
from telemetry.message import (
    DEFLATED,
    MAX_SCHEMA_NUMBER,
    NUMBERED,
    PLAIN,
    Birth,
    Goodbye,
    HeldRun,
    MessageError,
    Moment,
    Needed,
    SchemaBody,
    decode,
    encode,
)
from telemetry.records import Clock, Column, Schema
from telemetry.topics import AgentName

NOW = 1_790_000_000_000
RUN, OTHER = "00000000000000aa", "00000000000000bb"
AGENT = AgentName("north", "amb-3", "router")
MODEM = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"leg": "nr"}), Column("modem.sim")))
NEWER = Schema("modem", "modem-1", (Column("modem.invented_later"), Column("modem.sim")))
ODD = Schema("modem", "modem-1", (Column("modem.Rsrp,x=1"),))
JOINED = Schema("x/y", "modem-1", (Column("modem.sim"),))
LABELLED = Schema("modem", "modem-1", (Column("modem.rsrp_dbm", {"l=e|g": "nr"}),))
CLOCK = Clock(0, 500_000, NOW - 10_000, "ntp", 20)
JUDGE = InForce(
    "north",
    Site(
        vehicles={
            "amb-3": VehiclePlan(
                agents={"router": AgentPlan(devices={"modem-1": Device(kind="modem", modem=ModemInput(port="/dev/x"))})}
            )
        }
    ),
    load_rules(),
)


class Centre:
    """A site without I/O: what a commit would write is kept here."""

    def __init__(self) -> None:
        self.memory: Memory = Memory.of(JUDGE, SiteData({}, None, {}, {}, {}, 0))
        self.receipts = Receipts(epoch=1, interval_ms=0)
        self.commits: list[Changes] = []
        self.now = NOW
        self.listening = Listening(None)

    def work(self) -> UnitOfWork:
        return UnitOfWork(self.memory, JUDGE, self.listening, self.now)

    def take(self, *messages: tuple[str, bytes]) -> UnitOfWork:
        work = self.work()
        for topic, payload in messages:
            work.take(Incoming(topic, payload, self.now))
        return self.commit(work)

    def commit(self, work: UnitOfWork) -> UnitOfWork:
        changes = work.changes()
        if changes is not None:
            self.commits.append(changes)
        work.keep()
        work.tell(self.receipts)
        return work

    def groups(self) -> list[log.Group]:
        return [
            group for changes in self.commits if changes.batch for group in log.decode_groups(changes.batch.content)
        ]

    def taken(self) -> list[tuple[str, int]]:
        return [(group.run, number) for group in self.groups() for number in Intervals(group.pairs)]

    def aside(self) -> list[tuple[list[tuple[int, int]], str]]:
        return [(row.pairs, row.reason) for changes in self.commits for row in changes.quarantine]

    def counted(self, name: str) -> int:
        return sum(changes.counters.get(name, 0) for changes in self.commits)

    def needed(self) -> dict[str, Needed]:
        def committed(run: str) -> tuple[Intervals, Intervals]:
            row = self.memory.runs[AGENT.vehicle, AGENT.agent, run].row
            return row.seen, row.lost

        return self.receipts.make(AGENT, committed, self.now)[1].needed


def birth(session: int = 1, run: str = RUN, **held: HeldRun) -> tuple[str, bytes]:
    body = Birth(session, "boot-1", "machine", "0.1.0", 10.0, dict(held))
    return AGENT.up("state"), encode(DEFLATED, run, body)


def told(*schemas: Schema, clocks: Sequence[Clock] = (CLOCK,), run: str = RUN, **more: Any) -> tuple[str, bytes]:
    body = SchemaBody("boot-1", {one.id(): one for one in schemas}, tuple(clocks), **more)
    return AGENT.up("schema"), encode(DEFLATED, run, body)


def live(
    numbers: Sequence[int], *entries: list[Any], clock: int | None = 0, lane: str = "live", run: str = RUN
) -> tuple[str, bytes]:
    body = [Moment(500_000, clock, list(entries))]
    return AGENT.up(lane), encode(DEFLATED, run, body, Intervals((n, n) for n in numbers))


def sample(rsrp: Any = -80.0, sim: Any = "ready", schema: Schema = MODEM) -> list[Any]:
    return [schema.id(), [rsrp, sim]]


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic",
    [
        "kitwatch/v1/up/north/amb-3/router/nonsense",
        "kitwatch/v1/up/north/amb 3/router/live",
        "kitwatch/v1/up/north/collector/router/live",
        "kitwatch/v1/up/north/amb-3/live",
        "kitwatch/v1/down/north/amb-3/router/live",
        "",
    ],
)
def test_a_topic_of_nobody_is_refused(topic: str) -> None:
    with pytest.raises(Refused) as refused:
        read(Incoming(topic, live([0], sample())[1], NOW))
    assert refused.value.agent is None


def test_a_refused_message_names_its_records_as_far_as_the_header_told() -> None:
    topic, payload = live([3, 4, 9], sample(), sample(), sample())
    with pytest.raises(Refused) as refused:
        read(Incoming(topic, payload[:-4], NOW))
    assert refused.value.header is not None
    assert refused.value.header.sequences.pairs() == [(3, 4), (9, 9)]
    assert refused.value.agent == AGENT


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (SchemaBody("b", {"AAAAAA": MODEM}), "expected the schema's own name"),
        (SchemaBody("b", {}, (Clock(0, 0, 1_000, "rtc", 0),)), "expected a time in 2026 to 2099"),
        (SchemaBody("b", {}, (Clock(-1, 0, NOW, "rtc", 0),)), r"Expected `int` >= 0 - at `\$.clocks\[0\]\[0\]`"),
        (SchemaBody("b", {}, (Clock(0, 0, 2**61, "rtc", 0),)), "Expected `int` <= 9007199254740991"),
        (SchemaBody("b\0"), "expected up to 128 printable characters"),
        (SchemaBody("b", {ODD.id(): ODD}), "expected <measurement>.<field>"),
        (SchemaBody("b", {MODEM.id(): MODEM}, numbers={"AAAAAA": 0}), "expected a number of its own for schemas that"),
        (
            SchemaBody("b", {one.id(): one for one in (MODEM, NEWER)}, numbers={MODEM.id(): 1, NEWER.id(): 1}),
            "expected a number of its own for schemas that",
        ),
        (SchemaBody("b", {MODEM.id(): MODEM}, numbers={MODEM.id(): MAX_SCHEMA_NUMBER + 1}), "Expected `int` <= 9999"),
        (SchemaBody("b", {JOINED.id(): JOINED}), "expected an input of 1 to 32 letters, digits, _ and -, found 'x/y'"),
        (SchemaBody("b", {LABELLED.id(): LABELLED}), "expected a label of 1 to 32 small letters"),
    ],
)
def test_schemas_and_clocks_that_cannot_be_are_refused(body: SchemaBody, words: str) -> None:
    with pytest.raises(Refused, match=words):
        read(Incoming(AGENT.up("schema"), encode(PLAIN, RUN, body), NOW))


@pytest.mark.parametrize(
    "body",
    [
        Birth(1, "b\0", "m", "1", 1.0),
        Birth(1, "b", "m" * 129, "1", 1.0),
        Birth(1, "b", "m", "1", 1e308),
        Birth(1, "b", "m", "1", -1.0),
        Birth(1, "b", "m", "1", 1.0, {"../etc": HeldRun("b", 0, 0)}),
        Goodbye(1, "a\nb"),
    ],
)
def test_births_whose_words_could_not_be_kept_are_refused(body: Birth | Goodbye) -> None:
    with pytest.raises(Refused):
        read(Incoming(AGENT.up("state"), encode(PLAIN, RUN, body), NOW))


def test_a_schema_with_a_name_too_long_for_a_tag_is_refused() -> None:
    wide = Schema("snmp", "sw", (Column("interface.up", {"interface": "x" * 129}),))
    with pytest.raises(Refused, match="up to 128 printable characters"):
        read(Incoming(AGENT.up("schema"), encode(PLAIN, RUN, SchemaBody("b", {wide.id(): wide})), NOW))


def test_a_damaged_header_marks_nothing_as_seen() -> None:
    centre = Centre()
    payload = encode(PLAIN, RUN, [], Intervals([(0, MAX_RECORDS)]))
    centre.take((AGENT.up("backlog"), payload))
    assert centre.memory.runs.get((AGENT.vehicle, AGENT.agent, RUN)) is None
    ((pairs, reason),) = centre.aside()
    assert pairs == []
    assert f"at most {MAX_RECORDS} records" in reason


# --- taking -----------------------------------------------------------------------------------------------------------


def test_records_are_taken_once_in_the_lane_they_came_on() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0, 1], sample(-80), sample(-81)), live([1, 2], sample(-81), sample(-82)))
    centre.take(live([0, 1, 2, 3], *[sample()] * 4, lane="backlog"))
    assert centre.taken() == [(RUN, 0), (RUN, 1), (RUN, 2), (RUN, 3)]
    assert [(group.lane, group.pairs) for group in centre.groups()] == [
        ("live", [(0, 1)]),
        ("live", [(2, 2)]),
        ("backlog", [(3, 3)]),
    ]
    assert centre.counted("duplicates") == 4
    assert centre.groups()[1].moments == [Moment(500_000, 0, [[MODEM.id(), [-82, "ready"]]])]
    assert centre.groups()[1].clocks == {0: CLOCK}


def test_a_turn_that_is_thrown_away_has_touched_nothing() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0], sample()))
    before = centre.memory.vehicles["amb-3"].to_json(), centre.memory.last_batch
    seen = centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row.seen.pairs()
    lost_work = centre.work()
    for topic, payload in (live([1], sample()), told(NEWER, clocks=[]), birth(2, OTHER)):
        lost_work.take(Incoming(topic, payload, NOW))
    lost_work.look()
    assert lost_work.changes() is not None
    assert (centre.memory.vehicles["amb-3"].to_json(), centre.memory.last_batch) == before
    assert centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row.seen.pairs() == seen
    assert (AGENT.vehicle, AGENT.agent, NEWER.id()) not in centre.memory.compiled
    centre.take(live([1], sample()))
    assert centre.taken() == [(RUN, 0), (RUN, 1)], "after the failed commit it is taken as if for the first time"


def test_needed_until_told_and_unknown_ends_it() -> None:
    centre = Centre()
    centre.take(birth(), live([0], sample()), live([1], sample(), clock=None), live([2], sample(schema=NEWER), clock=7))
    assert centre.taken() == []
    assert centre.needed() == {RUN: Needed(tuple(sorted((MODEM.id(), NEWER.id()))), (-1, 0, 7))}
    centre.take(told(MODEM), live([0], sample()))
    assert centre.needed() == {RUN: Needed((NEWER.id(),), (7,))}
    centre.take(told(clocks=[], unknown_schemas=(NEWER.id(),), no_clock=True))
    centre.take(live([1], sample(), clock=None), live([2], sample(schema=NEWER), clock=7))
    assert centre.taken() == [(RUN, 0), (RUN, 1)]
    ((pairs, reason),) = centre.aside()
    assert pairs == [(2, 2)]
    assert reason.startswith("schema_gone")
    assert centre.groups()[-1].clocks == {}, "a sample without a clock is taken without a time"


def test_a_clock_that_was_told_is_never_moved() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    centre.take(told(clocks=[Clock(0, 500_000, NOW, "gnss", 1)]), live([0], sample()))
    assert centre.groups()[0].clocks == {0: CLOCK}
    assert centre.counted("clock_changed") == 1


def numbered(*schemas: Schema, first: int = 0) -> tuple[str, bytes]:
    """Return the message that tells schemas and their numbers, from ``first`` on."""
    return told(*schemas, numbers={schema.id(): first + at for at, schema in enumerate(schemas)})


def test_a_sample_that_calls_its_schema_by_number_is_written_into_the_log_by_name() -> None:
    centre = Centre()
    centre.take(birth(), numbered(NEWER, MODEM), live([0, 1], [1, [-80.0, "ready"]], [0, [5, "ready"]]))
    (group,) = centre.groups()
    assert group.moments[0].entries == [[MODEM.id(), [-80.0, "ready"]], [NEWER.id(), [5, "ready"]]]
    (changes,) = centre.commits
    assert changes.schema_names == {(AGENT.vehicle, AGENT.agent, RUN): {0: NEWER.id(), 1: MODEM.id()}}
    centre.take(live([2], sample(), run=RUN))
    assert centre.commits[-1].schema_names == {}, "what is known already is not written again"


def test_a_number_that_was_not_told_is_asked_for_until_the_agent_speaks_of_its_schemas() -> None:
    centre = Centre()
    centre.take(birth(), told(), live([0], [3, [-80.0, "ready"]]), live([1], [MODEM.id(), [-80.0, "ready"]]))
    assert centre.taken() == []
    assert centre.aside() == []
    assert centre.needed() == {RUN: Needed((3, MODEM.id()), ())}
    centre.take(numbered(MODEM, first=3), live([0], [3, [-80.0, "ready"]]))
    assert centre.taken() == [(RUN, 0)]
    assert centre.needed() == {}
    centre.take(live([2], [4, [-80.0, "ready"]]))
    assert centre.needed() == {RUN: Needed((4,), ())}
    centre.take(told(MODEM))
    assert centre.needed() == {}, "it has told all that it can; such samples come again by name"


def test_numbers_are_a_runs_own() -> None:
    centre = Centre()
    centre.take(birth(), numbered(MODEM), live([0], [0, [-80.0, "ready"]], run=OTHER))
    assert centre.taken() == []
    body = SchemaBody("boot-1", {NEWER.id(): NEWER}, (CLOCK,), numbers={NEWER.id(): 0})
    centre.take((AGENT.up("schema"), encode(NUMBERED, OTHER, body)))
    centre.take(live([0], [0, [5, "ready"]], run=OTHER), live([0], [0, [-80.0, "ready"]]))
    assert [(group.run, group.moments[0].entries[0][0]) for group in centre.groups()] == [
        (OTHER, NEWER.id()),
        (RUN, MODEM.id()),
    ]


def test_a_number_that_was_told_never_means_another_schema() -> None:
    centre = Centre()
    centre.take(birth(), numbered(MODEM))
    centre.take(numbered(NEWER), live([0], [0, [-80.0, "ready"]]))
    assert centre.groups()[0].moments[0].entries == [[MODEM.id(), [-80.0, "ready"]]]
    assert centre.counted("schema_number_changed") == 1


def test_numbers_of_a_work_that_is_thrown_away_are_not_known() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    lost_work = centre.work()
    lost_work.take(Incoming(*numbered(MODEM), NOW))
    centre.take(live([0], [0, [-80.0, "ready"]]))
    assert centre.taken() == []
    assert centre.needed() == {RUN: Needed((0,), ())}


def test_a_message_with_numbers_is_taken_again_out_of_quarantine() -> None:
    centre = Centre()
    _, payload = live([0], [0, [-80.0, "ready"]])
    centre.take(birth(), numbered(MODEM))
    row = Quarantined(
        id=1, site="north", vehicle=AGENT.vehicle, agent=AGENT.agent, run=RUN, pairs=[(0, 0)], kind="live",
        reason="undecodable", payload=payload, at_ms=NOW, state="retry",
    )  # fmt: skip
    work = centre.work()
    work.take_again(row)
    centre.commit(work)
    assert centre.taken() == [(RUN, 0)]
    assert centre.groups()[0].moments[0].entries == [[MODEM.id(), [-80.0, "ready"]]]


def test_unknown_metrics_are_set_aside_by_column_and_counted() -> None:
    centre = Centre()
    centre.take(birth(), told(NEWER), live([0, 1], sample(5, "ready", NEWER), sample(None, "ready", NEWER)))
    assert centre.taken() == [(RUN, 0), (RUN, 1)]
    assert centre.counted("unknown_metric.modem.invented_later") == 1
    assert centre.groups()[0].moments[0].entries[0] == [NEWER.id(), [5, "ready"]], "the log keeps what was said"


def test_a_vehicle_that_the_fleet_file_does_not_know_is_taken_all_the_same() -> None:
    centre = Centre()
    stranger = AgentName("north", "amb-99", "tablet")
    topics = [
        (stranger.up(topic.rpartition("/")[2]), body) for topic, body in (birth(), told(MODEM), live([0], sample()))
    ]
    centre.take(*topics)
    assert [group.vehicle for group in centre.groups()] == ["amb-99"]
    assert centre.aside() == []


def test_lost_is_noted_for_the_run_it_names() -> None:
    centre = Centre()
    body = {"run": OTHER, "intervals": [[3, 8]], "reason": "evicted"}
    centre.take(birth(run=RUN), told(), live([0], ["lost", "", body]))
    assert centre.memory.runs[AGENT.vehicle, AGENT.agent, OTHER].row.lost.pairs() == [(3, 8)]
    assert not centre.memory.runs[AGENT.vehicle, AGENT.agent, OTHER].row.seen
    centre.take(told(MODEM, run=OTHER), live([5], sample(), run=OTHER))
    assert (OTHER, 5) in centre.taken(), "what arrives after all is taken"


@pytest.mark.parametrize("body", [{}, {"run": "x", "intervals": []}, {"run": OTHER, "intervals": [[5, 3]]}])
def test_a_lost_event_that_makes_no_sense_is_set_aside(body: dict[str, Any]) -> None:
    centre = Centre()
    centre.take(birth(), told(), live([0, 1], ["lost", "", body], ["started", "", {}]))
    assert [pairs for pairs, _ in centre.aside()] == [[(0, 0)]]
    assert centre.taken() == [(RUN, 1)]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (["problem", "", {"problem": "no answer"}], "expected a device"),
        (["problem", "a/b", {"problem": "no answer"}], "a device"),
        (["problem", "modem-1", {"problem": "no answer", "input": "x/y"}], "expected an input"),
        (["problem", "modem-1", {"problem": "no answer", "input": ["x"]}], "expected an input"),
        (["inventory", "", {"model": "M1"}], "expected a device"),
        (["inventory", "modem-1", {"model": "M1", "input": "|"}], "expected an input"),
        (["started", "a/b", {}], "a device"),
    ],
)
def test_an_event_whose_names_are_no_ids_is_set_aside_under_its_own_name(entry: list[Any], words: str) -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0, 1], entry, sample()))
    ((pairs, reason),) = centre.aside()
    assert pairs == [(0, 0)]
    assert reason.startswith("invalid")
    assert words in reason
    assert centre.counted("quarantined_invalid") == 1
    assert centre.taken() == [(RUN, 1)]


def test_a_schema_that_the_first_version_took_stops_no_owner() -> None:
    """It stands in the database: its samples wait for ever, everything else goes on."""
    data = SiteData({}, None, {}, {("amb-3", "router", one.id()): one for one in (JOINED, MODEM)}, {}, 0)
    assert [key[2] for key in Memory.of(JUDGE, data).compiled] == [MODEM.id()]


def test_a_run_that_a_birth_names_no_more_waits_for_nothing_but_is_not_forgotten() -> None:
    centre = Centre()
    lost = ["lost", "", {"run": RUN, "intervals": [[1, 1]], "reason": "evicted"}]
    centre.take(birth(), told(MODEM), live([0, 2], lost, sample()))
    centre.take(birth(run=OTHER))
    row = centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row
    assert (row.seen.pairs(), row.lost.pairs()) == ([(0, 0), (2, 2)], [])
    centre.take(live([0, 1, 2], sample(), sample(), sample()))
    assert centre.taken() == [(RUN, 0), (RUN, 2), (RUN, 1)], "a restored image held it after all; nothing comes twice"


def test_a_record_of_a_run_without_a_clock_is_taken_whatever_clock_it_names() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM, clocks=(), no_clock=True), live([0, 1], sample(), sample(), clock=5))
    assert centre.taken() == [(RUN, 0), (RUN, 1)]
    assert [group.clocks for group in centre.groups()] == [{}]


def test_a_message_of_very_many_records_that_are_set_aside_is_one_row() -> None:
    """811 bytes that named 10,000 took 1.3 s of CPU and made 10,000 rows."""
    centre = Centre()
    topic, payload = live(range(MAX_RECORDS), *([["AAAAAA", []]] * MAX_RECORDS))
    centre.take(birth(), told(unknown_schemas=("AAAAAA",)), (topic, payload))
    assert [pairs for pairs, _ in centre.aside()] == [[(0, MAX_RECORDS - 1)]]
    assert centre.counted("quarantined_schema_gone") == MAX_RECORDS
    (row,) = centre.commits[-1].quarantine
    assert len(row.payload) < 2 * len(payload)
    assert len(decode(row.payload, list[Moment])[1][0].entries) == MAX_RECORDS
    many = [["problem", "modem-1", {"input": f"no id {n}"}] for n in range(100)]
    centre.take(live(range(MAX_RECORDS, MAX_RECORDS + 100), *many))
    rows = centre.commits[-1].quarantine
    assert len(rows) == MOST_REASONS + 1
    assert sum(len(Intervals(row.pairs)) for row in rows) == 100


def test_an_inventory_that_changes_compiles_nothing_that_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device's word that it is another model now used to compile all of its schemas again, however many they were."""
    centre = Centre()
    centre.take(birth(), told(MODEM, NEWER))
    compiled: list[str] = []
    compile = InForce.compile

    def counted(judge: InForce, key: SchemaKey, schema: Schema, vehicle: Vehicle | None) -> CompiledSchema:
        compiled.append(schema.id())
        return compile(judge, key, schema, vehicle)

    monkeypatch.setattr(InForce, "compile", counted)
    for number, model in enumerate(("RM520N", "RG500Q", "RM520N")):
        centre.take(live([number], ["inventory", "modem-1", {"input": "modem", "model": model}]))
    assert compiled == []
    centre.take(live([3, 4], sample(), sample()))
    centre.take(live([5], sample()))
    assert compiled == [MODEM.id()], "once, when it is used"


# --- poison -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let our own judging raise on a signal of -66 and on a problem "x", after it has done all its work."""
    observed, happened = judging._judge_sample, agents.happened

    def observe(draft: Any, event: Observed, gap_ms: int) -> None:
        observed(draft, event, gap_ms)
        if event.values[0] == -66.0:
            raise ZeroDivisionError("a rule divided")

    def happen(draft: Any, event: Happened) -> None:
        happened(draft, event)
        if event.body.get("problem") == "x":
            raise KeyError("x")

    monkeypatch.setattr(judging, "_judge_sample", observe)
    monkeypatch.setattr(agents, "happened", happen)


def without_forks(centre: Centre) -> dict[str, Vehicle]:
    """What was not sent at all is missing; what was set aside is not waited for."""
    return {name: msgspec.structs.replace(one, fork=None) for name, one in centre.memory.vehicles.items()}


@pytest.mark.usefixtures("poison")
def test_a_record_on_which_step_raises_is_set_aside_alone() -> None:
    poisoned, clean = Centre(), Centre()
    poisoned.take(birth(), told(MODEM), live([0, 1, 2], sample(-80.0), sample(-66.0), sample(-82.0)))
    clean.take(birth(), told(MODEM), live([0, 2], sample(-80.0), sample(-82.0)))
    assert poisoned.taken() == [(RUN, 0), (RUN, 2)]
    assert [pairs for pairs, _ in poisoned.aside()] == [[(1, 1)]]
    assert "ZeroDivisionError: a rule divided" in poisoned.aside()[0][1]
    known = poisoned.memory.runs[AGENT.vehicle, AGENT.agent, RUN]
    assert known.row.seen.pairs() == [(0, 0), (2, 2)]
    assert known.not_waited_for().pairs() == [(1, 1)], "it is receipted as not committed"
    assert without_forks(poisoned) == without_forks(clean), "the vehicle is as if it had not come"
    assert [one.fork.missing for one in clean.memory.vehicles.values() if one.fork] == [{"router": {RUN: ((1, 1),)}}]
    assert poisoned.counted("fault.record") == 1
    assert poisoned.counted("fault.message") == 0


@pytest.mark.usefixtures("poison")
def test_poison_in_several_messages_of_a_turn_costs_itself_only() -> None:
    """Samples and events, first and last of a message, a message of nothing else; tickets open once."""
    bad, good, broken = ["problem", "modem-1", {"problem": "x"}], sample(-80.0), sample(-66.0)
    problem = ["problem", "modem-1", {"problem": "no answer", "input": "modem"}]
    inventory = ["inventory", "modem-1", {"model": "M1", "input": "modem"}]
    poisoned, clean = Centre(), Centre()
    poisoned.take(
        birth(),
        told(MODEM),
        live([0, 1, 2], bad, inventory, good),
        live([3, 4], broken, bad),
        live([5, 6, 7], sample(-80.0, "absent"), problem, broken),
        live([8], good),
    )
    clean.take(
        birth(),
        told(MODEM),
        live([1, 2], inventory, good),
        live([5, 6], sample(-80.0, "absent"), problem),
        live([8], good),
    )
    assert poisoned.taken() == clean.taken() == [(RUN, number) for number in (1, 2, 5, 6, 8)]
    assert [pairs for pairs, _ in poisoned.aside()] == [[(0, 0)], [(3, 3)], [(4, 4)], [(7, 7)]]
    assert without_forks(poisoned) == without_forks(clean)
    assert (poisoned.commits[0].recorded, poisoned.commits[0].inventory, poisoned.commits[0].problems) == (
        clean.commits[0].recorded,
        clean.commits[0].inventory,
        clean.commits[0].problems,
    )
    assert len(clean.commits[0].inventory) == 1
    assert poisoned.counted("fault.record") == 4


def test_records_that_raise_only_together_are_taken_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = judging.go_on

    def go_on(draft: Any, events: Any, now_ms: int) -> bool:
        if len(events) > 1:
            raise KeyError("together")
        return real(draft, events, now_ms)

    monkeypatch.setattr(working_copy, "go_on", go_on)
    centre = Centre()
    work = centre.take(birth(), told(MODEM), live([0, 1], sample(-80.0), sample(-82.0)))
    assert centre.taken() == [(RUN, 0), (RUN, 1)]
    assert centre.aside() == []
    assert centre.counted("fault.message") == len(work.faults) == 1


@pytest.mark.usefixtures("poison")
@pytest.mark.parametrize(
    "signals", [[-80.0] * 8, [-80.0, -81.0, -82.0, -66.0, -84.0, -85.0, -66.0, -66.0], [-66.0, -80.0]]
)
def test_a_working_copy_that_stays_open_is_as_one_for_each_message(
    monkeypatch: pytest.MonkeyPatch, signals: list[float]
) -> None:
    """Poison between calm messages of one turn costs itself only, and what came before it in the turn stands."""
    begun = 0

    def begin(*args: Any) -> Any:
        nonlocal begun
        begun += 1
        return judging.begin(*args)

    monkeypatch.setattr(working_copy, "begin", begin)
    centres = []
    for together in (True, False):
        centre, begun = Centre(), 0
        centre.take(birth(), told(MODEM), live([0], sample(-79.0)))
        work = centre.work()
        for number, signal in enumerate(signals, 1):
            centre.now += 10_000
            body = [Moment(500_000 + 10_000 * number, 0, [sample(signal)])]
            work.go_on(centre.now)
            work.take(
                Incoming(AGENT.up("live"), encode(DEFLATED, RUN, body, Intervals([(number, number)])), centre.now)
            )
            if not together:
                centre.commit(work)
                work = centre.work()
        centre.commit(work)
        centres.append((centre, begun))
    (one, opened), (other, each) = centres
    assert one.memory.vehicles == other.memory.vehicles
    assert one.taken() == other.taken()
    assert one.aside() == other.aside()
    assert len(one.aside()) == signals.count(-66.0)
    assert opened < each or len(signals) < 3


def test_a_birth_or_a_look_that_raises_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0], sample()))
    before = centre.memory.vehicles

    def step(*_: Any) -> Any:
        raise KeyError("x")

    monkeypatch.setattr(working_copy, "step", step)
    monkeypatch.setattr(unit_of_work, "look", step)
    work = centre.work()
    work.take(Incoming(*birth(2), NOW))
    work.take(Incoming(AGENT.up("state"), encode(PLAIN, RUN, Goodbye(2, "stop")), NOW))
    work.look()
    centre.commit(work)
    assert centre.memory.vehicles == before
    assert centre.counted("fault.born") == 1
    assert centre.counted("fault.left") == 1
    assert centre.counted("fault.timepassed") == 1
    assert len(work.faults) == 3


def test_quarantine_taken_again_is_taken_or_comes_back() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0], sample(12.0)))
    row = centre.commits[-1].quarantine[0]
    _, moments = decode(row.payload, list[Moment])
    assert moments == [Moment(500_000, 0, [[MODEM.id(), [12.0, "ready"]]])]

    def again(payload: bytes) -> UnitOfWork:
        work = centre.work()
        kept = Quarantined(
            id=7, site="north", vehicle=row.vehicle, agent=row.agent, run=row.run, pairs=row.pairs, kind=row.kind,
            reason=row.reason, payload=payload, at_ms=NOW, state="retry",
        )  # fmt: skip
        work.take_again(kept)
        return centre.commit(work)

    again(row.payload)
    assert centre.commits[-1].released == [7]
    assert [aside.pairs for aside in centre.commits[-1].quarantine] == [[(0, 0)]], "as bad as it was: it comes back"
    again(live([0], sample(schema=NEWER))[1])
    assert [aside.pairs for aside in centre.commits[-1].quarantine] == [[(0, 0)]], (
        "not lost while its schema is lacking"
    )
    assert centre.taken() == []
    again(live([0], sample(-80.0))[1])
    assert centre.commits[-1].quarantine == []
    assert centre.taken() == [(RUN, 0)]


def test_numbers_of_what_cannot_be_taken_are_not_seen() -> None:
    """Somebody else may have named them: the record itself is taken when it comes, and then is no duplicate."""
    centre = Centre()
    centre.take(birth(), told(MODEM), live([0], sample()))
    junk = AGENT.up("live"), encode(PLAIN, RUN, [], Intervals([(1, 12)]))
    centre.take(junk, live([1, 2], sample(99.0), sample()))
    known = centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN]
    assert centre.taken() == [(RUN, 0), (RUN, 2)]
    assert [pairs for pairs, _ in centre.aside()] == [[(1, 12)], [(1, 1)]], "each content under its name"
    assert (known.row.seen.pairs(), known.not_waited_for().pairs()) == ([(0, 0), (2, 2)], [(1, 12)])
    centre.take(junk, live([1], sample(99.0)))
    assert len(centre.aside()) == 2, "the same content is kept once"
    centre.take(live([1, 2, 3], sample(), sample(), sample()))
    assert centre.taken() == [(RUN, number) for number in (0, 2, 1, 3)]
    assert centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row.seen.pairs() == [(0, 3)]


def test_quarantine_taken_again_takes_nothing_twice() -> None:
    """The junk of a stranger is tried again after the agent's own record has come."""
    centre = Centre()
    junk = AGENT.up("live"), encode(PLAIN, RUN, [], Intervals([(0, 1)]))
    centre.take(birth(), told(MODEM), junk, live([0], sample()))
    (row,) = centre.commits[-1].quarantine
    work = centre.work()
    work.take_again(
        Quarantined(
            id=7, site="north", vehicle=row.vehicle, agent=row.agent, run=row.run, pairs=row.pairs, kind=row.kind,
            reason=row.reason, payload=row.payload, at_ms=NOW, state="retry",
        )
    )  # fmt: skip
    centre.commit(work)
    assert centre.commits[-1].released == [7]
    assert [aside.pairs for aside in centre.commits[-1].quarantine] == [[(1, 1)]], "what nobody has sent stays there"
    assert centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row.seen.pairs() == [(0, 0)]


def test_undecodable_floods_are_bounded_and_counted() -> None:
    centre = Centre()
    for _ in range(3):
        centre.take(*[(AGENT.up("live"), b"\x07")] * 100)
    assert len(centre.aside()) == MAX_UNNAMED
    assert centre.counted("quarantined_undecodable") + centre.counted("quarantine_full") == 300


# --- anything at all --------------------------------------------------------------------------------------------------

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
_entry = st.one_of(
    st.tuples(
        st.sampled_from([MODEM.id(), NEWER.id(), "zzzzzz", 0, 1, 2, -1, MAX_SCHEMA_NUMBER]), st.lists(_json, max_size=3)
    ).map(list),
    st.tuples(
        st.sampled_from(["lost", "started", "inventory", "problem"]),
        st.sampled_from(["", "modem-1", "agent", "a/b"]) | st.text(max_size=3),
        st.one_of(
            _json,
            st.fixed_dictionaries(
                {},
                optional={
                    "input": st.sampled_from(["modem", "x/y", "|", ""]) | _json,
                    "problem": st.sampled_from(["no profile", "", "profile_unknown"]) | _json,
                    "firmware": _json,
                    "run": st.sampled_from([RUN, OTHER]) | _json,
                    "intervals": st.just([[1, 2]]) | _json,
                    "reason": st.sampled_from(["evicted", "evicted/a|b"]) | st.text(max_size=5),
                },
            ),
        ),
    ).map(list),
    st.lists(_json, max_size=4),
)
_kinds = st.sampled_from(["state", "schema", "live", "backlog", "ask"])
_names = st.sampled_from(["modem", "modem-1", "x/y", "", "a|b", "agent"]) | st.text(max_size=4)
_schemas = st.builds(
    Schema,
    _names,
    _names,
    st.lists(
        st.builds(
            Column,
            st.sampled_from(["modem.sim", "modem.temperature_c", "device.reachable", "modem.later", "x"]),
            st.dictionaries(_names, st.text(max_size=4), max_size=2),
        ),
        max_size=3,
    ).map(tuple),
)
_states = st.one_of(
    st.builds(
        Birth,
        st.integers(-1, 3),
        st.text(max_size=3),
        st.text(max_size=3),
        st.text(max_size=3),
        st.sampled_from([0.0, 10.0, 1e9, -5.0, 1e308]),
        st.dictionaries(
            st.sampled_from([RUN, OTHER, "x"]), st.builds(HeldRun, st.text(max_size=3), *[st.integers(0, 9)] * 2)
        ),
    ),
    st.builds(Goodbye, st.integers(-1, 3), st.sampled_from(["parked", "stop", ""])),
)


def _packed(run: str, body: Any, numbers: set[int], cut: int) -> bytes:
    payload = encode(DEFLATED, run, body, Intervals((n, n) for n in numbers))
    return payload[: len(payload) - cut]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(_kinds, st.binary(max_size=60)),
            _states.map(lambda body: ("state", encode(DEFLATED, RUN, body))),
            st.builds(
                lambda schemas, numbers: (
                    "schema",
                    encode(
                        NUMBERED,
                        RUN,
                        SchemaBody(
                            "b",
                            {s.id(): s for s in schemas},
                            numbers=dict(zip([s.id() for s in schemas], numbers, strict=False)),
                        ),
                    ),
                ),
                st.lists(_schemas | st.sampled_from([MODEM, NEWER]), max_size=3),
                st.lists(st.integers(0, 3), max_size=3),
            ),
            st.builds(
                lambda kind, body, numbers, cut: (kind, _packed(RUN, body, numbers, cut)),
                _kinds,
                st.lists(
                    st.tuples(st.integers(-5, 10**6), st.none() | st.integers(-1, 3), st.lists(_entry, max_size=4)).map(
                        list
                    ),
                    max_size=3,
                ),
                st.sets(st.integers(0, 30), max_size=6),
                st.sampled_from([0, 0, 0, 1, 5]),
            ),
        ),
        max_size=6,
    )
)
def test_whatever_an_agent_sends_every_name_is_taken_set_aside_or_waited_for_and_only_once(
    messages: list[tuple[str, bytes]],
) -> None:
    centre = Centre()
    centre.listening = Listening(NOW - 3_600_000)
    centre.take(birth(), told(MODEM))
    work = centre.take(*((AGENT.up(kind), payload) for kind, payload in messages))
    assert work.faults == [], "nothing that an agent sends reaches judging as an exception"
    known = centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].row
    named = [number for run, number in centre.taken() if run == RUN]
    assert len(named) == len(set(named)), "no name is taken twice"
    assert set(known.seen) == set(named), "nothing is seen that is nowhere"
    aside = {number for pairs, _ in centre.aside() for number in Intervals(pairs)}
    assert set(centre.memory.runs[AGENT.vehicle, AGENT.agent, RUN].aside) <= aside
    for seconds in (0, 100, 1000, 4000, 300_000):
        centre.now = NOW + seconds * 1000
        work = centre.work()
        work.look()
        centre.commit(work)
        assert work.faults == [], "time goes on for the vehicle"
        state = centre.memory.vehicles["amb-3"]
        assert type(state).from_json(state.to_json()) == state, "what it left behind can be stored"
        trouble_of(state, "router", "modem-1")  # what the board shows of it
        state_of(state, JUDGE.vehicle_plan("amb-3"), 600_000)


def test_a_bomb_is_refused() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"[" * 50_000_000) + packer.flush()
    header = encode(DEFLATED, RUN, [], Intervals([(0, 0)]))[:12]
    with pytest.raises(Refused):
        read(Incoming(AGENT.up("live"), header + bomb, NOW))


def test_tickets_come_out_of_a_turn_with_their_evidence() -> None:
    """SIM absent, the shipped rule: a ticket with the very sample that showed it."""
    centre = Centre()
    centre.take(birth(), told(MODEM))
    for number in range(0, 40):
        centre.now = NOW + number * 10_000
        body = [Moment(500_000 + 10_000 + number * 10_000, 0, [sample(None, "absent")])]
        centre.take((AGENT.up("live"), encode(DEFLATED, RUN, body, Intervals([(number, number)]))))
    recorded: list[Recorded] = [one for changes in centre.commits for one in changes.recorded]
    assert [(one.ticket.id, one.ticket.fault, one.event.what) for one in recorded] == [
        ("2026-0001", "sim_absent", "opened")
    ]
    assert isinstance(recorded[0].event.body, Opening)
    (first, *_) = recorded[0].event.body.evidence[0].samples
    assert (first["run"], first["sequence"], first["value"]) == (RUN, 0, "absent")


def test_an_event_has_64_fields_and_no_more() -> None:
    centre = Centre()
    centre.take(birth(), told(MODEM))
    many = {"input": "snmp", "problem": "x", **{f"field_{number}": number for number in range(62)}}
    centre.take(live([1], ["problem", "modem-1", many]), live([2], ["problem", "modem-1", {**many, "more": 1}]))
    assert centre.taken() == [(RUN, 1)]
    assert [pairs for pairs, _ in centre.aside()] == [[(2, 2)]]


# --- read in one go ---------------------------------------------------------------------------------------------------

_values = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(-130, -40), st.floats(allow_nan=False),
    st.sampled_from(["ready", "absent", "", "no such state"]), st.lists(st.integers(), max_size=1),
)  # fmt: skip
_schemas = st.sampled_from([MODEM.id(), NEWER.id(), "unknwn", 1, 2, 7, -1, True, None])
_entries = st.one_of(
    st.builds(lambda rsrp, sim: [MODEM.id(), [rsrp, sim]], st.none() | st.floats(-130, -40), st.just("ready")),
    st.builds(lambda schema, values: [schema, values], _schemas, st.lists(_values, max_size=3)),
    st.builds(lambda schema, one: [schema, one], _schemas, _values),
    st.builds(lambda values: [MODEM.id(), values, 1], st.lists(_values, max_size=3)),
    st.just(["problem", "modem-1", {"input": "modem", "problem": "no answer"}]),
    st.just([]),
)


@given(
    entries=st.lists(_entries, min_size=1, max_size=4),
    first=st.integers(0, 4),
    clock=st.sampled_from([0, 0, 0, 1, None]),
)
def test_what_is_read_in_one_go_is_what_each_record_tells(
    entries: list[list[Any]], first: int, clock: int | None
) -> None:
    """Where the schemas are known a message is checked at once, or each record as if they were not: it is all one."""
    compiled = {one.id(): JUDGE.compile(("amb-3", "router", one.id()), one, None) for one in (MODEM, NEWER)}
    run = KnownRun(RunRow("amb-3", "router", RUN, seen=Intervals([(0, 1)])), {0: CLOCK})
    names = {1: MODEM.id(), 2: NEWER.id()}

    def judged(schemas: Schemas) -> tuple[Judged | str, list[Moment]]:
        _, payload = live(range(first, first + len(entries)), *entries, clock=clock)
        header, body = decode(payload, list[Moment])
        try:
            message = records_message(AGENT, "live", header, body, schemas)
        except MessageError as error:
            return error.reason, []
        return judge(message, run, compiled.get, NOW), body

    found, body = judged(Schemas(names, compiled.get))
    assert (found, body) == judged(Schemas(names, lambda name: None))
    if (
        isinstance(found, Judged)
        and first > 1
        and clock == 0
        and all(entry[0] == MODEM.id() for entry in body[0].entries)
    ):
        assert len(found.ready) + len(found.aside) == len(entries)
