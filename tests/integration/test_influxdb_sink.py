"""The drain against a real InfluxDB: InfluxQL gives back what was committed, whatever the server said meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from collector.config import InfluxDB
from collector.sinks.influxdb import NAME, InfluxSink
from collector.store import batch, log, schema
from collector.store.commit import SiteConnection
from collector.store.rows import BatchRow, Changes
from collector.store.store import Store
from telemetry.intervals import Intervals
from telemetry.message import Lane, Moment
from telemetry.records import Clock, Column, Schema
from tests.services.influxdb import Influx, influxdb, points

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

    def take(self, *moments: Moment, lane: Lane = "live", clocks: tuple[Clock, ...] = (CLOCK,)) -> None:
        number = self.owner.last_batch + 1
        count = sum(len(moment.entries) for moment in moments)
        pairs = Intervals([(self._sequence, self._sequence + count - 1)]).pairs()
        self._sequence += count
        known = {clock.number: clock for clock in clocks}
        content = batch.encode([batch.Group(VEHICLE, AGENT, RUN, lane, pairs, known, list(moments))])
        self.owner.commit(
            Changes(
                batch=BatchRow(number, NOW_MS, NOW_MS, count, content),
                schemas={(VEHICLE, AGENT, one.id()): one for one in (MODEM, HOST)},
            )
        )

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


async def _drain(written: Written, config: InfluxDB, until: Callable[[InfluxSink], bool], seconds: float = 20) -> Any:
    """Run the drain until something is so; it must come in time."""
    stop = asyncio.Event()
    drain = InfluxSink(written.store, SITE, config, first_wait_s=0.05, longest_wait_s=0.2, now_ms=lambda: NOW_MS)
    task = asyncio.create_task(drain.run(stop))
    try:
        async with asyncio.timeout(seconds):
            while not until(drain):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not in time: {drain.status}")
    finally:
        stop.set()
        await asyncio.wait_for(task, 5)
    return drain.status


def _all(written: Written) -> Callable[[InfluxSink], bool]:
    return lambda drain: drain.status.position == written.owner.last_batch


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
        _write_raw(influx, f"modem,{','.join(f'{k}={v}' for k, v in (*TAGS, ('leg', 'nr')))} pci=1.5 {CLOCK.wall_ms}")
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
        _write_raw(influx, f"modem,{','.join(f'{k}={v}' for k, v in (*TAGS, ('leg', 'nr')))} pci=1.5 {CLOCK.wall_ms}")
        written.take(_modem(1_000, 5))
        config = _config(tmp_path, influx.url, influx.token)
        asyncio.run(_drain(written, config, _all(written)))
        assert len(written.letters()) == 1
        _query(influx, "DROP MEASUREMENT modem")
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

        async def scene() -> Any:
            async def later() -> None:
                await asyncio.sleep(0.5)
                await asyncio.to_thread(influx.influxd.start)

            start = asyncio.create_task(later())
            status = await _drain(written, config, _all(written))
            await start
            return status

        status = asyncio.run(scene())
        assert status.counts["retries"] >= 1
        assert status.error == ""
        assert len(points(influx)) == 2
        assert written.letters() == []


def test_a_new_token_is_taken_without_a_restart(tmp_path: Path, written: Written) -> None:
    with influxdb(tmp_path / "influx") as influx:
        config = _config(tmp_path, influx.url, "yesterdays-token")
        written.take(_modem(1_000, 1))

        said = []

        def renewed(drain: InfluxSink) -> bool:
            if drain.status.error:
                said.append(drain.status.error)
                assert written.letters() == []
                Path(config.token_file).write_text(influx.token)
            return drain.status.position == 1

        asyncio.run(_drain(written, config, renewed))
        assert said
        assert all(words.startswith("401") for words in said)
        assert len(points(influx)) == 2


class _Moody(BaseHTTPRequestHandler):
    """A server that says 503 with Retry-After, then 429, then yes."""

    calls: list[tuple[float, int]] = []  # noqa: RUF012 - one server a test
    answers: list[tuple[int, dict[str, str]]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.answers[min(len(self.calls), len(self.answers) - 1)]
        self.calls.append((time.monotonic(), body.count(b"\n") + 1))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextlib.contextmanager
def _moody(answers: list[tuple[int, dict[str, str]]]) -> Iterator[str]:
    _Moody.calls, _Moody.answers = [], answers
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Moody)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.parametrize("asked", ["1", formatdate(NOW_MS / 1000 + 1, usegmt=True)])
def test_retry_after_is_honoured(tmp_path: Path, written: Written, asked: str) -> None:
    written.take(_modem(1_000, 1))
    with _moody([(503, {"Retry-After": asked}), (429, {}), (204, {})]) as url:
        status = asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        (first, _), (second, _), (third, _) = _Moody.calls
        assert second - first >= 1.0
        assert third - second < 1.0
        assert status.counts == {"retries": 2, "lines": 2}
    assert written.letters() == []


def test_many_lines_go_in_one_request(tmp_path: Path, written: Written) -> None:
    for _ in range(10):
        written.take(*(_modem(1_000 + n, 1) for n in range(100)))
    with _moody([(204, {})]) as url:
        asyncio.run(_drain(written, _config(tmp_path, url, "t"), _all(written)))
        assert [lines for _, lines in _Moody.calls] == [2000]


def test_nobody_listening_is_tried_again_and_the_cursor_stays(tmp_path: Path, written: Written) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    written.take(_modem(1_000, 1))
    config = _config(tmp_path, f"http://127.0.0.1:{port}", "t")
    status = asyncio.run(_drain(written, config, lambda drain: drain.status.counts["retries"] >= 3))
    assert status.failing_since_ms == NOW_MS
    assert log.position(written.store, SITE, NAME) == 0


def _write_raw(influx: Influx, line: str) -> None:
    url = f"http://127.0.0.1:{influx.influxd.port}/write?db={influx.bucket}&precision=ms"
    urllib.request.urlopen(url, line.encode(), timeout=10).close()


def _query(influx: Influx, query: str) -> None:
    body = urllib.parse.urlencode({"q": query, "db": influx.bucket}).encode()
    urllib.request.urlopen(f"http://127.0.0.1:{influx.influxd.port}/query", body, timeout=10).close()


def test_a_server_that_hangs_does_not_hold_up_the_end(tmp_path: Path, written: Written) -> None:
    written.take(_modem(1_000, 1))
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        config = _config(tmp_path, f"http://127.0.0.1:{hanging.getsockname()[1]}", "t")
        hanging.settimeout(10)
        start = time.monotonic()

        def asked(drain: InfluxSink) -> bool:
            return time.monotonic() - start > 0.5

        asyncio.run(_drain(written, config, asked))
        hanging.accept()[0].close()
        assert time.monotonic() - start < 5
    assert log.position(written.store, SITE, NAME) == 0
