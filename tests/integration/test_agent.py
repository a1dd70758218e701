"""The whole agent against a real Mosquitto and a collector that knows its manners only."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import shutil
import time
import zlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import main as agent
from agent.config import AgentConfig, Waits
from agent.machine import Machine, WallReading
from agent.outbox.outbox import Outbox
from telemetry.fleet import Broker, Device
from telemetry.inputs import SnmpInput, SystemInput
from telemetry.message import PLAIN, Placed, moments
from telemetry.paho_mqtt import Connection
from telemetry.records import Clock, Column, Event, Record, Sample, Schema
from telemetry.topics import presence
from tests.services.fake_collector import FakeCollector, fake_collector, until
from tests.services.mosquitto import mosquitto
from tests.services.process import Server, free_port

QUICK = Waits(
    straggler=0.15,
    own_figures=0.3,
    spread=0.0,
    backoff_base=0.05,
    backoff_cap=0.3,
    link_poll=0.1,
    presence=0.2,
    birth_repeat=3.0,
    resend=2.0,
    schema_repeat=0.5,
    clocks=0.2,
    ask=0.5,
    ask_repeat=0.2,
    clock_patience=3.0,
)
PATIENT = msgspec.structs.replace(QUICK, resend=60.0, birth_repeat=60.0, clock_patience=60.0)
"""Does nothing a second time for an answer that is only late."""


class Box(Machine):
    """A machine whose clocks are as a test wants them; ``wall_ahead_ms`` moves an unsynchronised wall clock."""

    def __init__(self, *, synchronised: bool = True, wall_ahead_ms: int = 0, boot: str = "a" * 32) -> None:
        super().__init__()
        self.synchronised = synchronised
        self.wall_ahead_ms = wall_ahead_ms
        self.boot_id = boot
        self.default_routes: frozenset[str] = frozenset({"eth0 01"})

    def boot(self) -> str:
        return self.boot_id

    def routes(self) -> frozenset[str]:
        return self.default_routes

    def wall(self) -> WallReading:
        mono_ms = round(self.monotonic() * 1000)
        return WallReading(mono_ms, int(time.time() * 1000) + self.wall_ahead_ms, self.synchronised, 1)


IN_1970 = -56 * 365 * 86_400_000


class Runs:
    """Agents as a test starts and ends them, and every record that they kept: the obligations."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config
        self.kept: dict[tuple[str, int], Record] = {}

    @contextlib.asynccontextmanager
    async def one(self, host: Machine | None = None, **changes: Any) -> AsyncIterator[str]:
        """Run an agent; its run's id is yielded."""
        run_id = secrets.token_hex(8)
        stop = asyncio.Event()

        def keep(record: Record) -> None:
            assert (run_id, record.sequence) not in self.kept
            self.kept[run_id, record.sequence] = record

        task = asyncio.create_task(
            agent.run(
                msgspec.structs.replace(self.config, **changes),
                stop=stop,
                on_record=keep,
                machine="box",
                host=host or Box(),
                run_id=run_id,
            )
        )
        try:
            yield run_id
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)


def agent_config(directory: Path, port: int, **changes: Any) -> AgentConfig:
    return AgentConfig(
        site="north",
        vehicle="amb-03",
        agent="tablet",
        broker=Broker(host="127.0.0.1", port=port, keepalive=5),
        devices={"tablet": Device(kind="host", system=SystemInput(interval=0.1, deadline=0.1, disk="/"))},
        state_directory=str(directory / "state"),
        waits=QUICK,
        **changes,
    )


def scene(tmp_path: Path, play: Any, **changes: Any) -> None:
    """Start a broker and play a scene with (server, collector, runs)."""

    async def scenario(server: Server) -> None:
        config = agent_config(tmp_path, server.port, **changes)
        async with fake_collector(config.broker, config.name) as collector:
            await play(server, collector, Runs(config))

    with mosquitto(tmp_path) as server:
        asyncio.run(scenario(server))


def check_all_there(runs: Runs, collector: FakeCollector) -> None:
    """Exactly what was kept is there, with the same content, each once."""
    assert collector.taken.keys() == runs.kept.keys()
    for name, record in runs.kept.items():
        assert said(collector.taken[name]) == said(record)


def said(record: Record) -> bytes:
    """Return what a record says; on the wire a whole number has no fraction."""
    return msgspec.json.encode(moments([Placed(record, None)], {}))


async def everything_arrived(runs: Runs, collector: FakeCollector, seconds: float = 60.0) -> None:
    try:
        await until(lambda: runs.kept.keys() <= collector.taken.keys(), seconds)
    except TimeoutError:
        missing = sorted(runs.kept.keys() - collector.taken.keys())
        pytest.fail(f"{len(missing)} of {len(runs.kept)} did not arrive, the first is {missing[:3]}")


def held_on_disk(runs: Runs, run_id: str) -> int:
    """Return how many records a start would find."""
    outbox = Outbox.open(Path(runs.config.state_directory) / "outbox", 2**22, secrets.token_hex(8), "x")
    try:
        return sum(len(info.held) for run, info in outbox.runs().items() if run == run_id)
    finally:
        outbox.close()


def test_records_go_live_are_receipted_and_leave_the_disk(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        began_ms = time.time() * 1000
        async with runs.one(waits=msgspec.structs.replace(PATIENT, drain=60.0)) as run_id:
            # what was made before the connection stood comes on the other lane
            await until(lambda: list(collector.lanes.values()).count("live") > 25 and len(collector.taken) > 30)
        await until(lambda: collector.goodbyes)
        check_all_there(runs, collector)
        assert collector.doubled == 0
        assert set(collector.lanes.values()) <= {"live", "backlog"}
        assert list(collector.lanes.values()).count("live") > 25
        (birth,) = {(run, birth.session) for run, birth in collector.births}
        assert birth == (run_id, 1)
        first = collector.births[0][1]
        assert (first.machine, first.boot, first.devices) == ("box", "a" * 32, {"tablet": "host"})
        assert [goodbye.reason for goodbye in collector.goodbyes] == ["stop"]
        assert collector.wills == []
        assert held_on_disk(runs, run_id) == 0
        started = collector.taken[run_id, 0]
        assert isinstance(started, Event)
        assert (started.kind, started.body["ended"], started.body["boots"]) == ("started", None, 1)
        samples = [record for record in collector.taken.values() if isinstance(record, Sample)]
        metrics = {column.metric for sample in samples for column in collector.schemas[sample.schema].columns}
        assert {"host.memory_percent", "host.boot_count", "agent.outbox_records", "agent.bytes_on_air"} <= metrics
        boots = set()
        for sample in samples:
            columns = [column.metric for column in collector.schemas[sample.schema].columns]
            boots |= {sample.values[at] for at, metric in enumerate(columns) if metric == "host.boot_count"}
        assert boots == {1}
        for name, at_ms in collector.times.items():  # by NTP here: when it was, was it then?
            assert at_ms is not None
            assert began_ms - 1000 < at_ms < time.time() * 1000 + 1000, name

    scene(tmp_path, play)


def test_an_agent_collects_with_nothing_reachable_and_brings_it_home_later(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        server.stop()
        config = msgspec.structs.replace(agent_config(tmp_path, server.port), waits=PATIENT)
        runs = Runs(config)
        async with runs.one():
            await until(lambda: len(runs.kept) > 20)
        async with runs.one() as second:
            await until(lambda: len(runs.kept) > 40)
            server.start()
            async with fake_collector(config.broker, config.name) as collector:
                await everything_arrived(runs, collector)
                assert "backlog" in collector.lanes.values()
                assert len({run for run, _ in collector.taken}) == 2
                started = [r for (run, _), r in collector.taken.items() if run == second and isinstance(r, Event)]
                assert started[0].body["ended"] == "stop"
                assert collector.doubled == 0

    with mosquitto(tmp_path) as server:
        asyncio.run(play(server))


def test_brokers_wiped_collectors_crashed_and_nothing_lost_or_doubled(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one(waits=PATIENT) as run_id:
            await until(lambda: len(collector.taken) > 10)
            server.kill()
            shutil.rmtree(tmp_path / "store")
            (tmp_path / "store").mkdir()
            await asyncio.sleep(0.3)
            await collector.crash()
            server.start()
            await asyncio.sleep(0.3)
            await collector.connect()
            await until(lambda: len(collector.births) >= 2)
            before = len(collector.taken)
            await until(lambda: len(collector.taken) > before + 10)
            await collector.crash()  # its queue at the broker goes on
            await asyncio.sleep(0.4)
            await collector.connect()
            before = len(collector.taken)
            await until(lambda: len(collector.taken) > before + 10)
            assert {birth.session for run, birth in collector.births if run == run_id} >= {1}
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        assert collector.doubled <= 10

    scene(tmp_path, play)


def test_what_the_collector_needs_is_told_and_sent_again(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        collector.ignores_schemas = True
        repeat = 2.0
        began = time.monotonic()
        async with runs.one(waits=msgspec.structs.replace(QUICK, schema_repeat=repeat)):
            await until(lambda: collector.kinds["live"] > 5 and time.monotonic() - began > 3)
            assert not collector.taken
            # two schemas and a clock: told once, then each once in a while, and not at every receipt (15 and more)
            assert collector.kinds["schema"] <= 3 + 3 * (1 + (time.monotonic() - began) / repeat)
            collector.ignores_schemas = False
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        check_all_there(runs, collector)

    scene(tmp_path, play)


def test_a_box_in_1970_keeps_its_records_until_the_centre_tells_the_time(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        collector.answering = False
        host = Box(synchronised=False, wall_ahead_ms=IN_1970)
        began_ms = time.time() * 1000
        async with runs.one(host):
            await until(lambda: len(runs.kept) > 20 and collector.births)
            assert collector.kinds["live"] == collector.kinds["backlog"] == 0
            assert not collector.taken
            collector.answering = True
            await everything_arrived(runs, collector)
            clock = next(iter(collector.clocks.values()))
            assert clock.source == "centre"
            assert clock.uncertainty_ms < 200
        await everything_arrived(runs, collector)
        assert collector.asks >= 1
        boot_ms = booted_ms(host)
        for (run, sequence), at_ms in collector.times.items():
            true_ms = boot_ms + collector.taken[run, sequence].mono_ms
            assert at_ms is not None
            assert abs(at_ms - true_ms) <= clock.uncertainty_ms + 20
            assert at_ms > began_ms - 2000

    scene(tmp_path, play)


def booted_ms(host: Machine) -> float:
    """Return when the machine's monotonic clock stood at zero: both clocks read at once, as near as we come to it."""
    readings = [(host.monotonic(), time.time(), host.monotonic()) for _ in range(100)]
    before, wall, after = min(readings, key=lambda one: one[2] - one[0])
    return 1000 * (wall - (before + after) / 2)


def test_an_rtc_that_is_an_hour_slow_places_nothing_when_the_centre_can_be_asked(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one(Box(synchronised=False, wall_ahead_ms=-3_600_000), waits=PATIENT):
            await until(lambda: len(collector.taken) > 20)
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        assert [clock.source for clock in collector.clocks.values()] == ["rtc", "centre"]
        assert all(at_ms is not None and abs(at_ms - time.time() * 1000) < 60_000 for at_ms in collector.times.values())

    scene(tmp_path, play)


def test_runs_without_a_clock_get_one_of_their_boot_or_are_said_to_have_none(tmp_path: Path) -> None:
    async def play(server: Server) -> None:
        server.stop()
        config = msgspec.structs.replace(agent_config(tmp_path, server.port), waits=PATIENT)
        runs = Runs(config)
        lost_in_time = Box(synchronised=False, wall_ahead_ms=IN_1970, boot="1" * 32)
        same_boot = Box(synchronised=False, wall_ahead_ms=IN_1970, boot="2" * 32)
        async with runs.one(lost_in_time) as earlier_boot:
            await until(lambda: len(runs.kept) > 10)
        async with runs.one(same_boot) as earlier_run:
            await until(lambda: len(runs.kept) > 20)
        server.start()
        async with fake_collector(config.broker, config.name) as collector:
            async with runs.one(same_boot) as now:
                await everything_arrived(runs, collector)
                await until(lambda: (now, 5) in collector.taken)
            await everything_arrived(runs, collector)
            check_all_there(runs, collector)
            for (run, _), at_ms in collector.times.items():
                assert (at_ms is None) == (run == earlier_boot)
            assert collector.no_clock == {earlier_boot}
            assert collector.clocks[earlier_run, 0].source == "centre"
            started = collector.taken[now, 0]
            assert isinstance(started, Event)
            assert (started.body["boots"], started.body["booted"]) == (2, False)

    with mosquitto(tmp_path) as server:
        asyncio.run(play(server))


def test_nothing_leaves_while_the_collector_is_away_and_a_lower_epoch_is_ignored(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one(waits=PATIENT):
            await until(lambda: len(collector.taken) > 10)
            await collector.withdraw()
            await nothing_comes(runs, collector)
            collector.epoch = 7
            await collector.appear()
            await everything_arrived(runs, collector)
            births = len(collector.births)
            await collector.appear(epoch=3)  # an owner of old that was paused
            before = collector.kinds["live"]
            await until(lambda: collector.kinds["live"] > before + 5)
            assert len(collector.births) == births
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        assert collector.doubled <= 5

    scene(tmp_path, play)


async def nothing_comes(runs: Runs, collector: FakeCollector) -> None:
    """Wait until the agent has heard it, and keeps ten records of which nothing comes."""
    end = time.monotonic() + 60
    while True:
        before, kept = collector.kinds["live"] + collector.kinds["backlog"], len(runs.kept)
        await until(lambda kept=kept: len(runs.kept) > kept + 10)  # type: ignore[misc]
        if collector.kinds["live"] + collector.kinds["backlog"] == before:
            return
        assert time.monotonic() < end, "it sends on"


def test_no_format_is_sent_that_the_owner_does_not_list(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        seen: set[int] = set()
        before = collector._take

        def look(lane: str, payload: bytes) -> None:
            seen.add(payload[0])
            before(lane, payload)

        collector._take = look  # type: ignore[method-assign]
        collector.formats = (PLAIN,)
        await collector.appear()
        async with runs.one():
            await until(lambda: len(collector.taken) > 10)
        assert seen == {PLAIN}

    scene(tmp_path, play)


def test_a_thrifty_agent_sends_seldom_but_events_at_once(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one(send_interval=1.0):
            await until(lambda: collector.kinds["live"] >= 4, 60)
            batches = [len(sequences) for lane, _, sequences in collector.order if lane == "live"]
            assert max(batches) > 8  # about ten moments of a host and three of the agent itself
            assert len(batches) < len(collector.taken) / 4
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        check_all_there(runs, collector)

    scene(tmp_path, play)


def test_a_fault_of_ours_in_a_callback_costs_the_message_and_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from agent.uplink.conversation import Conversation

    raised = 0
    receive = Conversation.on_receipt

    def sometimes_raises(self: Conversation, receipt: Any, now_ms: int) -> bool:
        nonlocal raised
        if raised < 3:
            raised += 1
            raise LookupError("a bug")
        return receive(self, receipt, now_ms)

    monkeypatch.setattr(Conversation, "on_receipt", sometimes_raises)

    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one():
            await until(lambda: raised == 3 and len(collector.taken) > 20)
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        assert {birth.session for _, birth in collector.births} == {1}
        assert collector.wills == []
        assert "LookupError: a bug" in caplog.text

    scene(tmp_path, play)


def test_live_goes_first_while_a_long_backlog_drains(tmp_path: Path) -> None:
    backlog = 20_000

    def fill(runs: Runs) -> None:
        """Hold a backlog of an earlier run of this boot, as the sampler would have made it."""
        run_id = secrets.token_hex(8)
        schema = Schema("system", "tablet", (Column("host.load1"), Column("host.memory_percent")))
        outbox = Outbox.open(Path(runs.config.state_directory) / "outbox", 2**26, run_id, "a" * 32)
        outbox.sync()
        outbox.add_clock(run_id, Clock(0, 0, 1_795_600_000_000, "ntp", 5))
        for number in range(backlog):
            record = outbox.append(number * 10, outbox.add_schema(schema), [number / 7, 50.0])
            runs.kept[run_id, record.sequence] = record
            if number % 1000 == 999:
                outbox.sync()
        outbox.close()

    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        arrivals: list[tuple[float, tuple[str, int]]] = []
        """When each record arrived, in milliseconds of the clock that its own time is of."""
        take = collector._take

        def look(lane: str, payload: bytes) -> None:
            before = len(collector.taken)
            take(lane, payload)
            now_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
            arrivals.extend((now_ms, name) for name in itertools.islice(collector.taken, before, None))

        collector._take = look  # type: ignore[method-assign]
        fill(runs)
        collector.receipt_every = 0.5
        devices = {"tablet": Device(kind="host", system=SystemInput(interval=0.5, deadline=0.5))}
        async with runs.one(devices=devices, outbox_bytes=2**26, waits=PATIENT) as now:
            await everything_arrived(runs, collector, 120)
            await until(lambda: sum(run == now and lane == "live" for (run, _), lane in collector.lanes.items()) > 8)
        await everything_arrived(runs, collector)
        assert collector.doubled == 0
        overtaking = [
            sum(collector.taken[name].mono_ms < at_ms < arrived_ms and other[0] != now for at_ms, other in arrivals)
            for arrived_ms, name in arrivals
            if name[0] == now and collector.lanes[name] == "live"
        ]
        """How many records of the backlog came in between the making and the arrival of each live one."""
        assert len(overtaking) > 5
        assert max(overtaking) < backlog / 4

    scene(tmp_path, play)


def test_a_long_crash_loop_is_brought_home_in_portions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.uplink.conversation.RUNS_NAMED", 5)

    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        for number in range(23):
            run_id = secrets.token_hex(8)
            outbox = Outbox.open(Path(runs.config.state_directory) / "outbox", 2**24, run_id, f"{number:032x}")
            event = outbox.append_event(1000, "started")
            outbox.sync()
            outbox.close()
            runs.kept[run_id, event.sequence] = event
        async with runs.one():
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)
        check_all_there(runs, collector)
        assert max(len(birth.runs) for _, birth in collector.births) == 5
        assert len(collector.births) >= 5

    scene(tmp_path, play)


def test_a_disk_that_cannot_be_written_stops_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one(state_directory="/proc/kitwatch", waits=msgspec.structs.replace(QUICK, drain=60.0)):
            await until(lambda: len(collector.taken) > 20 and True in values_of(collector, "agent.outbox_volatile"))
        await everything_arrived(runs, collector)
        problems = [r.body for r in collector.taken.values() if isinstance(r, Event) and r.kind == "problem"]
        assert any(body["input"] == "agent" and "outbox" in body["problem"] for body in problems)
        assert True in values_of(collector, "agent.outbox_volatile")

    scene(tmp_path, play)
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1, errors  # once, however often it is tried
    assert "/proc/kitwatch/outbox" in errors[0]
    assert "in memory only" in errors[0]


def values_of(collector: FakeCollector, metric: str) -> list[object]:
    """Return every value of a metric that the collector took."""
    found: list[object] = []
    for record in collector.taken.values():
        if isinstance(record, Sample):
            columns = collector.schemas[record.schema].columns
            found += [v for c, v in zip(columns, record.values, strict=True) if c.metric == metric]
    return found


def test_a_link_that_comes_up_ends_the_wait(tmp_path: Path) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        host = Box()
        host.default_routes = frozenset()
        never = msgspec.structs.replace(QUICK, spread=10_000.0, backoff_cap=10_000.0)
        async with runs.one(host, waits=never):
            await asyncio.sleep(0.5)
            assert not collector.births
            host.default_routes = frozenset({"wwan0 0100000A"})
            await until(lambda: len(collector.taken) > 5, 60)
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)

    scene(tmp_path, play)


def test_a_connection_that_is_only_half_there_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        async with runs.one():
            await until(lambda: len(collector.taken) > 10)
            server.pause()
            try:  # for no longer than the keep alive of 5 s allows
                await until(lambda: "no word from the broker" in caplog.text)
            finally:
                server.resume()
            await until(lambda: max(birth.session for _, birth in collector.births) >= 2, 60)
            await everything_arrived(runs, collector)
        await everything_arrived(runs, collector)

    async def scenario(server: Server) -> None:
        config = agent_config(tmp_path, server.port)
        patient = msgspec.structs.replace(config.broker, keepalive=60)
        async with fake_collector(patient, config.name) as collector:
            await play(server, collector, Runs(config))

    with mosquitto(tmp_path) as server:
        asyncio.run(scenario(server))


def test_a_dead_device_delays_nobody(tmp_path: Path) -> None:
    secret = tmp_path / "community"
    secret.write_text("kit\n")
    secret.chmod(0o600)

    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        dead = Device(
            kind="router",
            snmp=SnmpInput(
                address="127.0.0.1", port=free_port(), community_file=str(secret), interval=0.5, deadline=0.4
            ),
        )
        async with runs.one(devices={**runs.config.devices, "dead": dead}):
            await until(lambda: len(collector.taken) > 40 and False in values_of(collector, "device.reachable"))
        samples = [(collector.schemas[r.schema], r) for r in collector.taken.values() if isinstance(r, Sample)]
        moments = sorted(sample.mono_ms for schema, sample in samples if schema.input == "system")
        gaps = [after - before for before, after in itertools.pairwise(moments)]
        assert sorted(gaps)[len(gaps) // 2] == 100
        assert [False] in [sample.values for schema, sample in samples if schema.device == "dead"]

    scene(tmp_path, play)


def _down(body: bytes) -> bytes:
    return bytes((PLAIN,)) + bytes(8) + b"\0" + body


def _receipt(runs: str, needed: str = "{}", more: str = "") -> bytes:
    return _down(b'{"epoch":EPOCH,"birth":["RUN",1],"runs":' + f'{runs},"lacking":{needed}{more}}}'.encode())


DEEP = b"[" * 20_000 + b"]" * 20_000
HOSTILE_WORDS = {
    "nothing": b"",
    "no UTF-8": _down(b'{"epoch":1,"state":"\xff\xfe"}'),
    "20,000 deep": _down(DEEP),
    "an unknown field, 20,000 deep": _down(b'{"state":"up","epoch":1,"formats":[],"x":' + DEEP + b"}"),
    "a bomb": bytes((1,)) + bytes(8) + b"\0" + zlib.compress(b"0" * 4_000_000)[2:-4],
    "a header of 2**63 intervals": bytes((PLAIN,)) + bytes(8) + b"\xff" * 8 + b"\x7f{}",
    "intervals of 2**63": bytes((PLAIN,)) + bytes(8) + b"\1\0" + b"\xff" * 8 + b"\x7f{}",
    "all numbers": _receipt('{"RUN":[[0,9223372036854775807],[0,9223372036854775807]]}'),
    "all numbers up to 2**53-1, of which none is committed": _receipt(
        '{"RUN":[[0,9007199254740991]]}', "{}", ',"uncommitted":{"RUN":[[0,9007199254740991]]}'
    ),
    "an interval that ends before it begins": _receipt('{"RUN":[[5,3]]}'),
    "a negative number": _receipt('{"RUN":[[-9223372036854775808,3]]}'),
    "needs of runs that are none": _receipt("{}", '{"x":{"schemas":["a"],"clocks":[-1]},"zz":{"clocks":[5]}}'),
    "needs of clocks and schemas that are none": _receipt(
        "{}", '{"RUN":{"schemas":["","\\u0000","x/y"],"clocks":[9007199254740991]}}'
    ),
    "a time beyond all": _down(b'{"asked_mono_ms":0,"received_ms":9223372036854775808,"sent_ms":-9223372036854775809}'),
    "a time at the end": _down(b'{"asked_mono_ms":0,"received_ms":9007199254740991,"sent_ms":-9007199254740991}'),
    "an epoch beyond all": _down(b'{"state":"up","epoch":' + b"9" * 400 + b',"formats":[1]}'),
    "no number": _down(b'{"state":"up","epoch":NaN,"formats":[1e999]}'),
}


def _has_taken(collector: FakeCollector, enough: int) -> bool:
    return len(collector.taken) >= enough


def test_whatever_stands_on_its_down_topics_the_agent_goes_on(tmp_path: Path) -> None:
    """Each word is retained where the receipt, the presence and the time stand, and costs no connection."""

    async def play(server: Server, collector: FakeCollector, runs: Runs) -> None:
        name = runs.config.name
        async with (
            runs.one() as run_id,
            Connection(runs.config.broker, "stranger", on_message=lambda _: None) as stranger,
        ):
            await until(lambda: len(collector.taken) > 5)
            for what, payload in HOSTILE_WORDS.items():
                said = payload.replace(b"RUN", run_id.encode()).replace(b"EPOCH", str(collector.epoch).encode())
                for topic in (presence(name.site), name.down("receipt"), name.down("time")):
                    await stranger.deliver(topic, said, retain=True)
                await collector.appear()
                enough = len(collector.taken) + 3
                with contextlib.suppress(TimeoutError):
                    await until(partial(_has_taken, collector, enough))
                assert len(collector.taken) >= enough, what
                assert {birth.session for _, birth in collector.births} == {1}, f"{what}: it has connected again"
        await everything_arrived(runs, collector)
        check_all_there(runs, collector)

    scene(tmp_path, play)
