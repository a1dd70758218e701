"""The drain against a real InfluxDB: InfluxQL gives back what was committed, whatever the server said meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from collector.config import InfluxDB
from collector.outgoing import Progress
from collector.read import sites
from collector.sinks.influxdb import NAME, InfluxSink
from collector.sinks.influxdb_server import Server
from collector.sinks.runner import SinkRunner
from collector.sinks.sink import NotNow, Refused
from collector.store import batch, dead_letters, log, schema
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes
from collector.store.store import Store
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock, Column, Schema
from tests.services.influxdb import influxdb, points
from tests.services.stopwatch import Stopwatch

SITE, VEHICLE, AGENT, RUN = "north", "amb-3", "router", "00000000000000aa"
NOW_MS = 1_790_000_000_000
CLOCK = Clock(0, 1_000, NOW_MS - 60_000, "ntp", 5)
MODEM = Schema("modem", "modem-1", (Column("modem.pci", {"leg": "nr"}), Column("modem.registration")))
HOST = Schema("system", "tablet", (Column("host.cpu_percent"), Column("host.uptime_s"), Column("host.gateway")))
TAGS = (("agent", AGENT), ("device", "modem-1"), ("site", SITE), ("vehicle", VEHICLE))
HOST_TAGS = (("agent", AGENT), ("device", "tablet"), ("site", SITE), ("vehicle", VEHICLE))


class Written:
    """A site's log, written by the real commit."""

    def __init__(self, directory: Path) -> None:
        self.store = Store.open(f"sqlite:///{directory}/kitwatch.sqlite")
        self.store.migrate()
        owner = SiteConnection.acquire(self.store, SITE, "test")
        assert owner is not None
        self.owner = owner
        self._sequence = 0
        self.now_ms = NOW_MS

    def take(
        self,
        *moments: Moment,
        lane: Lane = "live",
        clocks: tuple[Clock, ...] = (CLOCK,),
        schemas: Sequence[Schema] = (MODEM, HOST),
    ) -> BatchRow:
        number = self.owner.last_batch + 1
        count = sum(len(moment.entries) for moment in moments)
        pairs = Intervals([(self._sequence, self._sequence + count - 1)]).pairs()
        self._sequence += count
        known = {clock.number: clock for clock in clocks}
        group = batch.Group(VEHICLE, AGENT, RUN, lane, pairs, known, list(moments))
        row = BatchRow(number, self.now_ms, self.now_ms, count, [group])
        self.owner.commit(Changes(batch=row, schemas={(VEHICLE, AGENT, one.id()): one for one in schemas}))
        return row

    def letters(self) -> list[tuple[int, str, str, str]]:
        t = schema.dead_letter.c
        with self.store.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(t.batch, t.content, t.reason, t.state))]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    it = Written(tmp_path)
    yield it
    it.owner.close()
    it.store.close()


def _config(directory: Path, url: str, token: str, **more: Any) -> InfluxDB:
    file = directory / "token"
    file.write_text(token)
    file.chmod(0o600)
    return InfluxDB(url=url, token_file=str(file), org="kitwatch", bucket="kitwatch", **more)


async def _drain(
    written: Written, config: InfluxDB, until: Callable[[SinkRunner], bool], seconds: float = 60, now_ms: int = NOW_MS
) -> Progress:
    """Run the sink until something is so; it must come in time."""
    stop = asyncio.Event()
    sink = InfluxSink(written.store, SITE, config, now_ms=lambda: now_ms)
    sink.every_s = 0.05
    drain = SinkRunner(written.store, SITE, sink, first_wait_s=0.05, longest_wait_s=0.2, now_ms=lambda: now_ms)
    task = asyncio.create_task(drain.run(stop))
    try:
        async with asyncio.timeout(seconds):
            while not until(drain):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not in time: {drain.progress}")
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
    return drain.progress


@contextlib.contextmanager
def _asked() -> Iterator[list[int]]:
    """Yield how many lines each write has that goes to a server meanwhile."""
    asked: list[int] = []
    real = Server.write

    async def write(self: Server, lines: bytes) -> None:
        asked.append(lines.count(b"\n") + 1)
        await real(self, lines)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "write", write)
        yield asked


def _all(written: Written) -> Callable[[SinkRunner], bool]:
    return lambda drain: drain.progress.position == written.owner.last_batch


def _modem(mono_ms: int, pci: Any, clock: int | None = 0) -> Moment:
    return Moment(mono_ms, clock, [[MODEM.id(), [pci, "home"]]])


def test_what_influxql_gives_back_is_what_was_committed(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        written.take(
            Moment(
                1_000,
                0,
                [[MODEM.id(), [42.0, "home"]], [HOST.id(), [7, 100, 'a "b" \\ c']], ["started", "", {"v": "1"}]],
            ),
            _modem(11_000, None),
        )
        written.take(_modem(21_000, 43), _modem(22_000, 44, clock=None), lane="backlog")
        asyncio.run(_drain(written, _config(tmp_path, influx.url, influx.token), _all(written)))
        at = CLOCK.wall_ms
        leg = tuple(sorted((*TAGS, ("leg", "nr"))))
        assert points(influx) == {
            ("modem", leg, at): {"pci": 42},
            ("modem", TAGS, at): {"registration": "home"},
            ("host", HOST_TAGS, at): {"cpu_percent": 7.0, "uptime_s": 100, "gateway": 'a "b" \\ c'},
            ("modem", TAGS, at + 10_000): {"registration": "home"},
            ("modem", leg, at + 20_000): {"pci": 43},
            ("modem", TAGS, at + 20_000): {"registration": "home"},
        }
        assert written.letters() == []
        fields = {row[0]: row[1] for row in influx.query("SHOW FIELD KEYS FROM host")[0]["values"]}
        assert fields == {"cpu_percent": "float", "uptime_s": "integer", "gateway": "string"}


def test_one_poison_line_of_many_is_a_dead_letter_and_the_rest_is_stored(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        influx.write(f"modem,{','.join(f'{k}={v}' for k, v in (*TAGS, ('leg', 'nr')))} pci=1.5 {CLOCK.wall_ms}")
        written.take(*(_modem(1_000 + n * 1000, n if n == 5 else None) for n in range(20)))
        written.take(Moment(1_000, 0, [[HOST.id(), [1, 2, None]]]))
        status = asyncio.run(_drain(written, _config(tmp_path, influx.url, influx.token), _all(written)))
        ((number, content, reason, state),) = written.letters()
        assert (number, state) == (1, "held")
        assert "pci=5i" in content
        assert "field type conflict" in reason
        assert status.counts["refused"] == 1
        assert len([key for key in points(influx) if key[:2] == ("modem", TAGS)]) == 20
        assert ("host", HOST_TAGS, CLOCK.wall_ms) in points(influx)


def test_a_dead_letter_is_sent_again_when_somebody_asks(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        influx.write(f"modem,{','.join(f'{k}={v}' for k, v in (*TAGS, ('leg', 'nr')))} pci=1.5 {CLOCK.wall_ms}")
        written.take(_modem(1_000, 5))
        config = _config(tmp_path, influx.url, influx.token)
        asyncio.run(_drain(written, config, _all(written)))
        assert len(written.letters()) == 1
        influx.query("DROP MEASUREMENT modem")
        with written.store.transaction() as connection:
            connection.execute(update(schema.dead_letter).values(state="retry"))
        asyncio.run(_drain(written, config, lambda drain: written.letters() == []))
        assert {fields.get("pci") for fields in points(influx).values()} == {5}


def test_points_outside_the_window_are_held_back_and_told(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        old = Clock(1, 0, NOW_MS - 31 * 86_400_000, "rtc", 1000)
        ahead = Clock(2, 0, NOW_MS + 5 * 60_000 + 1, "rtc", 1000)
        edge = Clock(3, 0, NOW_MS + 5 * 60_000, "rtc", 1000)
        written.take(
            _modem(0, None, clock=1), _modem(0, None, clock=2), _modem(0, None, clock=3), clocks=(old, ahead, edge)
        )
        config = _config(tmp_path, influx.url, influx.token, retention_days=30)
        status = asyncio.run(_drain(written, config, _all(written)))
        assert sorted(reason for _, _, reason, _ in written.letters()) == [
            "more than 5 minutes ahead of the centre's clock",
            "older than 30 days",
        ]
        assert status.counts["held_back"] == 2
        assert [key[2] for key in points(influx)] == [edge.wall_ms]


def test_a_server_that_is_away_costs_nothing(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        config = _config(tmp_path, influx.url, influx.token)
        influx.influxd.stop()
        written.take(_modem(1_000, 1))
        starting: list[asyncio.Task[None]] = []

        def comes_back(drain: SinkRunner) -> bool:
            if drain.progress.counts["retries"] >= 1 and not starting:
                starting.append(asyncio.create_task(asyncio.to_thread(influx.influxd.start)))
            return _all(written)(drain)

        async def scene() -> Progress:
            status = await _drain(written, config, comes_back)
            await starting[0]
            return status

        status = asyncio.run(scene())
        assert status.counts["retries"] >= 1
        assert status.error == ""
        assert len(points(influx)) == 2
        assert written.letters() == []


def test_a_new_token_is_taken_without_a_restart(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx", asks=True) as influx:
        config = _config(tmp_path, influx.url, "kitwatch:yesterdays-password")
        written.take(_modem(1_000, 1))

        said = []

        def renewed(drain: SinkRunner) -> bool:
            if drain.progress.error:
                said.append(drain.progress.error)
                assert written.letters() == []
                Path(str(config.token_file)).write_text(influx.token)
            return drain.progress.position == 1

        asyncio.run(_drain(written, config, renewed))
        assert said
        assert all(words.startswith("401") for words in said)
        assert len(points(influx)) == 2


Answer = tuple[int, dict[str, str], str]


class _Stub(BaseHTTPRequestHandler):
    """A server that answers as ``answers`` says; it is what ``version`` says (``/ping``)."""

    version = ""
    answer: Callable[[str, list[str]], Answer]
    writes: list[tuple[float, str, list[str]]]
    """(when, path and headers that matter, lines) of each write."""
    writers: set[str]
    """What the writers say that they are (``User-Agent``)."""
    connections: set[int]
    """The ports from which writes came."""
    pieces: int
    """How many pieces a body is sent in, with a pause between two."""
    unsent: int
    """Bytes of bodies that nobody took."""

    def do_GET(self) -> None:
        self.send_response(204)
        if self.version:
            self.send_header("X-Influxdb-Version", self.version)
        self.end_headers()

    def do_POST(self) -> None:
        lines = self.rfile.read(int(self.headers["Content-Length"])).decode().split("\n")
        self.writes.append((time.monotonic(), f"{self.path} {self.headers.get('Authorization')}", lines))
        self.writers.add(self.headers["User-Agent"])
        self.connections.add(self.client_address[1])
        status, headers, body = type(self).answer(self.path, lines)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self._send(body.encode())

    def _send(self, body: bytes) -> None:
        size = max(1, -(-len(body) // type(self).pieces))
        for at in range(0, len(body), size):
            if at:
                time.sleep(0.02)
            try:
                self.wfile.write(body[at : at + size])
            except OSError:
                type(self).unsent += len(body) - at
                return

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def _server(
    answer: Callable[[str, list[str]], Answer], version: str = "v2.7.12", *, keeps: bool = False, pieces: int = 1
) -> Iterator[tuple[str, type[_Stub]]]:
    """Yield a stub. ``keeps``: it keeps connections, as real ones do."""
    own: dict[str, Any] = {"version": version, "answer": staticmethod(answer), "pieces": pieces, "unsent": 0}
    own |= {"writes": [], "writers": set(), "connections": set()}
    handler = type("Handler", (_Stub,), own | ({"protocol_version": "HTTP/1.1"} if keeps else {}))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _in_turn(*answers: Answer) -> Callable[[str, list[str]], Answer]:
    """Return the answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda path, lines: left.pop(0) if len(left) > 1 else left[0]


TAKEN: Answer = (204, {}, "")


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(tmp_path: Path, written: Written, as_date: bool) -> None:
    written.take(_modem(1_000, 1))
    later = _in_turn((429, {}, ""), TAKEN)

    def answer(path: str, lines: list[str]) -> Answer:
        if len(stub.writes) > 1:
            return later(path, lines)
        return 503, {"Retry-After": email.utils.formatdate(time.time() + 4, usegmt=True) if as_date else "3"}, ""

    with _server(answer) as (url, stub):
        status = asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        (first, _, _), (second, _, _), (third, _, _) = stub.writes
        assert second - first >= 2.5, "a date has whole seconds"
        assert third - second < second - first, "our own wait again"
        assert {name: status.counts[name] for name in ("retries", "lines")} == {"retries": 2, "lines": 2}
    assert written.letters() == []


def test_many_lines_go_in_one_request(tmp_path: Path, written: Written) -> None:
    for _ in range(10):
        written.take(*(_modem(1_000 + n, 1) for n in range(100)))
    with _server(lambda path, lines: TAKEN) as (url, stub):
        asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        assert [len(lines) for _, _, lines in stub.writes] == [2000]


def test_what_comes_within_a_second_goes_together_with_one_move_of_the_cursor(tmp_path: Path, written: Written) -> None:
    """Twenty commits a second: one write a second, not twenty."""

    async def scene(url: str) -> Progress:
        sink = InfluxSink(written.store, SITE, _config(tmp_path, url, "t"), now_ms=lambda: NOW_MS)
        runner, stop = SinkRunner(written.store, SITE, sink), asyncio.Event()
        task = asyncio.create_task(runner.run(stop))
        for number in range(60):
            await asyncio.to_thread(written.take, _modem(1_000 + number, 1))
            runner.wake()
            await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while runner.progress.position < written.owner.last_batch:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(task, 60)
        return runner.progress

    with _server(lambda path, lines: TAKEN) as (url, stub):
        progress = asyncio.run(scene(url))
    assert progress.counts["lines"] == 120
    (began, _, _), *_, (ended, _, _) = stub.writes
    assert len(stub.writes) <= 4 + (ended - began)


def test_what_was_committed_is_handed_over_and_not_read_back(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines as from the log; the log is read where what was handed over does not follow what was sent."""
    reads: list[int] = []
    real = log.read

    def read(store: Store, site: str, after: int, limit: int, *, sealed: bool = False) -> list[batch.Batch]:
        reads.append(after)
        return real(store, site, after, limit, sealed=sealed)

    async def scene(url: str) -> SinkRunner:
        sink = InfluxSink(written.store, SITE, _config(tmp_path, url, "t"), now_ms=lambda: NOW_MS)
        runner = SinkRunner(written.store, SITE, sink)
        await runner.begin()
        for number in range(3):
            runner.wake(
                written.take(_modem(1_000 + number, number), Moment(2_000 + number, 0, [[HOST.id(), [7, 1, "é"]]]))
            )
        await runner.look()
        assert (reads, runner.progress.position) == ([], 3)
        written.take(_modem(3_000, 1))  # nobody told of it
        runner.wake(written.take(_modem(4_000, 2)))
        await runner.look()
        assert (reads, runner.progress.position) == ([3], 5)
        sink.records_a_look = 2
        for number in range(6):  # more than two looks' worth: it is behind
            runner.wake(written.take(_modem(5_000 + number, number)))
        while await runner.look():  # as ``run`` does; ``catch_up`` would begin at the cursor, which may be behind
            pass
        assert runner.progress.position == 11
        assert len(reads) > 1
        return runner

    monkeypatch.setattr(log, "read", read)
    with _server(lambda path, lines: TAKEN) as (url, stub):
        runner = asyncio.run(scene(url))
    stored = runner.sink.prepare(real(written.store, SITE, 0, 99))
    assert [line for _, _, lines in stub.writes for line in lines] == [item.text for item in stored.items]


def test_a_looks_worth_of_what_was_committed_waits_for_no_second(tmp_path: Path, written: Written) -> None:
    """At thousands of messages a second: what is not dealt with soon would have to be read back from the log."""

    async def scene(url: str) -> None:
        sink = InfluxSink(written.store, SITE, _config(tmp_path, url, "t"), now_ms=lambda: NOW_MS)
        sink.every_s, sink.records_a_look = 3600, 3
        runner, stop = SinkRunner(written.store, SITE, sink), asyncio.Event()
        look, looked = runner.look, asyncio.Event()

        async def first_look() -> bool:
            found = await look()
            looked.set()
            return found

        runner.look = first_look  # type: ignore[method-assign]
        task = asyncio.create_task(runner.run(stop))
        await asyncio.wait_for(looked.wait(), 60)  # and the next one is an hour away
        for number in range(3):
            runner.wake(written.take(_modem(1_000 + number, number)))
            await asyncio.sleep(0)
            assert runner.progress.position == 0
        async with asyncio.timeout(30):
            while runner.progress.position < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        stop.set()
        await asyncio.wait_for(task, 60)

    with _server(lambda path, lines: TAKEN) as (url, stub):
        asyncio.run(scene(url))
    assert len(stub.writes) == 1


def test_the_cursor_is_moved_for_several_looks_and_what_it_lacks_is_sent_again(
    tmp_path: Path, written: Written
) -> None:
    """Each move is a transaction and a page on disk; after a crash the same lines go out once more."""
    config = _config(tmp_path, "http://127.0.0.1:1", "t")

    def runner(url: str) -> SinkRunner:
        sink = InfluxSink(written.store, SITE, msgspec.structs.replace(config, url=url), now_ms=lambda: NOW_MS)
        return SinkRunner(written.store, SITE, sink)

    async def scene(url: str) -> None:
        first, places = runner(url), []
        await first.begin()
        for number in range(3):
            written.take(_modem(1_000 + number, number))
            await first.look()
            places.append((first.progress.position, log.position(written.store, SITE, NAME)))
        assert places == [(1, 1), (2, 1), (3, 1)]
        await first.sink.reset()
        second = runner(url)  # as after a crash
        await second.catch_up()
        assert (second.progress.position, log.position(written.store, SITE, NAME)) == (3, 3)
        await second.sink.reset()

    with _server(lambda path, lines: TAKEN) as (url, stub):
        asyncio.run(scene(url))
    sent = [lines for _, _, lines in stub.writes]
    assert len(sent) == 4
    assert sent[3] == sent[1] + sent[2]


def test_the_cursor_follows_when_nothing_more_comes_and_at_the_end(tmp_path: Path, written: Written) -> None:
    with _server(lambda path, lines: TAKEN) as (url, _):

        async def scene() -> None:
            stop = asyncio.Event()
            sink = InfluxSink(written.store, SITE, _config(tmp_path, url, "t"), now_ms=lambda: NOW_MS)
            sink.every_s = 0.05
            runner = SinkRunner(written.store, SITE, sink)
            task = asyncio.create_task(runner.run(stop))
            for number in range(3):
                written.take(_modem(1_000 + number, number))
                runner.wake()
                async with asyncio.timeout(30):
                    while log.position(written.store, SITE, NAME) < number + 1:  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
            sink.every_s = 60
            written.take(_modem(2_000, 1))
            await runner.look()
            stop.set()
            await asyncio.wait_for(task, 60)
            assert log.position(written.store, SITE, NAME) == 4

        asyncio.run(scene())


# --- a fault of the server is never blamed on a line ------------------------------------------------------------------

RETENTION_2 = (
    "failure writing points to database: partial write: dropped 4 points outside retention policy of duration 24h0m0s"
    " - oldest point modem at 1970-01-01T00:00:01.541Z dropped because it violates a Retention Policy Lower Bound at"
    " 2025-05-20T19:06:17.612973Z dropped=4 for database: 9f28 for retention policy: autogen"
)
REFUSES_ALL = {
    "401": (401, '{"code":"unauthorized","message":"unauthorized access"}'),
    "403": (403, '{"code":"forbidden","message":"insufficient permissions for write"}'),
    "404": (404, '{"code":"not found","message":"bucket \\"kitwatch\\" not found"}'),
    "400 whatever is sent": (400, '{"code":"invalid","message":"no"}'),
    "413 whatever is sent": (413, '{"code":"request too large","message":"too large"}'),
    "422 retention, also for what is new": (422, json.dumps({"code": "unprocessable entity", "message": RETENTION_2})),
    "disk full": (500, '{"error":"write failed: no space left on device"}'),
    "proxy": (502, "<html>bad gateway</html>"),
}


@pytest.mark.parametrize("what", REFUSES_ALL)
def test_a_server_that_refuses_everything_is_waited_for(tmp_path: Path, written: Written, what: str) -> None:
    status, body = REFUSES_ALL[what]
    written.take(*(_modem(1_000 + n, 1) for n in range(200)))
    ill = True

    def answer(path: str, lines: list[str]) -> Answer:
        return (status, {}, body) if ill else TAKEN

    def three_times(drain: SinkRunner) -> bool:
        return drain.progress.counts["retries"] >= 3

    with _server(answer) as (url, stub):
        config = _config(tmp_path, url, "t")
        progress = asyncio.run(_drain(written, config, three_times))
        assert progress.error
        assert progress.failing_since_ms == NOW_MS
        assert (progress.counts["refuses_all"] >= 3) == (status in (400, 413, 422))
        assert len(stub.writes) < 30
        assert written.letters() == []
        assert log.position(written.store, SITE, NAME) == 0
        ill = False
        progress = asyncio.run(_drain(written, config, _all(written)))
        assert progress.counts["lines"] == 400
    assert written.letters() == []


def test_5000_lines_beyond_the_retention_are_held_back_by_the_limit_that_the_server_tells(
    tmp_path: Path, written: Written
) -> None:
    """A backlog that the bucket no longer takes; the real server, which says so only when it is asked."""
    now_ms = written.now_ms = time.time_ns() // 1_000_000
    clock = Clock(0, 0, now_ms - 4 * 3_600_000, "ntp", 5)
    with influxdb(tmp_path / "influx") as influx:
        influx.query(f'CREATE RETENTION POLICY short ON "{influx.bucket}" DURATION 1h REPLICATION 1 DEFAULT')
        for _ in range(5):
            written.take(*(_modem(n, 1) for n in range(500)), clocks=(clock,))
        new = clock.number + 1
        fresh = Clock(new, 0, now_ms - 60_000, "ntp", 5)
        written.take(*(_modem(n * 10, 2, clock=new) for n in range(100)), clocks=(fresh,))
        config = _config(tmp_path, influx.url, influx.token)
        with _asked() as asked:
            status = asyncio.run(_drain(written, config, _all(written), now_ms=now_ms + 1000))
        assert len(asked) < 20, asked
        ((_, content, reason, state),) = written.letters()
        assert (content.count("\n") + 1, reason, state) == (5000, "older than 0.0416667 days", "held")
        assert {fields.get("pci") for fields in points(influx).values()} - {None} == {2}
        assert status.error == ""


@pytest.mark.parametrize("tells", [True, False])
def test_a_server_of_version_2_tells_its_retention_or_is_found_out(
    tmp_path: Path, written: Written, tells: bool
) -> None:
    words = RETENTION_2 if tells else "partial write: points beyond retention policy dropped=4"
    day_ms = 86_400_000
    old = Clock(0, 0, NOW_MS - 2 * day_ms, "ntp", 5)
    written.take(*(_modem(n, 1) for n in range(1000)), clocks=(old,))
    new = Clock(1, 0, NOW_MS - 10_000, "ntp", 5)
    written.take(*(_modem(n, 2, clock=1) for n in range(1000)), clocks=(new,))

    def answer(path: str, lines: list[str]) -> Answer:
        if any(int(line.rsplit(" ", 1)[1]) < NOW_MS - day_ms for line in lines):
            return 422, {}, json.dumps({"code": "unprocessable entity", "message": words})
        return TAKEN

    with _server(answer) as (url, stub):
        status = asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
    assert sum(content.count("\n") + 1 for _, content, _, _ in written.letters()) == 2000
    assert len(written.letters()) <= 2
    assert status.counts["lines"] >= 2000
    assert len(stub.writes) <= 25


def test_many_bad_lines_hold_up_nobody_and_come_to_rest_at_leisure(tmp_path: Path, written: Written) -> None:
    """Every second line is refused for what it holds: asking is bounded, all good ones are there in the end."""
    written.take(*(_modem(1_000 + n, n) for n in range(300)))
    good: set[str] = set()

    def answer(path: str, lines: list[str]) -> Answer:
        if any("pci=" in line and int(line.split("pci=")[1].split("i")[0]) % 2 for line in lines):
            return 400, {}, '{"code":"invalid","message":"unable to parse"}'
        good.update(lines)
        return TAKEN

    with _server(answer) as (url, stub):
        config = _config(tmp_path, url, "t")
        asyncio.run(_drain(written, config, _all(written)))
        assert len(stub.writes) <= 140  # at most one more turn, of what is tried at leisure; by halves alone: 600
        written.take(_modem(50_000, 1000))
        asyncio.run(_drain(written, config, lambda drain: {x[3] for x in written.letters()} == {"held"}))
    assert sorted(x[1].split("pci=")[1].split("i")[0] for x in written.letters()) == sorted(
        str(n) for n in range(1, 300, 2)
    )
    assert len({line for line in good if "pci=" in line}) == 151


def test_a_limit_of_series_is_told_and_costs_only_the_new_series(tmp_path: Path, written: Written) -> None:
    now_ms = written.now_ms = time.time_ns() // 1_000_000
    clock = Clock(0, 1_000, now_ms - 60_000, "ntp", 5)
    with influxdb(tmp_path / "influx", data="max-series-per-database = 2") as influx:
        config = _config(tmp_path, influx.url, influx.token)
        written.take(_modem(1_000, 1), clocks=(clock,))
        asyncio.run(_drain(written, config, _all(written), now_ms=now_ms))
        written.take(
            *(Moment(2_000 + n, 0, [[MODEM.id(), [n, "home"]], [HOST.id(), [1, 2, None]]]) for n in range(50)),
            clocks=(clock,),
        )
        progress = asyncio.run(_drain(written, config, _all(written), now_ms=now_ms))
        assert "max-series-per-database" in progress.last_refusal
        assert progress.error == ""
        letters = written.letters()
        assert {line.split(",")[0] for _, content, _, _ in letters for line in content.split("\n")} == {"host"}
        lines = sum(content.count("\n") + 1 for _, content, _, state in letters if state == "held")
        assert lines == 50
        leg = tuple(sorted((*TAGS, ("leg", "nr"))))
        assert len([key for key in points(influx) if key[1] == leg]) == 51


def test_a_mass_of_new_series_over_the_limit_costs_a_few_requests_and_holds_up_nobody(
    tmp_path: Path, written: Written
) -> None:
    """Debian's server says how many points it dropped: where that is all of a part, no line of it is asked about."""
    now_ms = written.now_ms = time.time_ns() // 1_000_000
    clock = Clock(0, 1_000, now_ms - 60_000, "ntp", 5)
    with influxdb(tmp_path / "influx", data="max-series-per-database = 2") as influx:
        config = _config(tmp_path, influx.url, influx.token)
        written.take(_modem(1_000, 1), clocks=(clock,))
        asyncio.run(_drain(written, config, _all(written), now_ms=now_ms))
        entries = [[one.id(), [1]] for one in MANY]
        written.take(*(Moment(2_000 + n, 0, entries) for n in range(25)), clocks=(clock,), schemas=MANY)
        written.take(*(_modem(3_000 + n, n) for n in range(100)), clocks=(clock,))
        with _asked() as asked:
            progress = asyncio.run(_drain(written, config, _all(written), now_ms=now_ms))
        assert len(asked) < 40, asked
        assert progress.limited_ms == now_ms
        leg = tuple(sorted((*TAGS, ("leg", "nr"))))
        assert len([key for key in points(influx) if key[1] == leg]) == 101
        letters = written.letters()
        assert sum(content.count("\n") + 1 for _, content, _, _ in letters) == 5_000
        assert len(letters) < 20, "a row for a part, not for a line"


@pytest.mark.alone
def test_a_slow_server_is_asked_about_refused_lines_for_half_a_second_at_once(tmp_path: Path, written: Written) -> None:
    """64 questions of 100 ms would hold up all that is new by more than six seconds."""
    written.take(*(_modem(1_000 + n, n) for n in range(300)))

    def answer(path: str, lines: list[str]) -> Answer:
        time.sleep(0.1)
        if any("pci=" in line and int(line.split("pci=")[1].split("i")[0]) % 2 for line in lines):
            return 400, {}, '{"code":"invalid","message":"unable to parse"}'
        return TAKEN

    with _server(answer) as (url, _):
        watch = Stopwatch()
        asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        assert watch.seconds < 4


def _too_old(now_ms: int) -> tuple[list[Moment], Clock]:
    """Return 2,500 records that the bucket no longer takes, 5,000 lines."""
    return [_modem(n, 1) for n in range(2_500)], Clock(1, 0, now_ms - 4 * 3_600_000, "ntp", 5)


def _wrong_type(now_ms: int) -> tuple[list[Moment], Clock]:
    """Return as many, every second line of which is refused for its field's type."""
    return [_modem(n, n) for n in range(2_500)], Clock(1, 0, now_ms - 1_800_000, "ntp", 5)


def _new_series(now_ms: int) -> tuple[list[Moment], Clock]:
    """Return 5,000 lines of 200 series that the server does not take for their number."""
    entries = [[one.id(), [1]] for one in MANY]
    return [Moment(n, 1, entries) for n in range(25)], Clock(1, 0, now_ms - 1_800_000, "ntp", 5)


MANY = [Schema("system", f"tablet-{n}", (Column("host.cpu_percent"),)) for n in range(200)]


@pytest.mark.alone
@pytest.mark.parametrize("mass", [_too_old, _wrong_type, _new_series])
def test_a_refused_mass_holds_up_no_line_that_is_new(
    tmp_path: Path, written: Written, mass: Callable[[int], tuple[list[Moment], Clock]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four portions of 5,000 refused lines each, and one new record every 100 ms: how long it waits for its write."""
    now_ms = written.now_ms = time.time_ns() // 1_000_000
    waits: list[float] = []
    sent: dict[int, float] = {}
    real = Server.write

    async def write(self: Server, lines: bytes) -> None:
        await real(self, lines)
        for at in [at for at in sent if f'registration="home" {at}'.encode() in lines]:
            waits.append(time.monotonic() - sent.pop(at))

    monkeypatch.setattr(Server, "write", write)

    async def scene(config: InfluxDB) -> None:
        stop = asyncio.Event()
        sink = SinkRunner(written.store, SITE, InfluxSink(written.store, SITE, config))
        task = asyncio.create_task(sink.run(stop))
        moments, clock = mass(now_ms)
        fresh = Clock(2, 0, now_ms - 60_000, "ntp", 5)
        for number in range(80):
            if number % 20 == 10:
                later = [Moment(one.mono_ms + number, 1, one.entries) for one in moments]
                await asyncio.to_thread(written.take, *later, clocks=(clock,), schemas=(MODEM, *MANY))
            await asyncio.to_thread(written.take, _modem(number * 10, None, clock=2), clocks=(fresh,))
            sent[fresh.wall_ms + number * 10] = time.monotonic()
            sink.wake()
            await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            while sent:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
        await asyncio.wait_for(task, 60)
        assert sink.progress.error == ""

    with influxdb(tmp_path / "influx", data="max-series-per-database = 3" if mass is _new_series else "") as influx:
        if mass is _too_old:
            influx.query(f'CREATE RETENTION POLICY short ON "{influx.bucket}" DURATION 1h REPLICATION 1 DEFAULT')
        tags = ",".join(f"{k}={v}" for k, v in TAGS)
        influx.write(f"modem,{tags},leg=nr pci=1{'.5' if mass is _wrong_type else 'i'} {now_ms}")
        # the new lines' series stands too: one written first beside the mass would be refused with it, by the limit
        influx.write(f'modem,{tags} registration="home" {now_ms}')
        asyncio.run(scene(_config(tmp_path, influx.url, influx.token)))
    assert len(waits) == 80
    assert max(waits) < 4, "measured: 1.1 to 1.7 s, a second of which is the sink's own gathering"
    assert len(written.letters()) < 500


def test_a_record_that_no_line_can_be_made_of_stops_nobody(tmp_path: Path, written: Written) -> None:
    written.take(Moment(1_000, 0, [[MODEM.id(), [1]], [MODEM.id(), [2, "home\nof a line"]]]))
    with _server(lambda path, lines: TAKEN) as (url, stub):
        asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        ((_, _, lines),) = stub.writes
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"pci=2i {CLOCK.wall_ms}",
        f'registration="home of a line" {CLOCK.wall_ms}',
    ]
    ((_, content, reason, state),) = written.letters()
    assert (content, state) == ("[1]", "held")
    assert reason.startswith("no lines: IndexError")


def test_dead_letters_are_bounded_and_what_goes_is_counted(
    tmp_path: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_LETTERS", 10)
    for n in range(4):
        with written.store.transaction() as connection:
            dead_letters.add(connection, SITE, NAME, [(n, f"line {n}.{k}", "no", "held") for k in range(4)], n)
    assert [content for _, content, _, _ in written.letters()] == [f"line {n}.{k}" for n in range(4) for k in range(4)][
        6:
    ]
    assert sites.counters(written.store.engine) == {(SITE, "dead_letters"): 16, (SITE, "dead_letters_given_up"): 6}
    monkeypatch.setattr(dead_letters, "MOST_BYTES", 20)
    with written.store.transaction() as connection:
        dead_letters.add(connection, SITE, NAME, [(9, "x" * 15, "no", "held")], 9)
    assert [content for _, content, _, _ in written.letters()] == ["x" * 15]


def test_a_real_server_whose_disk_is_full_is_waited_for(tmp_path: Path, written: Written) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    try:
        with influxdb(small / "influx") as influx:
            config = _config(tmp_path, influx.url, influx.token)
            ballast = small / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            written.take(*(_modem(1_000 + n, n) for n in range(2000)))

            def twice(drain: SinkRunner) -> bool:
                return drain.progress.counts["retries"] >= 2

            progress = asyncio.run(_drain(written, config, twice))
            assert "no space left" in progress.error
            assert written.letters() == []
            ballast.unlink()
            progress = asyncio.run(_drain(written, config, _all(written)))
            assert progress.counts["lines"] == 4000
            assert written.letters() == []
            assert len([fields for fields in points(influx).values() if "pci" in fields]) == 2000
    finally:
        subprocess.run(["umount", str(small)], check=True)


# --- which server it is -----------------------------------------------------------------------------------------------

V2_PATH = "/api/v2/write?org=kitwatch&bucket=kitwatch&precision=ms"


@pytest.mark.parametrize(
    ("version", "token", "path", "authorization"),
    [
        ("1.7.11", "north:s3cret", "/write?db=kitwatch&precision=ms", "Basic bm9ydGg6czNjcmV0"),
        ("1.6.7~rc0", "a.json.webtoken", "/write?db=kitwatch&precision=ms", "Bearer a.json.webtoken"),
        ("1.8.10", "north:s3cret", V2_PATH, "Basic bm9ydGg6czNjcmV0"),
        ("1.11.8", "a.json.webtoken", V2_PATH, "Bearer a.json.webtoken"),
        ("v2.7.12", "t", V2_PATH, "Token t"),
        ("3.1.0", "t", V2_PATH, "Token t"),
        ("", "t", V2_PATH, "Token t"),
    ],
)
def test_a_server_is_written_by_the_path_of_its_version(
    tmp_path: Path, written: Written, version: str, token: str, path: str, authorization: str
) -> None:
    written.take(_modem(1_000, 1))
    with _server(lambda path, lines: TAKEN, version) as (url, stub):
        asyncio.run(_drain(written, _config(tmp_path, url, token), _all(written)))
    assert [asked for _, asked, _ in stub.writes] == [f"{path} {authorization}"]
    (writer,) = stub.writers
    assert writer.startswith("influxdb-client-python/" if path == V2_PATH else "Python/")


def test_a_configured_version_is_not_asked_and_a_policy_of_version_1_is_named(tmp_path: Path, written: Written) -> None:
    written.take(_modem(1_000, 1))
    with _server(lambda path, lines: TAKEN, "v2.7") as (url, stub):
        config = InfluxDB(url=url, bucket="kitwatch/year", version=1)
        asyncio.run(_drain(written, config, _all(written)))
    assert [asked for _, asked, _ in stub.writes] == ["/write?db=kitwatch&precision=ms&rp=year None"]


WRITTEN_ALONE = """
import asyncio, sys
import kitwatch.collector, collector.main
from collector.config import InfluxDB
from collector.sinks.influxdb_server import Server

async def write():
    server = Server(InfluxDB(url=sys.argv[1], bucket="kitwatch"))
    await server.write(b"modem pci=1i 1")
    await server.close()

asyncio.run(write())
print("influxdb_client" in sys.modules)
"""


@pytest.mark.parametrize(("version", "loaded"), [("1.6.7", "False"), ("v2.7.12", "True")])
def test_the_library_is_loaded_only_where_its_api_is_written(version: str, loaded: str) -> None:
    with _server(lambda path, lines: TAKEN, version) as (url, stub):
        done = subprocess.run([sys.executable, "-c", WRITTEN_ALONE, url], capture_output=True, text=True, check=True)
        assert (done.stdout.strip(), done.stderr, len(stub.writes)) == (loaded, "", 1)


BOTH = pytest.mark.parametrize("version", ["1.6.7", "v2.7.12"])


@BOTH
def test_words_are_told_whole_and_a_connection_serves_again(version: str) -> None:
    """A refusal that arrives in pieces, then a write that is taken, by one connection."""
    words = " ".join(f"word{n}" for n in range(30))
    refusal: Answer = (400, {}, json.dumps({"error" if version.startswith("1.") else "message": words}))

    async def scene(url: str) -> None:
        server = Server(InfluxDB(url=url, bucket="kitwatch"))
        with pytest.raises(Refused) as refused:
            await server.write(b"modem pci=1i 1")
        assert str(refused.value) == words
        await server.write(b"modem pci=1i 1")
        await server.close()

    with _server(_in_turn(refusal, TAKEN), version, keeps=True, pieces=4) as (url, stub):
        asyncio.run(scene(url))
        assert (len(stub.writes), len(stub.connections)) == (2, 1)


@BOTH
def test_an_answer_without_end_is_left(version: str) -> None:
    async def scene(url: str) -> None:
        server = Server(InfluxDB(url=url, bucket="kitwatch"))
        with pytest.raises(NotNow, match=r"^503: xxxx"):
            await server.write(b"modem pci=1i 1")
        await server.close()

    with _server(lambda path, lines: (503, {}, "x" * 2**26), version, keeps=True, pieces=256) as (url, stub):
        asyncio.run(scene(url))
        end = time.monotonic() + 60
        while not stub.unsent and time.monotonic() < end:  # it finds out when it writes again
            time.sleep(0.01)
    assert stub.unsent > 2**25


def test_the_lines_that_version_3_names_are_the_ones_to_blame(tmp_path: Path, written: Written) -> None:
    written.take(*(_modem(1_000 + n, n) for n in range(50)))
    good: set[str] = set()

    def answer(path: str, lines: list[str]) -> Answer:
        bad = [at for at, line in enumerate(lines) if "pci=7i" in line or "pci=8i" in line]
        good.update(line for at, line in enumerate(lines) if at not in bad)
        if not bad:
            return TAKEN
        told = [{"error_message": "invalid column type", "line_number": at + 1, "original_line": "m"} for at in bad]
        return 400, {}, json.dumps({"error": "partial write of line protocol occurred", "data": told})

    with _server(answer, "3.1.0") as (url, stub):
        asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        assert len(stub.writes) == 2
    assert sorted(content.split("pci=")[1].split("i")[0] for _, content, _, _ in written.letters()) == ["7", "8"]
    assert len(good) == 98


def test_nobody_listening_is_tried_again_and_the_cursor_stays(tmp_path: Path, written: Written) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    written.take(_modem(1_000, 1))
    config = _config(tmp_path, f"http://127.0.0.1:{port}", "t")
    status = asyncio.run(_drain(written, config, lambda drain: drain.progress.counts["retries"] >= 3))
    assert status.failing_since_ms == NOW_MS
    assert log.position(written.store, SITE, NAME) == 0


@pytest.mark.parametrize("version", [None, 1, 2])
def test_a_server_that_hangs_does_not_hold_up_the_end(tmp_path: Path, written: Written, version: int | None) -> None:
    written.take(_modem(1_000, 1))
    with contextlib.ExitStack() as taken, socket.create_server(("127.0.0.1", 0)) as hanging:
        config = _config(tmp_path, f"http://127.0.0.1:{hanging.getsockname()[1]}", "t", version=version)
        hanging.setblocking(False)
        watches: list[Stopwatch] = []

        def asked(drain: SinkRunner) -> bool:
            """Whether it has asked half a second ago."""
            if not watches:
                with contextlib.suppress(BlockingIOError):
                    taken.enter_context(hanging.accept()[0])
                    watches.append(Stopwatch())
            return bool(watches) and watches[0].seconds > 0.5

        asyncio.run(_drain(written, config, asked))
        assert watches[0].seconds < 5
    assert log.position(written.store, SITE, NAME) == 0
